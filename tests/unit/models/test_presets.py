import math

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForPreTraining,
    BertTokenizer,
    GPT2Tokenizer,
)

from ptft.config import load
from ptft.errors import RecipeError
from ptft.models.building import check_shape, max_positions, new_config, new_model
from ptft.models.presets import PRESETS
from ptft.steps import STEPS


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
    for mark in ("cls", "sep"):
        assert getattr(config, f"{mark}_token_id", None) in (None, getattr(tokenizer, f"{mark}_token_id"))
    assert max_positions(config) == preset.positions
    assert all(getattr(config, key) == value for key, value in preset.shape.items())
    with torch.device("meta"):
        model = new_model(config, "masked_lm" if preset.kind == "encoder" else "causal_lm", 0)
    assert model.config.num_hidden_layers == config.num_hidden_layers


# Preset, vocabulary, millions of parameters that the source gives, how far the stock model may be from that.
PUBLISHED = [
    # Turc et al. 2019, table 1.
    ("bert-tiny", 30_522, 4.4, 0.01),
    ("bert-mini", 30_522, 11.3, 0.01),
    ("bert-small", 30_522, 29.1, 0.01),
    ("bert-medium", 30_522, 41.7, 0.01),
    # Devlin et al. 2019, section 3.
    ("bert-base", 30_522, 110, 0.005),
    ("bert-large", 30_522, 340, 0.015),  # the published checkpoint has 335 million and a pretraining head of 1
    # Liu et al. 2019, table 8; Warner et al. 2024, section 2.2.
    ("roberta-base", 50_265, 125, 0.005),
    ("roberta-large", 50_265, 355, 0.005),
    ("modernbert-base", 50_368, 149, 0.005),
    ("modernbert-large", 50_368, 395, 0.005),
    # Radford et al. 2018, who print no number; this is the one that is quoted.
    ("gpt1", 40_478, 117, 0.005),
    # Radford et al. 2019 as corrected with the release; for the paper's table 2 see below.
    ("gpt2", 50_257, 124, 0.005),
    ("gpt2-medium", 50_257, 355, 0.005),
    ("gpt2-large", 50_257, 774, 0.005),
    ("gpt2-xl", 50_257, 1_558, 0.005),
    # Brown et al. 2020, table 2.1, which rounds.
    ("gpt3-small", 50_257, 125, 0.01),
    ("gpt3-medium", 50_257, 350, 0.02),
    ("gpt3-large", 50_257, 760, 0.01),
    ("gpt3-xl", 50_257, 1_300, 0.02),
    ("gpt3-2.7b", 50_257, 2_700, 0.02),
    ("gpt3-6.7b", 50_257, 6_700, 0.01),
    ("gpt3-13b", 50_257, 13_000, 0.015),
    ("gpt3-175b", 50_257, 175_000, 0.005),
    # Zhang et al. 2024; Touvron et al. 2023, table 2.
    ("llama-1.1b", 32_000, 1_100, 0.005),
    ("llama-7b", 32_000, 6_700, 0.01),
    ("llama-13b", 32_000, 13_000, 0.005),
]


def length_of(preset):
    """The attribute that holds the positions, two more for RoBERTa as it was published."""
    name = "n_positions" if preset.model_type in ("openai-gpt", "gpt2") else "max_position_embeddings"
    return {name: preset.positions + 2 * (preset.model_type == "roberta")}


def millions(name, vocab_size):
    """Parameters of a preset with its pretraining head, made without memory."""
    preset = PRESETS[name]
    config = AutoConfig.for_model(preset.model_type, **{**preset.shape, **length_of(preset)}, vocab_size=vocab_size)
    kind = AutoModelForPreTraining if preset.model_type == "bert" else None
    kind = kind or (AutoModelForMaskedLM if preset.kind == "encoder" else AutoModelForCausalLM)
    with torch.device("meta"):
        model = kind.from_config(config)
    return sum(p.numel() for p in model.parameters()) / 1e6


@pytest.mark.parametrize(("name", "vocab_size", "published", "tolerance"), PUBLISHED)
def test_number_of_parameters_is_as_published(name, vocab_size, published, tolerance):
    assert millions(name, vocab_size) == pytest.approx(published, rel=tolerance)


def test_every_preset_of_a_paper_is_in_the_table():
    ours = {"gpt2-tiny", "gpt2-mini", "gpt2-small", "llama-tiny", "llama-mini", "llama-small", "llama-base"}
    assert {name for name, *_ in PUBLISHED} == set(PRESETS) - ours


@pytest.mark.parametrize(
    ("name", "printed"), [("gpt2", 117), ("gpt2-medium", 345), ("gpt2-large", 762), ("gpt2-xl", 1_542)]
)
def test_the_gpt2_paper_prints_fewer_parameters_than_its_numbers_give(name, printed):
    """Table 2 says 117M for what has 124M, and so on; the authors corrected it with the release."""
    assert 7 < millions(name, 50_257) - printed < 17


def test_where_the_numbers_of_gpt3_do_not_fit_together():
    """Table 2.1: 24 heads of 128 are wider than XL, and 13B's width of 5140 is no multiple of 128."""
    for name, printed in (("gpt3-xl", {"n_head": 24}), ("gpt3-13b", {"n_embd": 5140})):
        with pytest.raises(RecipeError, match="cannot be divided among"):
            check_shape(PRESETS[name], printed)
    heads = {
        name: preset.shape["n_embd"] / preset.shape["n_head"] for name, preset in PRESETS.items() if "gpt3" in name
    }
    assert heads == {
        "gpt3-small": 64, "gpt3-medium": 64, "gpt3-large": 96, "gpt3-xl": 128, "gpt3-2.7b": 80, "gpt3-6.7b": 128,
        "gpt3-13b": 128, "gpt3-175b": 128,
    }  # fmt: skip


def test_dropout_is_set_everywhere(tokenizers):
    bert = new_config(PRESETS["bert-tiny"], tokenizers["encoder"], positions=16, dropout=0.25, shape={})
    assert (bert.hidden_dropout_prob, bert.attention_probs_dropout_prob) == (0.25, 0.25)
    gpt2 = new_config(PRESETS["gpt2-tiny"], tokenizers["decoder"], positions=16, dropout=0.25, shape={})
    assert (gpt2.resid_pdrop, gpt2.embd_pdrop, gpt2.attn_pdrop) == (0.25, 0.25, 0.25)


def test_dropout_of_every_kind_is_set(tokenizers):
    config = new_config(PRESETS["modernbert-base"], tokenizers["encoder"], positions=16, dropout=0.25, shape={})
    assert (config.embedding_dropout, config.attention_dropout, config.mlp_dropout) == (0.25, 0.25, 0.25)


def test_rows_for_padding_come_on_top_of_the_positions(tokenizers):
    for shape in ({}, {"max_position_embeddings": 16}):
        config = new_config(PRESETS["roberta-base"], tokenizers["encoder"], positions=16, dropout=0.0, shape=shape)
        assert (max_positions(config), config.max_position_embeddings) == (16, 16 + config.pad_token_id + 1)


@pytest.mark.parametrize("name", ["roberta-base", "modernbert-base"])
def test_no_head_for_pairs(name, tokenizers):
    shape = {"num_hidden_layers": 1}
    config = new_config(PRESETS[name], tokenizers["encoder"], positions=16, dropout=0.0, shape=shape)
    with pytest.raises(RecipeError, match=f"{config.model_type} has no head for pairs of texts; train it with masked"):
        new_model(config, "pretraining", 0)


def test_shape_replaces_the_preset(tokenizers):
    shape = {"num_hidden_layers": 1, "max_position_embeddings": 24}
    config = new_config(PRESETS["bert-tiny"], tokenizers["encoder"], positions=16, dropout=0.0, shape=shape)
    assert (config.num_hidden_layers, config.max_position_embeddings, config.hidden_size) == (1, 24, 128)


def test_embeddings_can_be_tied_to_the_output(tokenizers):
    for is_tied in (False, True):
        overrides = ["preset=llama-tiny", "objective=causal_lm", "out=x"]
        overrides += ["shape.tie_word_embeddings=true"] * is_tied
        shape = load(STEPS["pretrain"], None, overrides).settings.shape
        config = new_config(PRESETS["llama-tiny"], tokenizers["decoder"], positions=16, dropout=0.0, shape=shape)
        model = new_model(config, "causal_lm", 0)
        assert (model.get_output_embeddings().weight is model.get_input_embeddings().weight) == is_tied


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
    check_shape(PRESETS["gpt1"], {}, "sinusoidal")
