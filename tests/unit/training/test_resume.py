"""Promise 5: a run that was stopped anywhere ends with the bits of one that was not."""

import json
import os
import shutil
import signal

import pytest
from safetensors.torch import load_file

from ptft.training.interruption import Interrupted

STEPS = 9
RAMP = {"start_ratio": 0.3, "share": 0.8}
TIMES = ("tokens_per_second", "data_wait_ratio", "mfu")


class Crash(Exception):
    """A bug, a power cut."""


class Stopper:
    """A display that stops the run at a step."""

    def __init__(self, step=0, how=None):
        self.step = step
        self.how = how
        self.sentences = []

    def say(self, sentence):
        self.sentences.append(sentence)

    def progress(self, what, done, total, figures=None):
        if done == self.step and self.how is Crash:
            raise Crash
        if done == self.step and self.how:
            os.kill(os.getpid(), self.how)


def weights(folder):
    return load_file(folder / "model" / "model.safetensors")


def log(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in TIMES} for line in lines]


def checkpoints(folder):
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def assert_same_end(folder, whole):
    """Bit-equal weights, and equal lines but for times."""
    ours, theirs = weights(folder), weights(whole)
    assert ours.keys() == theirs.keys()
    assert max((ours[name] - theirs[name]).abs().max().item() for name in ours) == 0
    assert log(folder) == log(whole)


@pytest.fixture(scope="module")
def settings(pretrain_settings, bert_run, table):
    """Settings of runs with dropout, by name."""
    fixed = {"checkpoint_every_steps": 2, "budget": f"{STEPS}steps", "log_every_steps": 1}
    fine = {"data": str(table), "length": 32, "rows_per_step": 8, "accumulate": 2, **fixed}
    return {
        "bert": ("pretrain", pretrain_settings("bert", dropout=0.2, evaluate_every_steps=3, **fixed)),
        "gpt2": ("pretrain", pretrain_settings("gpt2", dropout=0.2, optimizer={"name": "muon"}, **fixed)),
        "averaged, ramp": (
            "pretrain",
            pretrain_settings("gpt2", dropout=0.2, ema=0.8, evaluate_every_steps=3, batch_ramp=RAMP, **fixed),
        ),
        "finetune": ("finetune", {"model": str(bert_run), **fine}),
        "finetune scratch": ("finetune", {"init": "scratch", "preset": "bert-tiny", "vocab_size": 100, **fine}),
    }


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory, step, settings):
    """The folder of a run that nothing stopped, by name."""
    done = {}

    def find(name):
        if name not in done:
            done[name] = tmp_path_factory.mktemp("whole") / "run"
            verb, values = settings[name]
            step(verb, **values, out=str(done[name]))
        return done[name]

    return find


@pytest.fixture(scope="module")
def crashed(tmp_path_factory, step, settings):
    """A fresh copy of a run that crashed at step 5, after the checkpoint of step 4, by name."""
    done = {}

    def copy(name, folder):
        if name not in done:
            done[name] = tmp_path_factory.mktemp("crashed") / "run"
            verb, values = settings[name]
            with pytest.raises(Crash):
                step(verb, **values, out=str(done[name]), display=Stopper(5, Crash))
        shutil.copytree(done[name], folder)
        return folder

    return copy


@pytest.fixture
def resume(step, settings):
    def do(name, folder):
        verb, values = settings[name]
        display = Stopper()
        step(verb, **values, out=str(folder), display=display)
        return display.sentences

    return do


@pytest.mark.parametrize("name", ["bert", "gpt2", "averaged, ramp", "finetune", "finetune scratch"])
def test_crash_between_checkpoints(name, tmp_path, resume, whole_run, crashed):
    folder = crashed(name, tmp_path / "run")
    assert checkpoints(folder) == ["step-00000002", "step-00000004"]
    assert f"{folder} was interrupted; going on" in (sentences := resume(name, folder))
    assert "continuing after step 4" in sentences
    assert_same_end(folder, whole_run(name))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_saves_and_stops_after_the_step(number, tmp_path, step, settings, resume, whole_run):
    verb, values = settings["bert"]
    with pytest.raises(Interrupted, match=f"stopped after step 5 of {STEPS}"):
        step(verb, **values, out=str(tmp_path / "run"), display=Stopper(5, number))
    assert checkpoints(tmp_path / "run") == ["step-00000004", "step-00000005"]
    assert "continuing after step 5" in resume("bert", tmp_path / "run")
    assert_same_end(tmp_path / "run", whole_run("bert"))


def test_signal_at_the_last_step(tmp_path, step, settings, resume, whole_run):
    verb, values = settings["finetune"]
    with pytest.raises(Interrupted):
        step(verb, **values, out=str(tmp_path / "run"), display=Stopper(STEPS, signal.SIGTERM))
    assert f"continuing after step {STEPS}" in resume("finetune", tmp_path / "run")
    assert_same_end(tmp_path / "run", whole_run("finetune"))


def test_crash_before_the_first_checkpoint(tmp_path, step, settings, resume, whole_run):
    verb, values = settings["bert"]
    with pytest.raises(Crash):
        step(verb, **values, out=str(tmp_path / "run"), display=Stopper(1, Crash))
    assert not [s for s in resume("bert", tmp_path / "run") if s.startswith("continuing")]
    assert_same_end(tmp_path / "run", whole_run("bert"))


def test_accumulation_may_change_where_dropout_is_off(tmp_path, step, pretrain_settings):
    values = pretrain_settings("bert", dropout=0.0, budget="4steps", checkpoint_every_steps=2)
    first = step("pretrain", **values, out=str(tmp_path / "one"))
    second = step("pretrain", **values, out=str(tmp_path / "two"), accumulate=2)
    assert first["mlm.loss"] == pytest.approx(second["mlm.loss"], abs=1e-6)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-7])


def flip(path):
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [truncate, flip, os.remove])
@pytest.mark.parametrize("file", ["weights.safetensors", "optimizer.safetensors", "state.json"])
def test_damaged_newest_checkpoint_falls_back_to_the_one_before(file, damage, tmp_path, resume, whole_run, crashed):
    folder = crashed("finetune", tmp_path / "run")
    damage(folder / "checkpoints" / "step-00000004" / file)
    assert "continuing after step 2" in resume("finetune", folder)
    assert_same_end(folder, whole_run("finetune"))


def test_half_written_checkpoint_is_ignored(tmp_path, resume, whole_run, crashed):
    folder = crashed("finetune", tmp_path / "run")
    newest = folder / "checkpoints" / "step-00000004"
    shutil.copytree(newest, folder / "checkpoints" / ".step-00000006.partial")
    assert "continuing after step 4" in resume("finetune", folder)
    assert_same_end(folder, whole_run("finetune"))


def test_torn_log_line_is_written_again(tmp_path, resume, whole_run, crashed):
    folder = crashed("finetune", tmp_path / "run")
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "loss": 0.1}\n{"step": 7, "lo')
    resume("finetune", folder)
    assert_same_end(folder, whole_run("finetune"))


def test_newest_checkpoints_are_kept(tmp_path, step, settings):
    verb, values = settings["finetune"]
    step(verb, **values, out=str(tmp_path / "run"), keep_checkpoints=3)
    assert checkpoints(tmp_path / "run") == ["step-00000004", "step-00000006", "step-00000008"]
