"""What the loop works on: a module that gives loss sums, and micro-batches as a function of the step."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import ClassVar

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
    unit: ClassVar[str] = "documents"
    """What :meth:`documents` gives the numbers of, for people."""

    @abstractmethod
    def batch(self, step: int, start: int, stop: int) -> Batch:
        """Rows ``start`` to ``stop`` of the global batch of ``step``."""

    def micro_batches(self, step: int, start: int, stop: int) -> list[Batch]:
        """What a step makes of one micro-batch's range of rows, which is given as of a full batch."""
        return [self.batch(step, start, stop)]

    @abstractmethod
    def documents(self, step: int) -> list[int]:
        """Where the global batch of a step comes from, rising; asked only where something is wrong with it."""

    def problem(self) -> str:
        """What is wrong with the files that batches are read from, as a part of a sentence; empty if nothing is."""
        return ""

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

    unit: ClassVar[str] = "documents of the token store, counted from 0"
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
        return [self._batch(*part, self._progress(step)) for part in self._parts(step, start, stop)]

    def _parts(self, step: int, start: int, stop: int) -> list[tuple[int, int]]:
        before = self._rows_before(step)
        size = self._rows_before(step + 1) - before
        first, last = (before + place * size // self.rows_per_step for place in (start, stop))
        seam = last // self._rows_per_block * self._rows_per_block
        bounds = [first, seam, last] if first < seam < last else [first, last]
        return list(pairwise(bounds)) if first < last else []  # a ramp may begin with fewer rows than micro-batches

    def documents(self, step: int) -> list[int]:
        """The documents of the step's rows, as indices in the token store."""
        parts = [self._located(*part) for part in self._parts(step, 0, self.rows_per_step)]
        return sorted({document for part in parts for document in self._sampler.documents(*part)})

    def problem(self) -> str:
        """What became of the token store."""
        watch = self._sampler.store.watch
        return watch.problem() if watch is not None else ""

    def _rows_before(self, step: int) -> int:
        if not self.total_steps:
            return step * self.rows_per_step
        return self._ramp.rows_before(step, self.total_steps, self.rows_per_step)

    def _progress(self, step: int) -> float | None:
        if self._is_evaluation:
            return None
        return min(1.0, step / self.total_steps) if self.total_steps else 0.0

    def _batch(self, first: int, last: int, progress: float | None) -> Batch:
        """Rows of the run, all of one block."""
        rows = self._sampler.rows(*self._located(first, last))
        rows.progress = progress
        for objective in self._objectives:
            objective.add_targets(rows, self._vocabulary)
        batch = rows.batch()
        return replace(batch, num_predictions=sum(each.num_predictions(batch) for each in self._objectives))

    def _located(self, first: int, last: int) -> tuple[int, int, int, int]:
        """Epoch (or version), block and places in it: they follow from the rows' numbers alone."""
        blocks, place = divmod(first, self._rows_per_block)
        epoch, block = divmod(blocks, self._sampler.blocks_per_epoch)
        return epoch % self._versions if self._versions else epoch, block, place, place + last - first

    def size_per_step(self, rows_at_once: int) -> Size:
        """What a full step has on average, with so many rows in a micro-batch."""
        return Size(*(self.rows_per_step * each for each in self._sampler.size_per_row(rows_at_once)))

    def predictions_per_slot(self) -> float:
        """Positions at which the vocabulary head is computed, for each real token or padding.

        They are those of some of the first rows; where a schedule moves them, the mean of its two ends.
        """
        ends = [self._batch(0, min(self.rows_per_step, _SAMPLED_ROWS), progress) for progress in (0.0, 1.0)]
        return sum(batch.num_predictions for batch in ends) / sum(batch.num_slots for batch in ends)


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
    """The micro-batches of one process, built ahead by threads; what they are does not depend on how many there are.

    On a CUDA device the threads lay them into pinned memory, and they are copied by a stream of their own, beside what
    the device still works on: what it is asked next waits for the copy, the host for nothing.

    Args:
        source: Batches as a function of the step.
        shares: Row ranges of this process.
        device: Where the tensors go.
        start, stop: Steps to give.
        workers: Threads; 0 builds each step's batches when they are asked for.
        most_rows: Halve the ranges until none has more rows; 0 takes them as they are.
    """

    def __init__(
        self,
        source: BatchSource,
        shares: Sequence[tuple[int, int]],
        device: torch.device,
        start: int,
        stop: int,
        *,
        workers: int = 1,
        most_rows: int = 0,
    ) -> None:
        self._source = source
        self._device = device
        self._range = (start, stop)
        self._workers = workers
        self._copies: torch.cuda.Stream | None = None
        self.shares = list(shares)
        self.most_rows = most_rows
        """Most rows of a micro-batch, where they were halved; 0 where they are as they were given."""
        while most_rows and self.rows > most_rows:
            self.shares = _halved(self.shares)

    @property
    def rows(self) -> int:
        """Rows of the largest micro-batch."""
        return max(stop - start for start, stop in self.shares)

    def halve(self, step: int) -> list[Batch]:
        """Halve the micro-batches of all steps from this one on, and give its own once more."""
        self.shares = _halved(self.shares)
        self.most_rows = self.rows
        return self._place(self._build(step, self.shares))

    def _build(self, step: int, shares: list[tuple[int, int]]) -> list[Batch]:
        batches = (batch for share in shares for batch in self._source.micro_batches(step, *share))
        return [self._pinned(batch) for batch in batches]

    def _pinned(self, batch: Batch) -> Batch:
        if self._device.type == "cpu":
            return batch
        return replace(batch, tensors={name: tensor.pin_memory() for name, tensor in batch.tensors.items()})

    def _place(self, batches: list[Batch]) -> list[Batch]:
        if self._device.type == "cpu":
            return batches
        self._copies = self._copies or torch.cuda.Stream(self._device)
        with torch.cuda.stream(self._copies):
            placed = [
                replace(b, tensors={n: t.to(self._device, non_blocking=True) for n, t in b.tensors.items()})
                for b in batches
            ]
        now = torch.cuda.current_stream(self._device)
        now.wait_stream(self._copies)
        for batch in placed:
            for tensor in batch.tensors.values():
                tensor.record_stream(now)  # its memory is not used again before what is asked of it now is done
        return placed

    def first(self) -> Batch:
        """The first micro-batch of all."""
        return self._place(self._build(self._range[0], self.shares))[0]

    def largest(self) -> Batch:
        """Some micro-batch of full size, which the first one of a growing batch is not."""
        start, stop = max(self.shares, key=lambda share: share[1] - share[0])
        return self._place([self._pinned(self._source.batch(0, start, stop))])[0]

    def __iter__(self) -> Iterator[list[Batch]]:
        """One list of micro-batches a step."""
        start, stop = self._range
        if not self._workers:
            for step in range(start, stop):
                yield self._place(self._build(step, self.shares))
            return
        ahead = self._workers + 1
        is_one_of_many = self._device.type == "cuda" and self._device.index is not None
        there = partial(torch.cuda.set_device, self._device) if is_one_of_many else None
        with ThreadPoolExecutor(self._workers, "ptft-feed", there) as pool:
            waiting: deque[tuple[list[tuple[int, int]], Future[list[Batch]]]] = deque()

            def order(step: int) -> None:
                if step < stop:
                    waiting.append((self.shares, pool.submit(self._build, step, self.shares)))

            for step in range(start, start + ahead):
                order(step)
            for step in range(start, stop):
                shares, future = waiting.popleft()
                batches = future.result()
                order(step + ahead)
                yield self._place(batches if shares is self.shares else self._build(step, self.shares))


def _halved(shares: list[tuple[int, int]]) -> list[tuple[int, int]]:
    middles = [(start, (start + stop) // 2, stop) for start, stop in shares]
    return [part for bounds in middles for part in pairwise(bounds) if part[0] < part[1]]
