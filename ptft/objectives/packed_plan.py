"""The plan of a block whose rows hold several examples each."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Any

import numpy as np
from jaxtyping import Int
from numpy import ndarray
from numpy.typing import NDArray

from ptft import rng
from ptft.models.packing import Layout, best_fit
from ptft.objectives.frames import Frame, Pairs

_MOST_PADDING = 0.005
_LEAST_TEXT = 8  # tokens of what is cut off
_MORE = 1.05  # what is drawn to fill a block up is a little more than its rows take on average


@dataclass(frozen=True)
class Packing:
    """How examples share rows.

    Attributes:
        width: Tokens of a packed row.
        together: Whether the examples of a row see each other.
    """

    width: int
    together: bool = False


@dataclass(frozen=True)
class PackedPlan:
    """The examples of a block, row by row.

    Attributes:
        pairs: Ranges of tokens.
        bounds: Number of examples before each row, and of all.
        offset: Column at which each example begins in its row.
        packing: How wide the rows are.
    """

    pairs: Pairs
    bounds: Int[ndarray, " rows+1"]
    offset: Int[ndarray, " examples"]
    packing: Packing

    def examples(self, start: int, stop: int) -> slice:
        """Those of rows ``start`` to ``stop``."""
        return slice(int(self.bounds[start]), int(self.bounds[stop]))

    def layout(self, start: int, stop: int) -> Layout:
        """Where they lie in these rows."""
        row = np.repeat(np.arange(stop - start), np.diff(self.bounds[start : stop + 1]))
        offset = self.offset[self.examples(start, stop)]
        return Layout(row, offset, stop - start, self.packing.width, self.packing.together)


def pack(pairs: Pairs, frame: Frame, width: int) -> tuple[Pairs, Layout]:
    """Place examples by best fit; where that leaves more than half a per cent of padding, cut a few single texts.

    Of the rows that are left the emptiest is dealt out to the next emptiest ones, again and again, until that is
    enough. Differs from the paper of :func:`ptft.models.packing.best_fit`, whose rows hold many texts each: in rows no
    longer than many a text there may be nothing left that is small enough.

    Returns:
        The examples, among them both parts of each that was cut, and where they lie.
    """
    lengths = frame.lengths(pairs)
    layout = best_fit(lengths, width)
    most = math.ceil(int(lengths.sum()) / width / (1 - _MOST_PADDING))
    if layout.num_rows <= most or not frame.may_be_cut:
        return pairs, layout
    fill = np.bincount(layout.row, lengths, layout.num_rows).astype(np.int64)
    least = _LEAST_TEXT + frame.num_special
    open_rows = np.flatnonzero(fill <= width - least)
    if len(open_rows) < 2:
        return pairs, layout
    waiting = [(int(fill[row]), row) for row in open_rows.tolist()]
    heapify(waiting)
    members: dict[int, list[tuple[int, int]]] = {row: [] for _, row in waiting}
    for example in np.flatnonzero(np.isin(layout.row, open_rows)).tolist():
        members[int(layout.row[example])].append((int(pairs[example, 0]), int(pairs[example, 1])))
    for _ in range(layout.num_rows - most):
        if len(waiting) < 2 or not _deal_out(waiting, members, frame.num_special, width):
            break
    kept = ~np.isin(layout.row, open_rows)
    others = [(row, start, stop) for row, texts in members.items() for start, stop in texts]
    row, start, stop = np.array(others, np.int64).T
    all_pairs = np.concatenate([pairs[kept], np.stack([start, stop, stop, stop, np.zeros_like(row)], 1)])
    all_rows = np.unique(np.concatenate([layout.row[kept], row]), return_inverse=True)[1]
    return all_pairs, _in_order(all_rows, frame.lengths(all_pairs), width)


def _deal_out(
    waiting: list[tuple[int, int]], members: dict[int, list[tuple[int, int]]], num_special: int, width: int
) -> bool:
    """Empty the emptiest row into the next emptiest, in place; False where they have no room for it.

    Args:
        waiting: A heap of rows by their tokens.
        members: Of each such row, where its texts begin and end.
        num_special: Tokens around each text.
        width: Of a row.
    """
    _, row = heappop(waiting)
    while members[row] and waiting:
        fill, other = heappop(waiting)
        start, stop = members[row].pop()
        room = width - fill - num_special
        cut = stop if stop - start <= room else start + min(room, stop - start - _LEAST_TEXT)
        members[other].append((start, cut))
        fill += cut - start + num_special
        if cut < stop:
            members[row].append((cut, stop))
        if fill <= width - _LEAST_TEXT - num_special:
            heappush(waiting, (fill, other))
    return not members[row]


def _in_order(row: Int[ndarray, " examples"], lengths: Int[ndarray, " examples"], width: int) -> Layout:
    """The layout of examples of which only the rows are known, each behind the one before it."""
    order = np.argsort(row, kind="stable")
    before = np.cumsum(lengths[order]) - lengths[order]
    offset = np.empty_like(row)
    offset[order] = before - before[np.searchsorted(row[order], row[order])]
    return Layout(row, offset, int(row.max()) + 1, width)


def packed_plan(
    examples_of: Callable[[int, int | None], Pairs], frame: Frame, packing: Packing, num_rows: int, *keys: int
) -> PackedPlan:
    """Fill a block's rows with the examples of a pass over it, and of further passes where the first is not enough.

    Each pass is packed by itself. Where it has rows for more than there is place, the fullest stay.

    Args:
        examples_of: The examples of a pass, given its number and how many it takes at least (None: all).
        frame: What stands around them.
        packing: The shape of a row.
        num_rows: Rows of the block.
        keys: Of the order that its rows come in.
    """
    parts: list[tuple[Pairs, NDArray[Any], NDArray[Any]]] = []
    done = examples = 0
    while done < num_rows:
        wanted = int((num_rows - done) * _MORE * examples / done) + 1 if parts else None
        pairs = examples_of(len(parts), wanted)
        pairs, layout = pack(pairs, frame, packing.width)
        fill = np.bincount(layout.row, frame.lengths(pairs), layout.num_rows)
        fullest = np.argsort(-fill, kind="stable")
        rank = np.empty_like(fullest)
        rank[fullest] = done + np.arange(len(fullest))
        row = rank[layout.row]
        kept = row < num_rows
        parts.append((pairs[kept], row[kept], layout.offset[kept]))
        done, examples = min(num_rows, done + layout.num_rows), examples + int(kept.sum())
    pairs, row, offset = (np.concatenate(part) for part in zip(*parts, strict=True))
    row = rng.permuted(np.arange(num_rows), num_rows, *keys, len(parts))[row]
    order = np.lexsort((offset, row))
    return PackedPlan(pairs[order], np.searchsorted(row[order], np.arange(num_rows + 1)), offset[order], packing)


__all__ = ["PackedPlan", "Packing", "pack", "packed_plan"]
