"""What a stock model is given with packed rows, so that their texts do not see each other."""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel

from ptft.errors import DeviceError, RecipeError
from ptft.models.apart import APART
from ptft.models.building import padding_offset
from ptft.models.packing import block_mask
from ptft.models.plain_attention import score_type
from ptft.models.varlen import VARLEN, why_not_varlen

PackedAttention = Literal["auto", "mask", "varlen"]
_DECODERS = ("gpt2", "llama", "mistral", "qwen2", "qwen3")
_ISOLATED = ("bert", "camembert", "distilbert", "modernbert", "roberta", "xlm-roberta", *_DECODERS)

_APART_FROM = 2


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


def choose_packed_attention(
    model: PreTrainedModel, how: PackedAttention, device_type: str, precision: str, texts_a_row: float
) -> None:
    """Let a model attend without a mask over packed rows if that is asked for, or can be and pays, in place.

    Args:
        model: A stock model; one that is not on the fused kernel is left alone by ``auto``.
        how: ``varlen`` by torch's kernel, ``mask`` by the block mask, ``auto`` by the kernel where it can be, else text
            by text in rows of two full ones or more.
        device_type: Where it trains: cpu, cuda, ...
        precision: Of matrix products.
        texts_a_row: How many texts of full length a row holds; 1 where texts see each other.

    Raises:
        DeviceError, RecipeError: As :func:`check_varlen`.
    """
    if how == "varlen":
        check_varlen(model.config, device_type, precision)
        model.set_attn_implementation(VARLEN)
    elif how == "auto" and getattr(model.config, "_attn_implementation", None) == "sdpa":
        if not why_not_varlen(model.config, device_type, precision):
            model.set_attn_implementation(VARLEN)
        elif texts_a_row >= _APART_FROM and not _has_windows(model.config):
            model.set_attn_implementation(APART)


def packed_inputs(model: PreTrainedModel, batch: Mapping[str, Tensor]) -> dict[str, Any]:
    """Positions and attention of packed rows as keyword arguments of a stock model.

    Args:
        model: Of an architecture that :func:`check_packable` knows.
        batch: ``position_ids`` that restart in each example, and the ``part`` tensors of
            :class:`ptft.models.packing.Layout`.
    """
    config = model.config
    inputs: dict[str, Any] = {"position_ids": batch["position_ids"] + padding_offset(config)}
    causal = config.model_type in _DECODERS and getattr(config, "is_causal", True)
    if config._attn_implementation == APART:
        places, lengths = batch["part_places"], batch["part_lengths"]
        inside = torch.arange(places.shape[1], device=places.device) < lengths[:, None]
        mask = block_mask(inside.long(), score_type(places.device), causal=causal)
        return inputs | {"attention_mask": mask, "part_places": places, "part_origins": batch["part_origins"]}
    if config._attn_implementation != VARLEN:
        return inputs | {"attention_mask": _masks(config, batch["parts"], causal)}
    return inputs | {
        "cu_seq_lens_q": batch["part_ends"].to(torch.int32),
        "max_length_q": batch["parts"].shape[1],
        "attention_mask": batch["parts"].new_zeros(1, 1, 1, 1),  # a ready mask, so that no other is made
    }


def _has_windows(config: PretrainedConfig) -> bool:
    """Whether some layers see no further than a window."""
    is_local = "sliding_attention" in (getattr(config, "layer_types", None) or ())
    return is_local or (config.model_type == "mistral" and config.sliding_window is not None)


def _masks(config: PretrainedConfig, parts: Int[Tensor, "rows width"], causal: bool) -> Tensor | dict[str, Tensor]:
    """The block mask, or one for each kind of layer where some have windows."""
    kind, window = score_type(parts.device), getattr(config, "sliding_window", None)
    if window is not None and causal:
        window -= 1  # it counts the token itself
    if config.model_type == "mistral":
        return block_mask(parts, kind, causal=causal, window=window)
    everywhere = block_mask(parts, kind, causal=causal)
    if not _has_windows(config):
        return everywhere
    local = block_mask(parts, kind, causal=causal, window=window)
    return {"full_attention": everywhere, "sliding_attention": local}


__all__ = [
    "PackedAttention",
    "check_packable",
    "check_varlen",
    "choose_packed_attention",
    "is_packable",
    "packed_inputs",
]
