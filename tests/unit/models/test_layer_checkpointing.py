"""Layers computed again on the way back: the same losses and gradients, dropout included, in less memory."""

import pytest
import torch
from transformers import BertConfig, GPT2Config, LlamaConfig, ModernBertConfig

from ptft.config import load
from ptft.errors import RecipeError
from ptft.inspection.estimates import planned_config, planned_tokenizer
from ptft.inspection.memory import count_memory
from ptft.models.building import new_model
from ptft.models.checkpointing import checkpoint_layers
from ptft.models.prediction import Forward
from ptft.steps import STEPS
from ptft.steps.trial import random_rows

SIZES = {
    "vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24,
    "max_position_embeddings": 32,
}  # fmt: skip
CONFIGS = {
    "bert": lambda: (BertConfig(**SIZES), "masked_lm"),
    "modernbert": lambda: (
        ModernBertConfig(
            **SIZES, pad_token_id=0, mlp_dropout=0.1, attention_dropout=0.1, sep_token_id=1, eos_token_id=1
        ),
        "masked_lm",
    ),
    "gpt2": lambda: (GPT2Config(vocab_size=50, n_embd=16, n_layer=2, n_head=2, eos_token_id=1), "causal_lm"),
    "llama": lambda: (LlamaConfig(**SIZES, attention_dropout=0.1), "causal_lm"),
}


def loss_and_gradients(model, dtype):
    draw = torch.Generator().manual_seed(0)
    batch = {"input_ids": torch.randint(3, 50, (4, 16), generator=draw)}
    labels = torch.randint(3, 50, (64,), generator=draw)
    torch.manual_seed(1)
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        loss = Forward(model.train(), batch).loss_sum(None, labels)
    loss.backward()
    return loss.detach(), {name: parameter.grad for name, parameter in model.named_parameters()}, torch.rand(1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", CONFIGS)
def test_loss_gradients_and_draws_are_the_same(kind, dtype):
    plain, again = (new_model(*CONFIGS[kind](), seed=0) for _ in range(2))
    counted = []
    block = next(part for part in again.base_model.modules() if isinstance(part, torch.nn.ModuleList))[0]
    inner = next(
        part
        for part in block.modules()
        if isinstance(part, torch.nn.LayerNorm | torch.nn.Linear)
        or "Norm" in type(part).__name__
        or "Conv1D" in type(part).__name__
    )
    inner.register_forward_hook(lambda *given: counted.append(1))
    checkpoint_layers(again)
    (loss, gradients, draw), (other, others, other_draw) = (loss_and_gradients(m, dtype) for m in (plain, again))
    assert len(counted) == 2  # forward, and once more on the way back
    assert torch.equal(loss, other)
    assert torch.equal(draw, other_draw)
    for name, gradient in gradients.items():
        assert (gradient is None) == (others[name] is None)
        assert gradient is None or torch.equal(gradient, others[name]), name


def test_an_architecture_that_cannot_is_refused():
    model = new_model(*CONFIGS["bert"](), seed=0)
    model.supports_gradient_checkpointing = False
    with pytest.raises(RecipeError, match="gradient_checkpointing: the layers of bert cannot be computed again; leave"):
        checkpoint_layers(model)


@pytest.mark.parametrize("preset", ["bert-tiny", "gpt2-tiny"])
def test_the_memory_that_is_counted_is_less(preset):
    objective = "causal_lm" if preset.startswith("gpt") else "masked_lm"
    base = {"corpus": {"path": "embedded"}, "preset": preset, "objective": objective, "vocab_size": 300}

    def activations(**others):
        step = load(STEPS["pretrain"], base={**base, **others}).settings
        config = planned_config(step, planned_tokenizer(step))
        with torch.device("meta"):
            model = new_model(config, step.head, 0)
        return count_memory(step, model, random_rows(step, config, 2), 8, "cpu", "fp32").activations

    assert activations(gradient_checkpointing=True) < 0.8 * activations()


def test_it_is_a_setting_of_a_run(tmp_path, step, pretrain_settings, monkeypatch):
    done = []
    monkeypatch.setattr("ptft.steps.training_step.checkpoint_layers", done.append)
    step("pretrain", **pretrain_settings("bert", gradient_checkpointing=True), out=str(tmp_path / "run"))
    step("pretrain", **pretrain_settings("bert"), out=str(tmp_path / "other"))
    assert len(done) == 1
