"""Processes, devices and precision: the one file that knows Accelerate, behind a handful of methods."""

import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import Accelerator, DataLoaderConfiguration
from accelerate.utils import gather_object
from torch import Tensor, nn

from ptft.errors import DeviceError

Precision = Literal["auto", "fp32", "bf16", "fp16"]
Device = Literal["auto", "cpu", "cuda"]


def has_native_bf16() -> bool:
    """Whether this machine multiplies bfloat16 matrices in hardware (CUDA from Ampere on; AVX512-BF16 or AMX)."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def resolve_precision(precision: Precision) -> Literal["fp32", "bf16", "fp16"]:
    """Turn ``auto`` into what the machine does best, and refuse what it cannot do.

    Raises:
        DeviceError: fp16 without a CUDA device, or bf16 that the device lacks.
    """
    if precision == "auto":
        return "bf16" if has_native_bf16() else "fp32"
    if precision == "fp16" and not torch.cuda.is_available():
        raise DeviceError("precision='fp16' needs a CUDA device, and there is none; use precision=bf16, fp32 or auto")
    if precision == "bf16" and not has_native_bf16():
        raise DeviceError("precision='bf16' is not supported by this device in hardware; use precision=fp32 or auto")
    return precision


class Compute:
    """The processes of a run, its device and its precision.

    Args:
        precision: Of matrix products; parameters, optimizer state and losses stay in fp32.
        trackers: Names of Accelerate's trackers (tensorboard, wandb, trackio), or empty.
        folder: Where trackers that write files put them.

    Raises:
        DeviceError: The device lacks the precision, or a tracker's library is not installed.
    """

    def __init__(
        self, precision: Precision = "auto", trackers: tuple[str, ...] = (), folder: Path | None = None
    ) -> None:
        self.precision = resolve_precision(precision)
        mixed = "no" if self.precision == "fp32" else self.precision
        try:
            self._accelerator = Accelerator(
                mixed_precision=mixed,
                log_with=list(trackers) or None,
                project_dir=folder,
                dataloader_config=DataLoaderConfiguration(),
                step_scheduler_with_optimizer=False,
            )
        except (ValueError, ImportError) as error:
            raise DeviceError(f"trackers={','.join(trackers)}: {error}") from None
        self.device: torch.device = self._accelerator.device
        self.num_processes: int = self._accelerator.num_processes
        self.rank: int = self._accelerator.process_index
        self.is_main: bool = self._accelerator.is_main_process
        if self.device.type == "cpu":
            torch.use_deterministic_algorithms(True, warn_only=True)

    def wrap(self, module: nn.Module) -> nn.Module:
        """Place a module on the device and, with several processes, let its gradients be averaged over them."""
        wrapped: nn.Module = self._accelerator.prepare_model(module)
        return wrapped

    def autocast(self) -> AbstractContextManager[None]:
        """A context in which matrix products run in the run's precision."""
        context: AbstractContextManager[None] = self._accelerator.autocast()
        return context

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of ``loss``; the caller normalises, no division happens here."""
        scaler = self._accelerator.scaler
        (loss if scaler is None else scaler.scale(loss)).backward()  # type: ignore[no-untyped-call]

    @property
    def scaler(self) -> Any:
        """The gradient scaler of fp16, or None."""
        return self._accelerator.scaler

    def no_sync(self, module: nn.Module, active: bool) -> AbstractContextManager[None]:
        """While ``active``, keep gradients local: all but the last micro-batch of a window."""
        from contextlib import nullcontext

        context: AbstractContextManager[None] = self._accelerator.no_sync(module) if active else nullcontext()
        return context

    def sum(self, values: Tensor) -> Tensor:
        """The sum of a tensor over all processes, in float64 on the CPU."""
        values = values.detach().double()
        if self.num_processes > 1:
            values = self._accelerator.reduce(values.to(self.device), "sum")
        return values.cpu()

    def gather(self, items: list[Any]) -> list[Any]:
        """The concatenation of every process's list, in rank order."""
        return list(gather_object(items)) if self.num_processes > 1 else items

    def wait(self) -> None:
        """Wait until all processes are here."""
        self._accelerator.wait_for_everyone()

    def start_trackers(self, project: str, settings: dict[str, Any]) -> None:
        """Open the trackers with the run's flat settings."""
        self._accelerator.init_trackers(project, config=settings)

    def track(self, values: dict[str, float], step: int) -> None:
        """Send figures to the trackers."""
        self._accelerator.log(values, step=step)

    def end(self) -> None:
        """Close the trackers."""
        self._accelerator.end_training()


def limit_threads(num_threads: int) -> None:
    """Let this process use so many CPU threads; 0 leaves torch's choice."""
    if num_threads:
        torch.set_num_threads(num_threads)


def num_cores() -> int:
    """Number of CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
