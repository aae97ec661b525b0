"""Batches of features for a head whose body stays as it is."""

from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ptft import rng
from ptft.finetuning.texts import LabelledBatches
from ptft.objectives.rows import Batch
from ptft.training.work import BatchSource


class FeatureBatches(BatchSource):
    """What a body gave for the texts of some batches, in place of the texts.

    Tokens are not counted: a text, choice or word counts as one, since the head sees one vector of it.

    Args:
        batches: Of texts; the batch of a step has the same ones.
        features: Of all texts, choices or words that were not cut off, in their order.
    """

    unit: ClassVar[str] = LabelledBatches.unit

    def __init__(self, batches: LabelledBatches, features: Float[Tensor, "units *layers pooled"]) -> None:
        self._batches = batches
        self._features = features
        units = batches.texts.units_of(np.arange(len(batches.texts)))
        self._rows = np.full(batches.texts.num_units, -1)
        self._rows[units] = np.arange(len(units))
        self.rows_per_step = batches.rows_per_step
        self.steps_per_epoch = batches.steps_per_epoch

    def batch(self, step: int, start: int, stop: int) -> Batch:
        """Rows ``start`` to ``stop`` of the step's batch."""
        index = self._batches.index(step, start, stop)
        labels, counts = self._batches.targets(index)
        rows = self._rows[self._batches.texts.units_of(index)]
        return Batch(
            {"features": self._features[torch.from_numpy(rows)], "labels": torch.from_numpy(labels)},
            counts,
            num_tokens=len(rows),
            num_slots=len(rows),
            hash=int((rng.bits(rng.key_of("features"), index) >> 32).sum()),
        )

    def documents(self, step: int) -> list[int]:
        """The table's rows in the step's batch, counted from 1."""
        return self._batches.documents(step)
