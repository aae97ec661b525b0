import math
from collections import Counter

import numpy as np
import pytest

from ptft.tokenization.unigram import _Lattice, learn_pieces

WORDS = Counter({"▁walking": 50, "▁talking": 40, "▁walked": 30, "▁talked": 20, "▁sing": 10, "▁red": 10})
LETTERS = {letter for word in WORDS for letter in word}


def segmentations(word, scores):
    """All ways to put a word together from pieces, with their probabilities."""
    if not word:
        return [((), 1.0)]
    found = []
    for end in range(1, len(word) + 1):
        if word[:end] in scores:
            own = math.exp(scores[word[:end]])
            found += [((word[:end], *rest), own * p) for rest, p in segmentations(word[end:], scores)]
    return found


def test_pieces_are_the_characters_and_what_makes_words_likely():
    pieces = learn_pieces(WORDS, 16)
    assert len(pieces) == 16
    assert {piece for piece, _ in pieces} > LETTERS
    assert all("▁" + piece.removeprefix("▁") in WORDS for piece, _ in pieces if len(piece) > 1)  # the frequent words
    assert [score for _, score in pieces] == sorted((score for _, score in pieces), reverse=True)
    assert pieces == learn_pieces(dict(reversed(WORDS.items())), 16)


def test_no_more_pieces_than_there_are_frequent_substrings():
    assert {piece for piece, _ in learn_pieces({"ab": 3}, 50)} <= {"a", "b", "ab"}


def test_expected_counts_are_those_of_all_segmentations():
    """The vectorised forward-backward pass, beside enumeration."""
    lattice = _Lattice.of(WORDS)
    alive = lattice.seeds(30)
    names = lattice.texts(np.arange(len(alive)))
    assert len(set(names)) == len(names)
    assert all(
        count == sum(times * (len(word.split(name)) - 1) for word, times in WORDS.items())
        for name, count in zip(names, lattice.frequency, strict=True)
        if len(set(name)) == len(name)  # such a substring cannot overlap itself
    )
    probability = np.where(alive, 1 / (1 + np.arange(len(alive))), 0.0)
    scores = {name: math.log(p) for name, p in zip(names, probability, strict=True) if p}
    expected = Counter()
    for word, times in WORDS.items():
        ways = segmentations(word, scores)
        total = sum(p for _, p in ways)
        for pieces, p in ways:
            for piece in pieces:
                expected[piece] += times * p / total
    counts = lattice.expected_counts(lattice.edges(alive), probability)
    assert counts == pytest.approx([expected[name] for name in names])


def test_pruning_keeps_what_is_dear_to_replace():
    lattice = _Lattice.of({"▁abc": 10, "▁abd": 10})
    names = lattice.texts(np.arange(len(lattice.lengths)))
    place = {name: number for number, name in enumerate(names)}
    alive = np.isin(names, ["▁", "a", "b", "c", "d", "▁a", "ab"])
    probability = np.zeros(len(names))
    for name, p in {"▁": 0.1, "a": 0.1, "b": 0.1, "c": 0.1, "d": 0.1, "▁a": 0.25, "ab": 0.25}.items():
        probability[place[name]] = p
    counts = np.where(alive, 1.0, 0.0)
    counts[place["ab"]] = 5
    left = lattice.pruned(alive, counts, probability, 6)
    assert {name for name, stays in zip(names, left, strict=True) if stays} == {"▁", "a", "b", "c", "d", "ab"}


def test_long_words_do_not_underflow():
    pieces = dict(learn_pieces({"▁" + "ab" * 500: 5, "c" * 33: 5}, 30))
    assert {"▁", "a", "b", "c"} <= set(pieces)
    assert all(math.isfinite(score) for score in pieces.values())
