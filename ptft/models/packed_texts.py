"""What stock models need to read rows that several texts share, none seeing another."""

from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PretrainedConfig

from ptft.models.building import padding_offset
from ptft.models.packing import block_mask

# Architectures that take a mask for each pair of tokens and a position for each token as they are.
_READ_PACKED = ("bert", "roberta", "distilbert", "modernbert", "gpt2", "llama", "mistral", "qwen2", "qwen3")


def reads_packed(config: PretrainedConfig, length: int) -> bool:
    """Whether it is known that a model keeps texts of up to ``length`` tokens apart that share a row.

    Of decoders that see no further than some tokens back it is known for texts that are no longer.
    """
    window = None if config.model_type == "modernbert" else getattr(config, "sliding_window", None)
    return config.model_type in _READ_PACKED and (window is None or length <= window)


def packed_inputs(
    config: PretrainedConfig, texts: Int[Tensor, "rows seq"], positions: Int[Tensor, "rows seq"], *, causal: bool
) -> dict[str, Any]:
    """The mask and the positions that a model takes for packed rows.

    Args:
        config: Of the model (see :func:`reads_packed`).
        texts: The number of each slot's text; all padding has the same.
        positions: Each token's place in its text, from 0.
        causal: Whether a token sees what comes before it only.
    """
    device = texts.device.type
    kind = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else torch.float32
    mask: Any = block_mask(texts, kind, causal=causal)
    if config.model_type == "modernbert":
        near = block_mask(texts, kind, causal=causal, window=config.sliding_window)
        mask = {"full_attention": mask, "sliding_attention": near}
    return {"attention_mask": mask, "position_ids": positions + padding_offset(config)}
