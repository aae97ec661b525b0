"""Short of memory in the middle of a step: the same step again, in smaller micro-batches."""

import math
from collections.abc import Callable
from typing import TypeVar

import torch

from ptft.compute import Compute
from ptft.errors import TrainingError
from ptft.objectives.rows import Batch
from ptft.optim.optimizer import Optimizers
from ptft.training.work import Feed

_SIGNS = ("DefaultCPUAllocator", "CUBLAS_STATUS_ALLOC_FAILED")
T = TypeVar("T")


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory is short, of the device or of the host."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(sign in str(error) for sign in _SIGNS)


def within_memory(
    work: Callable[[list[Batch]], T],
    batches: list[Batch],
    step: int,
    feed: Feed,
    optimizers: Optimizers,
    compute: Compute,
    say: Callable[[str], None],
) -> T:
    """Do ``work`` with a step's micro-batches; where memory is short, once more with halves of them, until they fit.

    The rows of the step, their order and their shares of the loss stay; the feed gives halves from then on.

    Args:
        work: Computes the step's gradients.
        batches: The step's micro-batches.
        step: Updates made before.
        feed: Makes the halves.
        optimizers: Forget the gradients of what did fit.
        compute: Its processes must be one.
        say: Is told once that they were halved, and the setting that begins so.

    Raises:
        TrainingError: A single row does not fit, or memory is short in one of several processes.
    """
    before = feed.rows
    while (result := _attempt(work, batches)) is None:
        _check_halves(step, feed, compute)
        optimizers.forget()
        batches = []
        if compute.device.type == "cuda":
            torch.cuda.empty_cache()
        batches = feed.halve(step)
    if feed.rows < before:
        say(
            f"step {step + 1} did not fit into memory with micro-batches of {before} rows: they have {feed.rows} from "
            f"here on, with the same rows in each step; accumulate={_accumulate(feed)} begins so"
        )
    return result


def _attempt(work: Callable[[list[Batch]], T], batches: list[Batch]) -> T | None:
    """None where memory is short; what did fit is held by the error, and so given back with it."""
    try:
        return work(batches)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    return None


def _check_halves(step: int, feed: Feed, compute: Compute) -> None:
    if feed.rows == 1:
        raise TrainingError(
            f"step {step + 1}: a micro-batch of a single row does not fit into memory; give a smaller length or model, "
            "or another precision"
        )
    if compute.num_processes > 1:
        raise TrainingError(
            f"step {step + 1} does not fit into the memory of process {compute.rank} with micro-batches of {feed.rows} "
            f"rows; give accumulate={_accumulate(feed, 2)}, and the same command goes on from the last checkpoint"
        )


def _accumulate(feed: Feed, factor: int = 1) -> int:
    """The setting that gives as many micro-batches, or ``factor`` times as many: it must divide a process's rows."""
    total = sum(stop - start for start, stop in feed.shares)
    wanted = min(total, math.ceil(total / feed.rows) * factor)
    return next(parts for parts in range(wanted, total + 1) if total % parts == 0)
