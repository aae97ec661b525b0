"""What a pretraining run reads: batches from a compiled corpus, and those that it is evaluated on."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from transformers import PreTrainedTokenizerBase

from ptft.corpus.sources import CorpusSettings
from ptft.corpus.store import TokenStore
from ptft.objectives.objective import Objective
from ptft.objectives.packed_plan import Packing
from ptft.objectives.rows import Sampler, Vocabulary
from ptft.steps.compiled import How, compiled
from ptft.training.ramp import BatchRamp
from ptft.training.work import PretrainingBatches

_COUNTED_TOKENS = 10_000_000


@dataclass(frozen=True)
class RowSettings:
    """How rows are made of a store.

    Attributes:
        objectives: Each adds its targets; the one that makes pairs, or else the first, decides what a row is.
        length: Longest row in tokens.
        rows_per_step: Rows of a global batch.
        seed: Of every draw.
        versions, ramp: As for :class:`ptft.training.work.PretrainingBatches`; of the training part alone.
        packing: Let examples share rows; None for one a row.
        is_static: Whether all rows have the longest one's shape; of the training part alone.
    """

    objectives: Sequence[Objective]
    length: int
    rows_per_step: int
    seed: int
    versions: int
    ramp: BatchRamp
    packing: Packing | None = None
    is_static: bool = False

    @property
    def decides(self) -> Objective:
        """The objective that makes the rows."""
        return next((o for o in self.objectives if o.makes_pairs), self.objectives[0])

    def sampler(self, store: TokenStore, vocabulary: Vocabulary, rows_per_step: int, seed: int) -> Sampler:
        """Rows of a store.

        Raises:
            DataError: It cannot give any.
        """
        return self.decides.sampler(store, vocabulary, self.length, rows_per_step, seed, self.packing)


@dataclass(frozen=True)
class TrainingData:
    """What is trained on.

    Attributes:
        batches: A function of the step.
        store: The compiled corpus.
        fingerprint: Hash of its text.
        vocabulary: Special ids.
    """

    batches: PretrainingBatches
    store: TokenStore
    fingerprint: str
    vocabulary: Vocabulary

    @property
    def words_per_token(self) -> float:
        """Whitespace words for each token of the corpus, special tokens of rows left out."""
        return self.store.info.words / self.store.info.tokens

    @cached_property
    def frequent_token(self) -> int:
        """The most frequent ordinary token of the first ten million."""
        counts = np.bincount(self.store.tokens[:_COUNTED_TOKENS], minlength=self.vocabulary.size)
        counts[self.vocabulary.special] = 0
        return int(counts.argmax())

    def counts(self) -> dict[str, int]:
        """Of the corpus, for the manifest."""
        info = self.store.info
        return {"documents": info.documents, "sentences": info.sentences, "tokens": info.tokens, "words": info.words}


@dataclass(frozen=True)
class HeldOut:
    """What a run is evaluated on: the first ``steps`` batches, the same each time; with the hash of the text."""

    batches: PretrainingBatches
    steps: int
    fingerprint: str


@dataclass(frozen=True)
class PretrainingData:
    """Both parts; ``valid`` is None where nothing is held out."""

    train: TrainingData
    valid: HeldOut | None = None

    @property
    def hashes(self) -> dict[str, str]:
        """Of both texts, by their names for people."""
        return {"corpus": self.train.fingerprint, "held-out text": self.valid.fingerprint if self.valid else ""}


def training_data(
    corpus: CorpusSettings, tokenizer: PreTrainedTokenizerBase, how: How, rows: RowSettings
) -> TrainingData:
    """Compile the training part of a corpus, or find it compiled.

    Raises:
        DataError: The corpus cannot be read, or cannot give rows.
    """
    vocabulary = Vocabulary.of(tokenizer)
    store, fingerprint = compiled(corpus, "train", tokenizer, how)
    sampler = rows.sampler(store, vocabulary, rows.rows_per_step, rows.seed)
    sampler.is_static = rows.is_static
    batches = PretrainingBatches(
        sampler, rows.objectives, vocabulary, rows.rows_per_step, versions=rows.versions, ramp=rows.ramp
    )
    return TrainingData(batches, store, fingerprint, vocabulary)


def held_out(
    corpus: CorpusSettings,
    part: Literal["train", "valid"],
    tokenizer: PreTrainedTokenizerBase,
    how: How,
    rows: RowSettings,
    most_rows: int,
) -> HeldOut:
    """Compile what is held out; at most ``most_rows`` rows of it are used.

    Raises:
        DataError: There is none, or it cannot give rows.
    """
    vocabulary = Vocabulary.of(tokenizer)
    store, fingerprint = compiled(corpus, part, tokenizer, how)
    per_step = min(64, most_rows)
    sampler = rows.sampler(store, vocabulary, per_step, 0)
    batches = PretrainingBatches(sampler, rows.objectives, vocabulary, per_step, is_evaluation=True)
    return HeldOut(batches, min(batches.steps_per_epoch, max(1, most_rows // per_step)), fingerprint)
