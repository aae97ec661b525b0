"""How ranges of tokens in a store become the arrays of rows: with special tokens around them, or as they run on."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from ptft.corpus.store import TokenStore
from ptft.objectives.rows import Rows, Vocabulary

Pairs = Int[ndarray, "examples 5"]
"""For each example where A begins and ends, where B does (nowhere if it is empty), and the label of the pair."""


class Frame(ABC):
    """What stands around the text of an example."""

    @property
    @abstractmethod
    def num_special(self) -> int:
        """How many tokens it adds to a full example."""

    @property
    @abstractmethod
    def may_be_cut(self) -> bool:
        """Whether two parts of an example are examples, too."""

    @abstractmethod
    def lengths(self, pairs: Pairs) -> Int[ndarray, " examples"]:
        """The model's input tokens in each example."""

    @abstractmethod
    def rows(
        self,
        pairs: Pairs,
        store: TokenStore,
        vocabulary: Vocabulary,
        width: int,
        draw_keys: Int[ndarray, " examples"],
        epoch_keys: tuple[int, int],
    ) -> Rows:
        """The examples as rows, with room for ``width`` of the model's input tokens."""


@dataclass(frozen=True)
class Enclosed(Frame):
    """``[CLS] A [SEP] B [SEP]``, or ``[CLS] A [SEP]`` for single texts."""

    single_texts: bool = False

    @property
    def num_special(self) -> int:
        """Two or three."""
        return 2 if self.single_texts else 3

    @property
    def may_be_cut(self) -> bool:
        """Single texts."""
        return self.single_texts

    def lengths(self, pairs: Pairs) -> Int[ndarray, " examples"]:
        """Both texts and the special tokens around them."""
        b_length = pairs[:, 3] - pairs[:, 2]
        total: Int[ndarray, " examples"] = pairs[:, 1] - pairs[:, 0] + b_length + 2 + (b_length > 0)
        return total

    def rows(
        self,
        pairs: Pairs,
        store: TokenStore,
        vocabulary: Vocabulary,
        width: int,
        draw_keys: Int[ndarray, " examples"],
        epoch_keys: tuple[int, int],
    ) -> Rows:
        """Special tokens and token types in place."""
        a_length, b_length = pairs[:, 1] - pairs[:, 0], pairs[:, 3] - pairs[:, 2]
        lengths = self.lengths(pairs)
        column = np.arange(width)
        a_stop = 1 + a_length[:, None]
        b_stop = a_stop + 1 + b_length[:, None]
        in_a = (column > 0) & (column < a_stop)
        in_b = (column > a_stop) & (column < b_stop)
        source = np.where(in_b, pairs[:, 2:3] + column - a_stop - 1, pairs[:, 0:1] + column - 1)
        ids = np.full(source.shape, vocabulary.pad, np.int64)
        inside = in_a | in_b
        ids[inside] = store.tokens[source[inside]]
        ids[:, 0] = vocabulary.cls
        ids[(column == a_stop) | ((column == b_stop) & (b_length[:, None] > 0))] = vocabulary.sep
        segments = (column > a_stop) & (column < lengths[:, None])
        by_id = vocabulary.starts
        return Rows(
            ids=ids,
            lengths=lengths,
            draw_keys=draw_keys,
            epoch_keys=epoch_keys,
            segments=None if self.single_texts else segments.astype(np.int64),
            pair_labels=None if self.single_texts else pairs[:, 4],
            starts=store.starts(np.where(inside, source, 0)) if by_id is None else by_id[ids],
            num_added=int(lengths.sum() - a_length.sum() - b_length.sum()),
        )


@dataclass(frozen=True)
class Continued(Frame):
    """A text with the token before it, from which its first is predicted.

    At the beginning of a document that is the end-of-text token, as prompts begin with it; so each token of the corpus
    is predicted once, and none is fed in vain.
    """

    @property
    def num_special(self) -> int:
        """None: the token before a text takes the place of its last, which is not fed."""
        return 0

    @property
    def may_be_cut(self) -> bool:
        """Anywhere."""
        return True

    def lengths(self, pairs: Pairs) -> Int[ndarray, " examples"]:
        """As many as there are predictions."""
        length: Int[ndarray, " examples"] = pairs[:, 1] - pairs[:, 0]
        return length

    def rows(
        self,
        pairs: Pairs,
        store: TokenStore,
        vocabulary: Vocabulary,
        width: int,
        draw_keys: Int[ndarray, " examples"],
        epoch_keys: tuple[int, int],
    ) -> Rows:
        """Rows one token longer than the model's input, as those of windows."""
        lengths = self.lengths(pairs) + 1
        column = np.arange(width + 1)
        source = pairs[:, 0:1] - 1 + column
        inside = column < lengths[:, None]
        ids = np.full(source.shape, max(0, vocabulary.pad), np.int64)
        ids[inside] = np.where(source[inside] < 0, vocabulary.eos, store.tokens[np.maximum(0, source[inside])])
        return Rows(ids=ids, lengths=lengths, draw_keys=draw_keys, epoch_keys=epoch_keys)


__all__ = ["Continued", "Enclosed", "Frame", "Pairs"]
