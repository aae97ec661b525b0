"""BERT's shapes: base and large of Devlin et al. 2019 (arXiv 1810.04805), and the smaller ones of Turc et al. 2019
(arXiv 1908.08962).

Base has 110 million parameters and large 340 in the paper, with 30,522 WordPiece tokens. Both were trained with a
learning rate of 1e-4 and 256 rows a step for a million steps, nine tenths of them with 128 tokens a row and the rest
with 512.
"""

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
