"""What a masking policy is: from the tokens that may be predicted to those that must be."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from ptft import rng
from ptft.config import Settings

_CHOICE = 0x6D61736B  # the stream of draws that choose


@dataclass(frozen=True)
class Candidates:
    """The rows of a batch as a policy sees them.

    Attributes:
        open: Tokens that may be predicted: no padding and no special token but the unknown one.
        starts: Tokens that begin a word.
        wanted: How many to predict in each row; never more than are open.
        draw_keys: One number a row for random draws.
        epoch_keys: (seed, epoch) that go before it.
    """

    open: Bool[ndarray, "rows seq"]
    starts: Bool[ndarray, "rows seq"]
    wanted: Int[ndarray, " rows"]
    draw_keys: Int[ndarray, " rows"]
    epoch_keys: tuple[int, int]

    def uniform(self, stream: int = _CHOICE) -> Float[ndarray, "rows seq"]:
        """A number in [0, 1) for each token, which depends on its row's key and its place alone."""
        return rng.uniform(*self.epoch_keys, stream, self.draw_keys[:, None], np.arange(self.open.shape[1]))


class Words(NamedTuple):
    """The words of all rows, one after the other: runs of open tokens from one start to the next.

    Attributes:
        row: Row of each word.
        column: Column of its first token.
        size: Its number of open tokens.
        of_token: For each open token, in the order of ``np.nonzero(open)``, the index of its word.
    """

    row: Int[ndarray, " words"]
    column: Int[ndarray, " words"]
    size: Int[ndarray, " words"]
    of_token: Int[ndarray, " tokens"]


class Chosen(NamedTuple):
    """The tokens to predict.

    Attributes:
        tokens: Whether each token is predicted.
        draw_at: The column whose draw decides what the model sees instead: tokens with one column share their fate.
            None where each token has its own.
    """

    tokens: Bool[ndarray, "rows seq"]
    draw_at: Int[ndarray, "rows seq"] | None = None


class MaskingPolicy(Settings, ABC):
    """One way to choose which tokens are predicted; how many is decided before."""

    name: ClassVar[str]
    needs_words: ClassVar[bool] = True
    """Whether it asks where words begin."""

    @abstractmethod
    def choose(self, candidates: Candidates) -> Chosen:
        """Choose at most ``candidates.wanted`` open tokens in each row, as a function of the keys alone."""


def words_of(candidates: Candidates) -> Words:
    """Group the open tokens into words.

    A token joins the word before it in its row, even across a special token, unless it begins one: the published
    reference does so too, where a text cut at its front begins inside of a word.
    """
    row, column = np.nonzero(candidates.open)
    begins = candidates.starts[row, column]
    begins[1:] |= row[1:] != row[:-1]
    begins[:1] = True
    first = np.flatnonzero(begins)
    return Words(row[first], column[first], np.diff(first, append=len(row)), np.cumsum(begins) - 1)


def smallest(
    order: Float[ndarray, "rows seq"], open_to_choice: Bool[ndarray, "rows seq"], wanted: Int[ndarray, " rows"]
) -> Bool[ndarray, "rows seq"]:
    """The ``wanted`` open tokens of each row with the smallest ``order`` (numbers below 2, all different)."""
    most = int(wanted.max(initial=0))
    if not most:
        return np.zeros_like(open_to_choice)
    ranked = np.where(open_to_choice, order, 2.0)
    lowest = np.sort(np.partition(ranked, most - 1, axis=1)[:, :most], axis=1)
    last = np.take_along_axis(lowest, np.maximum(wanted, 1)[:, None] - 1, 1)
    chosen: Bool[ndarray, "rows seq"] = (ranked <= last) & open_to_choice & (wanted > 0)[:, None]
    return chosen


def shuffled_words(
    words: Words, key: Float[ndarray, " words"], num_rows: int
) -> tuple[Int[ndarray, "rows most"], Int[ndarray, "rows most"]]:
    """The words of each row by rising ``key``: their indices (-1 fills rows with fewer) and sizes (0 there)."""
    per_row = np.bincount(words.row, minlength=num_rows)
    order = np.lexsort((key, words.row))
    column = np.arange(len(order)) - np.repeat(np.cumsum(per_row) - per_row, per_row)
    index = np.full((num_rows, int(per_row.max(initial=0))), -1)
    index[words.row, column] = order
    return index, np.where(index >= 0, words.size[index] if len(order) else 0, 0)
