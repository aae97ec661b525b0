"""The one training loop, for pretraining and fine-tuning alike: it yields reports and leaves the rest to its caller."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ptft import rng
from ptft.compute import Compute
from ptft.objectives.rows import Batch
from ptft.optim.optimizer import Optimizers

_SIZES = ("num_tokens", "num_slots", "num_text_tokens")


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
        seconds: Time of the whole step.
        wait_seconds: Time of it spent waiting for data.
    """

    step: int
    sums: Mapping[str, Tensor]
    counts: Mapping[str, float]
    grad_norm: Tensor
    lr: float
    num_tokens: int
    num_slots: int
    num_text_tokens: int
    seconds: float
    wait_seconds: float


def train(
    module: nn.Module,
    weights: Mapping[str, float],
    feed: Iterable[list[Batch]],
    optimizers: Optimizers,
    lr_factor: Callable[[int], float],
    compute: Compute,
    *,
    start: int,
    seed: int,
    clip_norm: float,
) -> Iterator[StepReport]:
    """Train one step for each item of ``feed``.

    Each objective's loss is its sum divided by the number of its targets in the whole window of micro-batches over
    all processes, so that neither accumulation nor the number of processes changes loss or gradient.

    Args:
        module: From a batch's tensors to loss sums by objective; already wrapped for several processes.
        weights: Factor of each objective.
        feed: This process's micro-batches, a list a step.
        optimizers: Their learning rate is set before each step.
        lr_factor: Factor of the peak learning rate for the update from step ``n`` to ``n + 1``.
        compute: Processes, device, precision.
        start: Updates made before.
        seed: Of dropout: its generator is set for each (step, micro-batch, rank).
        clip_norm: Largest global gradient norm; 0 for none.
    """
    clock = time.perf_counter()
    for step, batches in enumerate(feed, start):
        waited = time.perf_counter() - clock
        lr = optimizers.set_lr(lr_factor(step))
        counts, sizes = _totals(batches, weights, compute)
        sums: dict[str, Tensor] = {}
        for index, batch in enumerate(batches):
            torch.manual_seed(int(rng.bits(seed, step, index, compute.rank)) >> 1)
            with compute.no_sync(module, index < len(batches) - 1):
                with compute.autocast():
                    parts: dict[str, Tensor] = module(batch.tensors)
                terms = [weights[name] / max(counts[name], 1) * part for name, part in parts.items()]
                compute.backward(torch.stack(terms).sum() * compute.num_processes)
            for name, part in parts.items():
                sums[name] = sums.get(name, 0) + part.detach()
        grad_norm = optimizers.clip(clip_norm)
        optimizers.step()
        now = time.perf_counter()
        yield StepReport(step + 1, sums, counts, grad_norm, lr, *sizes, now - clock, waited)
        clock = time.perf_counter()


def _totals(
    batches: list[Batch], names: Iterable[str], compute: Compute
) -> tuple[dict[str, float], tuple[int, int, int]]:
    own = [float(sum(batch.counts.get(name, 0) for batch in batches)) for name in names]
    own += [float(sum(getattr(batch, size) for batch in batches)) for size in _SIZES]
    *counts, num_tokens, num_slots, num_text_tokens = compute.sum(torch.tensor(own, dtype=torch.float64)).tolist()
    return dict(zip(names, counts, strict=True)), (int(num_tokens), int(num_slots), int(num_text_tokens))
