"""The plan of a block whose rows hold several examples each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int
from numpy import ndarray
from numpy.typing import NDArray

from ptft import rng
from ptft.models.packing import Layout, best_fit
from ptft.objectives.frames import Frame, Pairs

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
        layout = best_fit(frame.lengths(pairs), packing.width)
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


__all__ = ["PackedPlan", "Packing", "packed_plan"]
