"""Promise 2: loss and gradient do not depend on how a step's rows are cut into micro-batches or shared by processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForPreTraining, LlamaConfig, LlamaForCausalLM

from ptft.compute import Compute
from ptft.corpus.store import Encoded, compile_store
from ptft.finetuning.classification import ClassificationModule
from ptft.finetuning.texts import EncodedTexts, LabelledBatches
from ptft.models.classifier import new_classifier
from ptft.objectives import OBJECTIVES
from ptft.objectives.rows import Vocabulary
from ptft.optim.optimizer import Optimizers, parameter_groups
from ptft.optim.optimizers import OPTIMIZERS
from ptft.training.loop import train
from ptft.training.work import Feed, PretrainingBatches, PretrainingModule

SIZES = {"num_hidden_layers": 1, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 24}
ROWS, STEPS, WORDS = 16, 4, 60
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def bert_config():
    return BertConfig(vocab_size=WORDS, max_position_embeddings=32, **SIZES, **NO_DROPOUT)


def make_vocabulary(*, is_decoder):
    special = np.zeros(WORDS, bool)
    special[:5] = True
    if is_decoder:
        return Vocabulary(WORDS, -1, -1, 0, -1, 1, -1, special)
    return Vocabulary(WORDS, cls=2, sep=3, pad=0, mask=4, eos=-1, unknown=1, special=special)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Documents of one to eight sentences of one to twelve tokens."""
    draw = np.random.default_rng(0)
    lengths = draw.integers(1, 13, size=(60, 8))
    documents = [[str(length) for length in row[: 1 + number % 8]] for number, row in enumerate(lengths)]

    def encode(sentences):
        return Encoded([draw.integers(5, WORDS, size=int(sentence)).tolist() for sentence in sentences])

    return compile_store(documents, encode, tmp_path_factory.mktemp("stores"), "k", vocab_size=WORDS, end_token=None)


def make_pretraining(store, names):
    objectives = [OBJECTIVES[name]() for name in names]
    is_decoder = names == ["causal_lm"]
    vocabulary = make_vocabulary(is_decoder=is_decoder)
    decides = next((objective for objective in objectives if objective.makes_pairs), objectives[0])
    source = PretrainingBatches(decides.sampler(store, vocabulary, 24, ROWS, 0), objectives, vocabulary, ROWS)
    torch.manual_seed(0)
    if is_decoder:
        model = LlamaForCausalLM(LlamaConfig(vocab_size=WORDS, max_position_embeddings=32, **SIZES))
    else:
        model = BertForPreTraining(bert_config())
    module = PretrainingModule(model, objectives)
    return module, module.weights, source


def make_classification(pooling):
    draw = np.random.default_rng(0)
    ids = [[2, *draw.integers(5, WORDS, size=draw.integers(1, 20)).tolist(), 3] for _ in range(37)]
    texts = EncodedTexts(ids, None, 0, pad=0, length=24)
    source = LabelledBatches(texts, draw.integers(0, 3, size=37), ROWS, seed=0)
    classifier, _ = new_classifier(bert_config(), ["a", "b", "c"], pooling, 0, both_ways=True)
    module = ClassificationModule(classifier)
    return module, module.weights, source


WORKS = {
    "masked_lm": lambda store: make_pretraining(store, ["masked_lm"]),
    "masked_lm and next_sentence": lambda store: make_pretraining(store, ["masked_lm", "next_sentence"]),
    "causal_lm": lambda store: make_pretraining(store, ["causal_lm"]),
    "classification, mean": lambda store: make_classification("mean"),
    "classification, cls": lambda store: make_classification("cls"),
}


def run(work, accumulate, optimizer="sgd"):
    """Losses, gradient norms and final weights after some steps."""
    module, weights, source = work
    module.train()
    groups = parameter_groups(module.named_parameters(), 0.1 if optimizer == "sgd" else 1e-3, 0.0)
    optimizers = Optimizers(OPTIMIZERS[optimizer]().build(groups, module))
    shares = source.shares(ROWS // accumulate, 1, 0)
    feed = Feed(source, shares, torch.device("cpu"), 0, STEPS, workers=0)
    reports = list(
        train(module, weights, feed, optimizers, lambda step: 1.0, Compute("fp32"), start=0, seed=0, clip_norm=1.0)
    )
    losses = [[r.sums[name].item() / r.counts[name] for name in weights] for r in reports]
    norms = [report.grad_norm.item() for report in reports]
    return np.array(losses), np.array(norms), module.state_dict()


@pytest.mark.parametrize("name", WORKS)
@pytest.mark.parametrize("accumulate", [4, 16])
def test_accumulation_changes_nothing(store, name, accumulate):
    losses, norms, weights = run(WORKS[name](store), 1)
    others, other_norms, other_weights = run(WORKS[name](store), accumulate)
    np.testing.assert_allclose(others, losses, rtol=0, atol=2e-6)
    np.testing.assert_allclose(other_norms, norms, rtol=2e-6)
    for key, value in weights.items():
        torch.testing.assert_close(other_weights[key], value, rtol=0, atol=1e-6, msg=key)


def test_training_does_something(store):
    """The equalities above would hold for a loop that stands still, too."""
    module, *rest = WORKS["masked_lm"](store)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    losses, norms, after = run((module, *rest), 1)
    assert max((after[key] - before[key]).abs().max() for key in before) > 0.01
    assert min(norms) > 0.1
    assert len(set(losses[:, 0])) == STEPS


def test_micro_batches_are_ragged(store):
    """The numbers of targets and the widths differ, or dividing each micro-batch by its own would do."""
    _, _, source = WORKS["masked_lm"](store)
    batches = [source.batch(0, *share) for share in source.shares(1, 1, 0)]
    assert len({batch.counts["masked_lm"] for batch in batches}) > 1
    assert len({batch.tensors["input_ids"].shape[1] for batch in batches}) > 1


def test_two_processes_share_the_micro_batches_in_turns():
    _, _, source = make_classification("mean")
    assert source.shares(4, 2, 0) == [(0, 4), (8, 12)]
    assert source.shares(4, 2, 1) == [(4, 8), (12, 16)]


def launch(command, num_processes, folder):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONWARNINGS": "ignore"}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(num_processes)]
    done = subprocess.run(
        [*torchrun, *command], env=environment, capture_output=True, text=True, timeout=240, cwd=folder
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
def test_two_processes_give_the_run_of_one(tmp_path, pretrain_settings):
    """The whole step, as ``torchrun -m ptft pretrain`` does it: tokenizer, corpus, training, evaluation, files."""
    settings = pretrain_settings("bert", dropout=0.0, cache="stores", precision="fp32", threads=1)
    settings |= {"checkpoint_every_steps": 2, "evaluate_every_steps": 2, "evaluation_rows": 8}
    settings |= {"ema": 0.5, "batch_ramp": {"start_ratio": 0.7, "share": 1.0}, "milestones_words": [300]}
    (tmp_path / "recipe.yaml").write_text(json.dumps(settings))
    command = ["-m", "ptft", "pretrain", "recipe.yaml"]
    launch([*command, "out=two"], 2, tmp_path)
    launch([*command, "out=four", "accumulate=2"], 2, tmp_path)
    launch([*command, "out=one"], 1, tmp_path)
    one, *others = (read_run(tmp_path / name) for name in ("one", "two", "four"))
    assert [run["processes"] for run in (one, *others)] == [1, 2, 2]
    for other in others:
        assert [line.keys() for line in other["log"]] == [line.keys() for line in one["log"]]
        for name in ("loss", "masked_lm.loss", "next_sentence.loss", "grad_norm", "tokens", "lr"):
            assert [line[name] for line in other["log"]] == pytest.approx([line[name] for line in one["log"]], rel=2e-6)
        assert other["result"]["mlm.loss"] == pytest.approx(one["result"]["mlm.loss"], rel=2e-6)
        assert other["result"]["tokens"] == one["result"]["tokens"]
        assert other["files"] == one["files"]


@pytest.mark.slow
def test_two_processes_keep_one_time_and_make_the_same_steps_again(tmp_path, pretrain_settings):
    settings = pretrain_settings("gpt2", dropout=0.1, cache="stores", precision="fp32", threads=1, budget="3s")
    (tmp_path / "recipe.yaml").write_text(json.dumps(settings))
    command = ["-m", "ptft", "pretrain", "recipe.yaml", "out=run"]
    launch(command, 2, tmp_path)
    first, weights = read_run(tmp_path / "run"), (tmp_path / "run" / "model" / "model.safetensors").read_bytes()
    positions = (tmp_path / "run" / "positions.jsonl").read_text()
    assert first["result"]["steps"] == len(positions.splitlines()) > 2
    (tmp_path / "run" / "result.json").unlink()  # as if it had been killed at the very end, without a checkpoint
    launch(command, 2, tmp_path)
    assert (tmp_path / "run" / "positions.jsonl").read_text() == positions
    assert [line["lr"] for line in read_run(tmp_path / "run")["log"]] == [line["lr"] for line in first["log"]]
    assert (tmp_path / "run" / "model" / "model.safetensors").read_bytes() == weights


def read_run(folder: Path):
    log = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {
        "log": log,
        "processes": json.loads((folder / "manifest.json").read_text())["processes"],
        "result": json.loads((folder / "result.json").read_text()),
        "files": sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()),
    }
