"""One vector a text out of hidden states whose rows may hold several texts."""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Pooling = Literal["cls", "mean", "max", "last", "concat"]


def pool(
    hidden: Float[Tensor, "rows seq width"],
    parts: Int[Tensor, "rows seq"],
    lengths: Int[Tensor, " texts"],
    pooling: Pooling,
    real: Bool[Tensor, "rows seq"] | None = None,
) -> Float[Tensor, "texts pooled"]:
    """One vector a text: its first or last token's, the mean or the maximum over its tokens, or several of them.

    ``concat`` is the last token's, the maximum and the mean, one behind the other (Howard and Ruder 2018, arXiv
    1801.06146). On a CPU the same input gives the same bits.

    Args:
        hidden: Of each slot; a text's slots lie one behind the other in one row.
        parts: The number of each slot's text, from 0; at padding the number of texts.
        lengths: Tokens of each text.
        pooling: Which vector.
        real: Slots that may be a text's last one; a text without any has its first for the last. None: all.

    Returns:
        As wide as the hidden states, with ``concat`` three times as wide.
    """
    if pooling == "concat":
        kinds: tuple[Pooling, ...] = ("last", "max", "mean")
        return torch.cat([pool(hidden, parts, lengths, kind, real) for kind in kinds], -1)
    number, flat = parts.flatten(), hidden.flatten(0, 1)
    rows = len(lengths) + 1  # the last one takes in the padding
    if pooling == "mean":
        return flat.new_zeros(rows, flat.shape[1]).index_add(0, number, flat)[:-1] / lengths.unsqueeze(1)
    if pooling == "max":
        lowest = flat.new_full((rows, flat.shape[1]), float("-inf"))
        return lowest.scatter_reduce(0, number.unsqueeze(1).expand_as(flat), flat, "amax")[:-1]
    slots = torch.arange(len(number), device=number.device)
    place = slots.new_full((rows,), len(number)).scatter_reduce(0, number, slots, "amin")
    if pooling == "last":
        place = place.scatter_reduce(0, number, slots if real is None else slots * real.flatten(), "amax")
    return flat[place[:-1]]


def pooled_width(width: int, pooling: Pooling) -> int:
    """How wide the vectors are that :func:`pool` makes of hidden states of this width."""
    return 3 * width if pooling == "concat" else width
