"""Next-sentence prediction (Devlin et al. 2019): does B follow A, or does it come from elsewhere?"""

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
from ptft.objectives.pairs import PairSampler, document_pairs
from ptft.objectives.rows import Rows, Vocabulary


class NextSentence(Objective):
    """Tell whether the second of two texts follows the first: 0 if it does, 1 if it was drawn from elsewhere.

    It makes the rows, ``[CLS] A [SEP] B [SEP]``, by the published reference's rules; ``masked_lm`` masks them.
    """

    name: ClassVar[str] = "next_sentence"
    kind: ClassVar[Literal["encoder", "decoder"]] = "encoder"
    makes_pairs: ClassVar[bool] = True
    short_ratio: float = Field(0.1, ge=0, le=1)
    """Probability that a document is cut into shorter pairs."""

    def sampler(
        self, store: TokenStore, vocabulary: Vocabulary, length: int, rows_per_step: int, seed: int
    ) -> PairSampler:
        """Sentence pairs; refuses corpora that cannot give both kinds."""
        self._refuse(store.num_documents, len(store.sentence_ends))
        return PairSampler(document_pairs, store, vocabulary, length, rows_per_step, seed, self.short_ratio)

    def check_corpus(self, beginning: Beginning, length: int) -> None:
        """Refuse a corpus that cannot give both kinds of pairs."""
        if beginning.is_all:
            self._refuse(beginning.documents, beginning.sentences)

    @staticmethod
    def _refuse(num_documents: int, num_sentences: int) -> None:
        if num_documents < 2:
            raise DataError(
                "next_sentence needs at least 2 documents, since a random second text comes from another one, but the "
                "corpus has 1; put a blank line between documents or train with objective=masked_lm"
            )
        if num_sentences == num_documents:
            raise DataError(
                "next_sentence needs documents of several sentences, but every document of the corpus is one line; "
                "put each sentence on a line of its own or train with objective=masked_lm"
            )

    def add_targets(self, rows: Rows, vocabulary: Vocabulary) -> None:
        """The pair's label, one a row."""
        if rows.pair_labels is None:
            raise RuntimeError("next_sentence was given rows that are no pairs")
        rows.targets["pair_labels"] = rows.pair_labels
        rows.counts[self.name] = len(rows.pair_labels)

    def check_model(self, model: PreTrainedModel) -> None:
        """Refuse a model without BERT's head for pairs."""
        if not hasattr(getattr(model, "cls", None), "seq_relationship"):
            raise CheckpointError(
                f"next_sentence needs BERT's pooled output and head, which {type(model).__name__} lacks; use a BERT"
            )

    def _logits(self, forward: Forward) -> Float[Tensor, "rows 2"]:
        self.check_model(forward.model)
        logits: Tensor = forward.model.get_submodule("cls.seq_relationship")(forward.pooled)
        return logits

    def loss_sum(self, forward: Forward, batch: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """Summed cross-entropy over the pairs, in nats."""
        return summed_cross_entropy(self._logits(forward), batch["pair_labels"])

    def evaluate(self, forward: Forward, batch: Mapping[str, Tensor], frequent_token: int) -> dict[str, float]:
        """Loss, right answers and pairs that were drawn from elsewhere."""
        logits, labels = self._logits(forward), batch["pair_labels"]
        return {
            "loss": summed_cross_entropy(logits, labels).item(),
            "correct": (logits.argmax(-1) == labels).sum().item(),
            "random": labels.sum().item(),
        }

    def figures(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Loss and accuracy beside always giving the more frequent answer."""
        share = sums["random"] / sums["count"]
        return {
            "nsp.loss": sums["loss"] / sums["count"],
            "nsp.accuracy": sums["correct"] / sums["count"],
            "nsp.baseline": float(np.maximum(share, 1 - share)),
        }
