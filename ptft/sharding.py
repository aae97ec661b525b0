"""Weights spread over processes by torch's ``fully_shard`` (FSDP2), and how they come together again.

Paper: Zhao et al. 2023 (PyTorch FSDP), arXiv 2304.11277; Rajbhandari et al. 2020 (ZeRO), arXiv 1910.02054.
"""

import copy
import os
from functools import cache

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from ptft.errors import DeviceError

_UNSUPPORTED = {
    "FSDP_OFFLOAD_PARAMS": "fsdp_offload_params",
    "FSDP_ACTIVATION_CHECKPOINTING": "fsdp_activation_checkpointing",
}


@cache
def sharding_asked() -> bool:
    """Whether the launcher asks for FSDP2: ``accelerate launch --use_fsdp --fsdp_version 2`` says so by variables.

    From then on nobody else heeds them: Accelerate would want to wrap the optimizer too, and transformers would open
    checkpoints in the first process only.

    Raises:
        DeviceError: It asks for FSDP on a CPU, without a launcher, of version 1, or with options we do not heed.
    """
    if not _is_on("ACCELERATE_USE_FSDP"):
        return False
    if not torch.cuda.is_available():
        raise DeviceError(
            "FSDP needs CUDA devices, and there is none; leave --use_fsdp (ACCELERATE_USE_FSDP) out: processes on "
            "CPUs share the work by DDP, with torchrun --nproc-per-node=N -m ptft ..."
        )
    version = os.environ.get("FSDP_VERSION", "1")
    if version != "2":
        raise DeviceError(f"FSDP of version {version} is not supported; give --fsdp_version 2 (FSDP_VERSION=2)")
    if "LOCAL_RANK" not in os.environ:
        raise DeviceError("FSDP needs a launcher; start with accelerate launch --use_fsdp, or with torchrun")
    for variable, option in _UNSUPPORTED.items():
        if _is_on(variable):
            raise DeviceError(f"--{option} ({variable}) is not supported under FSDP; leave it out")
    os.environ["ACCELERATE_USE_FSDP"] = os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = "false"
    return True


def _is_on(variable: str) -> bool:
    return os.environ.get(variable, "").lower() in ("1", "true", "yes")


def shard(module: nn.Module, device: torch.device) -> nn.Module:
    """Spread the weights of a module over all processes, in place: each block of a list of layers, then the rest.

    Weights stay in fp32 and are gathered so; matrix products are narrower under autocast only, as with DDP: the same
    numbers, for twice the traffic of weights gathered in bf16. Tied weights stay tied: both lie in the rest.

    Args:
        module: Equal in all processes.
        device: Where the weights go.

    Returns:
        A plain copy on the CPU, for :func:`whole` to fill.
    """
    plain = copy.deepcopy(module).cpu()
    module.to(device)
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    again = os.environ.get("FSDP_RESHARD_AFTER_FORWARD", "true").lower() != "false"
    inside: set[nn.Module] = set()
    for part in list(module.modules()):
        if isinstance(part, nn.ModuleList) and part not in inside:
            for block in part:
                inside.update(block.modules())
                fully_shard(block, mesh=mesh, reshard_after_forward=again)
    fully_shard(module, mesh=mesh)
    return plain


def synchronise(module: nn.Module, active: bool) -> None:
    """Let the next backward pass sum gradients over processes, or add them up in each."""
    if isinstance(module, FSDPModule):
        module.set_requires_gradient_sync(active)


def whole(tensor: Tensor) -> Tensor:
    """The full tensor where it is spread, else itself; every process must take part."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def spread_like(tensor: Tensor, model: Tensor) -> Tensor:
    """A full tensor, which every process has, spread as ``model`` is; another shape, or a plain model: as it is."""
    if not isinstance(model, DTensor) or tensor.shape != model.shape:
        return tensor
    there = tensor.to(model.device, model.dtype)
    return distribute_tensor(there, model.device_mesh, model.placements, src_data_rank=None)


@torch.no_grad()
def filled(plain: nn.Module, module: nn.Module) -> nn.Module:
    """A copy of ``plain`` where ``module`` is, with its weights; every process must take part."""
    device = next(module.parameters()).device
    target = copy.deepcopy(plain).to(device)
    parts = dict(module.named_parameters()) | dict(module.named_buffers())
    for name, value in [*target.named_parameters(), *target.named_buffers()]:
        value.copy_(whole(parts[name]))
    return target.train(module.training)


def unshared(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name, spread or not; tied weights once, under their first name."""
    seen: set[object] = set()
    tensors = {}
    for name, tensor in module.state_dict(keep_vars=True).items():
        place = id(tensor) if isinstance(tensor, DTensor) else (tensor.data_ptr(), tensor.shape, tensor.stride())
        if place not in seen or tensor.numel() == 0:
            seen.add(place)
            tensors[name] = tensor.detach()
    return tensors


def whole_state(module: nn.Module) -> dict[str, Tensor]:
    """What :func:`unshared` gives, whole and on the CPU; every process must take part."""
    return {name: whole(tensor).cpu().contiguous() for name, tensor in unshared(module).items()}


def load_state(module: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Take over what :func:`whole_state` gave, spread as the module is."""
    own = module.state_dict()
    spread = {name: spread_like(value, own[name]) if name in own else value for name, value in tensors.items()}
    module.load_state_dict(spread, strict=False)
