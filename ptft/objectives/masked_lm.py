"""Masked language modelling (Devlin et al. 2019), with logits at the predicted positions only."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from ptft.corpus.store import TokenStore
from ptft.models.prediction import Forward, summed_cross_entropy
from ptft.objectives.frames import Enclosed
from ptft.objectives.masking_objective import MaskingObjective
from ptft.objectives.packed_plan import Packing
from ptft.objectives.pairs import PairSampler, document_chunks, exact_chunks
from ptft.objectives.rows import Rows, Vocabulary


class MaskedLM(MaskingObjective):
    """Predict masked tokens from both sides: 15 %, of which 80 % are masked, 10 % random, 10 % kept.

    Alone it makes single texts; beside an objective that makes pairs (``next_sentence``) it masks those.
    """

    name: ClassVar[str] = "masked_lm"
    kind: ClassVar[Literal["encoder", "decoder"]] = "encoder"
    short_ratio: float = Field(0.1, ge=0, le=1)
    """Probability that a document is cut into shorter rows (when this objective makes the rows)."""

    def sampler(
        self,
        store: TokenStore,
        vocabulary: Vocabulary,
        length: int,
        rows_per_step: int,
        seed: int,
        packing: Packing | None = None,
    ) -> PairSampler:
        """Single texts: of whole sentences, or in packed rows of as many tokens as may be."""
        rule = exact_chunks if packing else document_chunks
        limits = (length, rows_per_step, seed, self.short_ratio)
        return PairSampler(rule, store, vocabulary, *limits, frame=Enclosed(single_texts=True), packing=packing)

    def add_targets(self, rows: Rows, vocabulary: Vocabulary) -> None:
        """Mask the inputs; targets are flat positions in the padded batch and the original ids."""
        masked = self.mask(rows, vocabulary)
        rows.ids = masked.ids
        rows.targets["masked_positions"] = masked.positions
        rows.targets["masked_labels"] = masked.labels
        rows.counts[self.name] = len(masked.labels)

    def loss_sum(self, forward: Forward, batch: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """Summed cross-entropy over the predicted tokens, in nats."""
        return forward.loss_sum(batch["masked_positions"], batch["masked_labels"], self.z_loss)

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
