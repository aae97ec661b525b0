"""Processes, devices and precision: the one file that knows Accelerate, behind a handful of methods."""

import atexit
import ctypes
import os
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, PartialState
from accelerate.state import AcceleratorState
from accelerate.tracking import get_available_trackers
from torch import Tensor, nn

from ptft.errors import DeviceError
from ptft.sharding import filled, shard, sharding_asked, synchronise

Precision = Literal["auto", "fp32", "bf16", "fp16"]
Deterministic = bool | Literal["auto"]
M = TypeVar("M", bound=nn.Module)
_SMALL_SIDE, _SIDES = 512, {"cuda": 4096}  # of the matrices that tell whether bf16 pays
_PRODUCTS = 10
_CLEARLY = 1.25
_MMAP_MAX, _TRIM_THRESHOLD = -4, -1  # of glibc's malloc.h
_PATIENCE = timedelta(hours=6)  # others wait while the main process compiles the corpus


def has_native_bf16() -> bool:
    """Whether this machine multiplies bfloat16 matrices in hardware (CUDA from Ampere on; AVX512-BF16 or AMX)."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def product_seconds(dtype: torch.dtype, device: torch.device) -> float:
    """Seconds of a product of square matrices on a device, a few milliseconds."""
    side = _SIDES.get(device.type, _SMALL_SIDE)
    left = torch.ones(side, side, dtype=dtype, device=device)
    _wait_for(device)
    start = time.perf_counter()
    left @ left
    _wait_for(device)
    return time.perf_counter() - start


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@cache
def _bf16_pays() -> bool:
    """Whether products in bf16 are not clearly slower than in fp32; what the main process finds counts for all."""
    processes = _processes()
    store = _default_store() if processes.num_processes > 1 else None
    if store is not None and not processes.is_main_process:
        return bool(store.get("ptft-bf16") == b"1")
    kinds = (torch.bfloat16, torch.float32)
    # In turns, and the fastest of each: what else the machine does must not decide.
    seconds = [[product_seconds(kind, processes.device) for kind in kinds] for _ in range(_PRODUCTS)]
    half, single = map(min, zip(*seconds, strict=True))
    pays = bool(half < _CLEARLY * single)
    if store is not None:
        store.set("ptft-bf16", str(int(pays)))
    return pays


def resolve_precision(precision: Precision, kept: str = "") -> Literal["fp32", "bf16", "fp16"]:
    """Turn ``auto`` into what the machine does best, and refuse what it cannot do.

    ``auto`` is bf16 where the hardware has it, unless a product of some milliseconds takes more than a quarter longer
    in bf16 than in fp32: bf16 halves the traffic of activations too, and noise must not decide. The answer is that of
    the main process, stays for the life of a process, and is kept in checkpoints: a run goes on with it.

    Args:
        precision: The setting.
        kept: What a run that goes on was made with, if any; it stays where the device has it.

    Raises:
        DeviceError: fp16 without a CUDA device or under FSDP, or bf16 that the device lacks.
    """
    if precision == "auto":
        pays = kept == "bf16" or (kept != "fp32" and _bf16_pays()) if has_native_bf16() else False
        return "bf16" if pays else "fp32"
    if precision == "fp16" and sharding_asked():
        raise DeviceError("precision='fp16' is not supported under FSDP; use precision=bf16 or fp32")
    if precision == "fp16" and not torch.cuda.is_available():
        raise DeviceError("precision='fp16' needs a CUDA device, and there is none; use precision=bf16, fp32 or auto")
    if precision == "bf16" and not has_native_bf16():
        raise DeviceError("precision='bf16' is not supported by this device in hardware; use precision=fp32 or auto")
    return precision


def check_trackers(trackers: Sequence[str]) -> None:
    """Refuse a tracker whose library is not there.

    Raises:
        DeviceError: A library is not installed.
    """
    installed = {str(tracker) for tracker in get_available_trackers()}
    for tracker in trackers:
        if tracker not in installed:
            raise DeviceError(
                f"trackers={tracker}: the library {tracker!r} is not installed; pip install {tracker}, or leave it out"
            )


@cache
def _processes() -> PartialState:
    """The processes that torchrun or accelerate launched side by side; without a launcher this one."""
    if not _on_cpus():
        options = {"timeout": _PATIENCE} if "LOCAL_RANK" in os.environ else {}
        return _left_in_order(PartialState(**options))
    return _left_in_order(PartialState(cpu=True, timeout=_PATIENCE))


def _on_cpus() -> bool:
    """Whether several processes share the work without a GPU: Accelerate joins them only if it is told."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and not torch.cuda.is_available()


def _left_in_order(processes: PartialState) -> PartialState:
    if processes.num_processes > 1:
        atexit.register(processes.destroy_process_group)
    return processes


def num_processes() -> int:
    """How many processes share the work."""
    return int(_processes().num_processes)


def device_type() -> str:
    """What a process would train on: cpu, cuda, ..."""
    return str(_processes().device.type)


def is_main() -> bool:
    """Whether this process is the one that writes and talks."""
    return bool(_processes().is_main_process)


def wait_for_all() -> None:
    """Wait until all processes are here."""
    _processes().wait_for_everyone()


def fails_first() -> bool:
    """Whether this process is the first of all to end with an error: the one that says so, for the others follow it.

    Before the processes have met, a mistake is the same for all of a machine, and the first of them says it.
    """
    if not torch.distributed.is_initialized():
        return os.environ.get("LOCAL_RANK", "0") == "0"
    try:
        return int(_default_store().add("ptft-failed", 1)) == 1
    except RuntimeError:  # whoever kept the store is gone
        return True


def _default_store() -> Any:
    """What the processes share, kept by the launcher."""
    return torch.distributed.distributed_c10d._get_default_store()


@cache
def _counting_group() -> Any:
    """All processes, over what sums numbers that are on the CPU; they make it together."""
    return torch.distributed.new_group(backend="gloo", timeout=_PATIENCE)


def use_deterministic(active: bool) -> None:
    """Let torch take algorithms that give the same bits each time, or the fastest ones.

    An operation without such an algorithm is carried out all the same, and torch warns. cuBLAS reads its variable at
    its first product.
    """
    if active:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(active, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # nothing reads it
    torch.backends.cudnn.deterministic = active
    torch.backends.cudnn.benchmark = False


def keep_freed_memory() -> None:
    """Let this process keep memory that it frees, where the C library is glibc: the next step wants it again.

    Blocks of 32 MB and more would go back to the system each time, and come anew page by page.
    """
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_MMAP_MAX, 0)
        library.mallopt(_TRIM_THRESHOLD, 2**31 - 1)


def give_back_freed_memory() -> None:
    """Give back to the system what :func:`keep_freed_memory` kept, to see what is in use."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


class Compute:
    """The processes of a run, its device and its precision.

    Args:
        precision: Of matrix products; parameters, optimizer state and losses stay in fp32.
        kept: As for :func:`resolve_precision`.
        trackers: Names of Accelerate's trackers (tensorboard, wandb, trackio), or empty.
        folder: Where trackers that write files put them.
        deterministic: Whether the same run gives the same bits; auto: on a CPU.

    Raises:
        DeviceError: The device lacks the precision, a tracker's library is not installed, or FSDP cannot be.
    """

    def __init__(
        self,
        precision: Precision = "auto",
        trackers: tuple[str, ...] = (),
        folder: Path | None = None,
        deterministic: Deterministic = "auto",
        *,
        kept: str = "",
    ) -> None:
        self.is_sharded = sharding_asked()
        self._plain: nn.Module | None = None
        self.precision = resolve_precision(precision, kept)
        mixed = "no" if self.precision == "fp32" else self.precision
        _processes()
        AcceleratorState._reset_state()  # it holds the precision of a run before this one in the same process
        check_trackers(trackers)
        self._accelerator = Accelerator(
            cpu=_on_cpus(),
            mixed_precision=mixed,
            log_with=list(trackers) or None,
            project_dir=folder,
            step_scheduler_with_optimizer=False,
        )
        self.device: torch.device = self._accelerator.device
        self.num_processes: int = self._accelerator.num_processes
        self.rank: int = self._accelerator.process_index
        self.is_main: bool = self._accelerator.is_main_process
        self.is_deterministic: bool = self.device.type == "cpu" if deterministic == "auto" else deterministic
        use_deterministic(self.is_deterministic)
        if self.device.type == "cpu":
            keep_freed_memory()
        if self.num_processes > 1 and self.device.type != "cpu":
            _counting_group()

    def place(self, module: nn.Module) -> None:
        """Put a module on the device, before its optimizer is made; under FSDP its weights are spread, in place."""
        if self.is_sharded:
            self._plain = shard(module, self.device)
        else:
            module.to(self.device)

    def whole(self, module: M) -> M:
        """The placed module, or under FSDP a copy that has all the weights in every process: all must ask for it."""
        return module if self._plain is None else cast("M", filled(self._plain, module))

    def wrap(self, module: nn.Module, *, leaves_out: bool = False) -> nn.Module:
        """Let a placed module's gradients be averaged over the processes.

        Args:
            module: All of its parameters that are ever trained take gradients now.
            leaves_out: Whether some of them take none in some steps.
        """
        if self.is_sharded or self.num_processes == 1:  # Accelerate would keep every module of the process
            return module
        self._accelerator.ddp_handler = DistributedDataParallelKwargs(find_unused_parameters=leaves_out)
        wrapped: nn.Module = self._accelerator.prepare_model(module)
        return wrapped

    @property
    def dtype(self) -> torch.dtype:
        """Of matrix products."""
        return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[self.precision]

    def autocast(self) -> AbstractContextManager[None]:
        """A context in which matrix products run in the run's precision."""
        context: AbstractContextManager[None] = self._accelerator.autocast()
        return context

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of ``loss``; the caller normalises, no division happens here."""
        scaler = self._accelerator.scaler
        (loss if scaler is None else scaler.scale(loss)).backward()

    @property
    def scaler(self) -> Any:
        """The gradient scaler of fp16, or None."""
        return self._accelerator.scaler

    def no_sync(self, module: nn.Module, active: bool) -> AbstractContextManager[None]:
        """While ``active``, keep gradients local: all but the last micro-batch of a window."""
        if self.is_sharded:
            synchronise(module, not active)
            return nullcontext()
        context: AbstractContextManager[None] = self._accelerator.no_sync(module) if active else nullcontext()
        return context

    def sum(self, values: Tensor) -> Tensor:
        """The sum of a tensor over all processes, in float64 on the CPU."""
        values = values.detach().double()
        if self.num_processes == 1:
            return values.cpu()
        if values.device.type == "cpu" and self.device.type != "cpu":  # so that the host waits for no device
            values = values.clone()
            torch.distributed.all_reduce(values, group=_counting_group())
            return values
        total: Tensor = self._accelerator.reduce(values.to(self.device), "sum")
        return total.cpu()

    def any(self, flag: bool) -> bool:
        """Whether ``flag`` is set in any process."""
        return flag if self.num_processes == 1 else bool(self.sum(torch.tensor(float(flag))).item())

    def wait(self) -> None:
        """Wait until all processes are here."""
        wait_for_all()

    def finish(self) -> None:
        """Wait until the device has done what it was told, which on a GPU takes longer than telling it."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def main_first(self) -> AbstractContextManager[None]:
        """A context that the main process goes through before the others do: they find what it wrote."""
        context: AbstractContextManager[None] = self._accelerator.main_process_first()
        return context

    def start_trackers(self, project: str, settings: dict[str, Any]) -> None:
        """Open the trackers with the run's flat settings."""
        self._accelerator.init_trackers(project, config=settings)

    def track(self, values: dict[str, float], step: int) -> None:
        """Send figures to the trackers."""
        self._accelerator.log(values, step=step)

    def end(self) -> None:
        """Close the trackers."""
        for tracker in self._accelerator.trackers:
            tracker.finish()


def limit_threads(num_threads: int) -> None:
    """Let this process use so many CPU threads; 0 leaves torch's choice."""
    if num_threads:
        torch.set_num_threads(num_threads)


def num_cores() -> int:
    """Number of CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
