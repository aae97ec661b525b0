"""Retrain the last layers only (Yosinski et al. 2014)."""

from typing import ClassVar

from pydantic import Field

from ptft.finetuning.policy import TRAINED, UNTRAINED, Policy, Rate


class LastK(Policy):
    """Train the head and the last ``k`` layers (Yosinski et al. 2014, arXiv 1411.1792; for BERT: Lee et al. 2019)."""

    name: ClassVar[str] = "last_k"
    by_layer: ClassVar[bool] = True
    trains_embeddings: ClassVar[bool] = False
    k: int = Field(1, ge=1)
    """How many layers, counted from the head; a model with fewer is trained but for its embeddings."""

    def rate(self, depth: int, top: int) -> Rate:
        """The run's rate for the head and the layers below it; the embeddings stay."""
        return TRAINED if depth > 0 and depth >= top - self.k else UNTRAINED
