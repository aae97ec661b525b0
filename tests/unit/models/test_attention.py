"""Which attention a model trains with, and that the choice changes no more than rounding."""

import pytest
import torch
from transformers import AutoModel, BertConfig, BertModel, GPT2Config, LlamaConfig, ModernBertConfig
from transformers.activations import NewGELUActivation

from ptft.models.activation import fuse_activations
from ptft.models.attention import choose_attention
from ptft.models.plain_attention import PLAIN


def model():
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=50, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    return BertModel(config)


@pytest.mark.parametrize(
    ("device", "precision", "length", "expected"),
    [
        ("cpu", "bf16", 128, PLAIN),
        ("cpu", "bf16", 1024, "sdpa"),
        ("cpu", "fp32", 128, "sdpa"),
        ("cuda", "bf16", 128, "sdpa"),
    ],
)
def test_choice(device, precision, length, expected):
    chosen = model()
    choose_attention(chosen, device, precision, length)
    assert chosen.config._attn_implementation == expected


def test_what_the_user_chose_stays():
    chosen = model()
    chosen.set_attn_implementation("flex_attention")
    choose_attention(chosen, "cpu", "bf16", 128)
    assert chosen.config._attn_implementation == "flex_attention"


def test_hidden_states_and_gradients_are_the_same():
    ids = torch.arange(3, 27).reshape(2, 12)
    mask = torch.ones_like(ids)
    mask[1, 7:] = 0
    found = []
    for is_chosen in (False, True):
        one = model()
        if is_chosen:
            choose_attention(one, "cpu", "bf16", 12)
        hidden = one(input_ids=ids, attention_mask=mask).last_hidden_state[mask.bool()]
        hidden.square().sum().backward()
        found.append([hidden.detach(), *(p.grad for p in one.parameters() if p.grad is not None)])
    for fused, plain in zip(*found, strict=True):
        assert torch.allclose(fused, plain, atol=1e-4)


SIZES = {"vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
OTHERS = {
    "llama": LlamaConfig(**SIZES, intermediate_size=64, num_key_value_heads=2),
    "gpt2": GPT2Config(vocab_size=50, n_embd=32, n_layer=2, n_head=4, attn_pdrop=0.0, embd_pdrop=0.0, resid_pdrop=0.0),
    "modernbert": ModernBertConfig(**SIZES, intermediate_size=64, local_attention=4, pad_token_id=0),
}


@pytest.mark.parametrize("name", OTHERS)
def test_plain_attention_is_that_of_the_fused_kernel(name):
    ids = torch.arange(3, 27).reshape(2, 12)
    mask = torch.ones_like(ids)
    mask[1, 7:] = 0
    torch.manual_seed(0)
    one = AutoModel.from_config(OTHERS[name]).eval()
    found = []
    for attention in ("sdpa", PLAIN):
        one.set_attn_implementation(attention)
        found.append(one(input_ids=ids, attention_mask=mask).last_hidden_state[mask.bool()])
    assert torch.allclose(*found, atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = one(input_ids=ids, attention_mask=mask).last_hidden_state[mask.bool()]
    assert torch.allclose(rounded.float(), found[0], atol=0.1)


def test_one_kernel_is_what_eight_were():
    torch.manual_seed(0)
    one = AutoModel.from_config(OTHERS["gpt2"]).eval()
    ids, names = torch.arange(3, 27).reshape(2, 12), set(one.state_dict())
    before = one(input_ids=ids).last_hidden_state
    fuse_activations(one)
    assert not any(isinstance(module, NewGELUActivation) for module in one.modules())
    assert torch.allclose(one(input_ids=ids).last_hidden_state, before, atol=1e-6)
    assert set(one.state_dict()) == names


def test_the_choice_is_not_saved(tmp_path):
    chosen = model()
    choose_attention(chosen, "cpu", "bf16", 12)
    chosen.save_pretrained(tmp_path)
    assert BertModel.from_pretrained(tmp_path).config._attn_implementation == "sdpa"
