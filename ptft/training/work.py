"""What the loop works on: a module that gives loss sums, and micro-batches as a function of the step."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ptft.models.prediction import Forward
from ptft.objectives.objective import Objective
from ptft.objectives.rows import Batch, Sampler, Size, Vocabulary
from ptft.training.ramp import BatchRamp

_SAMPLED_ROWS = 256
_FULL = BatchRamp()


class BatchSource(ABC):
    """Global batches as a pure function of the step, cut into micro-batches for any number of processes."""

    steps_per_epoch: int
    rows_per_step: int

    @abstractmethod
    def batch(self, step: int, start: int, stop: int) -> Batch:
        """Rows ``start`` to ``stop`` of the global batch of ``step``."""

    def micro_batches(self, step: int, start: int, stop: int) -> list[Batch]:
        """What a step makes of one micro-batch's range of rows, which is given as of a full batch."""
        return [self.batch(step, start, stop)]

    def shares(self, micro_batch_rows: int, num_processes: int, rank: int) -> list[tuple[int, int]]:
        """The row ranges that one process works on, in the order of its micro-batches."""
        bounds = range(0, self.rows_per_step, micro_batch_rows)
        ranges = [(start, min(start + micro_batch_rows, self.rows_per_step)) for start in bounds]
        return ranges[rank::num_processes]


class PretrainingBatches(BatchSource):
    """Rows of a sampler with the targets of every objective.

    Args:
        sampler: Where the rows come from.
        objectives: Each adds its targets, in this order.
        vocabulary: Special ids.
        rows_per_step: Rows of the global batch.
        versions: Make so many versions of the examples and go round (static masking); 0 for new ones every epoch.
        is_evaluation: Whether the rows are held-out ones, for which no schedule of an objective counts.
        ramp: How the batch grows.
    """

    total_steps = 0
    """Length of the training once it is known; before that, schedules are at their beginning and batches full."""

    def __init__(
        self,
        sampler: Sampler,
        objectives: Sequence[Objective],
        vocabulary: Vocabulary,
        rows_per_step: int,
        *,
        versions: int = 0,
        is_evaluation: bool = False,
        ramp: BatchRamp = _FULL,
    ) -> None:
        self._sampler = sampler
        self._objectives = objectives
        self._vocabulary = vocabulary
        self.rows_per_step = rows_per_step
        self._versions = versions
        self._is_evaluation = is_evaluation
        self._ramp = ramp
        steps_per_block = sampler.rows_per_block // rows_per_step
        self._rows_per_block = steps_per_block * rows_per_step
        self.steps_per_epoch = steps_per_block * sampler.blocks_per_epoch

    def batch(self, step: int, start: int, stop: int) -> Batch:
        """Rows of the step's global batch."""
        before = self._rows_before(step)
        return self._batch(before + start, before + stop, self._progress(step))

    def micro_batches(self, step: int, start: int, stop: int) -> list[Batch]:
        """The range's share of the rows that the step has; two parts where a block ends in it."""
        before = self._rows_before(step)
        size = self._rows_before(step + 1) - before
        first, last = (before + place * size // self.rows_per_step for place in (start, stop))
        seam = last // self._rows_per_block * self._rows_per_block
        bounds = [first, seam, last] if first < seam < last else [first, last]
        return [self._batch(*part, self._progress(step)) for part in pairwise(bounds)]

    def _rows_before(self, step: int) -> int:
        if not self.total_steps:
            return step * self.rows_per_step
        return self._ramp.rows_before(step, self.total_steps, self.rows_per_step)

    def _progress(self, step: int) -> float | None:
        if self._is_evaluation:
            return None
        return min(1.0, step / self.total_steps) if self.total_steps else 0.0

    def _batch(self, first: int, last: int, progress: float | None) -> Batch:
        """Rows of the run, all of one block: (epoch, block, place) follow from their numbers alone."""
        blocks, place = divmod(first, self._rows_per_block)
        epoch, block = divmod(blocks, self._sampler.blocks_per_epoch)
        version = epoch % self._versions if self._versions else epoch
        rows = self._sampler.rows(version, block, place, place + last - first)
        rows.progress = progress
        for objective in self._objectives:
            objective.add_targets(rows, self._vocabulary)
        return rows.batch()

    def size_per_step(self, rows_at_once: int) -> Size:
        """What a full step has on average, with so many rows in a micro-batch."""
        return Size(*(self.rows_per_step * each for each in self._sampler.size_per_row(rows_at_once)))

    def predictions_per_slot(self) -> float:
        """Positions at which the vocabulary head is computed, for each real token or padding.

        They are those of some of the first rows; where a schedule moves them, the mean of its two ends.
        """
        ends = [self._batch(0, min(self.rows_per_step, _SAMPLED_ROWS), progress) for progress in (0.0, 1.0)]
        predictions = sum(objective.num_predictions(batch) for objective in self._objectives for batch in ends)
        return predictions / sum(batch.num_slots for batch in ends)


class PretrainingModule(nn.Module):
    """A stock model and its objectives: from a batch to one loss sum an objective."""

    def __init__(self, model: PreTrainedModel, objectives: Sequence[Objective]) -> None:
        super().__init__()
        self.model = model
        self.objectives = objectives
        self.weights: Mapping[str, float] = {objective.name: objective.weight for objective in objectives}

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The sum of each objective's losses over the batch, in nats."""
        forward = Forward(self.model, batch)
        return {objective.name: objective.loss_sum(forward, batch) for objective in self.objectives}


class Feed:
    """The micro-batches of one process, built one step ahead by a thread.

    Args:
        source: Batches as a function of the step.
        shares: Row ranges of this process.
        device: Where the tensors go.
        start, stop: Steps to give.
        ahead: Build the next step's batches while this one is worked on.
    """

    def __init__(
        self,
        source: BatchSource,
        shares: Sequence[tuple[int, int]],
        device: torch.device,
        start: int,
        stop: int,
        *,
        ahead: bool = True,
    ) -> None:
        self._source = source
        self._shares = shares
        self._device = device
        self._range = (start, stop)
        self._ahead = ahead

    def _build(self, step: int) -> list[Batch]:
        return [batch for share in self._shares for batch in self._source.micro_batches(step, *share)]

    def _place(self, batches: list[Batch]) -> list[Batch]:
        if self._device.type == "cpu":
            return batches
        return [
            replace(
                b,
                tensors={name: t.pin_memory().to(self._device, non_blocking=True) for name, t in b.tensors.items()},
            )
            for b in batches
        ]

    def __iter__(self) -> Iterator[list[Batch]]:
        """One list of micro-batches a step."""
        start, stop = self._range
        if not self._ahead:
            for step in range(start, stop):
                yield self._place(self._build(step))
            return
        with ThreadPoolExecutor(1, "ptft-feed") as pool:
            waiting: list[Future[list[Batch]]] = [
                pool.submit(self._build, step) for step in range(start, min(start + 2, stop))
            ]
            for step in range(start, stop):
                batches = waiting.pop(0).result()
                if step + 2 < stop:
                    waiting.append(pool.submit(self._build, step + 2))
                yield self._place(batches)
