"""A linear head on features that stay as they are (Peters et al. 2019)."""

from typing import ClassVar

from ptft.finetuning.policy import TRAINED, UNTRAINED, Policy, Rate


class Frozen(Policy):
    """Train the head alone, on features that the body gives once (Peters et al. 2019, arXiv 1903.05987).

    The body has no dropout then. The head wants a higher rate than a whole model, such as 1e-2.
    """

    name: ClassVar[str] = "frozen"
    trains_embeddings: ClassVar[bool] = False

    def rate(self, depth: int, top: int) -> Rate:
        """The run's rate for the head, nothing for the body."""
        return TRAINED if depth == top else UNTRAINED
