"""Which tokens go through a model in which order, so that what requests have in common goes through it once.

The requests' tokens make a trie: description, shots, question, answers. A *stem* is a stretch of it that many requests
share; its keys and values are kept while what hangs on it is scored. A *row* is a bundle of branches that go through
the model side by side in one sequence, each token seeing its own ancestors only.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int
from numpy import ndarray

from ptft.prompting.request import Request

_LONGEST_BY = 1.25  # a row may be so much longer than its longest path, whatever the budget
_MIN_SAVED = 48


class Pass(NamedTuple):
    """One call of the model: of a stem, which is kept, or of a row."""

    first: int
    """The paths that it is for: ``first`` to ``last``, the latter excluded."""
    last: int
    start: int
    """Depth of its first token: so many tokens are kept from the stems before."""
    stop: int
    """Depth at which a stem ends; 0 for a row, where each path goes to its end."""
    level: int
    """Number of stems that it stands on."""

    @property
    def is_stem(self) -> bool:
        """Whether its keys and values are kept for the passes after it with a higher level."""
        return self.stop > 0


@dataclass(frozen=True)
class Layout:
    """A pass as a model is given it."""

    ids: Int[ndarray, " tokens"]
    positions: Int[ndarray, " tokens"]
    sees: Bool[ndarray, "tokens tokens"] | None
    """Which tokens of the pass each one sees, kept ones apart; None where it is all those before it."""
    slots: Int[ndarray, " slots"]
    """Places in the pass whose logits are needed, ascending."""
    asked: Int[ndarray, "asked 3"]
    """Number in ``slots``, token whose probability is asked for there, and where its answer belongs: the continuations'
    tokens are numbered through, request by request."""


class Plan:
    """The trie of some requests, cut into passes.

    Args:
        requests: What to score; equal ones and common beginnings are found here.
        budget: Tokens of a row, unless a single path is longer.
        min_saved: Tokens that a pass of its own for a stem must save.

    Attributes:
        passes: In the order in which they must run.
        num_tokens: Tokens that go through the model in all of them.
        num_distinct: Nodes of the trie: the fewest tokens that any plan can do with.
        bounds: Where the answers of each request begin and end, shaped (requests + 1,).
    """

    def __init__(self, requests: Sequence[Request], budget: int, min_saved: int = _MIN_SAVED) -> None:
        self._requests = requests
        self._budget, self._min_saved = budget, min_saved
        keys = [
            np.array((request.context_ids + request.continuation_ids)[:-1], dtype=">i4").tobytes()
            for request in requests
        ]
        distinct = sorted(set(keys))  # big-endian bytes sort as the ids do
        self._paths = [np.frombuffer(key, dtype=">i4").astype(np.int64) for key in distinct]
        self._lengths = np.array([len(path) for path in self._paths], dtype=np.int64)
        self._shared = np.array([0, *map(_num_shared, self._paths, self._paths[1:])], dtype=np.int64)[: len(distinct)]
        self._own = np.concatenate([[0], np.cumsum(self._lengths - self._shared)])
        number = {key: place for place, key in enumerate(distinct)}
        places = np.array([number[key] for key in keys], dtype=np.int64)
        self._by_path = np.argsort(places, kind="stable")
        self._ends = np.searchsorted(places[self._by_path], np.arange(len(distinct) + 1))
        self._begins = np.array([len(request.context_ids) - 1 for request in requests], dtype=np.int64)
        counts = [len(request.continuation_ids) for request in requests]
        self.bounds = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        self.passes: list[Pass] = []
        if distinct:
            self._walk(0, len(distinct), 0, 0)
        self.num_distinct = int(self._own[-1])
        self.num_tokens = sum(one.stop - one.start if one.is_stem else self._size(*one[:3]) for one in self.passes)

    def _size(self, first: int, last: int, start: int) -> int:
        """Tokens of the paths ``first`` to ``last`` below a depth that they share."""
        return int(self._lengths[first] - start + self._own[last] - self._own[first + 1])

    def _walk(self, first: int, last: int, start: int, level: int) -> None:
        """Cut the part of the trie below ``start`` into passes; the paths share all above."""
        size, longest = self._size(first, last, start), int(self._lengths[first:last].max()) - start
        if size <= max(self._budget, _LONGEST_BY * longest):
            self.passes.append(Pass(first, last, start, 0, level))
            return
        fork = int(self._shared[first + 1 : last].min())
        if (fork - start) * (math.ceil(size / self._budget) - 1) >= self._min_saved:
            self.passes.append(Pass(first, last, start, fork, level))
            first += int(self._lengths[first] == fork)  # a path that ends with the stem is done
            start, level = fork, level + 1
        forks = np.flatnonzero(self._shared[first + 1 : last] == fork) + first + 1
        bounds = [first, *forks.tolist(), last]
        begin = first
        for one, other in pairwise(bounds):
            if self._size(begin, other, start) <= self._budget:
                continue
            if begin < one:
                self.passes.append(Pass(begin, one, start, 0, level))
                begin = one
            if self._size(one, other, start) > self._budget:
                self._walk(one, other, start, level)
                begin = other
        if begin < last:
            self.passes.append(Pass(begin, last, start, 0, level))

    def share(self, rank: int, processes: int) -> list[tuple[Pass, bool]]:
        """The passes of one of several processes: its part of the rows, and the stems that they stand on.

        Returns:
            Passes in order, each with whether this is the one process that answers what is asked of it: a stem may be
            run by several.
        """
        rows = np.array([index for index, one in enumerate(self.passes) if not one.is_stem])
        mine = set(np.array_split(rows, processes)[rank].tolist())
        kept: list[tuple[Pass, bool]] = []
        needed = math.inf
        is_mine = False  # whether the next row is
        for index in reversed(range(len(self.passes))):
            one = self.passes[index]
            if not one.is_stem:
                is_mine = index in mine
            if is_mine if not one.is_stem else one.level < needed:
                kept.append((one, is_mine))
                needed = one.level
        return kept[::-1]

    def layout(self, one: Pass) -> Layout:
        """A pass's tokens, who sees whom, and what is asked of it."""
        return self._stem(one) if one.is_stem else self._row(one)

    def _stem(self, one: Pass) -> Layout:
        depths = np.arange(one.start, one.stop)
        there = self._by_path[self._ends[one.first] : self._ends[one.last]]
        asked = [
            (depth - one.start, token, answer)
            for request in there[self._begins[there] < one.stop].tolist()
            for depth, token, answer in self._asked(request)
            if one.start <= depth < one.stop
        ]
        return _layout(self._paths[one.first][one.start : one.stop], depths, None, asked)

    def _row(self, one: Pass) -> Layout:
        size = self._size(one.first, one.last, one.start)
        ids, depths = np.empty(size, np.int64), np.empty(size, np.int64)
        sees = np.zeros((size, size), bool)
        asked: list[tuple[int, int, int]] = []
        path: Int[ndarray, " above"] = np.empty(0, np.int64)  # places of the tokens of the path at hand
        end = 0
        for number in range(one.first, one.last):
            above = 0 if number == one.first else int(self._shared[number]) - one.start
            new = np.arange(end, end + int(self._lengths[number]) - one.start - above)
            path = np.concatenate([path[:above], new])
            depths[new] = np.arange(above, len(path)) + one.start
            ids[new] = self._paths[number][one.start + above :]
            sees[new[:, None], path[:above]] = True
            sees[new[:, None], new] = np.tri(len(new), dtype=bool)
            end += len(new)
            for request in self._by_path[self._ends[number] : self._ends[number + 1]].tolist():
                asked += [
                    (int(path[depth - one.start]), token, answer)
                    for depth, token, answer in self._asked(request)
                    if depth >= one.start
                ]
        return _layout(ids, depths, sees if one.last - one.first > 1 else None, asked)

    def _asked(self, request: int) -> Iterator[tuple[int, int, int]]:
        """Depths of the tokens that predict a continuation, what each is asked for, and where the answer belongs."""
        ids = self._requests[request].continuation_ids
        begin, answer = int(self._begins[request]), int(self.bounds[request])
        return zip(range(begin, begin + len(ids)), ids, range(answer, answer + len(ids)), strict=True)


def _layout(
    ids: Int[ndarray, " tokens"],
    depths: Int[ndarray, " tokens"],
    sees: Bool[ndarray, "tokens tokens"] | None,
    asked: Sequence[tuple[int, int, int]],
) -> Layout:
    table = np.array(asked, dtype=np.int64).reshape(-1, 3)
    slots, table[:, 0] = np.unique(table[:, 0], return_inverse=True)
    return Layout(ids, depths, sees, slots, table)


def _num_shared(left: Int[ndarray, " left"], right: Int[ndarray, " right"]) -> int:
    """Length of the common beginning."""
    shorter = min(len(left), len(right))
    differs = np.flatnonzero(left[:shorter] != right[:shorter])
    return int(differs[0]) if len(differs) else shorter
