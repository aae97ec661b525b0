"""The one training loop, for pretraining and fine-tuning alike: it yields reports and leaves the rest to its caller."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from ptft import rng
from ptft.compute import Compute
from ptft.display import Silent
from ptft.models.compiling import eagerly
from ptft.objectives.rows import Batch
from ptft.optim.optimizer import Optimizers
from ptft.training.guard import Guard
from ptft.training.memory import within_memory
from ptft.training.work import Feed

_SILENT = Silent()

_SIZES = ("num_tokens", "num_slots", "num_text_tokens", "num_predictions")


@dataclass(frozen=True)
class StepReport:
    """What one step did, on this process; tensors are read only when somebody wants the numbers.

    Attributes:
        step: Number of updates made so far, this one included.
        sums: Loss sums by objective over this process's micro-batches.
        counts: Number of targets by objective, over all processes.
        grad_norm: Global gradient norm before clipping.
        lr: Learning rate of the first parameter group.
        num_tokens, num_slots: Real tokens, and real tokens with padding, over all processes.
        num_text_tokens: Real tokens that are the corpus's own, over all processes.
        num_predictions: Positions at which a token is predicted, over all processes.
        batch_hash: 32 bits that tell the rows of the global batch, whoever worked on them.
        most_rows: Rows of the largest micro-batch where memory was short; 0 where it was not.
        wait_seconds: Time of the step spent waiting for data.
    """

    step: int
    sums: Mapping[str, Tensor]
    counts: Mapping[str, float]
    grad_norm: Tensor
    lr: float
    num_tokens: int
    num_slots: int
    num_text_tokens: int
    num_predictions: int
    batch_hash: int
    most_rows: int
    wait_seconds: float


def train(
    module: nn.Module,
    weights: Mapping[str, float],
    feed: Feed,
    optimizers: Optimizers,
    lr_factor: Callable[[int], float],
    compute: Compute,
    *,
    start: int,
    seed: int,
    clip_norm: float,
    guard: Guard | None = None,
    say: Callable[[str], None] = _SILENT.say,
) -> Iterator[StepReport]:
    """Train one step for each item of ``feed``.

    Each objective's loss is its sum divided by the number of its targets in the whole window of micro-batches over
    all processes, so that neither accumulation nor the number of processes changes loss or gradient.

    Args:
        module: From a batch's tensors to loss sums by objective; already wrapped for several processes.
        weights: Factor of each objective.
        feed: This process's micro-batches, a list a step; it gives smaller ones where memory is short.
        optimizers: Their learning rate is set before each step.
        lr_factor: Factor of the peak learning rate for the update from step ``n`` to ``n + 1``.
        compute: Processes, device, precision.
        start: Updates made before.
        seed: Of dropout: its generator is set for each (step, micro-batch, rank).
        clip_norm: Largest global gradient norm; 0 for none.
        guard: Judges each step before its update; None lets all pass.
        say: Is told that memory was short.
    """
    clock = time.perf_counter()
    for step, batches in enumerate(feed, start):
        waited = time.perf_counter() - clock
        lr = optimizers.set_lr(lr_factor(step), step)
        counts, sizes, batch_hash = _totals(batches, weights, compute)
        gradients = partial(_gradients, module, weights, counts, compute, (seed, step), feed)
        sums, loss = within_memory(gradients, batches, step, feed, optimizers, compute, say)
        grad_norm = optimizers.clip(clip_norm)
        if guard is None or guard.allows(step + 1, loss, grad_norm):
            optimizers.step()
        else:
            optimizers.skip()
        yield StepReport(step + 1, sums, counts, grad_norm, lr, *sizes, batch_hash, feed.most_rows, waited)
        clock = time.perf_counter()


def _gradients(
    module: nn.Module,
    weights: Mapping[str, float],
    counts: Mapping[str, float],
    compute: Compute,
    keys: tuple[int, int],
    feed: Feed,
    batches: list[Batch],
) -> tuple[dict[str, Tensor], Tensor]:
    """Add the gradients of the micro-batches; gives the loss sums by objective, and this process's part of the loss.

    What was compiled was so for micro-batches of full size; smaller ones, at a block's end or of a growing batch, go
    through it eagerly.
    """
    sums: dict[str, Tensor] = {}
    losses: list[Tensor] = []
    for index, batch in enumerate(batches):
        torch.manual_seed(int(rng.bits(*keys, index, compute.rank)) >> 1)
        with compute.no_sync(module, index < len(batches) - 1), eagerly(batch.num_rows < feed.rows):
            with compute.autocast():
                parts: dict[str, Tensor] = module(batch.tensors)
            loss = torch.stack([weights[name] / max(counts[name], 1) * part for name, part in parts.items()]).sum()
            compute.backward(loss * compute.num_processes)
        losses.append(loss.detach())
        for name, part in parts.items():
            sums[name] = sums.get(name, 0) + part.detach()
    return sums, torch.stack(losses).sum()


def _totals(
    batches: list[Batch], names: Iterable[str], compute: Compute
) -> tuple[dict[str, float], tuple[int, int, int, int], int]:
    """Targets by objective, the numbers of :data:`_SIZES`, and the hash of the rows: over all processes."""
    own = [sum(batch.counts.get(name, 0) for batch in batches) for name in names]
    own += [sum(getattr(batch, size) for batch in batches) for size in _SIZES]
    own += [sum(batch.hash for batch in batches)]  # below 2**53 for two million rows, so that float64 is exact
    *counts, tokens, slots, text, predictions, hashes = compute.sum(torch.tensor(own, dtype=torch.float64)).tolist()
    sizes = int(tokens), int(slots), int(text), int(predictions)
    return dict(zip(names, counts, strict=True)), sizes, int(hashes) % 2**32
