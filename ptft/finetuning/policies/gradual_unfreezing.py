"""Unfreeze a model from the top, a layer an epoch (Howard and Ruder 2018)."""

from typing import ClassVar

from pydantic import Field

from ptft.finetuning.policy import Policy, Rate


class GradualUnfreezing(Policy):
    """Train the head for an epoch, then one layer more in each epoch (Howard and Ruder 2018, arXiv 1801.06146).

    The embeddings come last. A budget of fewer epochs than that leaves the lowest layers as they are. Where
    ``min_steps`` makes a run longer than its budget, its epochs here are longer too.
    """

    name: ClassVar[str] = "gradual_unfreezing"
    by_layer: ClassVar[bool] = True
    divisor: float = Field(1.0, ge=1)
    """The rate of a layer over that of the one below it; ULMFiT has 2.6."""
    layers_per_epoch: int = Field(1, ge=1)
    """How many layers are unfrozen at the beginning of each epoch but the first."""

    def rate(self, depth: int, top: int) -> Rate:
        """Training begins in the epoch in which the unfreezing reaches the depth."""
        return Rate(self.divisor ** (depth - top), -(-(top - depth) // self.layers_per_epoch))
