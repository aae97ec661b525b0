import math

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForPreTraining, BertTokenizer, GPT2Tokenizer

from ptft.errors import RecipeError
from ptft.models.building import check_shape, max_positions, new_config, new_model
from ptft.models.presets import PRESETS


@pytest.fixture(scope="module")
def tokenizers():
    bert = BertTokenizer(
        vocab={token: i for i, token in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a"])}
    )
    end = "<|endoftext|>"
    gpt2 = GPT2Tokenizer(
        vocab={end: 0, "<|pad|>": 1, "a": 2}, merges=[], bos_token=end, eos_token=end, pad_token="<|pad|>"
    )
    return {"encoder": bert, "decoder": gpt2}


@pytest.mark.parametrize("name", PRESETS)
def test_preset_builds_a_model(name, tokenizers):
    preset = PRESETS[name]
    tokenizer = tokenizers[preset.kind]
    config = new_config(preset, tokenizer, positions=preset.positions, dropout=0.0, shape={})
    assert config.model_type == preset.model_type
    assert config.vocab_size == len(tokenizer)
    assert (config.bos_token_id, config.eos_token_id) == (tokenizer.bos_token_id, tokenizer.eos_token_id)
    assert config.pad_token_id == tokenizer.pad_token_id
    assert max_positions(config) == preset.positions
    assert all(getattr(config, key) == value for key, value in preset.shape.items())
    with torch.device("meta"):
        model = new_model(config, "pretraining" if preset.kind == "encoder" else "causal_lm", 0)
    assert model.config.num_hidden_layers == config.num_hidden_layers


# Millions of parameters: Devlin et al. 2019; Turc et al. 2019, table 1; Radford et al. 2019 as released.
PUBLISHED = {
    "bert-tiny": 4.4,
    "bert-mini": 11.3,
    "bert-small": 29.1,
    "bert-medium": 41.7,
    "bert-base": 110.1,
    "bert-large": 340,
    "gpt2": 124.4,
    "gpt2-medium": 354.8,
    "gpt2-large": 774.0,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_number_of_parameters_is_as_published(name):
    preset = PRESETS[name]
    vocab_size = 30522 if preset.model_type == "bert" else 50257
    config = AutoConfig.for_model(preset.model_type, **preset.shape, vocab_size=vocab_size)
    kind = AutoModelForPreTraining if preset.kind == "encoder" else AutoModelForCausalLM
    with torch.device("meta"):
        model = kind.from_config(config)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(PUBLISHED[name], rel=0.015)


def test_dropout_is_set_everywhere(tokenizers):
    bert = new_config(PRESETS["bert-tiny"], tokenizers["encoder"], positions=16, dropout=0.25, shape={})
    assert (bert.hidden_dropout_prob, bert.attention_probs_dropout_prob) == (0.25, 0.25)
    gpt2 = new_config(PRESETS["gpt2-tiny"], tokenizers["decoder"], positions=16, dropout=0.25, shape={})
    assert (gpt2.resid_pdrop, gpt2.embd_pdrop, gpt2.attn_pdrop) == (0.25, 0.25, 0.25)


def test_shape_replaces_the_preset(tokenizers):
    shape = {"num_hidden_layers": 1, "max_position_embeddings": 24}
    config = new_config(PRESETS["bert-tiny"], tokenizers["encoder"], positions=16, dropout=0.0, shape=shape)
    assert (config.num_hidden_layers, config.max_position_embeddings, config.hidden_size) == (1, 24, 128)


@pytest.mark.parametrize(
    ("preset", "shape", "message"),
    [
        (
            "bert-tiny",
            {"num_hiden_layers": 2},
            r"shape\.num_hiden_layers: bert has no such .*did you mean 'num_hidden_layers'",
        ),
        ("gpt2-tiny", {"model_type": "bert"}, r"shape\.model_type: gpt2 has no such attribute"),
        ("bert-tiny", {"vocab_size": 100}, r"shape\.vocab_size: is decided by the tokenizer; leave it out"),
        ("bert-tiny", {"hidden_size": 17}, r"shape: the hidden size 17 cannot be divided among 2 attention heads"),
        ("gpt2-tiny", {"n_layer": 0}, r"shape: the number of layers must be at least 1, got 0"),
        (
            "llama-tiny",
            {"hidden_size": 17},
            r"shape: \{'hidden_size': 17\} is no shape of llama-tiny: .*not a multiple",
        ),
        (
            "bert-tiny",
            {"num_hidden_layers": "two"},
            r"is no shape of bert-tiny: .*expected int, got str \(value: 'two'\)",
        ),
        ("bert-tiny", {"hidden_act": "sine"}, r"shape: \{'hidden_act': 'sine'\} is no shape of bert-tiny: 'sine'"),
    ],
)
def test_impossible_shape(preset, shape, message):
    with pytest.raises(RecipeError, match=message):
        check_shape(PRESETS[preset], shape)


def test_weights_depend_on_the_seed_alone(tokenizers):
    config = new_config(PRESETS["bert-tiny"], tokenizers["encoder"], positions=16, dropout=0.0, shape={})
    first, again, other = (new_model(config, "masked_lm", seed).get_input_embeddings().weight for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_standard_deviation_of_embeddings(tokenizers):
    shape = {"hidden_size": 1024}
    config = new_config(PRESETS["bert-tiny"], tokenizers["encoder"], positions=16, dropout=0.0, shape=shape)
    weight = new_model(config, "masked_lm", 0, embedding_std=0.5).get_input_embeddings().weight
    assert weight.std().item() == pytest.approx(0.5, rel=0.1)


def test_sinusoidal_positions(tokenizers):
    config = new_config(PRESETS["bert-tiny"], tokenizers["encoder"], positions=16, dropout=0.0, shape={})
    model = new_model(config, "masked_lm", 0, embedding_std=0.1, position_init="sinusoidal")
    table = model.get_submodule("bert.embeddings.position_embeddings").weight.detach()
    width = table.shape[1]
    for position, column in ((0, 0), (3, 0), (3, 7), (15, width - 2)):
        angle = position / 10_000 ** (column // 2 * 2 / width)
        value = math.cos(angle) if column % 2 else math.sin(angle)
        assert table[position, column].item() == pytest.approx(0.1 * math.sqrt(2) * value, abs=1e-6)
    plain = new_model(config, "masked_lm", 0, embedding_std=0.1)
    others = {n: w for n, w in plain.named_parameters() if "position_embeddings" not in n}
    assert all(torch.equal(w, model.get_parameter(n)) for n, w in others.items())


def test_no_position_embeddings_to_initialise():
    with pytest.raises(RecipeError, match="position_init: llama-tiny computes its positions"):
        check_shape(PRESETS["llama-tiny"], {}, "sinusoidal")
    check_shape(PRESETS["gpt2-tiny"], {}, "sinusoidal")
