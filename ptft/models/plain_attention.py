"""Attention as plain matrix products, all in the type of autocast; offered to stock models by name.

Transformers' own plain attention lifts the scores to fp32 by an fp32 mask, which costs more than the products on a CPU.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface, eager_mask

PLAIN = "ptft_plain"
"""The name under which transformers finds it."""


def attend(
    module: nn.Module,
    query: Float[Tensor, "rows heads queries size"],
    key: Float[Tensor, "rows key_heads keys size"],
    value: Float[Tensor, "rows key_heads keys size"],
    attention_mask: Float[Tensor, "..."] | None,
    *,
    dropout: float = 0.0,
    scaling: float | None = None,
    **_: Any,
) -> tuple[Float[Tensor, "rows queries heads size"], None]:
    """Attention as transformers asks for it.

    Args:
        module: The layer; dropout is for its training.
        query, key, value: Keys and values may have fewer heads, each then serves several queries.
        attention_mask: What is added to the scores.
        dropout: Of attention.
        scaling: Of the scores; None for one over the root of ``size``.
    """
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    scores = (query * (query.shape[-1] ** -0.5 if scaling is None else scaling)) @ key.transpose(2, 3)
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = nn.functional.dropout(scores.softmax(-1).to(value.dtype), dropout, module.training)
    return (weights @ value).transpose(1, 2), None


def score_type(device: torch.device) -> torch.dtype:
    """The type of attention's scores: that of autocast where it is on."""
    return torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else torch.float32


def _mask(*given: Any, **named: Any) -> Tensor | None:
    """Transformers' mask for plain attention, in the type of the scores."""
    device = torch.device(named.get("device", "cpu"))
    return eager_mask(*given, **{**named, "dtype": score_type(device)})


AttentionInterface.register(PLAIN, attend)
AttentionMaskInterface.register(PLAIN, _mask)


__all__ = ["PLAIN", "attend", "score_type"]
