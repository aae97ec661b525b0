"""Recipes of several steps: order, references, what is done again and what is left alone."""

import json
import os
import signal

import pytest
import yaml
from safetensors.torch import load_file

from ptft.config import load
from ptft.errors import DataError, RecipeError, UserError
from ptft.recipe import Run, resolve, run
from ptft.training.interruption import Interrupted


class Listener:
    """Hears what is said, and sends this process a signal at a step of a training."""

    def __init__(self, signal_at=0):
        self.sentences = []
        self.signal_at = signal_at

    def say(self, sentence):
        self.sentences.append(sentence)

    def progress(self, what, done, total, figures=None):
        if what == "pretraining" and done == self.signal_at:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture(autouse=True)
def no_pages(monkeypatch):
    for module in ("ptft.run", "ptft.recipe"):
        monkeypatch.setattr(f"{module}.write_report", lambda folder: None)


@pytest.fixture
def corpus(tmp_path, corpus_file):
    path = tmp_path / "corpus.txt"
    path.write_text(corpus_file.read_text())
    return path


@pytest.fixture
def write(tmp_path):
    """Write a recipe of steps, done one after the other in this process."""

    def do(steps, **others):
        content = {"out": str(tmp_path / "runs"), "jobs": 1, **others, "steps": steps}
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
        return tmp_path / "recipe.yaml"

    return do


@pytest.fixture
def steps(corpus, store_cache, pretrain_settings):
    """A tokenizer, and an encoder that uses it; the encoder is written first."""
    common = {"threads": 1, "precision": "fp32", "cache": store_cache}
    text = {"path": str(corpus), "valid_ratio": 0.2}
    encoder = pretrain_settings("bert", corpus=text, tokenizer="step:words", checkpoint_every_steps=1, **common)
    return {
        "encoder": {"name": "pretrain", **encoder},
        "words": {"name": "tokenizer", "corpus": text, "vocab_size": 120, "model_max_length": 64, **common},
    }


def times(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def result_of(folder):
    return json.loads((folder / "result.json").read_text())


def test_steps_are_done_in_the_order_of_their_needs(write, steps, tmp_path):
    result = run(write(steps))
    manifest = json.loads((tmp_path / "runs" / "encoder" / "manifest.json").read_text())
    assert manifest["parents"][0]["path"] == str(tmp_path / "runs" / "words")
    assert manifest["parents"][0]["manifest"]["step"] == "tokenizer"
    assert result == result_of(tmp_path / "runs")
    assert result["words.vocabulary"] == result_of(tmp_path / "runs" / "words")["vocabulary"]
    assert result["encoder.mlm.loss"] == result_of(tmp_path / "runs" / "encoder")["mlm.loss"]
    assert result["seconds.total"] > 0


def test_short_rows_then_long_ones_are_two_steps(write, steps, tmp_path, pretrain_settings):
    """The second goes on with the weights of the first, at a learning rate that leaves them as they are."""
    short = {**steps["encoder"], "length": 16, "objective": "masked_lm", "budget": "3steps"}
    long = {**short, "preset": "", "shape": {}, "tokenizer": "", "model": "step:short", "length": 48, "lr": 1e-12}
    run(write({"long": long, "short": short, "words": steps["words"]}))
    runs = tmp_path / "runs"
    first, second = (load_file(runs / name / "model" / "model.safetensors") for name in ("short", "long"))
    assert max((first[name] - second[name]).abs().max() for name in first) < 1e-9
    assert result_of(runs / "long")["tokens"] > 2 * result_of(runs / "short")["tokens"]
    (parent,) = json.loads((runs / "long" / "manifest.json").read_text())["parents"]
    assert (parent["path"], parent["manifest"]["step"]) == (str(runs / "short"), "pretrain")


def test_second_call_does_nothing(write, steps, tmp_path):
    path = write(steps)
    first = run(path)
    before, display = times(tmp_path / "runs" / "encoder"), Listener()
    assert run(path, display=display) == first
    assert times(tmp_path / "runs" / "encoder") == before
    assert sorted(display.sentences) == ["encoder: already done", "words: already done"]


def test_changed_setting_redoes_the_step_and_what_depends_on_it(write, steps, tmp_path):
    run(write(steps))
    former = result_of(tmp_path / "runs" / "encoder")
    run(write({**steps, "words": {**steps["words"], "vocab_size": 90}}))
    assert result_of(tmp_path / "runs" / "words")["vocabulary"] <= 90
    assert result_of(tmp_path / "runs" / "encoder")["parameters"] < former["parameters"]
    assert result_of(tmp_path / "runs" / "encoder.former-1") == former
    assert (tmp_path / "runs" / "words.former-1" / "model" / "tokenizer.json").exists()


def test_changed_setting_of_the_last_step_leaves_the_first_alone(write, steps, tmp_path):
    run(write(steps))
    before, display = times(tmp_path / "runs" / "words"), Listener()
    run(write({**steps, "encoder": {**steps["encoder"], "budget": "5steps"}}), display=display)
    assert times(tmp_path / "runs" / "words") == before
    assert "words: already done" in display.sentences
    assert result_of(tmp_path / "runs" / "encoder")["steps"] == 5
    assert result_of(tmp_path / "runs" / "encoder.former-1")["steps"] == 4
    run(write({**steps, "encoder": {**steps["encoder"], "budget": "6steps"}}))
    assert result_of(tmp_path / "runs" / "encoder.former-2")["steps"] == 5


def test_changed_file_redoes_the_step(write, steps, corpus, tmp_path):
    words = {"words": steps["words"]}
    before = run(write(words))
    corpus.write_text("Another text\n\nof other words\n" * 20)
    assert run(write(words))["words.vocabulary"] != before["words.vocabulary"]
    assert (tmp_path / "runs" / "words.former-1").exists()


def test_interrupted_step_goes_on(write, steps, tmp_path):
    path, display = write(steps), Listener()
    with pytest.raises(Interrupted):
        run(path, display=Listener(signal_at=3))
    run(path, display=display)
    assert "continuing after step 3" in display.sentences
    assert not list((tmp_path / "runs").glob("*.former-*"))
    assert result_of(tmp_path / "runs" / "encoder")["steps"] == 4


def test_figures_are_mapped(write, steps):
    figures = {"loss": "encoder.mlm.loss", "mlm.*": "encoder.mlm.*", "tokens.*": "words.*"}
    result = run(write(steps, figures=figures))
    assert result["loss"] == result["mlm.loss"]
    assert result.keys() >= {"mlm.accuracy", "tokens.vocabulary", "seconds.total"}
    assert not [name for name in result if name.startswith(("encoder", "nsp", "words"))]


def test_seed_of_the_recipe_is_that_of_its_steps(write, steps):
    path = write({**steps, "words": {**steps["words"], "seed": 4}}, seed=7)
    resolved = resolve(load(Run, path).settings)
    assert (resolved["encoder"].seed, resolved["words"].seed) == (7, 4)


def test_references_become_folders(write, steps, tmp_path):
    resolved = resolve(load(Run, write(steps)).settings)
    assert resolved["encoder"].tokenizer == f"{tmp_path}/runs/words"
    assert resolved["encoder"].out == f"{tmp_path}/runs/encoder"


def test_overrides(write, steps, tmp_path):
    run(write({"words": steps["words"]}), ["steps.words.vocab_size=90", f"out={tmp_path / 'other'}"])
    assert result_of(tmp_path / "other" / "words")["vocabulary"] <= 90


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoder": {"tokenizer": "step:wrds"}}, r"steps\.encoder: there is no step 'wrds'; did you mean 'words'"),
        ({"encoder": {"tokenizer": "step:encoder"}}, r"steps wait for each other in a circle: encoder -> encoder"),
        ({"words": {"corpus": {"path": "step:encoder"}}}, r"steps wait for each other in a circle: .*encoder.* -> "),
        ({"words": {"out": "elsewhere"}}, r"steps\.words\.out: a step of a recipe works in a folder below the run's"),
        ({"words": {"vocab_size": 1}}, r"recipe\.yaml:\d+: steps\.words\.vocab_size"),
        ({"words": {"vocab_sise": 100}}, r"recipe\.yaml:\d+: steps\.words\.vocab_sise.*did you mean 'vocab_size'"),
    ],
)
def test_mistakes_in_a_recipe_leave_no_folder_behind(change, message, write, steps, tmp_path):
    changed = {name: {**settings, **change.get(name, {})} for name, settings in steps.items()}
    with pytest.raises(RecipeError, match=message):
        run(write(changed))
    assert not (tmp_path / "runs").exists()


def test_figure_of_a_step_that_does_not_exist_is_found_at_once(write, steps, tmp_path):
    with pytest.raises(RecipeError, match=r"figures\.loss: there is no step 'encodr'; did you mean 'encoder'"):
        run(write(steps, figures={"loss": "encodr.mlm.loss"}))
    assert not (tmp_path / "runs").exists()


def test_figure_that_does_not_exist(write, steps):
    with pytest.raises(RecipeError, match=r"figures\.loss: encoder has no figure 'mlm\.los'; did you mean 'mlm\.loss'"):
        run(write(steps, figures={"loss": "encoder.mlm.los"}))


def test_mistake_of_a_step_leaves_no_folder_behind(write, steps, tmp_path):
    words = {**steps["words"], "corpus": {"path": str(tmp_path / "nowhere.txt")}}
    with pytest.raises(DataError, match=r"nowhere\.txt"):
        run(write({**steps, "words": words}))
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("content", ["", "a file"])
def test_folder_that_is_no_run_is_refused(content, write, steps, tmp_path):
    if content:
        (tmp_path / "runs").write_text(content)
    else:
        (tmp_path / "runs").mkdir()
        (tmp_path / "runs" / "thesis.tex").write_text("years of work")
    with pytest.raises(RecipeError, match=r"out: '.*runs' exists and is no run folder of ptft; name a new folder"):
        run(write(steps))


def test_run_of_a_single_step_is_not_overwritten(write, steps, tmp_path):
    run(write({"words": steps["words"]}))
    before = times(tmp_path / "runs" / "words")
    with pytest.raises(RecipeError, match=r"out: '.*words' holds the run of a single step; name another folder"):
        run(write({"words": steps["words"]}, out=str(tmp_path / "runs" / "words")))
    assert times(tmp_path / "runs" / "words") == before


@pytest.mark.slow
def test_steps_side_by_side_in_processes(write, steps, tmp_path):
    display = Listener()
    run(write(steps, jobs=2), display=display)
    assert result_of(tmp_path / "runs" / "encoder")["steps"] == 4
    assert any(sentence.startswith("encoder: ") for sentence in display.sentences)
    assert not list((tmp_path / "runs").glob(".*.yaml"))


def test_complaint_of_a_process_is_a_sentence_of_the_recipe(write, steps):
    run(write({"words": steps["words"]}))
    with pytest.raises(UserError, match=r"^steps\.encoder: length: 65 tokens are more than the model's 64 positions"):
        run(write({**steps, "encoder": {**steps["encoder"], "length": 65}}, jobs=2))


def test_a_launcher_of_several_processes_is_refused(write, monkeypatch):
    monkeypatch.setattr("ptft.recipe.num_processes", lambda: 2)
    with pytest.raises(RecipeError, match="a launcher of 2 processes cannot share; launch the steps one by one"):
        run(write({}))
