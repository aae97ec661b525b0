"""The memory that ``ptft check`` counts, beside what a training takes."""

import json
import os
import platform
import subprocess
import sys

import pytest
import torch

from ptft.config import load
from ptft.inspection.estimates import planned_config, planned_tokenizer
from ptft.inspection.memory import count_memory
from ptft.models import linear_cross_entropy
from ptft.models.building import new_model
from ptft.steps import STEPS
from ptft.steps.trial import random_rows

# Two updates of the model in a process of its own, as the loop makes them; prints how much memory they took at most.
TRAIN = """
import copy, json, resource, sys
import torch
from ptft import compute
from ptft.config import load
from ptft.inspection.estimates import planned_config, planned_tokenizer
from ptft.steps.trial import random_rows
from ptft.models.building import new_model
from ptft.steps import STEPS
from ptft.training.work import PretrainingModule

torch.set_num_threads(1)
step = load(STEPS["pretrain"], None, json.loads(sys.argv[1])).settings
compute.keep_freed_memory = lambda: None
compute = compute.Compute(step.precision)


def train(config, rows):
    batch = random_rows(step, config, rows)
    module = PretrainingModule(new_model(config, step.head, 0), step.objective).train()
    optimizers = step.optimizers(module, compute, step.lr)
    for _ in range(2):
        with compute.autocast():
            losses = module(batch.tensors)
        compute.backward(sum(losses.values()))
        optimizers.clip(1.0)
        optimizers.step()


def most():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


config = planned_config(step, planned_tokenizer(step))
small = copy.deepcopy(config)
small.vocab_size, small.num_hidden_layers = 64, 1
train(small, 1)  # what the libraries take once
before = most()
train(config, step.rows_per_step)
print(most() - before)
"""
TIMES_OFF = 1.25
"""The count may be so many times too large or too small."""
# glibc gives back at once what is freed: what is kept in reserve, by the allocator or by us, is no part of the count.
WITHOUT_RESERVE = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}

MODELS = {
    "encoder": ["preset=bert-mini", "objective=masked_lm,next_sentence", "rows_per_step=16"],
    "decoder": ["preset=gpt2-mini", "objective=causal_lm", "rows_per_step=8", "length=256"],
    "without dropout": ["preset=llama-mini", "objective=causal_lm", "rows_per_step=16", "dropout=0", "optimizer=sgd"],
}
BODY = ["objective=masked_lm", "shape.hidden_size=32", "shape.intermediate_size=64", "vocab_size=64"]
TINY = ["preset=bert-tiny", *BODY]


def counted(overrides, num_rows=0, device="cpu"):
    step = load(STEPS["pretrain"], None, [*overrides, "precision=fp32", "out=x"]).settings
    config = planned_config(step, planned_tokenizer(step))
    with torch.device("meta"):
        model = new_model(config, step.head, 0)
    batch = random_rows(step, config, 4)
    return count_memory(step, model, batch, num_rows or step.rows_per_step, device, step.precision)


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="measures with glibc's allocator")
@pytest.mark.parametrize("name", MODELS)
def test_it_is_what_a_training_takes(name):
    overrides = [*MODELS[name], "precision=fp32", "out=x"]
    done = subprocess.run(
        [sys.executable, "-c", TRAIN, json.dumps(overrides)],
        check=True, capture_output=True, text=True, env={**os.environ, **WITHOUT_RESERVE},
    )  # fmt: skip
    measured = int(done.stdout)
    assert measured / TIMES_OFF < sum(counted(MODELS[name])) < measured * TIMES_OFF


def test_state_is_what_the_optimizer_keeps():
    adamw, sgd, muon = (counted([*TINY, f"optimizer={name}"]) for name in ("adamw", "sgd", "muon"))
    weights = adamw.weights
    assert weights % 4 == 0 < weights == adamw.gradients
    assert adamw.optimizer_state == 2 * weights
    assert sgd.optimizer_state == 0
    assert weights < muon.optimizer_state < 2 * weights  # one moment for matrices, two for the rest


def test_activations_grow_with_the_rows_and_not_the_rest():
    few, many = counted(TINY, 8), counted(TINY, 32)
    assert few[:3] == many[:3]
    assert many.activations == pytest.approx(4 * few.activations, rel=0.05)


@pytest.mark.parametrize("preset", ["bert-tiny", "modernbert-base"])
def test_many_layers_are_counted_by_a_few(preset, monkeypatch):
    overrides = [*BODY, f"preset={preset}", "shape.num_attention_heads=2", "shape.num_hidden_layers=9"]
    by_few = counted(overrides)
    monkeypatch.setattr("ptft.inspection.memory._MORE", 9)
    assert by_few == pytest.approx(counted(overrides), rel=0.02)


def test_many_rows_are_counted_by_some(monkeypatch):
    by_some = counted(TINY, 200)
    monkeypatch.setattr("ptft.inspection.memory._SOME_TOKENS", 1 << 20)
    assert by_some == pytest.approx(counted(TINY, 200), rel=0.01)


LOGITS = [
    "preset=gpt2-tiny",
    "objective=causal_lm",
    "shape.n_embd=16",
    "shape.n_layer=1",
    "vocab_size=20000",
    "dropout=0",
]


def test_a_gpu_has_more_logits_at_once_than_a_cpu():
    given = [*LOGITS, "length=64"]
    on_cpu, on_gpu = (counted(given, 64, device).activations for device in ("cpu", "cuda"))
    logits = 4 * 64 * 64 * 20000
    assert on_cpu < logits / 2
    assert logits < on_gpu < 3 * logits


def test_more_rows_than_whose_logits_exist_at_once_take_no_more_for_them(monkeypatch):
    monkeypatch.setitem(linear_cross_entropy._LOGITS_AT_ONCE, "cuda", 300 * 20000)
    monkeypatch.setattr("ptft.inspection.memory._SOME_TOKENS", 64)
    given = [*LOGITS, "length=64"]
    by_some = counted(given, 40, "cuda")
    monkeypatch.setattr("ptft.inspection.memory._SOME_TOKENS", 1 << 20)
    assert by_some == pytest.approx(counted(given, 40, "cuda"), rel=0.1)
    assert linear_cross_entropy._LOGITS_AT_ONCE["cpu"] == 1 << 21
