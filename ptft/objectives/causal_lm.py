"""Causal language modelling (Radford et al. 2018): predict each token from the ones before it."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from ptft.models.prediction import Forward, summed_cross_entropy
from ptft.objectives.rows import Rows, Vocabulary
from ptft.objectives.window_objective import WindowObjective


class CausalLM(WindowObjective):
    """Predict the next token at every position; documents follow each other, divided by the end-of-text token.

    In packed rows (``packed_length``) a document is an example, or several if it is longer than ``length``; it begins
    after an end-of-text token and ends with one.
    """

    name: ClassVar[str] = "causal_lm"
    z_loss: float = Field(0.0, ge=0)
    """Factor of the squared logarithm of the softmax's normaliser, added to the loss while training (PaLM)."""

    def add_targets(self, rows: Rows, vocabulary: Vocabulary) -> None:
        """The inputs are all tokens of a row but the last, the labels all but the first."""
        labels = rows.ids[:, 1:]
        rows.ids, rows.lengths, rows.starts = rows.ids[:, :-1], rows.lengths - 1, None
        if (rows.lengths < labels.shape[1]).any() or rows.layout is not None:
            present = rows.present()
            rows.targets["next_positions"] = np.flatnonzero(present)
            labels = labels[present]
        rows.targets["next_labels"] = labels.ravel()
        rows.counts[self.name] = labels.size

    def loss_sum(self, forward: Forward, batch: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """Summed cross-entropy over all positions, in nats."""
        return forward.loss_sum(batch.get("next_positions"), batch["next_labels"], self.z_loss)

    def evaluate(self, forward: Forward, batch: Mapping[str, Tensor], frequent_token: int) -> dict[str, float]:
        """Loss and number of right predictions."""
        labels = batch["next_labels"]
        everywhere = torch.arange(len(labels), device=labels.device)
        logits = forward.token_logits(batch.get("next_positions", everywhere))
        return {
            "loss": summed_cross_entropy(logits, labels).item(),
            "correct": (logits.argmax(-1) == labels).sum().item(),
            "frequent": (labels == frequent_token).sum().item(),
        }

    def figures(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Loss, perplexity a token, and accuracy."""
        loss = sums["loss"] / sums["count"]
        return {
            "clm.loss": loss,
            "clm.perplexity": float(np.exp(loss)),
            "clm.accuracy": sums["correct"] / sums["count"],
            "clm.baseline": sums["frequent"] / sums["count"],
        }
