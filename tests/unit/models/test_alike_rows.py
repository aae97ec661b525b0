import pytest
import torch
from transformers import AutoModelForMaskedLM, BertConfig, RobertaConfig

from ptft.models.alike_rows import AlikeRows, reads_alike_rows
from ptft.models.onednn import has_onednn

PAD = 1
pytestmark = pytest.mark.skipif(not has_onednn(), reason="this torch has no oneDNN")


def make_model(kind, num_layers=3, **others):
    config = {"bert": BertConfig, "roberta": RobertaConfig}[kind](
        vocab_size=50, hidden_size=32, intermediate_size=48, num_hidden_layers=num_layers, num_attention_heads=4,
        max_position_embeddings=20, pad_token_id=PAD, initializer_range=0.3, **others,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return AutoModelForMaskedLM.from_config(config).eval()


def alike_rows(rows=6, seq=9):
    """Copies of two rows, each with another token hidden."""
    generator = torch.Generator().manual_seed(0)
    two = torch.randint(5, 50, (2, seq), generator=generator)
    ids = two.repeat(rows // 2, 1)
    positions = torch.arange(rows) % seq
    ids[torch.arange(rows), positions] = 4
    return ids, positions


@pytest.mark.parametrize("kind", ["bert", "roberta"])
@pytest.mark.parametrize("num_layers", [1, 2, 3])
@pytest.mark.parametrize("num_padding", [0, 2])
def test_states_are_those_of_the_stock_body(kind, num_layers, num_padding):
    model = make_model(kind, num_layers)
    with torch.no_grad():  # fresh biases are zero, which would hide a forgotten one
        for name, weight in model.named_parameters():
            if name.endswith("bias"):
                weight.uniform_(-0.5, 0.5)
    ids, positions = alike_rows()
    is_token = torch.ones_like(ids, dtype=torch.bool)
    if num_padding:
        is_token[3:, -num_padding:] = False
        ids[~is_token] = PAD
    with torch.inference_mode():
        expected = model.base_model(ids, attention_mask=is_token.long()).last_hidden_state
        found = AlikeRows(model).states(ids, is_token if num_padding else None, positions)
    torch.testing.assert_close(found, expected[torch.arange(len(ids)), positions], atol=2e-5, rtol=1e-5)


def test_padding_written_in_the_text_counts_as_the_stock_body_has_it():
    model = make_model("roberta")
    ids, positions = alike_rows()
    ids[:, 7] = PAD
    with torch.inference_mode():
        expected = model.base_model(ids, attention_mask=torch.ones_like(ids)).last_hidden_state
        found = AlikeRows(model).states(ids, None, positions)
    torch.testing.assert_close(found, expected[torch.arange(len(ids)), positions], atol=2e-5, rtol=1e-5)


def test_stock_encoder_in_32_bits_is_read():
    assert reads_alike_rows(make_model("bert"))


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.train(),
        lambda model: model.to(torch.bfloat16),
        lambda model: model.base_model.encoder.layer[0].register_forward_hook(lambda *_: None),
        lambda model: model.base_model.encoder.layer[0].attention.self.query.register_forward_pre_hook(lambda *_: None),
        lambda model: torch.nn.utils.parametrizations.weight_norm(model.base_model.encoder.layer[0].attention.self.key),
        lambda model: setattr(model.config, "model_type", "electra"),
    ],
)
def test_others_are_left_to_the_stock_body(change):
    model = make_model("bert")
    change(model)
    assert not reads_alike_rows(model)


def test_another_activation_is_left_to_the_stock_body():
    assert not reads_alike_rows(make_model("bert", hidden_act="relu"))
