"""Prompts asked along a pretraining."""

import json
from types import SimpleNamespace

import pytest
from safetensors.torch import load_file

from ptft.errors import RecipeError
from ptft.report.page import write_report
from ptft.steps import emergence

# Prompts of the task are longer than the tiny model's usual positions.
LONG = {"shape": {"n_layer": 1, "n_embd": 16, "n_positions": 256}, "corpus": {"path": "embedded:lists"}}
ASKED = {"tasks": ["words_topic_L"], "k": [0, 2], "rows": 6, "time_ratio": 100.0}


@pytest.fixture
def pretrain(step, tmp_path, pretrain_settings):
    def do(kind="gpt2", out="run", **settings):
        common = {"evaluate_every_steps": 2, "budget": "5steps", "out": str(tmp_path / out)}
        long = LONG if kind == "gpt2" else {}
        return step("pretrain", **pretrain_settings(kind, **{**long, **common, **settings})), tmp_path / out

    return do


def lines_of(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_accuracy_over_steps_and_shots(pretrain):
    result, run = pretrain(prompting=ASKED)
    names = {f"prompt.words_topic_L.k{k}{end}" for k in (0, 2) for end in ("", ".low", ".high")}
    names.add("prompt.words_topic_L.majority")
    found = {line["step"]: {k: v for k, v in line.items() if k.startswith("prompt.")} for line in lines_of(run)}
    assert {step for step, figures in found.items() if figures} == {2, 4, 5}
    assert all(figures.keys() == names for figures in found.values() if figures)
    assert {name: result[name] for name in names} == found[5]
    page = write_report(run)
    assert (run / "emergence.png").exists()
    assert "Learning from the prompt" in page.read_text()


def test_asking_changes_nothing_of_the_training(pretrain):
    _, asked = pretrain(prompting=ASKED)
    _, other = pretrain(out="other")
    one, two = (load_file(run / "model" / "model.safetensors") for run in (asked, other))
    assert all((one[name] == two[name]).all() for name in two)
    assert [line["loss"] for line in lines_of(asked)] == [line["loss"] for line in lines_of(other)]


def test_the_end_is_that_of_prompting_the_model(pretrain, step, tmp_path):
    result, run = pretrain(prompting={**ASKED, "rows": 50})
    prompted = step(
        "prompt", model=str(run), data=("words_topic_L",), k=(0, 2), seeds=(0,), limit=50, out=str(tmp_path / "asked")
    )
    for k in (0, 2):
        assert result[f"prompt.words_topic_L.k{k}"] == prompted[f"words_topic_L.k{k}"]


def test_asking_stops_where_it_takes_too_much_time(pretrain, monkeypatch):
    seconds = iter(range(0, 10**6, 1000))
    # Each look at the clock is a thousand seconds after the one before.
    monkeypatch.setattr(emergence, "time", SimpleNamespace(perf_counter=lambda: next(seconds)))
    result, run = pretrain(prompting={**ASKED, "time_ratio": 0.2}, budget="9steps")
    asked = [line["step"] for line in lines_of(run) if any(key.startswith("prompt.") for key in line)]
    assert asked == [2, 8]
    assert "prompt.words_topic_L.k2" in result


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("bert", {"prompting": ASKED}, "only a decoder can be asked"),
        ("gpt2", {"prompting": ASKED, "evaluate_every_steps": 0}, "evaluate_every_steps=0 asks for none"),
        ("gpt2", {"prompting": {**ASKED, "tasks": ["words"]}}, "unknown task 'words'"),
        ("gpt2", {"prompting": {"k": [1]}}, r"prompting\.k has no effect without prompting\.tasks"),
    ],
)
def test_settings_that_cannot_be(kind, settings, message, pretrain):
    with pytest.raises(RecipeError, match=message):
        pretrain(kind, **settings)
