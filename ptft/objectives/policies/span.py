"""Spans of words (Joshi et al. 2020)."""

from typing import ClassVar

import numpy as np
from pydantic import Field

from ptft.objectives.policies.policy import Candidates, Chosen, MaskingPolicy, shuffled_words, smallest, words_of

_LENGTH = 0x7370616E  # the stream of draws of span lengths


class Span(MaskingPolicy):
    """Spans of whole words whose length is geometric; the last one is cut where the row has its number of predictions.

    Spans begin at words in random order, a word that a former span covers excepted, and end early at the end of the
    row or before a special token or another span. What the model sees is drawn once for a whole span.

    Paper: Joshi et al. 2020, arXiv 1907.10529, section 3.1. Differs: a span neither runs into another nor across a
    special token.
    """

    name: ClassVar[str] = "span"
    p: float = Field(0.2, gt=0, le=1)
    """Parameter of the geometric distribution of lengths: 0.2 gives 3.8 words on average."""
    max_words: int = Field(10, ge=1)
    """Longest span in words; the distribution is cut there and scaled to sum to 1."""

    def choose(self, candidates: Candidates) -> Chosen:
        """Exactly ``wanted`` tokens a row."""
        words = words_of(candidates)
        num_rows, width = candidates.open.shape
        begins, _ = shuffled_words(words, candidates.uniform()[words.row, words.column], num_rows)
        length = self._lengths(candidates)[words.row, words.column]
        turn = np.full(len(words.row) + 1, -1)  # in which turn each word was covered; one more at the end for no word
        reach = _reach(words.row, words.column, words.size)
        left = candidates.wanted.copy()
        offset = np.arange(self.max_words)
        for column in range(begins.shape[1]):
            first = begins[:, column]
            tried = (left > 0) & (first >= 0) & (turn[first] < 0)
            place = np.where(tried[:, None], first[:, None] + offset, len(words.row))
            inside = (offset < length[first][:, None]) & (place <= reach[first][:, None])
            place = np.where(inside, place, len(words.row))
            free = np.logical_and.accumulate(inside & (turn[place] < 0), axis=1)
            turn[place[free]] = column
            left -= np.where(free, np.append(words.size, 0)[place], 0).sum(1)
            if (left <= 0).all():
                break
        covered = turn[words.of_token]
        row, at = np.nonzero(candidates.open)
        order = np.full((num_rows, width), 2.0)
        order[row, at] = np.where(covered >= 0, (covered * width + at) / (begins.shape[1] * width), 2.0)
        starts_at = np.zeros((num_rows, width), np.int64)
        anchor = begins[row, np.maximum(covered, 0)]
        starts_at[row, at] = words.column[anchor]
        chosen = smallest(order, candidates.open & (order < 2), np.minimum(candidates.wanted, (order < 2).sum(1)))
        return Chosen(chosen, starts_at)

    def _lengths(self, candidates: Candidates) -> np.ndarray:
        share = self.p * (1 - self.p) ** np.arange(self.max_words)
        draw = candidates.uniform(_LENGTH)
        return 1 + np.searchsorted(np.cumsum(share / share.sum())[:-1], draw, "right")


def _reach(row: np.ndarray, column: np.ndarray, size: np.ndarray) -> np.ndarray:
    """For each word, the last word that a span from it may cover: before a gap in the row, or its end."""
    ends = np.flatnonzero(np.append((row[1:] != row[:-1]) | (column[1:] != column[:-1] + size[:-1]), True))
    return ends[np.searchsorted(ends, np.arange(len(row)))]
