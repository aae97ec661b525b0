"""What an objective is: it adds targets to rows, and turns a forward pass into a sum of losses."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Literal

from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel

from ptft.config import Settings
from ptft.corpus.sources import Beginning
from ptft.corpus.store import TokenStore
from ptft.models.prediction import Forward
from ptft.objectives.packed_plan import Packing
from ptft.objectives.rows import Batch, Rows, Sampler, Vocabulary


class Objective(Settings, ABC):
    """One term of a pretraining loss.

    The step divides each objective's sum by the number of its targets in the whole accumulated window over all
    processes, so that the loss does not depend on batching.
    """

    name: ClassVar[str]
    kind: ClassVar[Literal["encoder", "decoder"]]
    makes_pairs: ClassVar[bool] = False
    """Whether its sampler decides what a row is, so that objectives without one join in."""
    needs_mask_token: ClassVar[bool] = False
    """Whether it hides tokens, so that the tokenizer must have one to stand in their place."""
    can_pack: ClassVar[bool] = True
    """Whether its examples may share rows."""
    weight: float = Field(1.0, gt=0)
    """Factor of this term in the total loss."""

    @property
    def needs_words(self) -> bool:
        """Whether its targets depend on where words begin."""
        return False

    @property
    def has_schedule(self) -> bool:
        """Whether its targets depend on how much of the training is over."""
        return False

    def check(self) -> None:
        """Refuse settings that contradict each other.

        Raises:
            RecipeError: They do.
        """

    def check_corpus(self, beginning: Beginning, length: int) -> None:
        """Refuse a corpus that cannot give a row of ``length`` tokens, as far as its beginning shows it.

        Raises:
            DataError: The corpus does not have what the objective needs.
        """

    def check_architecture(self, config: PretrainedConfig) -> None:
        """Refuse an architecture that cannot be trained so, whatever its weights.

        Raises:
            RecipeError: It cannot.
        """

    def check_model(self, model: PreTrainedModel) -> None:
        """Refuse a model that lacks what the objective needs of it.

        Raises:
            CheckpointError: It does.
        """

    def annotate(self, config: PretrainedConfig) -> None:
        """Note in a model's configuration what later steps must know of its training."""

    def num_predictions(self, batch: Batch) -> int:
        """Positions of a batch at which the vocabulary head is computed."""
        return batch.counts[self.name]

    @abstractmethod
    def sampler(
        self,
        store: TokenStore,
        vocabulary: Vocabulary,
        length: int,
        rows_per_step: int,
        seed: int,
        packing: Packing | None = None,
    ) -> Sampler:
        """Where this objective's rows come from when it decides (see ``makes_pairs``).

        Args:
            store: The compiled corpus.
            vocabulary: Special ids.
            length: Longest row in tokens, special tokens included.
            rows_per_step: Rows of a whole step over all processes; a block is a whole number of steps.
            seed: Of every draw.
            packing: Let examples of up to ``length`` tokens share rows; None for one a row.

        Raises:
            DataError: The corpus does not have what the objective needs.
        """

    @abstractmethod
    def add_targets(self, rows: Rows, vocabulary: Vocabulary) -> None:
        """Add labels to ``rows.targets`` and their number to ``rows.counts[self.name]``; may change the inputs."""

    @abstractmethod
    def loss_sum(self, forward: Forward, batch: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """The sum over targets of the loss in nats."""

    @abstractmethod
    def evaluate(self, forward: Forward, batch: Mapping[str, Tensor], frequent_token: int) -> dict[str, float]:
        """Sums for evaluation, such as ``loss`` and ``correct``, to be added over batches.

        Args:
            forward: The forward pass of the batch.
            batch: Inputs and targets.
            frequent_token: Id of the training corpus's most frequent token, for the baseline that always says it.
        """

    @abstractmethod
    def figures(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Figures from the sums of :meth:`evaluate` and ``count``; names carry the objective's short prefix."""


__all__ = ["Objective"]
