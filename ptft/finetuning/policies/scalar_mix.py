"""A learned mixture of all layers of a body that stays as it is (Peters et al. 2018)."""

from typing import ClassVar

from ptft.finetuning.policy import TRAINED, UNTRAINED, Policy, Rate


class ScalarMix(Policy):
    """Train a weight for each layer and the head on their sum, as ELMo is used (Peters et al. 2018, arXiv 1802.05365).

    The body gives the states of its embeddings and layers once, without dropout. Differs: there is no layer norm of
    the layers, whose statistics would depend on how texts are batched, and no penalty on the weights.
    """

    name: ClassVar[str] = "scalar_mix"
    mixes_layers: ClassVar[bool] = True
    trains_embeddings: ClassVar[bool] = False

    def rate(self, depth: int, top: int) -> Rate:
        """The run's rate for the mixture and the head, nothing for the body."""
        return TRAINED if depth == top else UNTRAINED
