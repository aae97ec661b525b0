"""Texts of a packed row do not see each other, and each has the hidden states that it has alone."""

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM, BertConfig, BertForPreTraining

from ptft.errors import DeviceError, RecipeError
from ptft.models import varlen
from ptft.models.apart import APART
from ptft.models.packed_attention import check_packable, check_varlen, choose_packed_attention
from ptft.models.packing import best_fit
from ptft.models.plain_attention import PLAIN
from ptft.models.prediction import Forward, is_decoder
from ptft.models.presets import PRESETS
from ptft.models.varlen import VARLEN
from ptft.objectives.rows import Rows

WIDE = {"num_hidden_layers": 2, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}
SLIDING = {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1}
SHAPES = {
    "bert": WIDE,
    "roberta": WIDE,
    "camembert": WIDE,
    "xlm-roberta": WIDE,
    "distilbert": {"n_layers": 2, "dim": 16, "n_heads": 2, "hidden_dim": 32},
    "modernbert": {**WIDE, "num_hidden_layers": 4, "local_attention": 6},
    "gpt2": {"n_layer": 2, "n_embd": 16, "n_head": 2},
    "llama": {**WIDE, "num_key_value_heads": 1},
    "mistral": {**WIDE, "num_key_value_heads": 1, "sliding_window": 5},
    "qwen2": {**WIDE, "num_key_value_heads": 1, **SLIDING},
    "qwen3": {**WIDE, "num_key_value_heads": 2, "head_dim": 8},
}
DECODERS = ("gpt2", "llama", "mistral", "qwen2", "qwen3")
LENGTHS = np.array([11, 20, 7, 16, 3, 5])
WIDTH = 32


def model_of(model_type, **others):
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        model_type, vocab_size=100, pad_token_id=1, bos_token_id=2, eos_token_id=2, initializer_range=0.3,
        **SHAPES[model_type], **others,
    )  # fmt: skip
    kind = AutoModelForCausalLM if model_type in DECODERS else AutoModelForMaskedLM
    return kind.from_config(config).eval()


def batches():
    """Six examples packed, and the same one a row."""
    ids = np.where(np.arange(20) < LENGTHS[:, None], np.random.default_rng(0).integers(5, 100, (6, 20)), 1)
    rows = Rows(ids, LENGTHS, np.arange(6), (0, 0), layout=best_fit(LENGTHS, WIDTH))
    packed = rows.batch().tensors
    rows.layout = None
    return packed, rows.batch().tensors


def hidden_by_example(model, batch):
    """The hidden states of each example's tokens."""
    hidden = Forward(model, batch).hidden.detach().flatten(0, 1)
    first = batch.get("first_positions", torch.arange(6) * 20)
    return [hidden[begin : begin + length] for begin, length in zip(first.tolist(), LENGTHS, strict=True)]


def test_every_preset_is_packed_or_refused():
    refused = set()
    for preset in PRESETS.values():
        try:
            check_packable(AutoConfig.for_model(preset.model_type))
        except RecipeError as error:
            assert preset.model_type in str(error)
            refused.add(preset.model_type)
        else:
            assert preset.model_type in SHAPES
    assert refused == {"openai-gpt"}


def reference_varlen(query, key, value, ends, key_ends, longest, _, *, scale, window_size, enable_gqa):
    """What the kernel promises, one part after the other."""
    assert torch.equal(ends, key_ends) and ends.dtype == torch.int32
    if enable_gqa:
        key, value = (states.repeat_interleave(query.shape[1] // key.shape[1], 1) for states in (key, value))
    assert key.shape == query.shape
    attended = torch.full_like(query, torch.nan)
    left, right = window_size
    for begin, end in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True):
        assert end - begin <= longest
        place = torch.arange(end - begin)
        away = place[:, None] - place
        hidden = ((away > left) if left >= 0 else away < -end) | ((-away > right) if right >= 0 else away < -end)
        scores = torch.einsum("qhd,khd->hqk", query[begin:end], key[begin:end]) * scale
        shares = scores.masked_fill(hidden, -torch.inf).softmax(-1)
        attended[begin:end] = torch.einsum("hqk,khd->qhd", shares, value[begin:end])
    return attended


WINDOWS = ("modernbert", "mistral", "qwen2")


@pytest.fixture(params=["sdpa", PLAIN, "varlen", "apart"])
def attention(request, monkeypatch):
    """Set one of the four ways."""
    if request.param == "varlen":
        monkeypatch.setattr(varlen, "varlen_attn", reference_varlen)
    name = {"varlen": VARLEN, "apart": APART}.get(request.param, request.param)

    def choose(model):
        if name == APART and model.config.model_type in WINDOWS:
            pytest.skip("it has windows, which need the mask or the kernel")
        model.set_attn_implementation(name)

    return choose


@pytest.mark.parametrize("model_type", SHAPES)
def test_an_example_has_the_hidden_states_that_it_has_alone(model_type, attention):
    model = model_of(model_type)
    packed, alone = batches()
    expected = hidden_by_example(model, alone)
    attention(model)
    for found, right in zip(hidden_by_example(model, packed), expected, strict=True):
        torch.testing.assert_close(found, right, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("model_type", SHAPES)
def test_an_example_changes_no_other(model_type, attention):
    model = model_of(model_type)
    attention(model)
    packed, _ = batches()
    before = hidden_by_example(model, packed)
    for changed, (begin, length) in enumerate(zip(packed["first_positions"].tolist(), LENGTHS, strict=True)):
        other = {**packed, "input_ids": packed["input_ids"].clone()}
        other["input_ids"].view(-1)[begin : begin + length] = torch.arange(50, 50 + length)
        after = hidden_by_example(model, other)
        differs = [(one - two).abs().max().item() for one, two in zip(before, after, strict=True)]
        assert differs[changed] > 0.01
        assert max(differs[:changed] + differs[changed + 1 :]) < 1e-6


@pytest.mark.parametrize("model_type", ["bert", "gpt2"])
def test_examples_together_see_each_other_and_no_padding(model_type):
    model = model_of(model_type)
    ids = np.arange(10, 36).reshape(2, 13)
    lengths = np.array([13, 12])
    layout = best_fit(lengths, 32)
    both = Rows(ids, lengths, lengths, (0, 0), layout=type(layout)(*vars(layout).values()))
    apart = Forward(model, both.batch().tensors).hidden[0]
    both.layout = type(layout)(layout.row, layout.offset, 1, 32, together=True)
    batch = both.batch().tensors
    together = Forward(model, batch).hidden[0]
    assert (apart - together)[13:25].abs().max() > 0.01
    batch["input_ids"][0, 25:] = 99
    torch.testing.assert_close(Forward(model, batch).hidden[0, :25], together[:25], rtol=0, atol=1e-6)


@pytest.mark.parametrize("attention", ["sdpa", PLAIN, APART])
def test_bf16_goes_both_ways_without_nan(attention):
    model = model_of("bert").train()
    model.set_attn_implementation(attention)
    packed, _ = batches()
    with torch.autocast("cpu", torch.bfloat16):
        hidden = Forward(model, packed).hidden
    assert torch.isfinite(hidden).all()  # that of padding too
    hidden.float().square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_each_example_is_pooled():
    torch.manual_seed(0)
    model = BertForPreTraining(BertConfig(vocab_size=100, pad_token_id=1, initializer_range=0.3, **WIDE)).eval()
    packed, alone = batches()
    torch.testing.assert_close(Forward(model, packed).pooled, Forward(model, alone).pooled, rtol=1e-4, atol=1e-5)


def test_rows_that_are_not_packed_go_the_stock_way():
    for model_type, name in (
        ("bert", VARLEN),
        ("llama", VARLEN),
        ("modernbert", VARLEN),
        ("bert", APART),
        ("gpt2", APART),
    ):
        model = model_of(model_type)
        _, alone = batches()
        expected = hidden_by_example(model, alone)
        model.set_attn_implementation(name)
        for found, right in zip(hidden_by_example(model, alone), expected, strict=True):
            torch.testing.assert_close(found, right)


def test_ends_of_parts_cover_the_rows():
    layout = best_fit(LENGTHS, WIDTH)
    ends = layout.ends(LENGTHS)
    assert len(ends) == 16, "two rows of three examples and a padding each, and a power of two"
    assert ends[0] == 0 and ends[-1] == layout.num_rows * WIDTH
    sizes = np.diff(ends)
    padding = WIDTH - np.bincount(layout.row, LENGTHS)
    assert sorted(sizes[sizes > 0]) == sorted([*LENGTHS, *padding[padding > 0]])


@pytest.mark.parametrize(
    ("how", "device", "precision", "texts_a_row", "expected"),
    [
        ("auto", "cpu", "bf16", 1, "sdpa"),
        ("auto", "cpu", "bf16", 4, APART),
        ("auto", "cuda", "fp32", 1, "sdpa"),
        ("auto", "cuda", "fp32", 2, APART),
        ("auto", "cuda", "bf16", 4, VARLEN),
        ("mask", "cuda", "bf16", 4, "sdpa"),
        ("varlen", "cuda", "fp16", 1, VARLEN),
    ],
)
def test_choice(how, device, precision, texts_a_row, expected):
    model = model_of("bert", attention_probs_dropout_prob=0.0)
    choose_packed_attention(model, how, device, precision, texts_a_row)
    assert model.config._attn_implementation == expected


def test_the_choice_is_not_saved(tmp_path):
    model = model_of("bert", attention_probs_dropout_prob=0.0)
    choose_packed_attention(model, "auto", "cuda", "bf16", 4)
    model.save_pretrained(tmp_path)
    assert VARLEN not in (tmp_path / "config.json").read_text()


def test_a_model_with_windows_takes_the_mask():
    for model_type in WINDOWS:
        model = model_of(model_type)
        choose_packed_attention(model, "auto", "cpu", "fp32", 4)
        assert model.config._attn_implementation == "sdpa"


def test_dropout_in_attention_takes_the_mask():
    model = model_of("bert", attention_probs_dropout_prob=0.1)
    choose_packed_attention(model, "auto", "cuda", "bf16", 1)
    assert model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize(
    ("device", "precision", "others", "kind", "sentence"),
    [
        ("cpu", "bf16", {}, DeviceError, "needs a CUDA device, and this is cpu; use packed_attention=mask"),
        ("cuda", "fp32", {}, DeviceError, "needs precision=bf16 or fp16, and this is fp32"),
        ("cuda", "bf16", {"attention_probs_dropout_prob": 0.1}, RecipeError, "attention_probs_dropout_prob is 0.1"),
        ("cuda", "bf16", {"hidden_size": 36, "num_attention_heads": 3}, RecipeError, "and this model's 12"),
    ],
)
def test_what_varlen_cannot_do(device, precision, others, kind, sentence):
    config = BertConfig(**{**WIDE, "attention_probs_dropout_prob": 0.0, **others})
    with pytest.raises(kind, match=sentence):
        check_varlen(config, device, precision)


@pytest.mark.gpu
@pytest.mark.parametrize("model_type", ["bert", "modernbert", "gpt2", "llama"])
def test_the_kernel_gives_what_the_mask_gives(model_type):
    shape = {"attention_probs_dropout_prob": 0.0} if model_type == "bert" else {}
    model = model_of(model_type, **shape).cuda()
    packed = {name: tensor.cuda() for name, tensor in batches()[0].items()}
    found = []
    for name in ("sdpa", VARLEN):
        model.set_attn_implementation(name)
        with torch.autocast("cuda", torch.bfloat16):
            hidden = Forward(model, packed).hidden.float()
        used = hidden[packed["parts"] > 0]
        model.zero_grad()
        used.square().mean().backward()
        assert is_decoder(model) == (model_type in DECODERS)
        found.append([used.detach(), *(p.grad for p in model.parameters() if p.grad is not None)])
    for mask, kernel in zip(*found, strict=True):
        assert torch.isfinite(kernel).all()
        torch.testing.assert_close(kernel, mask, rtol=0.05, atol=0.05 * mask.abs().max().item())
