"""Go on with language modelling beside the task (Radford et al. 2018)."""

from collections.abc import Callable
from typing import ClassVar

from pydantic import Field
from transformers import PreTrainedModel

from ptft.finetuning.auxiliary import AuxiliaryBatches, AuxiliaryModule
from ptft.finetuning.policy import TRAINED, Policy, Rate
from ptft.finetuning.texts import LabelledBatches
from ptft.models.classifier import Classifier
from ptft.objectives.rows import Vocabulary


class AuxiliaryLM(Policy):
    """Train all weights on the task's loss and the language model's on the same texts (GPT-1, Radford et al. 2018).

    A decoder predicts each next token, an encoder masked ones, for which its body runs once more. The checkpoint must
    have its language-model head, which is trained too and not saved.
    """

    name: ClassVar[str] = "auxiliary_lm"
    needs_lm: ClassVar[bool] = True
    coefficient: float = Field(0.5, gt=0)
    """Factor of the language model's loss: the mean over texts of the mean over a text's predicted tokens, in nats."""

    def rate(self, depth: int, top: int) -> Rate:
        """The run's rate, everywhere and always."""
        return TRAINED

    def module(self, classifier: Classifier, open_lm: Callable[[], PreTrainedModel]) -> AuxiliaryModule:
        """The classifier beside a language model with the same body."""
        return AuxiliaryModule(classifier, open_lm(), self.coefficient)

    def batches(
        self, batches: LabelledBatches, vocabulary: Vocabulary, seed: int, *, is_decoder: bool
    ) -> AuxiliaryBatches:
        """The task's batches with targets for the language model."""
        return AuxiliaryBatches(batches, vocabulary, seed, is_decoder=is_decoder)
