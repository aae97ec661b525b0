"""Whole words, by the rule of the published reference's whole-word models."""

from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Int
from numpy import ndarray

from ptft.objectives.policies.policy import Candidates, Chosen, MaskingPolicy, shuffled_words, words_of


class WholeWord(MaskingPolicy):
    """All tokens of a word or none; a word that would be too much is passed over for the next.

    Words are taken in random order until a row has its number of predictions, so a row may have fewer. What the model
    sees in place of a word is drawn for each of its tokens.

    Paper: the whole-word models published with BERT in May 2019. Differs from the collator of transformers, which
    chooses words one by one without a number to reach and gives up 80/10/10.
    """

    name: ClassVar[str] = "whole_word"

    def choose(self, candidates: Candidates) -> Chosen:
        """As many whole words as fit into ``wanted`` tokens."""
        words = words_of(candidates)
        key = candidates.uniform()[words.row, words.column]
        index, sizes = shuffled_words(words, key, len(candidates.open))
        taken = np.zeros(len(words.row), bool)
        taken[index[fit_words(sizes, candidates.wanted)]] = True
        tokens = np.zeros_like(candidates.open)
        tokens[candidates.open] = taken[words.of_token]
        return Chosen(tokens)


def fit_words(sizes: Int[ndarray, "rows words"], wanted: Int[ndarray, " rows"]) -> Bool[ndarray, "rows words"]:
    """Which words are taken, from left to right, if one that would go beyond ``wanted`` tokens is passed over.

    Args:
        sizes: Tokens of each word, in the order in which they are tried; 0 is no word.
        wanted: Tokens to reach in each row.
    """
    taken = np.zeros(sizes.shape, bool)
    left = wanted.copy()
    for column in range(sizes.shape[1]):
        size = sizes[:, column]
        fits = (size <= left) & (size > 0)
        taken[:, column] = fits
        left -= np.where(fits, size, 0)
        if not left.any():
            break
    return taken
