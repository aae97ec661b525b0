"""RoBERTa's shapes (Liu et al. 2019, arXiv 1907.11692): BERT's, without token types, for masked LM alone.

Base was trained with a learning rate of 6e-4, large with 4e-4, both with 8,192 rows of 512 tokens a step for 500,000
steps (table 9 of the paper) and 50,265 byte-level BPE tokens. The architecture has no head for pairs of texts.
"""

from ptft.models.preset import Preset


def _roberta(name: str, layers: int, width: int, heads: int) -> Preset:
    return Preset(
        name=f"roberta-{name}",
        summary=f"RoBERTa encoder, {layers} layers x {width}, {heads} heads, 512 positions",
        model_type="roberta",
        kind="encoder",
        positions=512,
        shape={
            "num_hidden_layers": layers,
            "hidden_size": width,
            "num_attention_heads": heads,
            "intermediate_size": 4 * width,
            "type_vocab_size": 1,
            "layer_norm_eps": 1e-5,
        },
    )


BASE = _roberta("base", 12, 768, 12)
LARGE = _roberta("large", 24, 1024, 16)
