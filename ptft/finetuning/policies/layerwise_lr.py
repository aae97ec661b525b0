"""A lower rate for lower layers (Howard and Ruder 2018)."""

from typing import ClassVar

from pydantic import Field

from ptft.finetuning.policy import Policy, Rate


class LayerwiseLR(Policy):
    """Divide the rate by a factor from each layer to the one below it (Howard and Ruder 2018, arXiv 1801.06146).

    ULMFiT calls it discriminative fine-tuning and divides by 2.6; for BERT a decay of 0.95 is usual (Sun et al. 2019,
    arXiv 1905.05583), which is a divisor of 1.0526.
    """

    name: ClassVar[str] = "layerwise_lr"
    by_layer: ClassVar[bool] = True
    divisor: float = Field(2.6, ge=1)
    """The rate of a layer over that of the one below it; 1 gives all the same."""

    def rate(self, depth: int, top: int) -> Rate:
        """The run's rate at the head, divided once for each step down."""
        return Rate(self.divisor ** (depth - top))
