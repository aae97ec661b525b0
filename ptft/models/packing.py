"""Rows that several texts share: who lies where, and what keeps each from seeing the others."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from numpy.typing import NDArray
from torch import Tensor

from ptft.errors import DataError


@dataclass(frozen=True)
class Layout:
    """Where each of some examples lies in packed rows.

    Attributes:
        row: Row of each example.
        offset: Column of its first token.
        num_rows: Packed rows.
        width: Their tokens, padding included.
        together: Let the examples of a row see each other; their positions restart all the same.
    """

    row: Int[ndarray, " examples"]
    offset: Int[ndarray, " examples"]
    num_rows: int
    width: int
    together: bool = False

    def placed(
        self, array: Int[ndarray, "examples seq"], lengths: Int[ndarray, " examples"], fill: int = 0
    ) -> Int[ndarray, "rows width"]:
        """Arrays of examples, padded on the right, moved into packed rows; what is left over is ``fill``."""
        seq = array.shape[1]
        inside = np.arange(seq) < lengths[:, None]
        rows = np.full((self.num_rows, self.width), fill, array.dtype)
        rows.ravel()[self.moved(np.flatnonzero(inside), seq)] = array[inside]
        return rows

    def moved(self, flat: Int[ndarray, " places"], seq: int) -> Int[ndarray, " places"]:
        """Indices into the flattened (examples, seq) as indices into the flattened (rows, width)."""
        example, column = np.divmod(flat, seq)
        places: NDArray[np.int64] = self.first()[example] + column
        return places

    def first(self) -> Int[ndarray, " examples"]:
        """The index of each example's first token in the flattened (rows, width)."""
        places: NDArray[np.int64] = self.row * self.width + self.offset
        return places

    def parts(self, lengths: Int[ndarray, " examples"]) -> Int[ndarray, "rows width"]:
        """For each token which example of its row it belongs to, counted from 1; 0 at padding.

        Where the examples of a row see each other they count as one.
        """
        number = np.ones(len(self.row), np.int64)
        if not self.together:
            order = np.argsort(self.first())
            begins = np.searchsorted(self.row[order], self.row[order])
            number[order] = 1 + np.arange(len(order)) - begins
        return self.placed(np.broadcast_to(number[:, None], (len(number), _longest(lengths))), lengths)

    def positions(self, lengths: Int[ndarray, " examples"]) -> Int[ndarray, "rows width"]:
        """For each token its place in its own example, from 0; 0 at padding."""
        longest = _longest(lengths)
        return self.placed(np.broadcast_to(np.arange(longest), (len(lengths), longest)), lengths)

    def places(self, lengths: Int[ndarray, " examples"]) -> Int[ndarray, "examples longest"]:
        """Where each token of each example lies in the flattened (rows, width); behind its last, where that lies."""
        column = np.minimum(np.arange(_longest(lengths)), lengths[:, None] - 1)
        places: NDArray[np.int64] = self.first()[:, None] + column
        return places

    def origins(self, lengths: Int[ndarray, " examples"]) -> Int[ndarray, " slots"]:
        """For each of the flattened (rows, width) where its token is in the flattened (examples, longest).

        At padding it is 0: what stands there is seen by nobody.
        """
        shape = len(lengths), _longest(lengths)
        return self.placed(np.arange(shape[0] * shape[1]).reshape(shape), lengths).ravel()

    def ends(self, lengths: Int[ndarray, " examples"]) -> Int[ndarray, " parts+1"]:
        """Where the parts of all rows end in the flattened (rows, width), in order, after a 0.

        Padding is a part too. The last end is repeated up to a power of two, so that batches hardly differ in shape.
        """
        parts = self.parts(lengths)
        last = np.ones(parts.shape, bool)
        last[:, :-1] = parts[:, 1:] != parts[:, :-1]
        ends = np.concatenate(([0], 1 + np.flatnonzero(last)))
        return np.pad(ends, (0, (1 << (len(ends) - 1).bit_length()) - len(ends)), mode="edge")


def _longest(lengths: Int[ndarray, " examples"]) -> int:
    return int(lengths.max(initial=0))


def best_fit(lengths: Sequence[int] | Int[ndarray, " examples"], width: int) -> Layout:
    """Place examples in rows of ``width`` tokens: the longest first, each where the least room is left that takes it.

    Of rows with equal room the one that came to it last is taken. An example costs the same however many rows are open:
    they are kept by the room that they have left, and a bit for each room says whether there are any.

    Raises:
        DataError: An example is longer than a row.

    Paper: Ding et al. 2024, arXiv 2404.10830, section 3 (best-fit decreasing).
    """
    sizes = np.asarray(lengths, np.int64)
    if len(sizes) and sizes.max() > width:
        raise DataError(f"an example of {sizes.max()} tokens does not fit a packed row of {width}; give longer rows")
    row, offset = np.zeros_like(sizes), np.zeros_like(sizes)
    with_room: list[list[int]] = [[] for _ in range(width + 1)]
    has_any = 0  # bit ``room`` is set where a row has so much room left
    num_rows = 0
    for example in np.argsort(-sizes, kind="stable").tolist():
        size = int(sizes[example])
        enough = has_any >> size << size
        if enough:
            room = (enough & -enough).bit_length() - 1
            place = with_room[room].pop()
            if not with_room[room]:
                has_any ^= 1 << room
        else:
            room, place, num_rows = width, num_rows, num_rows + 1
        row[example], offset[example] = place, width - room
        with_room[room - size].append(place)
        has_any |= 1 << (room - size)
    return Layout(row, offset, num_rows, width)


def block_mask(
    parts: Int[Tensor, "rows width"], kind: torch.dtype, *, causal: bool, window: int | None = None
) -> Float[Tensor, "rows 1 width width"]:
    """What is added to attention's scores so that a token sees its own part of a row and nothing else.

    Stock models take such a mask as it is, with fused attention and with plain products. Padding sees padding, so that
    no token sees nothing.

    Args:
        parts: Which part each token belongs to (see :meth:`Layout.parts`).
        kind: Of the scores: a floating-point type.
        causal: Whether a token sees what comes before it only.
        window: See no further than so many tokens away, the last included.
    """
    hidden = parts[:, :, None] != parts[:, None, :]
    column = torch.arange(parts.shape[1], device=parts.device)
    away = column[:, None] - column
    if causal:
        hidden = hidden | (away < 0)
    if window is not None:
        hidden = hidden | (away.abs() > window)
    mask: Tensor = torch.zeros(hidden.shape, dtype=kind, device=parts.device)
    return mask.masked_fill_(hidden, torch.finfo(kind).min).unsqueeze(1)


__all__ = ["Layout", "best_fit", "block_mask"]
