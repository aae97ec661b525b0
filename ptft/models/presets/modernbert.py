"""ModernBERT's shapes (Warner et al. 2024, arXiv 2412.13663): rotary positions, gated feed-forward layers, local
attention in two layers of three, no biases.

Base has 149 million parameters and large 395 in the paper, with 50,368 tokens. Base was trained at a learning rate of
8e-4 for 1.7 trillion tokens after a warm-up of 3 billion; large at 5e-4 for 900 billion tokens after one of 2 billion,
then at 5e-5 for 800 billion. The architecture has no head for pairs of texts.
"""

from ptft.models.preset import Preset


def _modernbert(name: str, layers: int, width: int, heads: int, inner: int) -> Preset:
    return Preset(
        name=f"modernbert-{name}",
        summary=f"ModernBERT encoder, {layers} layers x {width}, {heads} heads, 8192 positions",
        model_type="modernbert",
        kind="encoder",
        positions=8192,
        shape={
            "num_hidden_layers": layers,
            "hidden_size": width,
            "num_attention_heads": heads,
            "intermediate_size": inner,
        },
    )


BASE = _modernbert("base", 22, 768, 12, 1152)
LARGE = _modernbert("large", 28, 1024, 16, 2624)
