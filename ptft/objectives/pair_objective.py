"""What objectives that classify a pair of texts share: rows of pairs, BERT's head for them, and accuracy."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from transformers import PreTrainedModel

from ptft.corpus.sources import Beginning
from ptft.corpus.store import TokenStore
from ptft.errors import CheckpointError, DataError
from ptft.models.prediction import Forward, summed_cross_entropy
from ptft.objectives.objective import Objective
from ptft.objectives.packed_plan import Packing
from ptft.objectives.pairs import PairRule, PairSampler
from ptft.objectives.rows import Batch, Rows, Vocabulary


class PairObjective(Objective):
    """Tell which of two kinds a pair is, 0 or 1, from the pooled output. It makes the rows: ``[CLS] A [SEP] B [SEP]``.

    A subclass gives a name, a prefix of its figures, and the rule that makes pairs of a document.
    """

    kind: ClassVar[Literal["encoder", "decoder"]] = "encoder"
    makes_pairs: ClassVar[bool] = True
    prefix: ClassVar[str]
    least_documents: ClassVar[int] = 1
    """How many documents it takes to have both kinds of pairs."""
    short_ratio: float = Field(0.1, ge=0, le=1)
    """Probability that a document is cut into shorter pairs."""

    @property
    @abstractmethod
    def rule(self) -> PairRule:
        """How a document becomes pairs."""

    def num_predictions(self, batch: Batch) -> int:
        """None: its head is that of pairs."""
        return 0

    def sampler(
        self,
        store: TokenStore,
        vocabulary: Vocabulary,
        length: int,
        rows_per_step: int,
        seed: int,
        packing: Packing | None = None,
    ) -> PairSampler:
        """Pairs; refuses corpora that cannot give both kinds."""
        self._refuse(store.num_documents, store.info.sentences)
        limits = (length, rows_per_step, seed, self.short_ratio)
        return PairSampler(self.rule, store, vocabulary, *limits, packing=packing)

    def check_corpus(self, beginning: Beginning, length: int) -> None:
        """Refuse a corpus that cannot give both kinds of pairs."""
        if beginning.is_all:
            self._refuse(beginning.documents, beginning.sentences)

    def _refuse(self, num_documents: int, num_sentences: int) -> None:
        if num_documents < self.least_documents:
            raise DataError(
                f"{self.name} needs at least {self.least_documents} documents, since a random second text comes from "
                f"another one, but the corpus has {num_documents}; put a blank line between documents or train with "
                "objective=masked_lm"
            )
        if num_sentences == num_documents:
            raise DataError(
                f"{self.name} needs documents of several sentences, but every document of the corpus is one line; "
                "put each sentence on a line of its own or train with objective=masked_lm"
            )

    def add_targets(self, rows: Rows, vocabulary: Vocabulary) -> None:
        """The pair's label, one a row."""
        if rows.pair_labels is None:
            raise RuntimeError(f"{self.name} was given rows that are no pairs")
        rows.targets["pair_labels"] = rows.pair_labels
        rows.counts[self.name] = len(rows.pair_labels)

    def check_model(self, model: PreTrainedModel) -> None:
        """Refuse a model without BERT's head for pairs."""
        if not hasattr(getattr(model, "cls", None), "seq_relationship"):
            raise CheckpointError(
                f"{self.name} needs BERT's pooled output and head, which {type(model).__name__} lacks; use a BERT"
            )

    def _logits(self, forward: Forward) -> Float[Tensor, "rows 2"]:
        self.check_model(forward.model)
        logits: Tensor = forward.model.get_submodule("cls.seq_relationship")(forward.pooled)
        return logits

    def loss_sum(self, forward: Forward, batch: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """Summed cross-entropy over the pairs, in nats."""
        return summed_cross_entropy(self._logits(forward), batch["pair_labels"])

    def evaluate(self, forward: Forward, batch: Mapping[str, Tensor], frequent_token: int) -> dict[str, float]:
        """Loss, right answers and pairs of the second kind."""
        logits, labels = self._logits(forward), batch["pair_labels"]
        return {
            "loss": summed_cross_entropy(logits, labels).item(),
            "correct": (logits.argmax(-1) == labels).sum().item(),
            "second_kind": labels.sum().item(),
        }

    def figures(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Loss and accuracy beside always giving the more frequent answer."""
        share = sums["second_kind"] / sums["count"]
        return {
            f"{self.prefix}.loss": sums["loss"] / sums["count"],
            f"{self.prefix}.accuracy": sums["correct"] / sums["count"],
            f"{self.prefix}.baseline": float(np.maximum(share, 1 - share)),
        }
