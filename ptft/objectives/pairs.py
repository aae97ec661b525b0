"""BERT's sentence pairs by the rules of the published reference, as ranges of tokens in a store.

The rules draw from a generator that is passed in: ``random.Random`` reproduces the reference's instances one by one,
a counter-based stream makes them a pure function of (seed, epoch, document).
"""

import math
import sys
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator
from functools import lru_cache
from threading import Lock
from typing import NamedTuple, Protocol, cast, runtime_checkable

import numpy as np
from jaxtyping import Int
from numpy import ndarray
from numpy.typing import NDArray

from ptft import rng
from ptft.corpus.store import TokenStore
from ptft.models.packing import Layout
from ptft.objectives.frames import Enclosed, Frame
from ptft.objectives.packed_plan import PackedPlan, Packing, pack, packed_plan
from ptft.objectives.rows import Rows, Sampler, Size, Vocabulary, pad_to_multiple

_ROWS_PER_BLOCK = 16384
_STEPS_PER_BLOCK = 128
_SAMPLED_ROWS = 4096
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


def exact_chunks(
    sentences: Sentences, document: int, bounds: list[int], max_tokens: int, short_ratio: float, generator: Generator
) -> Iterator[Pair]:
    """Single texts of one document for packed rows: cut after so many tokens wherever that is, B empty.

    What remains of a document is a text of its own, which finds its place beside others. With probability
    ``short_ratio`` a text's target length is drawn from [2, max_tokens].

    Paper: Ding et al. 2024, arXiv 2404.10830, section 3.
    """
    start = bounds[0]
    while start < bounds[-1]:
        target = draw_target(max_tokens, short_ratio, generator) if short_ratio else max_tokens
        stop = min(start + target, bounds[-1])
        yield Pair(start, stop, stop, stop, 0)
        start = stop


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


_Plan = PackedPlan | Int[ndarray, "rows 5"]
_PAIR = Enclosed()


class PairSampler(Sampler):
    """Rows ``[CLS] A [SEP] B [SEP]``, or of another frame, made anew in each epoch; with packing, several to a row.

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
        frame: Frame = _PAIR,
        packing: Packing | None = None,
    ) -> None:
        self._rule = rule
        self._frame = frame
        self._packing = packing
        self.store = store
        self._vocabulary = vocabulary
        self._length = length
        self._max_tokens = length - frame.num_special
        self._seed = seed
        self._short_ratio = short_ratio
        self._sentences = Sentences(store)
        self._walk = lru_cache(maxsize=2)(self._draw_walk)
        make: Callable[[int, int], _Plan] = self._make_plan if packing is None else self._make_packed
        self._plan = lru_cache(maxsize=2)(make)
        self._planning = Lock()  # several threads want the same block when it begins
        self.blocks_per_epoch = 1
        self.rows_per_block = 1
        self._size_blocks(rows_per_step)

    def _size_blocks(self, rows_per_step: int) -> None:
        width = self._packing.width if self._packing else self._length
        wanted = max(_ROWS_PER_BLOCK * self._length // width, _STEPS_PER_BLOCK * rows_per_step)
        tokens = self.store.info.tokens
        self.blocks_per_epoch = max(1, tokens // (wanted * width))
        pairs = self._pass_over(0, 0, 0)
        planned = pack(pairs, self._frame, width)[1].num_rows if self._packing else len(pairs)
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

    def _make_packed(self, epoch: int, block: int) -> PackedPlan:
        def examples_of(turn: int, enough: int | None) -> Int[ndarray, "pairs 5"]:
            return self._pass_over(epoch, block, turn, enough or sys.maxsize)

        keys = (self._seed, epoch, block)
        return packed_plan(examples_of, self._frame, cast("Packing", self._packing), self.rows_per_block, *keys)

    def _examples(
        self, epoch: int, block: int, start: int, stop: int
    ) -> tuple[Int[ndarray, "examples 5"], Int[ndarray, " examples"], Layout | None]:
        """The examples of some rows of a block, a number of each that is unique in the epoch, and where they lie."""
        with self._planning:
            plan = self._plan(epoch, block)
        if not isinstance(plan, PackedPlan):
            return plan[start:stop], block * self.rows_per_block + np.arange(start, stop), None
        some = plan.examples(start, stop)
        most = self.rows_per_block * plan.packing.width  # examples of a block
        return plan.pairs[some], block * most + np.arange(some.start, some.stop), plan.layout(start, stop)

    def rows(self, epoch: int, block: int, start: int, stop: int) -> Rows:
        """Rows of a block, special tokens and token types in place."""
        pairs, keys, layout = self._examples(epoch, block, start, stop)
        width = self._length if self.is_static else pad_to_multiple(self._frame.lengths(pairs), self._length)
        rows = self._frame.rows(pairs, self.store, self._vocabulary, width, keys, (self._seed, epoch))
        rows.layout, rows.has_mask = layout, self.is_static
        return rows

    def documents(self, epoch: int, block: int, start: int, stop: int) -> list[int]:
        """The documents of A and of B."""
        pairs, _, _ = self._examples(epoch, block, start, stop)
        begins = np.concatenate([pairs[:, first][pairs[:, first] < pairs[:, first + 1]] for first in (0, 2)])
        return sorted(set(self.store.document_of(begins)))

    def size_per_row(self, rows_at_once: int) -> Size:
        """The mean over the first rows; without packing, so many are padded to one width."""
        stop = min(_SAMPLED_ROWS, self.rows_per_block)
        pairs, _, layout = self._examples(0, 0, 0, stop)
        lengths = self._frame.lengths(pairs)
        text_tokens = int((pairs[:, 1] - pairs[:, 0] + pairs[:, 3] - pairs[:, 2]).sum())
        if layout is not None:
            slots = stop * layout.width
        else:
            together = [lengths[start : start + rows_at_once] for start in range(0, stop, rows_at_once)]
            slots = sum(len(some) * pad_to_multiple(some, self._length) for some in together)
        return Size(int(lengths.sum()) / stop, text_tokens / stop, slots / stop)
