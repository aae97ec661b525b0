"""What the validation rows decide: the best epoch and the end; and what labels decide: weights and heads."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ptft.errors import DataError, DeviceError, RecipeError
from ptft.models.classifier_files import open_classifier
from ptft.tasks.table import balanced_weights
from ptft.tasks.task import Example, TaskData

TINY = {"length": 32, "min_steps": 0, "lr": 0.01, "log_every_steps": 1, "rows_per_step": 16}


class Listener:
    def __init__(self):
        self.sentences = []

    def say(self, sentence):
        self.sentences.append(sentence)

    def progress(self, what, done, total, figures=None):
        pass


@pytest.fixture
def finetune(step, tmp_path, table):
    def do(**settings):
        return step("finetune", **{**TINY, "data": str(table), "out": str(tmp_path / "run"), **settings})

    return do


def log(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture
def scripted(monkeypatch):
    """Let the validation rows say what a list says, epoch by epoch."""

    def do(values):
        waiting = list(values)
        real = __import__("ptft.steps.finetune", fromlist=["score"]).score

        def score(classifier, rows, texts, compute):
            figures, is_constant = real(classifier, rows, texts, compute)
            if classifier.training and waiting:
                figures["accuracy"] = waiting.pop(0)
            return figures, is_constant

        monkeypatch.setattr("ptft.steps.finetune.score", score)

    return do


def test_the_best_epoch_is_what_is_kept(finetune, bert_run, tmp_path, scripted):
    """64 rows in steps of 16: four steps an epoch. A run that ends where the best epoch ended has its weights."""
    scripted([0.5, 0.9, 0.7, 0.6])
    display = Listener()
    finetune(model=str(bert_run), budget="4epochs", keep_best=True, schedule="constant", display=display)
    lines = log(tmp_path / "run")
    assert [(line["step"], line["valid.accuracy"]) for line in lines if "valid.accuracy" in line] == [
        (4, 0.5), (8, 0.9), (12, 0.7), (16, 0.6)
    ]  # fmt: skip
    assert "fine-tuning: the best of the epochs ends with step 8" in display.sentences
    schedule = {"name": "constant", "warmup_ratio": 0.0}
    for name, settings in (("kept", {"budget": "4epochs", "keep_best": True}), ("short", {"budget": "2epochs"})):
        scripted([0.5, 0.9, 0.7, 0.6])
        finetune(model=str(bert_run), schedule=schedule, out=str(tmp_path / name), **settings)
    kept, short = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("kept", "short"))
    assert max((kept[name] - short[name]).abs().max() for name in kept) == 0


def test_patience_ends_a_run(finetune, bert_run, tmp_path, scripted):
    scripted([0.5, 0.9, 0.7, 0.6, 0.8, 0.8, 0.8, 0.8])
    result = finetune(model=str(bert_run), budget="8epochs", keep_best=True, patience=2)
    assert result["records"][0]["steps"] == 16
    assert log(tmp_path / "run")[-1]["step"] == 16


@pytest.mark.parametrize("policy", ["full", "frozen", "lora"])
def test_a_run_that_crashed_keeps_the_same_epoch(policy, finetune, bert_run, tmp_path, scripted):
    class Crash(Exception):
        pass

    class Breaker(Listener):
        def progress(self, what, done, total, figures=None):
            if done == 11:
                raise Crash

    settings = {"model": str(bert_run), "budget": "4epochs", "keep_best": True, "checkpoint_every_steps": 5,
                "dropout": 0.1, "policy": policy}  # fmt: skip
    scripted([0.5, 0.9, 0.7, 0.6])
    finetune(**settings, out=str(tmp_path / "whole"))
    scripted([0.5, 0.9])
    with pytest.raises(Crash):
        finetune(**settings, out=str(tmp_path / "crashed"), display=Breaker())
    scripted([0.7, 0.6])
    display = Listener()
    finetune(**settings, out=str(tmp_path / "crashed"), display=display)
    assert "continuing after step 10" in display.sentences
    assert "fine-tuning: the best of the epochs ends with step 8" in display.sentences
    whole, again = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("whole", "crashed"))
    assert max((whole[name] - again[name]).abs().max() for name in whole) == 0


def test_patience_needs_keep_best(finetune, bert_run):
    with pytest.raises(RecipeError, match="patience: ends where the best epoch is long ago, which keep_best"):
        finetune(model=str(bert_run), patience=2)


def rows(counts):
    examples = tuple(Example("x", label) for label, count in counts.items() for _ in range(count))
    return TaskData("t", tuple(sorted(counts)), examples, examples, {"test": examples})


def test_balanced_weights_are_those_of_scikit_learn():
    from sklearn.utils.class_weight import compute_class_weight

    data = rows({"a": 1, "b": 6, "c": 13})
    labels = [example.label for example in data.train]
    expected = compute_class_weight("balanced", classes=np.array(["a", "b", "c"]), y=labels)
    assert balanced_weights(data) == pytest.approx(expected.tolist())


def test_balanced_losses_weigh_rare_labels_more(finetune, bert_run, tmp_path, labelled_texts):
    """One step over all rows: the loss is the weighted mean, whatever the micro-batches."""
    path = tmp_path / "rare.csv"
    kept = [pair for pair in labelled_texts if pair[1] == "warm"] + [p for p in labelled_texts if p[1] == "cold"][:12]
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in kept))
    losses = {}
    for weights in ("none", "balanced"):
        for accumulate in (1, 4):
            out = tmp_path / f"{weights}-{accumulate}"
            finetune(model=str(bert_run), data=str(path), class_weights=weights, accumulate=accumulate, dropout=0.0,
                     budget="30steps", out=str(out))  # fmt: skip
            losses[weights, accumulate] = [line["loss"] for line in log(out)]
    assert losses["balanced", 1] == pytest.approx(losses["balanced", 4], rel=1e-4)
    assert losses["none", 1][1] != pytest.approx(losses["balanced", 1][1], rel=1e-4)


def test_numbers_have_no_classes_to_weigh(finetune, bert_run):
    with pytest.raises(RecipeError, match="class_weights: regression has no classes to weigh"):
        finetune(model=str(bert_run), problem="regression", class_weights="balanced")


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_a_head_is_gone_on_with_by_the_names_of_its_labels(pooling, finetune, bert_run, tmp_path):
    """The second table's labels sort the other way round; the head keeps its order, and its scores."""
    first = finetune(model=str(bert_run), budget="60steps", pooling=pooling)
    assert first["test.accuracy"] > 0.8
    assert open_classifier(tmp_path / "run").labels == ("cold", "warm")
    more = {"model": str(tmp_path / "run"), "budget": "1steps", "lr": 1e-9, "pooling": pooling}
    again = finetune(**more, out=str(tmp_path / "again"))
    assert again["test.accuracy"] == first["test.accuracy"]
    config = tmp_path / "run" / "model" / ("config.json" if pooling == "cls" else "head.json")
    facts = json.loads(config.read_text())
    if pooling == "cls":
        facts["id2label"] = {"0": "warm", "1": "cold"}
        facts["label2id"] = {"warm": 0, "cold": 1}
    else:
        facts["labels"] = ["warm", "cold"]
    config.write_text(json.dumps(facts))  # as one whose labels are named the other way round
    swapped = finetune(**more, out=str(tmp_path / "sw"))
    assert swapped["test.accuracy"] == 1 - first["test.accuracy"]
    assert open_classifier(tmp_path / "sw").labels == ("warm", "cold")


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_other_labels_are_refused_and_a_new_head_is_new(pooling, finetune, bert_run, tmp_path, labelled_texts):
    finetune(model=str(bert_run), budget="30steps", pooling=pooling)
    path = tmp_path / "other.csv"
    path.write_text("text,label\n" + "".join(f"{text},{label}er\n" for text, label in labelled_texts))
    settings = {"model": str(tmp_path / "run"), "data": str(path), "pooling": pooling, "budget": "1steps", "lr": 1e-9}
    with pytest.raises(DataError, match=r"its labels \(colder, warmer\) are not those of .* \(cold, warm\); give data"):
        finetune(**settings, out=str(tmp_path / "refused"))
    finetune(**settings, out=str(tmp_path / "new"), head="new")
    layers = [open_classifier(tmp_path / name).output_layer() for name in ("run", "new")]
    assert not torch.allclose(layers[0].weight, layers[1].weight, atol=1e-3)
    assert layers[1].weight.std().item() == pytest.approx(0.02, rel=0.6)
    assert open_classifier(tmp_path / "new").labels == ("colder", "warmer")


def test_a_search_is_decided_by_the_validation_rows_and_tests_once(finetune, bert_run, tmp_path, monkeypatch):
    """Two points, of which the second is given the better validation score; test rows are scored for seeds only."""
    from ptft.steps import search

    monkeypatch.setitem(search.GRIDS, "bert_grid", search.Grid((1e-5, 1e-2), (8,), (2,)))
    scored = []
    real = __import__("ptft.steps.finetune", fromlist=["score"]).score

    def score(classifier, rows, texts, compute):
        scored.append(rows)
        return real(classifier, rows, texts, compute)

    monkeypatch.setattr("ptft.steps.finetune.score", score)
    display = Listener()
    result = finetune(model=str(bert_run), search="bert_grid", seeds=(3, 4), display=display)
    tests = [rows for rows in scored if rows == scored[-1]]
    assert len(scored) == 2 + 2 and len(tests) == 2
    assert "best of 2 on the validation rows: lr=0.01 rows_per_step=8 budget=2epochs" in display.sentences
    assert {record["steps"] for record in result["records"]} == {16}
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    first, second = manifest["search"]
    assert (first["lr"], second["lr"]) == (1e-5, 1e-2) and second["valid"] > first["valid"]


def test_a_search_that_was_stopped_goes_on_behind_what_is_done(finetune, bert_run, tmp_path, monkeypatch):
    from ptft.steps import search

    class Crash(Exception):
        pass

    class Breaker(Listener):
        def progress(self, what, done, total, figures=None):
            if what.startswith("search, lr 0.01"):
                raise Crash

    monkeypatch.setitem(search.GRIDS, "bert_grid", search.Grid((1e-5, 1e-2), (8,), (2,)))
    with pytest.raises(Crash):
        finetune(model=str(bert_run), search="bert_grid", display=Breaker())
    kept = (tmp_path / "run" / "search.jsonl").read_text()
    assert len(kept.splitlines()) == 1
    finetune(model=str(bert_run), search="bert_grid")
    assert (tmp_path / "run" / "search.jsonl").read_text().startswith(kept)
    assert len((tmp_path / "run" / "search.jsonl").read_text().splitlines()) == 2


def test_the_grids_are_those_of_the_papers():
    from ptft.steps.search import GRIDS

    assert len(list(GRIDS["bert_grid"].points())) == 18
    assert next(iter(GRIDS["small_bert_grid"].points())) == {"lr": 3e-4, "rows_per_step": 8, "budget": "4epochs"}
    assert len(list(GRIDS["small_bert_grid"].points())) == 20


def test_a_grid_that_cannot_be_shared_is_refused_first(finetune, bert_run, tmp_path):
    with pytest.raises(RecipeError, match="rows_per_step: 16 rows cannot be shared equally"):
        finetune(model=str(bert_run), search="bert_grid", accumulate=3, rows_per_step=9)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"policy": "last_k"}, "policy: last_k is not supported under FSDP; use full, or DDP"),
        ({"keep_best": True}, "keep_best: epochs' weights are not kept under FSDP; leave it out, or use DDP"),
    ],
)
def test_what_needs_whole_weights_is_refused_under_fsdp(settings, sentence, finetune, bert_run, monkeypatch):
    monkeypatch.setattr("ptft.steps.finetune_settings.sharding_asked", lambda: True)
    with pytest.raises(DeviceError, match=sentence):
        finetune(model=str(bert_run), **settings)
