"""What algorithms that give the same bits each time cost on this device."""

import time
import warnings

import torch
from torch import nn

from ptft.compute import Compute, use_deterministic
from ptft.models.compiling import eagerly
from ptft.objectives.rows import Batch

_PASSES = 3


def cost_of_determinism(module: nn.Module, batch: Batch, compute: Compute) -> str:
    """One sentence: how much longer forward and backward of a batch take than with the fastest algorithms.

    All processes must ask together. Measured without torch's compiler. No update is made, the gradients are dropped,
    and dropout is seeded anew for each micro-batch of the training that follows.

    Args:
        module: As the loop has it, in training.
        batch: A micro-batch on the module's device.
        compute: Device and precision.
    """
    seconds: dict[bool, float] = {}
    with warnings.catch_warnings(record=True) as caught, eagerly():
        warnings.simplefilter("always")
        for active in (False, True):
            use_deterministic(active)
            forward_and_back(module, batch, compute)  # the first one allocates and tunes
            seconds[active] = min(forward_and_back(module, batch, compute) for _ in range(_PASSES))
    use_deterministic(compute.is_deterministic)
    sentence = f"deterministic=true: forward and backward take {seconds[True] / seconds[False]:.2f} times as long here"
    lacking = {str(note.message).split(" does not have")[0] for note in caught if "deterministic" in str(note.message)}
    return f"{sentence}; torch has no such algorithm for {', '.join(sorted(lacking))}" if lacking else sentence


def forward_and_back(module: nn.Module, batch: Batch, compute: Compute) -> float:
    """Seconds of a micro-batch's way forward and back; the gradients are dropped."""
    compute.finish()
    start = time.perf_counter()
    with compute.no_sync(module, active=False):
        with compute.autocast():
            parts = module(batch.tensors)
        compute.backward(torch.stack(list(parts.values())).sum())
    compute.finish()
    seconds = time.perf_counter() - start
    module.zero_grad(set_to_none=True)
    return seconds
