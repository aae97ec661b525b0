"""Attention of packed rows part by part, each as if it had a row of its own; offered to stock models by name.

In wide rows of short texts a mask hides most of what attention computes. Here the tokens of each text are laid into a
row of their own for attention, and back behind it, so that the cost is that of texts which are not packed.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from ptft.models.plain_attention import attend

APART = "ptft_apart"
"""The name under which transformers finds it."""


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    dropout: float = 0.0,
    scaling: float | None = None,
    part_places: Tensor | None = None,
    part_origins: Tensor | None = None,
    **others: Any,
) -> tuple[Tensor, Tensor | None]:
    """Attention as transformers asks for it; rows that are not packed go the stock way.

    Args:
        module: The layer.
        query, key, value: (rows, heads, width, size); keys and values may have fewer heads.
        attention_mask: What is added to the scores of the parts; of the rows, if they are not packed.
        dropout: Of attention.
        scaling: Of the scores.
        part_places, part_origins: See :meth:`ptft.models.packing.Layout.places` and ``origins``; None if rows are not
            packed.
    """
    how = {"dropout": dropout, "scaling": scaling, **others}
    if part_places is None or part_origins is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **how)
    rows, heads, width, size = query.shape
    apart = (
        states.transpose(1, 2).flatten(0, 1).index_select(0, part_places.flatten()).unflatten(0, part_places.shape)
        for states in (query, key, value)
    )
    queries, keys, values = (states.transpose(1, 2) for states in apart)
    # On a CPU in bf16 the backward pass of the fused kernel is slow (see ptft.models.attention).
    if query.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
        attended, _ = attend(module, queries, keys, values, attention_mask, **how)
    else:
        attended, _ = sdpa_attention_forward(module, queries, keys, values, attention_mask, **how)
    return attended.flatten(0, 1).index_select(0, part_origins).view(rows, width, heads, size), None


AttentionInterface.register(APART, _attend)
AttentionMaskInterface.register(APART, sdpa_mask)


__all__ = ["APART"]
