"""Masked language modelling (Devlin et al. 2019), with logits at the predicted positions only."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import numpy as np
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from ptft.config import Choice
from ptft.corpus.store import TokenStore
from ptft.errors import RecipeError
from ptft.models.prediction import Forward, summed_cross_entropy
from ptft.objectives.masking import Selection, mask_tokens
from ptft.objectives.objective import Objective
from ptft.objectives.pairs import PairSampler, document_chunks
from ptft.objectives.policies import POLICIES
from ptft.objectives.policies.policy import MaskingPolicy
from ptft.objectives.policies.token import Token
from ptft.objectives.rows import Rows, Vocabulary


class MaskedLM(Objective):
    """Predict masked tokens from both sides: 15 %, of which 80 % are masked, 10 % random, 10 % kept.

    Alone it makes single texts; beside an objective that makes pairs (``next_sentence``) it masks those.
    """

    name: ClassVar[str] = "masked_lm"
    kind: ClassVar[Literal["encoder", "decoder"]] = "encoder"
    policy: Annotated[MaskingPolicy, Choice(POLICIES)] = Token()
    """What is masked together: single tokens, whole words or spans of words."""
    selection: Selection = "exact"
    """Whether each row has its share of predictions exactly, or each token is drawn with that probability."""
    mask_ratio: float = Field(0.15, gt=0, lt=1)
    """Share of a row's tokens that are predicted."""
    final_mask_ratio: float = Field(0.0, ge=0, lt=1)
    """Share at the end of training, to which it moves in a straight line; 0 keeps it."""
    evaluation_mask_ratio: float = Field(0.15, gt=0, lt=1)
    """Share in held-out rows, whose masks are always the same."""
    max_predictions: int = Field(0, ge=0)
    """At most so many predictions a row; 0 for no limit."""
    replace_ratio: float = Field(0.8, ge=0, le=1)
    """Share of the predicted tokens that the model sees as the mask token."""
    random_ratio: float = Field(0.1, ge=0, le=1)
    """Share of the predicted tokens that the model sees as another token; the rest it sees as they are."""
    short_ratio: float = Field(0.1, ge=0, le=1)
    """Probability that a document is cut into shorter rows (when this objective makes the rows)."""

    def check(self) -> None:
        """Refuse shares that are more than all."""
        if self.replace_ratio + self.random_ratio > 1:
            raise RecipeError(
                f"objective: masked_lm: replace_ratio {self.replace_ratio} and random_ratio {self.random_ratio} are "
                "more than 1 together; what they leave is seen as it is"
            )

    @property
    def needs_words(self) -> bool:
        """Whether the policy chooses by words."""
        return self.policy.needs_words

    def sampler(
        self, store: TokenStore, vocabulary: Vocabulary, length: int, rows_per_step: int, seed: int
    ) -> PairSampler:
        """Single texts of whole sentences."""
        limits = (length, rows_per_step, seed, self.short_ratio)
        return PairSampler(document_chunks, store, vocabulary, *limits, single_texts=True)

    def add_targets(self, rows: Rows, vocabulary: Vocabulary) -> None:
        """Mask the inputs; targets are flat positions in the padded batch and the original ids."""
        masked = mask_tokens(
            rows,
            vocabulary,
            self.policy,
            mask_ratio=self.ratio(rows.progress),
            selection=self.selection,
            max_predictions=self.max_predictions,
            replace_ratio=self.replace_ratio,
            random_ratio=self.random_ratio,
        )
        rows.ids = masked.ids
        rows.targets["masked_positions"] = masked.positions
        rows.targets["masked_labels"] = masked.labels
        rows.counts[self.name] = len(masked.labels)

    def ratio(self, progress: float | None) -> float:
        """The share to predict at a point of the training, or in evaluation (None)."""
        if progress is None:
            return self.evaluation_mask_ratio
        return self.mask_ratio + progress * ((self.final_mask_ratio or self.mask_ratio) - self.mask_ratio)

    def loss_sum(self, forward: Forward, batch: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """Summed cross-entropy over the predicted tokens, in nats."""
        return summed_cross_entropy(forward.token_logits(batch["masked_positions"]), batch["masked_labels"])

    def evaluate(self, forward: Forward, batch: Mapping[str, Tensor], frequent_token: int) -> dict[str, float]:
        """Loss and number of right predictions."""
        logits, labels = forward.token_logits(batch["masked_positions"]), batch["masked_labels"]
        return {
            "loss": summed_cross_entropy(logits, labels).item(),
            "correct": (logits.argmax(-1) == labels).sum().item(),
            "frequent": (labels == frequent_token).sum().item(),
        }

    def figures(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Loss, perplexity and accuracy beside always predicting the corpus's most frequent token."""
        loss = sums["loss"] / sums["count"]
        return {
            "mlm.loss": loss,
            "mlm.perplexity": float(np.exp(loss)),
            "mlm.accuracy": sums["correct"] / sums["count"],
            "mlm.baseline": sums["frequent"] / sums["count"],
        }
