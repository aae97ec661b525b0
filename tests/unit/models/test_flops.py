"""Floating-point operations by formula, against sums written out, and the rates of devices."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForMaskedLM, ModernBertConfig

from ptft.models import flops
from ptft.models.building import new_model
from ptft.models.classifier import new_classifier
from ptft.models.flops import RATES, known_rates, model_flops, peak_flops
from ptft.models.presets import PRESETS

WIDTH, LAYERS, WINDOW = 32, 4, 16
VOCABULARY, LENGTH = 1000, 128


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
    without = model_flops(local, 0).of(100, 0)
    assert model_flops(local, length).of(100, 0) - without == 100 * 12 * WIDTH * seen


# The matrices of each architecture by hand: those of a layer, and those between the last layer and the logits. Every
# weight is used in two FLOPs forward and four backward. The scores of a row and their products with the values take
# 4 * width * length forward for a position, whatever the number of heads, and twice that backward: causal or not.
BY_HAND = {
    # queries, keys, values, output; up and down by four. The head has a matrix of its own before the vocabulary's.
    ("bert-mini", "masked_lm"): (4 * [256 * 256 * 4 + 2 * 256 * 1024], 256 * 256 + 256 * VOCABULARY),
    ("roberta-base", "masked_lm"): (12 * [768 * 768 * 4 + 2 * 768 * 3072], 768 * 768 + 768 * VOCABULARY),
    # the logits come straight from the hidden states, with the input's embeddings
    ("gpt2", "causal_lm"): (12 * [768 * 2304 + 768 * 768 + 2 * 768 * 3072], 768 * VOCABULARY),
    # 4 key-value heads of 32, each 64 wide; three matrices up and down; output embeddings of their own
    ("llama-1.1b", "causal_lm"): (22 * [2 * 2048 * 2048 + 2 * 2048 * 256 + 3 * 2048 * 5632], 2048 * VOCABULARY),
    # a gate beside the way up; all but every third layer see 128 positions, which here is the whole row
    ("modernbert-base", "masked_lm"): (22 * [768 * 768 * 4 + 3 * 768 * 1152], 768 * 768 + 768 * VOCABULARY),
}


def preset_model(name, head):
    preset = PRESETS[name]
    positions = {"n_positions" if preset.model_type == "gpt2" else "max_position_embeddings": preset.positions}
    ids = {f"{special}_token_id": 0 for special in ("pad", "bos", "eos", "cls", "sep")}
    with torch.device("meta"):
        config = AutoConfig.for_model(preset.model_type, vocab_size=VOCABULARY, **preset.shape, **positions, **ids)
        return new_model(config, head, 0)


@pytest.mark.parametrize(("name", "head"), BY_HAND)
def test_the_formula_is_what_a_hand_counts(name, head):
    layers, vocabulary_head = BY_HAND[name, head]
    model = preset_model(name, head)
    slot = 6 * sum(layers) + 12 * len(layers) * model.config.hidden_size * LENGTH
    assert model_flops(model, LENGTH) == (slot, 6 * vocabulary_head)
    assert model_flops(model, LENGTH).of(1000, 150) == 1000 * slot + 150 * 6 * vocabulary_head


def test_gpt2_is_what_palm_counts_but_for_norms_and_biases():
    """Six per parameter and token, positions left out, and 12 * layers * width * length: the whole square, not half."""
    model = preset_model("gpt2", "causal_lm")
    parameters = sum(p.numel() for name, p in model.named_parameters() if "wpe" not in name)
    palm = 6 * parameters + 12 * 12 * 768 * 1024
    assert model_flops(model, 1024).of(1, 1) == pytest.approx(palm, rel=2e-3)
    assert model_flops(model, 1024).of(1, 1) < palm


def test_pairs_have_a_pooler_that_counts_nothing():
    with_pairs, without = (preset_model("bert-mini", head) for head in ("pretraining", "masked_lm"))
    assert model_flops(with_pairs, LENGTH).slot == model_flops(without, LENGTH).slot
    assert any("pooler" in name for name, _ in with_pairs.named_parameters())


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_fine_tuning_has_no_vocabulary_head(pooling):
    model = preset_model("bert-mini", "masked_lm")
    classifier, _ = new_classifier(model.config, ("a", "b"), pooling, 0, both_ways=True)
    assert model_flops(classifier.model, LENGTH) == (model_flops(model, LENGTH).slot, 0)


# Devices

NAMES = {
    "NVIDIA A100-SXM4-80GB": "A100",
    "NVIDIA A100 80GB PCIe": "A100",
    "NVIDIA H100 80GB HBM3": "H100",
    "NVIDIA H100 PCIe": "H100 PCIe",
    "NVIDIA H100 NVL": "H100 NVL",
    "NVIDIA H200": "H200",
    "NVIDIA H200 NVL": "H200 NVL",
    "NVIDIA B200": "B200",
    "NVIDIA L4": "L4",
    "NVIDIA L40S": "L40S",
    "NVIDIA A10": "A10",
    "Tesla T4": "T4",
    "Tesla V100-SXM2-16GB": "V100 SXM2",
    "Tesla V100-PCIE-32GB": "V100 PCIE",
    "NVIDIA GeForce RTX 4090": "RTX 4090",
    "NVIDIA GeForce RTX 3090": "RTX 3090",
}
UNKNOWN = (
    "NVIDIA RTX 4000 Ada Generation", "Quadro RTX 4000", "NVIDIA L40", "NVIDIA A10G", "NVIDIA A100X", "NVIDIA T400",
    "NVIDIA GH200 480GB", "NVIDIA GeForce RTX 3090 Ti", "NVIDIA GeForce RTX 4090 D", "Tesla V100S-PCIE-32GB",
    "NVIDIA GeForce RTX 4090 Laptop GPU", "NVIDIA H100 80GB HBM3 MIG 1g.10gb", "AMD Instinct MI300X", "",
)  # fmt: skip


def test_each_known_device_has_a_name():
    assert set(NAMES.values()) == set(RATES)


@pytest.mark.parametrize("name", NAMES)
def test_a_device_is_known_by_its_whole_name(name):
    assert known_rates(name) is RATES[NAMES[name]]


@pytest.mark.parametrize("name", UNKNOWN)
def test_a_device_with_a_similar_name_is_another(name):
    assert known_rates(name) is None


@pytest.fixture
def on(monkeypatch):
    """The rate of a GPU of some name, and 1 where it would have been measured."""
    monkeypatch.setattr(flops, "_measured", lambda *given: 1.0)

    def of(name, dtype):
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: name)
        return peak_flops(torch.device("cuda"), dtype)

    return of


def test_each_precision_has_its_rate(on):
    assert on("NVIDIA H200", torch.bfloat16) == on("NVIDIA H200", torch.float16) == 989e12
    assert on("Tesla T4", torch.float16) == 65e12
    assert on("Tesla T4", torch.bfloat16) == 1  # it has none
    assert on("NVIDIA RTX 4000 Ada Generation", torch.float16) == 1
    assert (on("NVIDIA H200", torch.float32), on("Tesla T4", torch.float32)) == (67e12, 8.1e12)
    products = torch.backends.cuda.matmul
    former = products.fp32_precision
    products.fp32_precision = "tf32"
    try:
        assert (on("NVIDIA H200", torch.float32), on("Tesla T4", torch.float32)) == (494e12, 8.1e12)
    finally:
        products.fp32_precision = former


def test_a_cpu_is_measured_once_for_each_precision(monkeypatch):
    calls = []
    monkeypatch.setattr(flops, "_SIDES", {"cpu": 64})
    monkeypatch.setattr(flops.time, "perf_counter", lambda: calls.append(1) or len(calls) * 1e-6)
    flops._measured.cache_clear()
    cpu = torch.device("cpu")
    assert peak_flops(cpu, torch.float32) == pytest.approx(2 * 64**3 / 1e-6)
    number = len(calls)
    assert peak_flops(cpu, torch.float32) == pytest.approx(2 * 64**3 / 1e-6)
    assert len(calls) == number
    peak_flops(cpu, torch.bfloat16)
    assert len(calls) == 2 * number
    flops._measured.cache_clear()
