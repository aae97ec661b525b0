"""Batches of features for a head whose body stays as it is."""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from ptft import rng
from ptft.finetuning.texts import LabelledBatches
from ptft.objectives.rows import Batch
from ptft.training.work import BatchSource


class FeatureBatches(BatchSource):
    """What a body gave for the texts of some batches, in place of the texts.

    Tokens are not counted: a text counts as one, since the head sees one vector of it.

    Args:
        batches: Of texts; the batch of a step has the same ones.
        features: Of all texts.
    """

    unit: ClassVar[str] = LabelledBatches.unit

    def __init__(self, batches: LabelledBatches, features: Float[Tensor, "texts *layers pooled"]) -> None:
        self._batches = batches
        self._features = features
        self.rows_per_step = batches.rows_per_step
        self.steps_per_epoch = batches.steps_per_epoch

    def batch(self, step: int, start: int, stop: int) -> Batch:
        """Rows ``start`` to ``stop`` of the step's batch."""
        index = self._batches.index(step, start, stop)
        labels = torch.from_numpy(self._batches.labels[index])
        key = int((rng.bits(rng.key_of("features"), index) >> 32).sum())
        tensors = {"features": self._features[torch.from_numpy(index)], "labels": labels}
        return Batch(tensors, {"classify": len(index)}, num_tokens=len(index), num_slots=len(index), hash=key)

    def documents(self, step: int) -> list[int]:
        """The table's rows in the step's batch, counted from 1."""
        return self._batches.documents(step)
