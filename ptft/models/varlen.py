"""Attention of packed rows without a mask: torch's kernel for parts of any length, offered to stock models by name."""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface, PretrainedConfig
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

VARLEN = "ptft_varlen"
"""The name under which transformers finds it."""
_ATTENTION_DROPOUTS = ("attention_probs_dropout_prob", "attn_pdrop", "attention_dropout")
_HEAD_MULTIPLE, _LARGEST_HEAD = 8, 256
_FIRST_WITH_KERNEL = (8, 0)


def why_not_varlen(config: PretrainedConfig, device_type: str, precision: str) -> str:
    """What keeps a model from the kernel, as the end of a sentence; empty if nothing does.

    Args:
        config: Of the model.
        device_type: Where it trains: cpu, cuda, ...
        precision: Of matrix products.
    """
    if device_type != "cuda":
        return f"it needs a CUDA device, and this is {device_type}"
    if precision == "fp32":
        return "it needs precision=bf16 or fp16, and this is fp32"
    if torch.cuda.is_available() and torch.cuda.get_device_capability() < _FIRST_WITH_KERNEL:
        return "it needs a GPU of the Ampere generation or newer"
    for name in _ATTENTION_DROPOUTS:
        if rate := getattr(config, name, 0.0):
            return f"it has no dropout, and this model's {name} is {rate:g}"
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    if size % _HEAD_MULTIPLE or size > _LARGEST_HEAD:
        return f"its heads have a multiple of {_HEAD_MULTIPLE} numbers up to {_LARGEST_HEAD}, and this model's {size}"
    return ""


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    is_causal: bool | None = None,
    sliding_window: int | None = None,
    cu_seq_lens_q: Tensor | None = None,
    max_length_q: int = 0,
    **others: Any,
) -> tuple[Tensor, None]:
    """Attention as transformers asks for it; rows that are not packed go the stock way.

    Args:
        module: The layer.
        query, key, value: (rows, heads, width, size); keys and values may have fewer heads.
        attention_mask: Ignored for packed rows.
        scaling: Of the scores.
        is_causal: Whether tokens see what comes before them only; None: as the layer says.
        sliding_window: How many tokens one sees to each side, itself included.
        cu_seq_lens_q: Where the parts of all rows end, after a 0 (see :meth:`ptft.models.packing.Layout.ends`); None
            if rows are not packed.
        max_length_q: No part is longer.
    """
    if cu_seq_lens_q is None:
        how = {"scaling": scaling, "is_causal": is_causal, **others}
        return sdpa_attention_forward(module, query, key, value, attention_mask, **how)
    rows, heads, width, size = query.shape
    kind = query.dtype
    if kind == torch.float32 and torch.is_autocast_enabled(query.device.type):  # rotary positions are in fp32
        kind = torch.get_autocast_dtype(query.device.type)
    queries, keys, values = (states.transpose(1, 2).flatten(0, 1).to(kind) for states in (query, key, value))
    causal = getattr(module, "is_causal", False) if is_causal is None else is_causal
    reach = -1 if sliding_window is None else sliding_window - 1
    ends, longest = cu_seq_lens_q, max_length_q
    attended = varlen_attn(
        queries, keys, values, ends, ends, longest, longest,
        scale=scaling, window_size=(reach, 0 if causal else reach), enable_gqa=key.shape[1] != heads,
    )  # fmt: skip
    return cast("Tensor", attended).view(rows, width, heads, size), None


AttentionInterface.register(VARLEN, _attend)
AttentionMaskInterface.register(VARLEN, sdpa_mask)


__all__ = ["VARLEN", "why_not_varlen"]
