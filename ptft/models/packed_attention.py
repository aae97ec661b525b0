"""What a stock model is given with packed rows, so that their texts do not see each other."""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel

from ptft.errors import DeviceError, RecipeError
from ptft.models.building import padding_offset
from ptft.models.packing import block_mask
from ptft.models.varlen import VARLEN, why_not_varlen

PackedAttention = Literal["auto", "mask", "varlen"]
_DECODERS = ("gpt2", "llama", "mistral", "qwen2", "qwen3")
_ISOLATED = ("bert", "camembert", "distilbert", "modernbert", "roberta", "xlm-roberta", *_DECODERS)


def is_packable(config: PretrainedConfig) -> bool:
    """Whether it is known how to keep the texts of a row apart in an architecture."""
    return config.model_type in _ISOLATED


def check_packable(config: PretrainedConfig) -> None:
    """Refuse an architecture of which it is not known how to keep the texts of a row apart.

    Raises:
        RecipeError: It is one.
    """
    if not is_packable(config):
        raise RecipeError(
            f"packed_length: it is not known how to keep texts of a packed row apart in {config.model_type}, only in "
            f"{', '.join(_ISOLATED)}; leave it out, or give another model or preset"
        )


def check_varlen(config: PretrainedConfig, device_type: str, precision: str) -> None:
    """Refuse attention without a mask where it cannot be.

    Raises:
        DeviceError: The device or the precision does not allow it.
        RecipeError: The model does not.
    """
    if reason := why_not_varlen(config, device_type, precision):
        error = DeviceError if device_type != "cuda" or precision == "fp32" else RecipeError
        raise error(f"packed_attention=varlen: {reason}; use packed_attention=mask, or auto to have what there is")


def choose_packed_attention(model: PreTrainedModel, how: PackedAttention, device_type: str, precision: str) -> None:
    """Let a model attend without a mask over packed rows if that is asked for, or can be, in place.

    Args:
        model: A stock model; one that is not on the fused kernel is left alone by ``auto``.
        how: ``varlen`` without a mask, ``mask`` with one, ``auto`` the first where it can be.
        device_type: Where it trains: cpu, cuda, ...
        precision: Of matrix products.

    Raises:
        DeviceError, RecipeError: As :func:`check_varlen`.
    """
    if how == "varlen":
        check_varlen(model.config, device_type, precision)
    is_fused = getattr(model.config, "_attn_implementation", None) == "sdpa"
    if how == "varlen" or (how == "auto" and is_fused and not why_not_varlen(model.config, device_type, precision)):
        model.set_attn_implementation(VARLEN)


def packed_inputs(model: PreTrainedModel, batch: Mapping[str, Tensor]) -> dict[str, Any]:
    """Positions and attention of packed rows as keyword arguments of a stock model.

    Args:
        model: Of an architecture that :func:`check_packable` knows.
        batch: ``position_ids`` that restart in each example, ``parts`` and ``part_ends`` of
            :class:`ptft.models.packing.Layout`.
    """
    config = model.config
    inputs: dict[str, Any] = {"position_ids": batch["position_ids"] + padding_offset(config)}
    if config._attn_implementation != VARLEN:
        return inputs | {"attention_mask": _masks(config, batch["parts"])}
    return inputs | {
        "cu_seq_lens_q": batch["part_ends"].to(torch.int32),
        "max_length_q": batch["parts"].shape[1],
        "attention_mask": batch["parts"].new_zeros(1, 1, 1, 1),  # a ready mask, so that no other is made
    }


def _masks(config: PretrainedConfig, parts: Int[Tensor, "rows width"]) -> Tensor | dict[str, Tensor]:
    """The block mask, or one for each kind of layer where some see no further than a window."""
    causal = config.model_type in _DECODERS and getattr(config, "is_causal", True)
    kind, window = score_type(parts.device), getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None) or ()
    if window is not None and causal:
        window -= 1  # it counts the token itself
    if config.model_type == "mistral":
        return block_mask(parts, kind, causal=causal, window=window)
    everywhere = block_mask(parts, kind, causal=causal)
    if "sliding_attention" not in kinds:
        return everywhere
    local = block_mask(parts, kind, causal=causal, window=window)
    return {"full_attention": everywhere, "sliding_attention": local}


def score_type(device: torch.device) -> torch.dtype:
    """The type of attention's scores: that of autocast where it is on."""
    return torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else torch.float32


__all__ = [
    "PackedAttention",
    "check_packable",
    "check_varlen",
    "choose_packed_attention",
    "is_packable",
    "packed_inputs",
    "score_type",
]
