"""Llama-style decoders: rotary positions, SwiGLU, RMSNorm (Touvron et al. 2023, arXiv 2302.13971), and smaller ones.

7B and 13B are the paper's, which have 6.7 and 13.0 billion parameters with 32,000 tokens and were trained at a learning
rate of 3e-4 with 4 million tokens a step. 1.1B is TinyLlama's (Zhang et al. 2024, arXiv 2401.02385), with 4 key-value
heads, trained at 4e-4 with 2 million tokens a step. The small ones are ours.
"""

from ptft.models.preset import Preset


def _llama(name: str, layers: int, width: int, heads: int, inner: int, positions: int, key_heads: int = 0) -> Preset:
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
            "num_key_value_heads": key_heads or heads,
            "intermediate_size": inner,
        },
    )


TINY = _llama("tiny", 2, 128, 2, 384, 512)
MINI = _llama("mini", 4, 256, 4, 768, 512)
SMALL = _llama("small", 6, 384, 6, 1024, 1024)
BASE = _llama("base", 12, 768, 12, 2048, 1024)
B1_1 = _llama("1.1b", 22, 2048, 32, 5632, 2048, key_heads=4)
B7 = _llama("7b", 32, 4096, 32, 11008, 2048)
B13 = _llama("13b", 40, 5120, 40, 13824, 2048)
