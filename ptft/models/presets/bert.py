"""BERT's shapes: base and large of the paper, and the smaller ones of Turc et al. 2019 (arXiv 1908.08962)."""

from ptft.models.preset import Preset


def _bert(name: str, layers: int, width: int, heads: int) -> Preset:
    return Preset(
        name=f"bert-{name}",
        summary=f"BERT encoder, {layers} layers x {width}, {heads} heads, 512 positions",
        model_type="bert",
        kind="encoder",
        positions=512,
        shape={
            "num_hidden_layers": layers,
            "hidden_size": width,
            "num_attention_heads": heads,
            "intermediate_size": 4 * width,
        },
    )


TINY = _bert("tiny", 2, 128, 2)
MINI = _bert("mini", 4, 256, 4)
SMALL = _bert("small", 4, 512, 8)
MEDIUM = _bert("medium", 8, 512, 8)
BASE = _bert("base", 12, 768, 12)
LARGE = _bert("large", 24, 1024, 16)
