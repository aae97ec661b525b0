import json
import sys
from typing import Annotated

import pytest
import torch
from safetensors.torch import load, save
from torch import nn
from transformers import BertConfig, BertForPreTraining, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from ptft.config import Choice, Settings, dump
from ptft.config import load as load_settings
from ptft.errors import DeviceError, RecipeError
from ptft.optim.optimizer import Optimizers, OptimizerSettings, parameter_groups
from ptft.optim.optimizers import OPTIMIZERS
from ptft.optim.optimizers.adamw import AdamW
from ptft.steps import STEPS

SIZES = {"num_hidden_layers": 1, "hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 12}


def make_model(kind):
    torch.manual_seed(0)
    if kind == "bert":
        return BertForPreTraining(BertConfig(vocab_size=20, max_position_embeddings=16, **SIZES))
    if kind == "gpt2":
        return GPT2LMHeadModel(GPT2Config(vocab_size=20, n_positions=16, n_embd=8, n_layer=1, n_head=2, eos_token_id=0))
    return LlamaForCausalLM(LlamaConfig(vocab_size=20, max_position_embeddings=16, **SIZES))


class Net(nn.Module):
    """A block with a matrix and a bias, and a head."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.ModuleList([nn.Linear(4, 4)])
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(torch.tanh(self.layer[0](x)))


LIBRARY = {"lamb": "pytorch_optimizer", "stableadamw": "pytorch_optimizer"}


def build(name, model, lr=0.01):
    pytest.importorskip(LIBRARY.get(name, "torch"), reason="an optimizer that torch lacks")
    settings = OPTIMIZERS[name]()
    groups = parameter_groups(model.named_parameters(), lr, settings.weight_decay)
    return Optimizers(settings.build(groups, model))


def train(model, optimizers, steps, start=0):
    for step in range(start, start + steps):
        optimizers.set_lr(1 / (1 + step), step)
        x = torch.sin(torch.arange(12.0).view(3, 4) + step)
        model(x).square().sum().backward()
        optimizers.step()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_one_step_changes_every_weight(name):
    model = Net()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    train(model, build(name, model), 1)
    assert all(not torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_state_goes_through_files_without_loss(name):
    model = Net()
    optimizers = build(name, model)
    train(model, optimizers, 3)
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    tensors, scalars = optimizers.state()
    tensors, scalars = load(save(tensors)), json.loads(json.dumps(scalars))
    train(model, optimizers, 3, start=3)

    resumed = Net()
    resumed.load_state_dict(weights)
    others = build(name, resumed)
    others.load(tensors, scalars)
    train(resumed, others, 3, start=3)
    for key, value in model.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key


class Recipe(Settings):
    optimizer: Annotated[OptimizerSettings, Choice(OPTIMIZERS)] = AdamW()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_settings_survive_a_stored_recipe(name, tmp_path):
    recipe = load_settings(Recipe, overrides=[f"optimizer={name}"]).settings
    (tmp_path / "recipe.yaml").write_text(dump(recipe))
    assert load_settings(Recipe, tmp_path / "recipe.yaml").settings == recipe


def test_sgd_takes_a_momentum_between_0_and_1():
    recipe = load_settings(Recipe, overrides=["optimizer=sgd", "optimizer.momentum=0.9", "optimizer.nesterov=true"])
    (optimizer,) = recipe.settings.optimizer.build(parameter_groups(Net().named_parameters(), 0.1, 0.0), Net())
    assert optimizer.defaults["momentum"] == 0.9
    assert optimizer.defaults["nesterov"] is True


def test_what_torch_refuses_is_a_sentence():
    with pytest.raises(RecipeError, match=r"optimizer: Nesterov momentum requires a momentum and zero dampening"):
        OPTIMIZERS["sgd"](nesterov=True).build(parameter_groups(Net().named_parameters(), 0.1, 0.0), Net())


@pytest.mark.parametrize("verb", ["pretrain", "finetune", "curve"])
def test_negative_learning_rate_is_a_sentence(verb):
    kind = STEPS[verb]
    required = ["data=polarity"] if verb != "pretrain" else []
    with pytest.raises(RecipeError, match=r"lr\S* ?.*-1"):
        load_settings(kind, overrides=["lr=-1", *required]).settings.check()


@pytest.mark.parametrize("override", ["optimizer.beta1=1.0", "optimizer.weight_decay=-0.1", "optimizer.eps=0"])
def test_setting_out_of_range(override):
    with pytest.raises(RecipeError, match=override.split("=")[0]):
        load_settings(Recipe, overrides=[override])


def test_groups_leave_frozen_parameters_out():
    model = Net()
    model.head.requires_grad_(False)
    groups = parameter_groups(model.named_parameters(), 0.1, 0.5)
    assert [[tuple(p.shape) for p in group["params"]] for group in groups] == [[(4, 4)], [(4,)]]


@pytest.mark.parametrize("kind", ["bert", "gpt2", "llama"])
@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_no_weight_decay_on_biases_and_norms(name, kind):
    model = make_model(kind)
    settings = OPTIMIZERS[name](weight_decay=0.5, **({"adamw_weight_decay": 0.25} if name == "muon" else {}))
    groups = parameter_groups(model.named_parameters(), 0.1, settings.weight_decay)
    decay = {
        id(p): g["weight_decay"] for o in settings.build(groups, model) for g in o.param_groups for p in g["params"]
    }
    for key, parameter in model.named_parameters():
        is_matrix = not (key.endswith("bias") or "norm" in key.lower() or ".ln_" in key)
        assert (decay[id(parameter)] > 0) == is_matrix, key


MUON_NAMES = {
    "bert": {
        f"bert.encoder.layer.0.{part}.weight"
        for part in (
            "attention.self.query",
            "attention.self.key",
            "attention.self.value",
            "attention.output.dense",
            "intermediate.dense",
            "output.dense",
        )
    },
    "gpt2": {f"transformer.h.0.{part}.weight" for part in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")},
    "llama": {
        *(f"model.layers.0.self_attn.{part}_proj.weight" for part in "qkvo"),
        *(f"model.layers.0.mlp.{part}_proj.weight" for part in ("gate", "up", "down")),
    },
}


@pytest.mark.parametrize("kind", MUON_NAMES)
def test_muon_has_the_matrices_of_the_blocks_and_adamw_the_rest(kind):
    model = make_model(kind)
    adamw, muon = OPTIMIZERS["muon"]().build(parameter_groups(model.named_parameters(), 0.1, 0.1), model)
    names = {id(parameter): key for key, parameter in model.named_parameters()}
    of = {o: {names[id(p)] for g in o.param_groups for p in g["params"]} for o in (adamw, muon)}
    assert of[muon] == MUON_NAMES[kind]
    assert of[adamw] == set(names.values()) - of[muon]


def test_muon_has_a_learning_rate_of_its_own_that_follows_the_schedule():
    model = Net()
    settings = OPTIMIZERS["muon"](matrix_lr=0.02)
    built = settings.build(parameter_groups(model.named_parameters(), 0.001, 0.1), model)
    assert Optimizers(built).set_lr(0.5, 0) == pytest.approx(0.0005)
    assert [group["lr"] for optimizer in built for group in optimizer.param_groups] == pytest.approx([5e-4, 5e-4, 0.01])


def test_norm_before_clipping_is_returned():
    model = Net()
    optimizers = build("sgd", model)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 2.0)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert optimizers.clip(0).item() == pytest.approx(2 * count**0.5)
    assert optimizers.clip(1.0).item() == pytest.approx(2 * count**0.5)
    assert optimizers.clip(0).item() == pytest.approx(1.0, abs=1e-4)


def test_centered_rows_have_mean_zero_after_a_step_and_logits_differ_by_one_number_a_text():
    torch.manual_seed(0)
    found = []
    for is_centered in (False, True):
        torch.manual_seed(1)
        embedding = nn.Embedding(50, 8)
        built = AdamW().build(parameter_groups(embedding.named_parameters(), 0.1, 0.0), embedding)
        optimizers = Optimizers(built, centered=[embedding.weight] if is_centered else [])
        embedding(torch.tensor([1, 2, 3])).sum().backward()
        optimizers.step()
        found.append(embedding.weight.detach())
    plain, centered = found
    assert plain.mean(0).abs().max() > 0.01
    torch.testing.assert_close(centered.mean(0), torch.zeros(8), atol=1e-6, rtol=0)
    hidden = torch.randn(4, 8)
    torch.testing.assert_close((hidden @ centered.T).log_softmax(-1), (hidden @ plain.T).log_softmax(-1))


def test_average_of_the_weights_is_the_formula_and_changes_places():
    model, twin = Net(), Net()
    groups = [parameter_groups(m.named_parameters(), 0.05, 0.0) for m in (model, twin)]
    averaged, plain = Optimizers(AdamW().build(groups[0], model), ema=0.75), Optimizers(AdamW().build(groups[1], twin))
    assert sorted(averaged.state()[0]) == []
    expected: dict[str, torch.Tensor] = {}
    for step in range(4):
        train(model, averaged, 1, start=step)
        train(twin, plain, 1, start=step)
        now = {key: value.clone() for key, value in twin.state_dict().items()}
        expected = {key: 0.75 * expected.get(key, value) + 0.25 * value for key, value in now.items()}
    with averaged.averaged():
        for key, value in model.state_dict().items():
            torch.testing.assert_close(value, expected[key])
    # the trained weights are as without an average, before and after
    assert all(torch.equal(value, now[key]) for key, value in model.state_dict().items())
    averaged.exchange_average()
    torch.testing.assert_close(dict(model.state_dict()), expected)
    plain.exchange_average()
    assert all(torch.equal(value, now[key]) for key, value in twin.state_dict().items())


def test_average_goes_through_files_without_loss():
    model = Net()
    built = Optimizers(AdamW().build(parameter_groups(model.named_parameters(), 0.05, 0.0), model), ema=0.9)
    train(model, built, 3)
    tensors, scalars = built.state()
    resumed = Net()
    resumed.load_state_dict(model.state_dict())
    others = Optimizers(AdamW().build(parameter_groups(resumed.named_parameters(), 0.05, 0.0), resumed), ema=0.9)
    others.load(load(save(tensors)), json.loads(json.dumps(scalars)))
    train(model, built, 2, start=3)
    train(resumed, others, 2, start=3)
    for optimizers in (built, others):
        optimizers.exchange_average()
    assert all(torch.equal(value, resumed.state_dict()[key]) for key, value in model.state_dict().items())


def steps_of(name, gradients, **settings):
    """The weight before and after each step of one matrix with given gradients."""
    pytest.importorskip("pytorch_optimizer", reason="an optimizer that torch lacks")
    torch.manual_seed(0)
    layer = nn.Linear(3, 4, bias=False)
    chosen = OPTIMIZERS[name](**settings)
    optimizers = Optimizers(chosen.build(parameter_groups(layer.named_parameters(), 0.1, chosen.weight_decay), layer))
    found = [layer.weight.detach().clone()]
    for gradient in gradients:
        layer.weight.grad = gradient.clone()
        optimizers.step()
        found.append(layer.weight.detach().clone())
    return found


GRADIENTS = [torch.linspace(-1, 2, 12).view(4, 3), 50 * torch.linspace(1, -1, 12).view(4, 3)]


def test_lamb_is_the_formula_of_its_paper():
    weights = steps_of("lamb", GRADIENTS, weight_decay=0.1, beta1=0.9, beta2=0.99, eps=1e-6)
    first = second = torch.zeros(4, 3)
    for before, after, gradient in zip(weights, weights[1:], GRADIENTS, strict=False):
        first, second = 0.9 * first + 0.1 * gradient, 0.99 * second + 0.01 * gradient**2
        update = first / (second.sqrt() + 1e-6) + 0.1 * before
        torch.testing.assert_close(after, before - 0.1 * before.norm() / update.norm() * update)


def test_lamb_bounds_no_norm_and_adapts_no_bias():
    pytest.importorskip("pytorch_optimizer", reason="an optimizer that torch lacks")
    matrix, bias = (nn.Parameter(torch.full(shape, 3.0)) for shape in ((8, 8), (8,)))
    settings = OPTIMIZERS["lamb"](weight_decay=0.1, beta1=0.9, beta2=0.99, eps=1e-6)
    groups = parameter_groups([("matrix", matrix), ("bias", bias)], 0.1, settings.weight_decay)
    (optimizer,) = settings.build(groups, nn.Module())
    means = {p: (torch.zeros_like(p), torch.zeros_like(p)) for p in (matrix, bias)}
    for sign in (1, -3):
        expected = {}
        for p in (matrix, bias):
            p.grad = sign * torch.linspace(0.5, 2, p.numel()).view(p.shape)
            first, second = means[p]
            means[p] = first, second = 0.9 * first + 0.1 * p.grad, 0.99 * second + 0.01 * p.grad**2
            update = first / (second.sqrt() + 1e-6)
            if p is matrix:
                assert p.norm() > 10
                update = update + 0.1 * p.detach()
                update = p.detach().norm() / update.norm() * update
            expected[p] = p.detach() - 0.1 * update
        optimizer.step()
        for p in (matrix, bias):
            torch.testing.assert_close(p.detach(), expected[p])


def test_stableadamw_makes_a_step_shorter_where_gradients_jump():
    weights = steps_of("stableadamw", GRADIENTS, weight_decay=0.1, beta1=0.9, beta2=0.99, eps=1e-6)
    first = second = torch.zeros(4, 3)
    for number, (before, gradient) in enumerate(zip(weights, GRADIENTS, strict=False), 1):
        first, second = 0.9 * first + 0.1 * gradient, 0.99 * second + 0.01 * gradient**2
        mean, square = first / (1 - 0.9**number), second / (1 - 0.99**number)
        size = (gradient**2 / square).mean().sqrt().clamp(min=1)
        assert (size > 1.2) == (number == 2)
        expected = before * (1 - 0.1 / size * 0.1) - 0.1 / size * mean / (square.sqrt() + 1e-6)
        torch.testing.assert_close(weights[number], expected)


@pytest.mark.parametrize("name", LIBRARY)
def test_without_the_library(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch_optimizer", None)
    with pytest.raises(
        DeviceError, match=f"optimizer={name} needs the library 'pytorch_optimizer', .*; pip install pyt"
    ):
        OPTIMIZERS[name]().build([], Net())
