"""The memory that ``ptft check`` counts, beside what a training takes."""

import json
import subprocess
import sys

import pytest

from ptft.config import load
from ptft.inspection.estimates import _config, _tokenizer
from ptft.inspection.memory import count_memory
from ptft.inspection.trial import random_rows
from ptft.steps import STEPS

# Two updates of the model in a process of its own, as the loop makes them; prints how much memory they took at most.
TRAIN = """
import copy, json, resource, sys
import torch
from ptft.compute import Compute
from ptft.config import load
from ptft.inspection.estimates import _config, _tokenizer
from ptft.inspection.trial import random_rows
from ptft.models.building import new_model
from ptft.steps import STEPS
from ptft.training.work import PretrainingModule

torch.set_num_threads(1)
step = load(STEPS["pretrain"], None, json.loads(sys.argv[1])).settings
compute = Compute(step.precision)


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


config = _config(step, _tokenizer(step))
small = copy.deepcopy(config)
small.vocab_size, small.num_hidden_layers = 64, 1
train(small, 1)  # what the libraries take once
before = most()
train(config, step.rows_per_step)
print(most() - before)
"""
TIMES_OFF = 1.25
"""The count may be so many times too large or too small."""

MODELS = {
    "encoder": ["preset=bert-mini", "objective=masked_lm,next_sentence", "rows_per_step=16"],
    "decoder": ["preset=gpt2-mini", "objective=causal_lm", "rows_per_step=8", "length=256"],
    "without dropout": ["preset=llama-mini", "objective=causal_lm", "rows_per_step=16", "dropout=0", "optimizer=sgd"],
}


def counted(overrides):
    step = load(STEPS["pretrain"], None, overrides).settings
    config = _config(step, _tokenizer(step))
    batch = random_rows(step, config, 4)
    return count_memory(step, config, batch, step.rows_per_step, "cpu", step.precision)


@pytest.mark.parametrize("name", MODELS)
def test_it_is_what_a_training_takes(name):
    overrides = [*MODELS[name], "precision=fp32", "out=x"]
    done = subprocess.run(
        [sys.executable, "-c", TRAIN, json.dumps(overrides)], check=True, capture_output=True, text=True
    )
    measured = int(done.stdout)
    memory = counted(overrides)
    print(name, measured / 1e6, sum(memory) / 1e6, memory)
    assert measured / TIMES_OFF < sum(memory) < measured * TIMES_OFF
