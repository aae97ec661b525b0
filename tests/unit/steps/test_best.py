"""``keep_best``: the model with the lowest held-out loss, the same after any interruption."""

import json
import math

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForPreTraining, AutoTokenizer

from ptft.errors import CheckpointError, DataError, RecipeError
from ptft.training.best import Best

STEPS = 12


class Crash(Exception):
    """A power cut."""


class Stopper:
    def __init__(self, step):
        self.step = step

    def say(self, sentence):
        pass

    def progress(self, what, done, total, figures=None):
        if done == self.step:
            raise Crash


@pytest.fixture(scope="module")
def settings(pretrain_settings):
    """Of a training that goes wrong after some steps, so that the best model is none of the last."""
    return pretrain_settings(
        "bert", dropout=0.2, lr=1.0, schedule={"name": "constant"}, budget=f"{STEPS}steps", ema=0.3,
        evaluate_every_steps=2, checkpoint_every_steps=3, keep_best=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory, step, settings):
    folder = tmp_path_factory.mktemp("best") / "run"
    step("pretrain", **settings, out=str(folder))
    return folder


def losses(folder):
    """The held-out loss by step."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line["valid.mlm.loss"] + line["valid.nsp.loss"] for line in lines if "valid.mlm.loss" in line}


def best(folder):
    return json.loads((folder / "manifest.json").read_text())["best"]


def weights(folder):
    return load_file(folder / "model.safetensors")


def test_the_lowest_of_all_is_kept(whole):
    found = losses(whole)
    lowest = min(found, key=found.__getitem__)
    assert best(whole) == {"path": "best", "step": lowest, "valid_loss": found[lowest]}
    assert 2 < lowest < STEPS, "the test is made for a best model in the middle"
    ours, last = weights(whole / "best"), weights(whole / "model")
    assert any(not torch.equal(value, last[name]) for name, value in ours.items())


def test_it_is_a_stock_model(whole):
    model, info = AutoModelForPreTraining.from_pretrained(whole / "best", output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert len(AutoTokenizer.from_pretrained(whole / "best")) <= model.config.vocab_size


def test_it_holds_the_weights_that_were_measured(whole, step, settings, tmp_path):
    """With a moving average that is what is measured: a run that ends there has it as its model."""
    lowest = best(whole)["step"]
    step("pretrain", **{**settings, "budget": f"{lowest}steps"}, out=str(tmp_path / "run"))
    ours, theirs = weights(whole / "best"), weights(tmp_path / "run" / "model")
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


@pytest.mark.parametrize("crash", [2, 7, 11])
def test_a_continued_run_keeps_the_same(crash, whole, step, settings, tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(Crash):
        step("pretrain", **settings, out=str(folder), display=Stopper(crash))
    step("pretrain", **settings, out=str(folder))
    assert (best(folder), losses(folder)) == (best(whole), losses(whole))
    ours, theirs = weights(folder / "best"), weights(whole / "best")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_no_room_for_it_is_a_sentence_and_nothing_is_lost(whole, step, settings, tmp_path, monkeypatch):
    folder = tmp_path / "run"

    def full(model, tokenizer, folder):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("ptft.steps.pretrain.save_model", full)
        with pytest.raises(CheckpointError, match=r"cannot write the best model .*best: .*No space left .*; make room"):
            step("pretrain", **settings, out=str(folder))
    step("pretrain", **settings, out=str(folder))
    theirs = weights(whole / "best")
    assert all(torch.equal(value, theirs[name]) for name, value in weights(folder / "best").items())


def test_nothing_is_kept_unless_asked_for(bert_run):
    assert not (bert_run / "best").exists()
    assert "best" not in json.loads((bert_run / "manifest.json").read_text())


def test_best_knows_no_number_that_is_none(tmp_path):
    kept = Best(tmp_path / "best", lambda folder: (folder / "x").write_text("x"))
    kept.measured(1, math.nan, is_main=True)
    assert (kept.state(), kept.facts()) == ({}, {})
    kept.measured(2, 3.0, is_main=False)
    assert not (tmp_path / "best").exists()
    kept.measured(3, 3.0, is_main=True)
    assert kept.state() == {"step": 2, "loss": 3.0}
    other = Best(tmp_path / "best", lambda folder: None)
    other.load(kept.state())
    assert other.facts() == {"path": "best", "step": 2, "valid_loss": 3.0}
    other.load({})
    assert other.step == 2


def test_weights_of_the_objectives_count(pretrain_settings):
    from ptft.config import load
    from ptft.steps.pretrain import Pretrain

    objectives = [{"name": "masked_lm", "weight": 2.0}, {"name": "next_sentence", "weight": 0.5}]
    settings = load(Pretrain, base=pretrain_settings("bert", objective=objectives)).settings
    figures = {"mlm.loss": 3.0, "mlm.accuracy": 9.0, "nsp.loss": 4.0, "nsp.accuracy": 9.0}
    assert settings.total_loss(figures) == 8.0


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"evaluate_every_steps": 0}, r"keep_best: .*evaluate_every_steps=0 asks for none .*give a number"),
        ({"corpus": {"path": "{}", "valid_ratio": 0.0}}, r"keep_best: .*valid_ratio=0 holds none out; give"),
    ],
)
def test_mistakes(others, message, settings, step, corpus_file, tmp_path):
    if "corpus" in others:
        others = {**others, "corpus": {**others["corpus"], "path": str(corpus_file)}}
    values = {**settings, **others, "out": str(tmp_path / "run")}
    with pytest.raises(RecipeError, match=message):
        step("pretrain", **values)
    assert not (tmp_path / "run").exists()


def test_held_out_text_that_gives_no_row(settings, step, corpus_file, tmp_path, monkeypatch):
    def none(*arguments):
        raise DataError("too little text")

    monkeypatch.setattr("ptft.steps.pretrain.held_out", none)
    with pytest.raises(DataError, match=r"keep_best: .* held out cannot be measured: too little text; or give"):
        step("pretrain", **settings, out=str(tmp_path / "run"))
