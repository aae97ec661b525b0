"""The hybrid objective of GPT-BERT: one model learns to predict hidden tokens from both sides, and to go on a text."""

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from pydantic import Field
from torch import Tensor
from transformers import PretrainedConfig

from ptft.errors import RecipeError
from ptft.models.attention import BOTH_WAYS
from ptft.models.prediction import Forward, summed_cross_entropy
from ptft.objectives.masking_objective import MaskingObjective
from ptft.objectives.rows import Batch, Rows, Vocabulary
from ptft.objectives.window_objective import WindowObjective


class Hybrid(WindowObjective, MaskingObjective):
    """Masked-next-token prediction in some rows of every batch, causal language modelling in the others.

    In a masked row attention goes both ways and tokens are hidden as in ``masked_lm``, but a hidden token is predicted
    at the position before it, as a decoder predicts; so a stock decoder serves both, with one head. The checkpoint is
    prompted as any decoder and fine-tuned with attention both ways; fill-mask pipelines look at the hidden position
    itself and do not apply.

    Every row counts the same: its loss is the mean over its predictions, the loss of a batch the mean over its rows.

    Paper: Charpentier and Samuel 2024, arXiv 2410.24159. Differs: the paper gives each GPU one of the two objectives,
    here each batch has both in the same shares, on any number of devices; hidden tokens are chosen by the masking
    policies, not by how rarely they were hidden before.
    """

    name: ClassVar[str] = "hybrid"
    can_pack: ClassVar[bool] = False
    masked_rows: float = Field(0.5, gt=0, lt=1)
    """Share of the rows that are masked; held-out rows are masked by halves."""

    def check_architecture(self, config: PretrainedConfig) -> None:
        """Refuse decoders of which it is not known that their attention can go both ways."""
        if config.model_type not in BOTH_WAYS:
            raise RecipeError(
                f"objective: hybrid needs a decoder whose attention can go both ways: {', '.join(BOTH_WAYS)}; this is "
                f"{config.model_type}; give another model or preset, or objective=causal_lm"
            )
        if "sliding_attention" in (getattr(config, "layer_types", None) or ()):
            raise RecipeError(
                "objective: hybrid trains with attention over the whole row, and this model has sliding windows; give "
                "another model, or objective=causal_lm"
            )

    def annotate(self, config: PretrainedConfig) -> None:
        """Note that the weights know attention both ways."""
        config.trained_bidirectional = True

    def add_targets(self, rows: Rows, vocabulary: Vocabulary) -> None:
        """Mask some rows; targets are the positions at which something is predicted, and what."""
        labels = rows.ids[:, 1:]
        is_masked = _spread(rows.draw_keys, 0.5 if rows.progress is None else self.masked_rows)
        inputs = rows.ids[:, :-1].copy()
        some = np.flatnonzero(is_masked)
        # The first token of a row has no position before it, so what can be hidden begins at the second.
        inner = replace(
            rows,
            ids=inputs[some, 1:],
            lengths=rows.lengths[some] - 2,
            draw_keys=rows.draw_keys[some],
            starts=None if rows.starts is None else rows.starts[some, 1:-1],
        )
        masked = self.mask(inner, vocabulary)
        inputs[some, 1:] = masked.ids
        length = inputs.shape[1]
        row, column = np.divmod(masked.positions, length - 1)
        every = np.arange(labels.size).reshape(labels.shape)
        rows.targets |= {
            "bidirectional": is_masked.astype(np.int64),
            "next_positions": every[~is_masked].ravel(),
            "next_labels": labels[~is_masked].ravel(),
            "masked_positions": some[row] * length + column,
            "masked_labels": masked.labels,
            "masked_per_row": np.array([self._usual_predictions(length - 1, rows.progress)]),
        }
        rows.counts[self.name] = len(labels)
        rows.ids, rows.lengths, rows.starts = inputs, rows.lengths - 1, None

    def _usual_predictions(self, length: int, progress: float | None) -> int:
        usual = max(1, round(length * self.ratio(progress)))
        return min(usual, self.max_predictions) if self.max_predictions else usual

    def num_predictions(self, batch: Batch) -> int:
        """Positions of a batch at which the vocabulary head is computed."""
        return len(batch.tensors["next_labels"]) + len(batch.tensors["masked_labels"])

    def loss_sum(self, forward: Forward, batch: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """The sum over rows of their mean cross-entropies, in nats.

        A masked row's mean is over the usual number of predictions, so that no row depends on the others of its batch.
        """
        return self._row_means(forward, batch, self.z_loss)

    @staticmethod
    def _row_means(forward: Forward, batch: Mapping[str, Tensor], z_loss: float) -> Float[Tensor, ""]:
        going_on = forward.loss_sum(batch["next_positions"], batch["next_labels"], z_loss)
        hidden = forward.loss_sum(batch["masked_positions"], batch["masked_labels"], z_loss)
        return going_on / batch["input_ids"].shape[1] + hidden / batch["masked_per_row"][0]

    def evaluate(self, forward: Forward, batch: Mapping[str, Tensor], frequent_token: int) -> dict[str, float]:
        """Loss, and for both kinds of rows loss, right predictions and their number."""
        sums = {"loss": self._row_means(forward, batch, 0.0).item()}
        for kind in ("next", "masked"):
            labels = batch[f"{kind}_labels"]
            logits = forward.token_logits(batch[f"{kind}_positions"])
            sums |= {
                f"{kind}_loss": summed_cross_entropy(logits, labels).item(),
                f"{kind}_correct": (logits.argmax(-1) == labels).sum().item(),
                f"{kind}_frequent": (labels == frequent_token).sum().item(),
                f"{kind}_count": len(labels),
            }
        return sums

    def figures(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Loss, and perplexity and accuracy in going on a text and in finding hidden tokens."""
        figures = {"hybrid.loss": sums["loss"] / sums["count"]}
        for kind, name in (("next", "causal"), ("masked", "masked")):
            count = sums[f"{kind}_count"]
            if not count:  # a single held-out row is of one kind
                continue
            figures |= {
                f"hybrid.{name}_perplexity": float(np.exp(sums[f"{kind}_loss"] / count)),
                f"hybrid.{name}_accuracy": sums[f"{kind}_correct"] / count,
                f"hybrid.{name}_baseline": sums[f"{kind}_frequent"] / count,
            }
        return figures


def _spread(number: Int[ndarray, " rows"], share: float) -> Bool[ndarray, " rows"]:
    """True for this share of the rows, spread evenly over their numbers."""
    chosen: Bool[ndarray, " rows"] = np.floor((number + 1) * share) > np.floor(number * share)
    return chosen
