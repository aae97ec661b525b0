"""BERT's sentence pairs by the rules of the published reference, as ranges of tokens in a store.

The rules draw from a generator that is passed in: ``random.Random`` reproduces the reference's instances one by one,
a counter-based stream makes them a pure function of (seed, epoch, document).
"""

import math
import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from functools import lru_cache
from threading import Lock
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int
from numpy import ndarray
from numpy.typing import NDArray

from ptft import rng
from ptft.corpus.store import TokenStore
from ptft.objectives.rows import Rows, Sampler, Vocabulary, pad_to_multiple

_ROWS_PER_BLOCK = 16384
_STEPS_PER_BLOCK = 128
_MOST_GROUPS = 1 << 17  # of documents: an epoch's order is drawn for groups, so that its beginning takes no longer
_MARGIN = 0.01  # a block has so many more rows than a pass gives on average: filling up drops less than cutting off


@runtime_checkable
class Generator(Protocol):
    """The draws that the rules make."""

    def random(self) -> float:
        """A number in [0, 1)."""

    def randint(self, low: int, high: int, /) -> int:
        """An integer in [low, high]."""


class Pair(NamedTuple):
    """Two ranges of token indices, and whether the second was drawn from elsewhere."""

    a_start: int
    a_end: int
    b_start: int
    b_end: int
    is_random: int


class Sentences:
    """The sentences of a store's documents: that of number ``i`` is ``bounds(document)[i]`` to ``[i + 1]``."""

    def __init__(self, store: TokenStore) -> None:
        self._store = store
        self.bounds = lru_cache(maxsize=4096)(store.sentence_bounds)

    def __len__(self) -> int:
        return self._store.num_documents


def document_pairs(
    sentences: Sentences,
    document: int,
    bounds: list[int],
    max_tokens: int,
    short_ratio: float,
    generator: Generator,
    *,
    same_document_fix: bool = False,
) -> Iterator[Pair]:
    """The pairs of one document in one pass.

    Chunks of sentences up to a target length are cut into A and B at a random sentence; half of the time (and always
    if the chunk is a single sentence) B is replaced by the beginning of a random place elsewhere, and the unused
    sentences are put back.

    Args:
        sentences: All documents, for random seconds.
        document: Index of this one.
        bounds: The sentence boundaries to use of it (all of them, or a slice).
        max_tokens: Tokens of A and B together, special tokens left out.
        short_ratio: Probability that this document's target length is drawn from [2, max_tokens].
        generator: Source of the draws; the order of draws is the reference's.
        same_document_fix: Say that B follows where ten draws found no other document. The reference says that it does
            not; NVIDIA's copy has this.

    Paper: Devlin et al. 2019, arXiv 1810.04805, section A.2 and the published data creation code.
    """
    target = draw_target(max_tokens, short_ratio, generator)
    begin = index = 0  # the chunk is sentences begin..index of bounds
    last = len(bounds) - 2
    while index <= last:
        if index < last and bounds[index + 1] - bounds[begin] < target:
            index += 1
            continue
        size = index + 1 - begin
        a_end = begin + (generator.randint(1, size - 1) if size >= 2 else 1)
        a = (bounds[begin], bounds[a_end])
        is_random = size == 1 or generator.random() < 0.5
        if is_random:
            b, other = _random_second(sentences, document, target - (a[1] - a[0]), generator)
            is_random = other != document or not same_document_fix
            index = a_end
        else:
            b = (bounds[a_end], bounds[index + 1])
            index += 1
        yield Pair(*truncate_pair(a, b, max_tokens, generator), int(is_random))
        begin = index


def sentence_pairs(
    sentences: Sentences, document: int, bounds: list[int], max_tokens: int, short_ratio: float, generator: Generator
) -> Iterator[Pair]:
    """Pairs of single sentences: A and, with probability a half and after the last one always, one from elsewhere.

    Arguments as for :func:`document_pairs`; ``short_ratio`` has no part in it.

    Paper: Liu et al. 2019, arXiv 1907.11692, "sentence-pair".
    """
    index, last = 0, len(bounds) - 2
    while index <= last:
        a = (bounds[index], bounds[index + 1])
        is_random = index == last or generator.random() < 0.5
        if is_random:
            b, _ = _random_second(sentences, document, 1, generator)
        else:
            b = (bounds[index + 1], bounds[index + 2])
        yield Pair(*truncate_pair(a, b, max_tokens, generator), int(is_random))
        index += 1 if is_random else 2


def draw_target(max_tokens: int, short_ratio: float, generator: Generator) -> int:
    """The length that a document is cut to: the longest, or with probability ``short_ratio`` any from 2 to that."""
    return generator.randint(2, max_tokens) if generator.random() < short_ratio else max_tokens


def _random_second(
    sentences: Sentences, document: int, target: int, generator: Generator
) -> tuple[tuple[int, int], int]:
    for _ in range(10):
        other = generator.randint(0, len(sentences) - 1)
        if other != document:
            break
    bounds = sentences.bounds(other)
    start = generator.randint(0, len(bounds) - 2)
    stop = bisect_left(bounds, bounds[start] + target, start + 1)
    return (bounds[start], bounds[min(stop, len(bounds) - 1)]), other


def truncate_pair(
    a: tuple[int, int], b: tuple[int, int], max_tokens: int, generator: Generator
) -> tuple[int, int, int, int]:
    """Cut tokens off the longer range, at its front or back by a draw each, until both have ``max_tokens``."""
    (a_start, a_end), (b_start, b_end) = a, b
    while (a_end - a_start) + (b_end - b_start) > max_tokens:
        front = generator.random() < 0.5
        if a_end - a_start > b_end - b_start:
            a_start, a_end = (a_start + 1, a_end) if front else (a_start, a_end - 1)
        else:
            b_start, b_end = (b_start + 1, b_end) if front else (b_start, b_end - 1)
    return a_start, a_end, b_start, b_end


def document_chunks(
    sentences: Sentences, document: int, bounds: list[int], max_tokens: int, short_ratio: float, generator: Generator
) -> Iterator[Pair]:
    """Single texts of one document for masked LM without pairs: whole sentences up to the length, B empty.

    With probability ``short_ratio`` a row's target length is drawn from [2, max_tokens].

    Paper: Liu et al. 2019, arXiv 1907.11692, "doc-sentences". Differs: the reference always makes pairs, and draws a
    target for a whole document; here each row has its own: else a tenth of the documents gives a third of all rows.
    """
    start, target = bounds[0], draw_target(max_tokens, short_ratio, generator)
    for index in range(1, len(bounds)):
        while bounds[index] - start > target:
            stop = bounds[index - 1] if bounds[index - 1] > start else start + target
            yield Pair(start, stop, stop, stop, 0)
            start, target = stop, draw_target(max_tokens, short_ratio, generator)
    if bounds[-1] > start:
        yield Pair(start, bounds[-1], bounds[-1], bounds[-1], 0)


@runtime_checkable
class PairRule(Protocol):
    """How a document becomes pairs (see :func:`document_pairs`)."""

    def __call__(
        self,
        sentences: Sentences,
        document: int,
        bounds: list[int],
        max_tokens: int,
        short_ratio: float,
        generator: Generator,
        /,
    ) -> Iterator[Pair]:
        """The pairs of one document."""


class PairSampler(Sampler):
    """Rows ``[CLS] A [SEP] B [SEP]`` (or ``[CLS] A [SEP]``) made anew in each epoch.

    An epoch walks through all documents in an order drawn for it; a block is an equal share of that walk in tokens,
    cut at a sentence end, and can be planned alone. Of more than 131,072 documents, those that so many divide with one
    remainder go together: they come from all over the corpus, and drawing the order takes no longer for more of them.
    """

    def __init__(
        self,
        rule: PairRule,
        store: TokenStore,
        vocabulary: Vocabulary,
        length: int,
        rows_per_step: int,
        seed: int,
        short_ratio: float,
        *,
        single_texts: bool = False,
    ) -> None:
        self._rule = rule
        self._single_texts = single_texts
        self.store = store
        self._vocabulary = vocabulary
        self._length = length
        self._max_tokens = length - (2 if single_texts else 3)
        self._seed = seed
        self._short_ratio = short_ratio
        self._sentences = Sentences(store)
        self._walk = lru_cache(maxsize=2)(self._draw_walk)
        self._plan = lru_cache(maxsize=2)(self._make_plan)
        self._planning = Lock()  # several threads want the same block when it begins
        self.blocks_per_epoch = 1
        self.rows_per_block = 1
        self._size_blocks(rows_per_step)

    def _size_blocks(self, rows_per_step: int) -> None:
        wanted = max(_ROWS_PER_BLOCK, _STEPS_PER_BLOCK * rows_per_step)
        tokens = self.store.info.tokens
        self.blocks_per_epoch = max(1, tokens // (wanted * self._length))
        planned = len(self._pass_over(0, 0, 0))
        all_rows = planned * self.blocks_per_epoch * (1 + _MARGIN)
        self.blocks_per_epoch = max(1, round(all_rows / wanted))
        self.rows_per_block = math.ceil(all_rows / self.blocks_per_epoch / rows_per_step) * rows_per_step

    def _draw_walk(self, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The groups of documents in the epoch's order, and the number of tokens before each and in all."""
        lengths = np.diff(self.store.document_ends, prepend=0)
        groups = min(len(lengths), _MOST_GROUPS)
        order = rng.permuted(np.arange(groups), groups, self._seed, epoch)
        sizes = np.pad(lengths, (0, -len(lengths) % groups)).reshape(-1, groups).sum(0)
        return order, np.concatenate(([0], np.cumsum(sizes[order])))

    def _documents_from(self, epoch: int, begin: int) -> Iterator[tuple[int, int]]:
        """The documents of the epoch's walk, from that of its token ``begin`` on, with the tokens before each."""
        order, cumulative = self._walk(epoch)
        for place in range(int(np.searchsorted(cumulative, begin, "right")) - 1, len(order)):
            before = int(cumulative[place])
            for document in range(int(order[place]), len(self._sentences), len(order)):
                bounds = self._sentences.bounds(document)
                if before + bounds[-1] - bounds[0] > begin:
                    yield document, before
                before += bounds[-1] - bounds[0]

    def _pass_over(self, epoch: int, block: int, turn: int, enough: int = sys.maxsize) -> Int[ndarray, "pairs 5"]:
        total = self.store.info.tokens
        begin, end = (total * i // self.blocks_per_epoch for i in (block, block + 1))
        flat = array("q")  # as a list, the pairs of a large block would need gigabytes
        for document, before in self._documents_from(epoch, begin):
            if before >= end or len(flat) >= 5 * enough:
                break
            bounds = self._sentences.bounds(document)
            offset = bounds[0] - before
            first = bisect_left(bounds, begin + offset) if before < begin else 0
            stop = bisect_left(bounds, end + offset)  # the sentence across the end of a block belongs to it
            part = bounds[first : stop + 1]
            if len(part) > 1:
                stream = rng.Stream(self._seed, epoch, turn, document, first)
                for pair in self._rule(self._sentences, document, part, self._max_tokens, self._short_ratio, stream):
                    flat.extend(pair)
        return np.array(flat, np.int64).reshape(-1, 5)

    def _make_plan(self, epoch: int, block: int) -> Int[ndarray, "rows 5"]:
        passes: list[NDArray[np.int64]] = []
        missing = self.rows_per_block
        while missing > 0:  # what the first pass lacks is drawn from further ones; none of its own rows is lost then
            pairs = self._pass_over(epoch, block, len(passes), missing if passes else sys.maxsize)
            order = rng.permuted(np.arange(len(pairs)), len(pairs), self._seed, epoch, block, len(passes))
            passes.append(pairs[order[:missing]])
            missing -= len(passes[-1])
        plan = np.concatenate(passes)
        order = rng.permuted(np.arange(len(plan)), len(plan), self._seed, epoch, block, len(passes))
        return plan[order]

    def rows(self, epoch: int, block: int, start: int, stop: int) -> Rows:
        """Rows of a block, special tokens and token types in place."""
        pairs = self._pairs(epoch, block, start, stop)
        vocabulary = self._vocabulary
        a_length, b_length = pairs[:, 1] - pairs[:, 0], pairs[:, 3] - pairs[:, 2]
        lengths = a_length + b_length + 2 + (b_length > 0)
        width = self._length if self.is_static else pad_to_multiple(lengths, self._length)
        column = np.arange(width)
        a_stop = 1 + a_length[:, None]
        b_stop = a_stop + 1 + b_length[:, None]
        in_a = (column > 0) & (column < a_stop)
        in_b = (column > a_stop) & (column < b_stop)
        source = np.where(in_b, pairs[:, 2:3] + column - a_stop - 1, pairs[:, 0:1] + column - 1)
        ids = np.full(source.shape, vocabulary.pad, np.int64)
        inside = in_a | in_b
        ids[inside] = self.store.tokens[source[inside]]
        ids[:, 0] = vocabulary.cls
        ids[(column == a_stop) | ((column == b_stop) & (b_length[:, None] > 0))] = vocabulary.sep
        segments = (column > a_stop) & (column < lengths[:, None])
        by_id = vocabulary.starts
        starts = self.store.starts(np.where(inside, source, 0)) if by_id is None else by_id[ids]
        return Rows(
            ids=ids,
            lengths=lengths,
            draw_keys=block * self.rows_per_block + np.arange(start, stop),
            epoch_keys=(self._seed, epoch),
            segments=None if self._single_texts else segments.astype(np.int64),
            pair_labels=None if self._single_texts else pairs[:, 4],
            starts=starts,
            num_added=int(lengths.sum() - a_length.sum() - b_length.sum()),
            has_mask=self.is_static,
        )

    def documents(self, epoch: int, block: int, start: int, stop: int) -> list[int]:
        """The documents of A and of B."""
        pairs = self._pairs(epoch, block, start, stop)
        begins = np.concatenate([pairs[:, first][pairs[:, first] < pairs[:, first + 1]] for first in (0, 2)])
        return sorted(set(self.store.document_of(begins)))

    def _pairs(self, epoch: int, block: int, start: int, stop: int) -> Int[ndarray, "rows 5"]:
        with self._planning:
            return self._plan(epoch, block)[start:stop]
