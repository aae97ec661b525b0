"""Floating-point operations by formula."""

import pytest
import torch
from transformers import AutoModelForMaskedLM, ModernBertConfig

from ptft.models.flops import training_flops

WIDTH, LAYERS, WINDOW = 32, 4, 16


@pytest.fixture(scope="module")
def local():
    """A ModernBERT whose first and last of four layers see the whole row."""
    sizes = {"hidden_size": WIDTH, "intermediate_size": 48, "num_attention_heads": 2, "num_hidden_layers": LAYERS}
    ids = {f"{name}_token_id": 0 for name in ("pad", "bos", "eos", "cls", "sep")}
    config = ModernBertConfig(vocab_size=64, max_position_embeddings=256, local_attention=WINDOW, **sizes, **ids)
    assert [kind == "sliding_attention" for kind in config.layer_types] == [False, True, True, False]
    with torch.device("meta"):
        return AutoModelForMaskedLM.from_config(config)


@pytest.mark.parametrize(("length", "seen"), [(8, 4 * 8), (16, 4 * 16), (256, 2 * 256 + 2 * 16)])
def test_layers_of_local_attention_count_their_window(local, length, seen):
    without = training_flops(local, 100, 0, 0)
    assert training_flops(local, 100, length, 0) - without == 100 * 12 * WIDTH * seen
