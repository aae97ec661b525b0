"""Which of the stock attention implementations a model trains with."""

from transformers import PreTrainedModel

from ptft.models.plain_attention import PLAIN

_LONGEST = 512
BOTH_WAYS = ("gpt2", "llama", "qwen2", "qwen3")
"""Decoders whose stock attention goes both ways if it is told to: by a mask, or by is_causal in the configuration."""


def choose_attention(model: PreTrainedModel, device_type: str, precision: str, length: int) -> None:
    """Take plain matrix products for attention where they train faster than the fused kernel, in place.

    On a CPU in bf16 the backward pass of torch's fused attention is slower than plain products for rows of up to 512
    tokens, and its forward pass no faster; in fp32 plain products gain nothing. A model that is not on the fused kernel
    is left alone.

    Args:
        model: A stock model.
        device_type: Where it trains: cpu, cuda, ...
        precision: Of matrix products: fp32, bf16 or fp16.
        length: Longest row in tokens.
    """
    is_fused = getattr(model.config, "_attn_implementation", None) == "sdpa"
    if device_type == "cpu" and precision == "bf16" and length <= _LONGEST and is_fused:
        model.set_attn_implementation(PLAIN)
