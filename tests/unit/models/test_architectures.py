"""Each stock architecture that a preset names goes through every stage: pretrained, opened, fine-tuned, prompted."""

import pytest
import torch
import transformers
from transformers import AutoConfig, AutoTokenizer

from ptft import generate
from ptft.models.building import new_config, new_model
from ptft.models.prediction import Forward, has_sparse_head
from ptft.models.presets import PRESETS
from ptft.tokenization import load_tokenizer

WIDE = {"num_hidden_layers": 2, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}
SHAPES = {
    "bert": WIDE,
    "roberta": WIDE,
    "modernbert": WIDE,
    "openai-gpt": {"n_layer": 2, "n_embd": 16, "n_head": 2},
    "gpt2": {"n_layer": 2, "n_embd": 16, "n_head": 2},
    "llama": {**WIDE, "num_key_value_heads": 2},
}
POSITIONS = 64
NEW = {"roberta": "roberta-base", "modernbert": "modernbert-base", "openai-gpt": "gpt1"}


def test_every_architecture_is_here():
    assert {preset.model_type for preset in PRESETS.values()} == set(SHAPES)


@pytest.mark.parametrize("name", ["bert-tiny", "gpt2-tiny", "llama-tiny", *NEW.values()])
def test_logits_at_chosen_positions_are_those_of_the_stock_class(name, bert_tokenizer, gpt_tokenizer):
    preset = PRESETS[name]
    tokenizer = bert_tokenizer if preset.kind == "encoder" else gpt_tokenizer
    config = new_config(preset, tokenizer, positions=32, dropout=0.0, shape=SHAPES[preset.model_type])
    config.initializer_range = 0.2
    model = new_model(config, "masked_lm" if preset.kind == "encoder" else "causal_lm", 0).eval()
    assert has_sparse_head(model)
    ids = torch.arange(10, 42).view(2, 16)
    chosen = torch.tensor([0, 5, 16, 31])
    logits = Forward(model, {"input_ids": ids}).token_logits(chosen)
    torch.testing.assert_close(logits, model(ids).logits.flatten(0, 1)[chosen])


@pytest.fixture(scope="module", params=NEW)
def pretrained(request, tmp_path_factory, step, pretrain_settings):
    """The run folder of a small model of an architecture; an encoder's rows are as long as its positions."""
    preset = PRESETS[NEW[request.param]]
    like = pretrain_settings("bert" if preset.kind == "encoder" else "gpt2")
    is_encoder = preset.kind == "encoder"
    positions = {"max_position_embeddings": like["length"]} if is_encoder else {"n_positions": POSITIONS}
    shape = {**SHAPES[request.param], **positions}
    objective = "masked_lm" if is_encoder else "causal_lm"
    folder = tmp_path_factory.mktemp("architectures") / request.param
    step("pretrain", **{**like, "preset": preset.name, "objective": objective, "shape": shape}, out=str(folder))
    return folder


def test_the_stock_class_opens_it_with_nothing_missing(pretrained):
    config = AutoConfig.from_pretrained(pretrained / "model")
    kind = getattr(transformers, config.architectures[0])
    _, report = kind.from_pretrained(pretrained / "model", output_loading_info=True)
    assert not any(report[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys"))


def test_the_saved_tokenizer_gives_the_same_ids(pretrained):
    ours = load_tokenizer(pretrained / "model")
    theirs = AutoTokenizer.from_pretrained(pretrained / "model")
    texts = ["The red Sun", "blue ice!"]
    assert theirs(*texts)["input_ids"] == ours(*texts)["input_ids"]


def test_it_is_fine_tuned(pretrained, step, table, tmp_path):
    result = step(
        "finetune", model=str(pretrained), data=str(table), budget="2steps", length=16, out=str(tmp_path / "x")
    )
    assert 0 <= result["test.accuracy"] <= 1


def test_a_decoder_is_prompted_and_writes(pretrained, step, table, tmp_path):
    if PRESETS[NEW[pretrained.name]].kind == "encoder":
        pytest.skip("an encoder is not prompted")
    result = step("prompt", model=str(pretrained), data=str(table), k=[0], seeds=1, out=str(tmp_path / "x"))
    assert result
    assert generate(model=str(pretrained), text="the red", max_new_tokens=3).startswith("the red")
