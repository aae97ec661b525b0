"""Learn the pieces of a Unigram vocabulary from counted words.

The trainer of the tokenizers library gives other scores, and at ties other pieces, from run to run: it adds
probabilities in the order of a hash map. Here every sum has its order, so that the same words give the same pieces.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from scipy.special import digamma

_LONGEST_PIECE = 16  # characters
_LONGEST_WORD = 32  # characters: products of so many probabilities are far from underflow
_MOST_CHARACTERS = 1_000_000  # of different words; rarer words are left out
_SEEDS_PER_PIECE = 10
_KEPT_RATIO = 0.75
_ITERATIONS = 2
_LEAST_COUNT = 0.5
_SCORE_DIGITS = 6


def learn_pieces(words: Mapping[str, int], num_pieces: int) -> list[tuple[str, float]]:
    """The pieces that make the words likely, and their log-probabilities, most likely first.

    From the frequent substrings, expectation maximisation and pruning take turns: a quarter of the pieces goes at a
    time, those without which the words would lose least likelihood. Every character of the words stays.

    Args:
        words: How often each word occurs, at least one of them. They are cut after 32 characters, and the rarest are
            left out once there are a million characters of different words.
        num_pieces: At most so many; few words may give fewer.

    Paper: Kudo 2018, section 3.2, arXiv 1804.10959. Differs: a piece's loss is its expected count times what its own
    best division costs, where the paper counts the most likely segmentations; ten seeds for each piece.
    """
    lattice = _Lattice.of(words)
    alive = lattice.seeds(num_pieces)
    scores = np.where(alive, lattice.frequency * lattice.lengths, 0.0)
    probability = scores / scores.sum()
    while True:
        edges = lattice.edges(alive)
        for _ in range(_ITERATIONS):
            counts = lattice.expected_counts(edges, probability)
            counts[: lattice.num_characters] = np.maximum(counts[: lattice.num_characters], _LEAST_COUNT)
            alive = counts >= _LEAST_COUNT
            total = digamma(counts[alive].sum())
            probability = np.zeros(len(counts))
            probability[alive] = np.exp(digamma(counts[alive]) - total)
        if alive.sum() <= num_pieces:
            break
        alive = lattice.pruned(alive, counts, probability, max(num_pieces, int(alive.sum() * _KEPT_RATIO)))
        probability = np.where(alive, probability, 0.0)
    found = np.flatnonzero(alive)
    scored = zip(lattice.texts(found), np.log(probability[found]).round(_SCORE_DIGITS).tolist(), strict=True)
    return sorted(scored, key=lambda piece: (-piece[1], piece[0]))


@dataclass(frozen=True)
class _Edges:
    """Where pieces may stand, ordered by the place of their end inside the word.

    Attributes:
        start, end: Nodes; a word of n characters has n + 1 of them.
        piece: Which piece.
        groups: First edge of each place of the end, and their number at last.
    """

    start: Int[ndarray, " edges"]
    end: Int[ndarray, " edges"]
    piece: Int[ndarray, " edges"]
    groups: list[int]


@dataclass(frozen=True)
class _Lattice:
    """All frequent substrings of the words, numbered: the characters first, then by length.

    Attributes:
        text: The words behind one another.
        word: Of each character, the number of its word.
        place: Of each character, its place inside its word.
        counts: How often each word occurs.
        first_node, last_node: Of each word.
        names: For each length, the number of the substring that begins at a character; -1 where it is rare or too long.
        first: A character where each substring begins.
        lengths: Of each substring, in characters.
        frequency: How often each substring occurs.
        num_characters: Number of different characters.
    """

    text: str
    word: Int[ndarray, " characters"]
    place: Int[ndarray, " characters"]
    counts: Int[ndarray, " words"]
    first_node: Int[ndarray, " words"]
    last_node: Int[ndarray, " words"]
    names: list[Int[ndarray, " characters"]]
    first: Int[ndarray, " substrings"]
    lengths: Int[ndarray, " substrings"]
    frequency: Float[ndarray, " substrings"]
    num_characters: int

    @staticmethod
    def of(words: Mapping[str, int]) -> "_Lattice":
        """Number the substrings: one of n characters is named by its first n - 1 and its last (Karp et al. 1972)."""
        parts: Counter[str] = Counter()
        for whole, count in words.items():
            for at in range(0, len(whole), _LONGEST_WORD):
                parts[whole[at : at + _LONGEST_WORD]] += count
        ranked = sorted(parts, key=lambda part: (-parts[part], part))
        sizes = np.array([len(part) for part in ranked])
        chosen = max(1, int(np.searchsorted(sizes.cumsum(), _MOST_CHARACTERS, side="right")))
        ranked, sizes = ranked[:chosen], sizes[:chosen]
        text = "".join(ranked)
        counts = np.array([parts[part] for part in ranked])
        word = np.repeat(np.arange(chosen, dtype=np.int32), sizes)
        begins = sizes.cumsum() - sizes
        place = (np.arange(len(text)) - begins[word]).astype(np.int32)
        left = sizes[word] - place
        codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
        letters, letter = np.unique(codes, return_inverse=True)
        names: list[Int[ndarray, " characters"]] = []
        firsts, lengths, frequencies = [], [], []
        known = 0
        for length in range(1, min(_LONGEST_PIECE, int(sizes.max())) + 1):
            where = np.flatnonzero(left >= length)
            key = letter[where]
            if length > 1:
                where = where[(names[-1][where] >= 0) & (names[-1][where + 1] >= 0)]
                key = names[-1][where].astype(np.int64) * len(letters) + letter[where + length - 1]
            _, index, inverse = np.unique(key, return_index=True, return_inverse=True)
            frequency = np.bincount(inverse, counts[word[where]], len(index))
            kept = (frequency >= 2) | (length == 1)
            number = np.where(kept, known - 1 + kept.cumsum(), -1)
            name = np.full(len(text), -1, np.int32)
            name[where] = number[inverse]
            names.append(name)
            firsts.append(where[index[kept]])
            lengths.append(np.full(kept.sum(), length, np.int32))
            frequencies.append(frequency[kept])
            known += int(kept.sum())
        first_node = begins + np.arange(chosen)
        return _Lattice(
            text, word, place, counts, first_node, first_node + sizes, names,
            np.concatenate(firsts), np.concatenate(lengths), np.concatenate(frequencies), len(letters),
        )  # fmt: skip

    def seeds(self, num_pieces: int) -> Bool[ndarray, " substrings"]:
        """The characters, and the substrings that cover most text."""
        alive = np.arange(len(self.lengths)) < self.num_characters
        covered = np.argsort(-(self.frequency * self.lengths), kind="stable")
        alive[covered[: num_pieces * _SEEDS_PER_PIECE]] = True
        return alive

    def texts(self, pieces: Int[ndarray, " pieces"]) -> list[str]:
        """Substrings as text."""
        return [self.text[at : at + size] for at, size in zip(self.first[pieces], self.lengths[pieces], strict=True)]

    def edges(self, alive: Bool[ndarray, " substrings"]) -> _Edges:
        """Where living pieces stand in the words."""
        starts, pieces, sizes = [], [], []
        for length, name in enumerate(self.names, 1):
            where = np.flatnonzero((name >= 0) & alive[name]).astype(np.int32)
            starts.append(where)
            pieces.append(name[where])
            sizes.append(np.full(len(where), length, np.int32))
        start, size = np.concatenate(starts), np.concatenate(sizes)
        ends_at = self.place[start] + size
        order = np.argsort(ends_at, kind="stable")
        node = start + self.word[start]  # one more node than characters in each word before
        groups = np.searchsorted(ends_at[order], np.arange(1, ends_at.max() + 2)).tolist()
        return _Edges(node[order], (node + size)[order], np.concatenate(pieces)[order], groups)

    def expected_counts(
        self, edges: _Edges, probability: Float[ndarray, " substrings"]
    ) -> Float[ndarray, " substrings"]:
        """How often each piece is used, over all segmentations of all words by their probability."""
        weight = probability[edges.piece]
        before, after = np.zeros((2, int(self.last_node[-1]) + 1))
        before[self.first_node] = after[self.last_node] = 1.0
        parts = [slice(*ends) for ends in zip(edges.groups, edges.groups[1:], strict=False)]
        for part in parts:
            np.add.at(before, edges.end[part], before[edges.start[part]] * weight[part])
        for part in reversed(parts):
            np.add.at(after, edges.start[part], after[edges.end[part]] * weight[part])
        times = self.counts / before[self.last_node]  # of each word, over the probability of all its segmentations
        share = np.repeat(times, self.last_node - self.first_node + 1)
        used = before[edges.start] * weight * after[edges.end] * share[edges.end]
        return np.bincount(edges.piece, used, len(probability))

    def pruned(
        self,
        alive: Bool[ndarray, " substrings"],
        counts: Float[ndarray, " substrings"],
        probability: Float[ndarray, " substrings"],
        num_pieces: int,
    ) -> Bool[ndarray, " substrings"]:
        """The characters and the pieces that are hardest to replace by others, ``num_pieces`` together if possible."""
        with np.errstate(divide="ignore"):
            own = np.log(probability)
        best, divided = own.copy(), np.full(len(own), -np.inf)
        for length in range(2, len(self.names) + 1):
            some = np.flatnonzero(self.lengths == length)
            at = self.first[some]
            for cut in range(1, length):
                parts = best[self.names[cut - 1][at]] + best[self.names[length - cut - 1][at + cut]]
                divided[some] = np.maximum(divided[some], parts)
            best[some] = np.maximum(own[some], divided[some])
        others = np.flatnonzero(alive[self.num_characters :]) + self.num_characters
        loss = counts[others] * (own[others] - divided[others])
        kept = others[np.argsort(-loss, kind="stable")[: max(0, num_pieces - self.num_characters)]]
        left = np.arange(len(alive)) < self.num_characters
        left[kept] = True
        return left
