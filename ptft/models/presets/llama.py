"""Llama-style decoders (Touvron et al. 2023, arXiv 2302.13971) in small sizes: rotary positions, SwiGLU, RMSNorm."""

from ptft.models.preset import Preset


def _llama(name: str, layers: int, width: int, heads: int, inner: int, positions: int) -> Preset:
    return Preset(
        name=f"llama-{name}",
        summary=f"Llama-style decoder, {layers} layers x {width}, {heads} heads, {positions} positions",
        model_type="llama",
        kind="decoder",
        positions=positions,
        shape={
            "num_hidden_layers": layers,
            "hidden_size": width,
            "num_attention_heads": heads,
            "num_key_value_heads": heads,
            "intermediate_size": inner,
        },
    )


TINY = _llama("tiny", 2, 128, 2, 384, 512)
MINI = _llama("mini", 4, 256, 4, 768, 512)
SMALL = _llama("small", 6, 384, 6, 1024, 1024)
BASE = _llama("base", 12, 768, 12, 2048, 1024)
