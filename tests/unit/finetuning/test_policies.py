"""What each policy trains, when and how fast, against the formulas of its paper written out here once more."""

import math
import re

import pytest
import torch
from torch import nn
from transformers import (
    AlbertConfig,
    BertConfig,
    DistilBertConfig,
    GPT2Config,
    LlamaConfig,
    ModernBertConfig,
    OPTConfig,
)
from transformers.pytorch_utils import Conv1D

from ptft.errors import RecipeError
from ptft.finetuning.classification import ClassificationModule
from ptft.finetuning.policies import POLICIES
from ptft.finetuning.policies.gradual_unfreezing import GradualUnfreezing
from ptft.finetuning.policies.last_k import LastK
from ptft.finetuning.policies.layerwise_lr import LayerwiseLR
from ptft.finetuning.policies.lora import LoRA
from ptft.finetuning.policy import keeps_features
from ptft.models.classifier import new_classifier
from ptft.models.depth import depths
from ptft.optim.optimizer import Optimizers
from ptft.optim.schedules.decays import SlantedTriangular

LAYERS, TOP = 3, 4
STEPS_PER_EPOCH, EPOCHS = 5, 6
LR = 0.01
SHAPE = {"vocab_size": 50, "num_hidden_layers": LAYERS, "hidden_size": 16, "num_attention_heads": 2}
BERT = BertConfig(**SHAPE, intermediate_size=32, max_position_embeddings=32, pad_token_id=0)
GPT2 = GPT2Config(vocab_size=50, n_layer=LAYERS, n_embd=16, n_head=2, n_positions=32, pad_token_id=0, bos_token_id=0,
                  eos_token_id=0, architectures=["GPT2LMHeadModel"])  # fmt: skip
MODELS = {
    "bert": BERT,
    "gpt2": GPT2,
    "llama": LlamaConfig(**SHAPE, intermediate_size=32, num_key_value_heads=2, max_position_embeddings=32,
                         pad_token_id=0, bos_token_id=0, eos_token_id=0, architectures=["LlamaForCausalLM"]),
    "modernbert": ModernBertConfig(**SHAPE, intermediate_size=32, max_position_embeddings=32, pad_token_id=0,
                                   bos_token_id=0, eos_token_id=0, cls_token_id=0, sep_token_id=0),
    "distilbert": DistilBertConfig(vocab_size=50, n_layers=LAYERS, dim=16, n_heads=2, hidden_dim=32, pad_token_id=0),
}  # fmt: skip
IN_A_LAYER = re.compile(r"\.(?:layer|h|layers)\.(\d+)\.")


def classifier_of(kind, pooling="mean", policy=None):
    config = type(MODELS[kind]).from_dict(MODELS[kind].to_dict())
    mixes = bool(policy and policy.mixes_layers)
    both_ways = kind not in ("gpt2", "llama")
    classifier, _ = new_classifier(config, ("a", "b"), pooling, 0, both_ways=both_ways, mixes_layers=mixes)
    return classifier


def optimizers_of(policy, classifier, new=()):
    policy.adapt(classifier.model.base_model, 0)
    module = ClassificationModule(classifier)
    groups = policy.groups(module, new, LR, 0.01, lambda epoch: epoch * STEPS_PER_EPOCH)
    return Optimizers([torch.optim.AdamW(groups, lr=LR)])


def expected(name, depth, epoch):
    """The rate over the run's, by the papers: 0 where nothing is trained."""
    if name in ("frozen", "scalar_mix"):
        return 1.0 if depth == TOP else 0.0
    if name == "last_k":
        return 1.0 if depth in (TOP, TOP - 1) else 0.0
    if name == "layerwise_lr":
        return 1 / 2.6 ** (TOP - depth)
    if name == "gradual_unfreezing":
        return 1.0 if depth >= TOP - epoch else 0.0
    return 1.0


def depth_of(name):
    """By the name alone: embeddings, layers, and what is new."""
    if name.startswith(("head.", "mix.", "model.head.", "model.classifier.")):
        return TOP
    found = IN_A_LAYER.search(f".{name}")
    if found:
        return int(found[1]) + 1
    return 0 if re.search("embed|wte|wpe", name) else LAYERS


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("name", sorted(set(POLICIES) - {"lora"}))
def test_rate_and_gradient_at_every_step(name, kind):
    policy = POLICIES[name]()
    classifier = classifier_of(kind, policy=policy)
    optimizers = optimizers_of(policy, classifier)
    for step in range(EPOCHS * STEPS_PER_EPOCH):
        factor = 1 - step / 100
        assert optimizers.set_lr(factor, step) == LR * factor  # the first group is the head's
        rates = {id(p): group["lr"] for group in optimizers._groups() for p in group["params"]}
        for parameter_name, parameter in classifier.named_parameters():
            if "pooler" in parameter_name:
                assert not parameter.requires_grad  # an own head does not see it
                continue
            rate = expected(name, depth_of(parameter_name), step // STEPS_PER_EPOCH)
            assert parameter.requires_grad == (rate > 0), (step, parameter_name)
            assert rates.get(id(parameter), 0.0) == pytest.approx(LR * rate * factor, rel=1e-12), (step, parameter_name)


def test_every_weight_is_in_one_group_and_only_matrices_decay():
    for name in POLICIES:
        classifier = classifier_of("bert", policy=POLICIES[name]())
        groups = list(optimizers_of(POLICIES[name](), classifier)._groups())
        trained = [id(p) for group in groups for p in group["params"]]
        assert len(trained) == len(set(trained))
        assert {id(p) for p in classifier.parameters() if p.requires_grad} == set(trained)
        assert all((p.ndim >= 2) == (group["weight_decay"] > 0) for group in groups for p in group["params"])


@pytest.mark.parametrize(
    ("policy", "depth", "rate"),
    [
        (LastK(k=2), 2, (1.0, 0)),
        (LastK(k=2), 1, (0.0, 0)),
        (LastK(k=9), 1, (1.0, 0)),
        (LastK(k=9), 0, (0.0, 0)),
        (LayerwiseLR(divisor=2.0), 1, (0.125, 0)),
        (GradualUnfreezing(divisor=2.0), 1, (0.125, 3)),
        (GradualUnfreezing(layers_per_epoch=2), 0, (1.0, 2)),
        (GradualUnfreezing(layers_per_epoch=2), 1, (1.0, 2)),
        (GradualUnfreezing(layers_per_epoch=2), 2, (1.0, 1)),
    ],
)
def test_settings_of_policies(policy, depth, rate):
    found = policy.rate(depth, TOP)
    assert (found.factor, found.epoch) == pytest.approx(rate)


@pytest.mark.parametrize("is_new", [False, True])
@pytest.mark.parametrize("name", sorted(set(POLICIES) - {"scalar_mix"}))  # whose head does not see the pooler
def test_a_stock_head_and_what_was_drawn_anew_are_trained_by_every_policy(name, is_new):
    classifier = classifier_of("bert", pooling="cls")
    pooler = [weight for weight, _ in classifier.model.named_parameters() if "pooler" in weight]
    optimizers_of(POLICIES[name](), classifier, new=pooler if is_new else ())
    trained = {n for n, p in classifier.named_parameters() if p.requires_grad}
    assert trained >= {"model.classifier.weight", "model.classifier.bias"}
    assert not is_new or trained >= {f"model.{weight}" for weight in pooler}
    if name == "frozen":
        assert len(trained) == 2 + is_new * len(pooler)
        assert keeps_features(classifier)


def test_what_opt_has_behind_its_layers_goes_with_the_last_one():
    config = OPTConfig(**SHAPE, ffn_dim=32, word_embed_proj_dim=8, max_position_embeddings=32, pad_token_id=0)
    classifier, _ = new_classifier(config, ("a", "b"), "last", 0, both_ways=False)
    found = {name.removeprefix("model.decoder."): depth for name, depth in depths(classifier.model).items()}
    behind = ("final_layer_norm.weight", "final_layer_norm.bias", "project_out.weight")
    assert {found[name] for name in behind if name in found} == {LAYERS}
    assert found["embed_tokens.weight"] == found["project_in.weight"] == 0
    assert found["layers.0.final_layer_norm.weight"] == 1
    assert found["score.weight"] == TOP


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_whose_features_stay(name):
    policy = POLICIES[name]()
    classifier = classifier_of("bert", policy=policy)
    optimizers_of(policy, classifier)
    assert keeps_features(classifier) == (name in ("frozen", "scalar_mix"))


def test_layers_that_are_one_cannot_be_told_apart():
    config = AlbertConfig(vocab_size=50, hidden_size=16, num_hidden_layers=3, num_attention_heads=2,
                          intermediate_size=32, embedding_size=8)  # fmt: skip
    classifier, _ = new_classifier(config, ("a", "b"), "mean", 0, both_ways=True)
    for name in ("last_k", "layerwise_lr", "gradual_unfreezing", "lora"):
        with pytest.raises(RecipeError, match="policy: the layers of albert cannot be told apart; use policy=full"):
            optimizers_of(POLICIES[name](), classifier)
    assert set(depths(classifier.model, by_layer=False).values()) == {0}
    optimizers_of(POLICIES["frozen"](), classifier)
    assert keeps_features(classifier)


def test_slanted_triangles_are_those_of_the_paper():
    steps, cut_frac, ratio = 200, 0.1, 32
    cut = math.floor(steps * cut_frac)
    for step in range(steps):
        p = step / cut if step < cut else 1 - (step - cut) / (cut * (1 / cut_frac - 1))
        rate = (1 + p * (ratio - 1)) / ratio
        assert SlantedTriangular().factor(step / steps, 1 / steps) == pytest.approx(rate, rel=1e-12)


@pytest.mark.parametrize("kind", ["bert", "gpt2", "llama"])
def test_adapters_begin_as_nothing_and_merge_into_a_stock_body(kind):
    classifier = classifier_of(kind).eval()
    batch = {"input_ids": torch.arange(24).reshape(2, 12) % 47 + 3, "attention_mask": torch.ones(2, 12).long()}
    stock = classifier(batch)
    names = set(classifier.state_dict())
    policy = LoRA(rank=2)
    merge = policy.adapt(classifier.model.base_model, 0)
    policy.groups(ClassificationModule(classifier), (), LR, 0.01, int)
    torch.testing.assert_close(classifier(batch), stock, rtol=0, atol=0)
    trained = {n: p for n, p in classifier.named_parameters() if p.requires_grad}
    assert all("lora_" in name or name.startswith("head.") for name in trained)
    inside = [m for n, m in classifier_of(kind).model.base_model.named_modules() if IN_A_LAYER.search(f".{n}.")]
    targets = [m for m in inside if isinstance(m, nn.Linear | Conv1D)]
    assert sum("lora_A" in name for name in trained) == len(targets) > 0
    with torch.no_grad():
        for parameter in trained.values():
            parameter += torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.1
    apart = classifier(batch)
    assert (apart - stock).abs().max() > 0.01
    merge()
    assert set(classifier.state_dict()) == names
    torch.testing.assert_close(classifier(batch), apart, rtol=0, atol=1e-5)


def test_adapters_are_those_of_their_seed():
    def drawn(seed):
        body = classifier_of("bert").model
        LoRA().adapt(body, seed)
        return torch.cat([p.flatten() for n, p in body.named_parameters() if "lora_A" in n])

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))
