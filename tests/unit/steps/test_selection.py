"""What the validation rows decide: the best epoch and the end; and what labels decide: weights and heads."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ptft.compute import Compute
from ptft.errors import DataError, DeviceError, RecipeError, TrainingError
from ptft.models.classifier_files import open_classifier
from ptft.steps.finetune import Encoded, Finetune, train_one
from ptft.steps.search import GRIDS, Grid
from ptft.tasks.table import balanced_weights
from ptft.tasks.task import Example, TaskData
from ptft.training.interruption import Interrupted

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


@pytest.fixture
def search(step, tmp_path, table, bert_run, monkeypatch):
    """Search a small grid; the run is in ``tmp_path / "run"``."""

    def do(rates=(1e-5, 1e-2), rows=(8,), epochs=(2,), **settings):
        monkeypatch.setitem(GRIDS, "bert_grid", Grid(rates, rows, epochs))
        given = {"data": str(table), "model": str(bert_run), "length": 32, "search": "bert_grid"}
        return step("finetune", **{**given, "out": str(tmp_path / "run"), **settings})

    return do


def points_of(folder):
    return [json.loads(line) for line in (folder / "search.jsonl").read_text().splitlines()]


def test_a_search_is_decided_by_the_validation_rows_and_tests_once(search, tmp_path, monkeypatch):
    """Two points, of which the second is given the better validation score; test rows are scored for seeds only."""
    scored = []
    real = __import__("ptft.steps.finetune", fromlist=["score"]).score

    def score(classifier, rows, texts, compute):
        scored.append(rows)
        return real(classifier, rows, texts, compute)

    monkeypatch.setattr("ptft.steps.finetune.score", score)
    display = Listener()
    result = search(seeds=(3, 4), display=display)
    tests = [rows for rows in scored if rows == scored[-1]]
    assert len(scored) == 2 + 2 and len(tests) == 2
    assert "best of 2 on the validation rows: lr=0.01 rows_per_step=8 budget=2epochs" in display.sentences
    assert {record["steps"] for record in result["records"]} == {16}
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    first, second = manifest["search"]
    assert (first["lr"], second["lr"]) == (1e-5, 1e-2) and second["valid"] > first["valid"]
    chosen = {"lr": 1e-2, "rows_per_step": 8, "budget": "2epochs"}
    assert manifest["chosen"] == chosen
    assert all(record.items() >= chosen.items() for record in result["records"])
    assert "| chosen.lr | 0.01 |" in (tmp_path / "run" / "model" / "README.md").read_text()


def test_each_training_of_a_search_is_made_once(search, tmp_path):
    """64 rows: steps of 64 and of 128 are the same; epochs are the grid's, whatever min_steps is by default."""
    search(rows=(32, 64, 128), epochs=(1, 2), rates=(1e-3,))
    found = points_of(tmp_path / "run")
    assert [(point["rows_per_step"], point["budget"]) for point in found] == [
        (32, "1epochs"), (32, "2epochs"), (64, "1epochs"), (64, "2epochs")
    ]  # fmt: skip
    (record,) = json.loads((tmp_path / "run" / "result.json").read_text())["records"]
    assert record["steps"] == 64 // record["rows_per_step"] * int(record["budget"][0])


@pytest.mark.parametrize(
    ("settings", "names"), [({"lr": 0.1}, "lr"), ({"budget": "9epochs", "min_steps": 0}, "budget, min_steps")]
)
def test_what_a_search_decides_cannot_be_given(settings, names, search, tmp_path):
    with pytest.raises(RecipeError, match=f"search: bert_grid decides about {names}; leave out what it decides"):
        search(**settings)
    assert not (tmp_path / "run").exists()


def test_a_point_that_cannot_be_trained_is_the_worst(search, tmp_path):
    display = Listener()
    result = search(rates=(1e30, 1e-3), display=display)
    assert result["records"][0]["lr"] == 1e-3
    first, second = points_of(tmp_path / "run")
    assert first["valid"] is None and "give a lower lr" in first["error"]
    assert 0 <= second["valid"] <= 1
    assert any(
        said.startswith("search, lr=1e+30 rows_per_step=8 budget=2epochs: step ")
        and said.endswith("it counts as the worst")
        for said in display.sentences
    )


def test_a_search_without_an_answer_keeps_what_it_tried(search, tmp_path):
    for _ in range(2):
        with pytest.raises(TrainingError, match="search: no point of bert_grid could be trained to its end; the first"):
            search(rates=(1e30, 1e31))
        assert len(points_of(tmp_path / "run")) == 2


@pytest.mark.parametrize("stop", [KeyError("a bug"), DataError("a file is gone"), Interrupted("step 8", 15)])
def test_a_search_that_was_stopped_goes_on_behind_what_is_done(stop, search, tmp_path):
    class Breaker(Listener):
        def progress(self, what, done, total, figures=None):
            if what.startswith("search, lr=0.01"):
                raise stop

    with pytest.raises(type(stop)) as stopped:
        search(display=Breaker())
    if isinstance(stop, Interrupted):
        assert (str(stopped.value), stopped.value.signal_number) == ("stopped after 1 of 2 points of the search", 15)
    kept = points_of(tmp_path / "run")
    assert len(kept) == 1
    search()
    assert points_of(tmp_path / "run")[:1] == kept
    assert len(points_of(tmp_path / "run")) == 2


def test_the_grids_are_those_of_the_papers():
    assert len(list(GRIDS["bert_grid"].points(1000))) == 18
    first = {"lr": 3e-4, "rows_per_step": 8, "budget": "4epochs"}
    assert next(iter(GRIDS["small_bert_grid"].points(1000))) == first
    assert len(list(GRIDS["small_bert_grid"].points(1000))) == 20


def test_a_grid_that_cannot_be_shared_is_refused_first(search, tmp_path):
    with pytest.raises(RecipeError, match="rows_per_step: 16 rows cannot be shared equally"):
        search(rows=(16,), accumulate=32)
    assert not (tmp_path / "run").exists()


def test_without_a_folder_each_process_keeps_its_own_best(bert_run, table):
    """A point of a search, or a cell of a curve, in a process beside the main one."""
    settings = Finetune(model=str(bert_run), data=str(table), length=32, budget="2epochs", min_steps=0, keep_best=True)
    data, _ = settings.check_data()
    tokenizer = settings.open_tokenizer(data)
    compute = Compute("fp32")
    compute.is_main = False
    made, _ = train_one(settings, Encoded.of(data, tokenizer, 32), tokenizer, 0, compute, Listener(), lr=1e-3)
    assert made.labels == ("cold", "warm")


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
