"""Promise 5: a run that was stopped anywhere ends with the bits of one that was not."""

import errno
import json
import os
import re
import shutil
import signal
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from ptft import rng
from ptft.errors import CheckpointError
from ptft.training.interruption import Interrupted
from ptft.training.meters import TIMES

STEPS = 9
RAMP = {"start_ratio": 0.3, "share": 0.8}


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


def figures(folder):
    """Those of the result that are no times."""
    result = json.loads((folder / "result.json").read_text())
    kept = {name: value for name, value in result.items() if name not in (*TIMES, "seconds")}
    assert {"padding_ratio", "head_share"} <= kept.keys()
    return kept


def checkpoints(folder):
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def assert_same_end(folder, whole):
    """Bit-equal weights, and equal lines but for times."""
    ours, theirs = weights(folder), weights(whole)
    assert ours.keys() == theirs.keys()
    assert max((ours[name] - theirs[name]).abs().max().item() for name in ours) == 0
    assert log(folder) == log(whole)
    assert figures(folder) == figures(whole)


@pytest.fixture(scope="module")
def settings(pretrain_settings, bert_run, table):
    """Settings of runs with dropout, by name."""
    fixed = {"checkpoint_every_steps": 2, "budget": f"{STEPS}steps", "log_every_steps": 1}
    fine = {"data": str(table), "length": 32, "rows_per_step": 8, "accumulate": 2, **fixed}
    short_epochs = {"rows_per_step": 32, "dropout": 0.2}  # two steps each
    return {
        "bert": ("pretrain", pretrain_settings("bert", dropout=0.2, evaluate_every_steps=3, **fixed)),
        "gpt2": ("pretrain", pretrain_settings("gpt2", dropout=0.2, optimizer={"name": "muon"}, **fixed)),
        "packed": ("pretrain", pretrain_settings("bert", dropout=0.2, packed_length=48, **fixed)),
        "averaged, ramp": (
            "pretrain",
            pretrain_settings("gpt2", dropout=0.2, ema=0.8, evaluate_every_steps=3, batch_ramp=RAMP, **fixed),
        ),
        "finetune": ("finetune", {"model": str(bert_run), **fine}),
        **{
            name: ("finetune", {"model": str(bert_run), **fine, **short_epochs, "policy": name})
            for name in ("gradual_unfreezing", "scalar_mix", "lora", "auxiliary_lm")
        },
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


PRETRAININGS = ["bert", "gpt2", "packed", "averaged, ramp"]
FINE_TUNINGS = ["finetune", "finetune scratch", "gradual_unfreezing", "scalar_mix", "lora", "auxiliary_lm"]


@pytest.mark.parametrize("name", [*PRETRAININGS, *FINE_TUNINGS])
def test_crash_between_checkpoints(name, tmp_path, resume, whole_run, crashed):
    folder = crashed(name, tmp_path / "run")
    assert checkpoints(folder) == ["step-00000002", "step-00000004"]
    assert f"{folder} was interrupted; going on" in (sentences := resume(name, folder))
    assert "continuing after step 4" in sentences
    assert_same_end(folder, whole_run(name))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_signal_saves_and_stops_after_the_step(number, tmp_path, step, settings, resume, whole_run):
    verb, values = settings["bert"]
    with pytest.raises(Interrupted, match=f"stopped after step 5 of {STEPS}$") as stop:
        step(verb, **values, out=str(tmp_path / "run"), display=Stopper(5, number))
    assert stop.value.signal_number == number
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
    newest = folder / "checkpoints" / "step-00000004"
    damage(newest / file)
    sentences = resume("finetune", folder)
    (said,) = [sentence for sentence in sentences if " is damaged (" in sentence]
    assert said.startswith(f"{newest} is damaged (")
    assert file in said
    assert said.endswith("; step-00000002 is taken instead")
    assert "continuing after step 2" in sentences
    assert_same_end(folder, whole_run("finetune"))
    assert checkpoints(folder) == ["step-00000006", "step-00000008"]


@pytest.mark.slow
@pytest.mark.parametrize("case", range(40))
def test_damage_anywhere_ends_with_the_bits_of_the_whole_run(case, tmp_path, resume, whole_run, crashed):
    """20 files cut off at a random place, and 20 random bits changed."""
    folder = crashed("finetune", tmp_path / "run")
    files = sorted((folder / "checkpoints" / "step-00000004").iterdir())
    path = files[case % len(files)]
    content = bytearray(path.read_bytes())
    place = int(rng.integers(len(content), 11, case))
    if case < 20:
        del content[place:]
    else:
        content[place] ^= 1 << int(rng.integers(8, 12, case))
    path.write_bytes(content)
    sentences = resume("finetune", folder)
    assert sum("step-00000004 is damaged" in sentence for sentence in sentences) == 1
    assert "continuing after step 2" in sentences
    assert_same_end(folder, whole_run("finetune"))


def test_where_nothing_is_whole_training_begins_anew(tmp_path, resume, whole_run, crashed):
    folder = crashed("finetune", tmp_path / "run")
    for newest in (folder / "checkpoints").iterdir():
        truncate(newest / "weights.safetensors")
    sentences = resume("finetune", folder)
    assert sum(sentence.endswith("training begins anew") for sentence in sentences) == 2
    assert not [sentence for sentence in sentences if sentence.startswith("continuing")]
    assert_same_end(folder, whole_run("finetune"))


def test_leftovers_of_a_killed_run_are_removed(tmp_path, resume, whole_run, crashed):
    folder = crashed("finetune", tmp_path / "run")
    newest = folder / "checkpoints" / "step-00000004"
    for name in ("checkpoints/.step-00000006.partial", "checkpoints/.step-00000002.former", ".model.partial"):
        shutil.copytree(newest, folder / name)
    for name in (".metrics.jsonl.partial", ".result.json.partial"):
        (folder / name).write_text('{"st')
    (folder / "notes.txt").write_text("mine")
    assert "continuing after step 4" in resume("finetune", folder)
    assert_same_end(folder, whole_run("finetune"))
    assert files(folder) - files(whole_run("finetune")) == {"notes.txt"}


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_a_checkpoint_that_a_killed_process_had_yet_to_delete_goes(tmp_path, resume, whole_run):
    folder = tmp_path / "run"
    shutil.copytree(whole_run("finetune"), folder)
    (folder / "result.json").unlink()
    shutil.copytree(folder / "checkpoints" / "step-00000006", folder / "checkpoints" / "step-00000004")
    resume("finetune", folder)
    assert checkpoints(folder) == ["step-00000006", "step-00000008"]


# Another run than it was


def test_changed_corpus_is_refused(tmp_path, step, settings, corpus_file):
    verb, values = settings["bert"]
    (tmp_path / "corpus.txt").write_text(corpus_file.read_text())
    values = {**values, "corpus": {"path": str(tmp_path / "corpus.txt"), "valid_ratio": 0.2}}
    with pytest.raises(Crash):
        step(verb, **values, out=str(tmp_path / "run"), display=Stopper(5, Crash))
    (tmp_path / "corpus.txt").write_text(corpus_file.read_text() + "\n\nthe ice is red\nthe sun is cold")
    before = files(tmp_path / "run")
    with pytest.raises(
        CheckpointError, match=r"run of .* cannot go on.*: corpus \(.* is now .*\); bring back"
    ) as error:
        step(verb, **values, out=str(tmp_path / "run"))
    assert not re.search("tokenizer|model|steps|optimizer", str(error.value).partition("began: ")[2])
    assert before == files(tmp_path / "run")
    (tmp_path / "corpus.txt").write_text(corpus_file.read_text())
    step(verb, **values, out=str(tmp_path / "run"))


def test_changed_rows_are_refused(tmp_path, step, settings, table):
    verb, values = settings["finetune"]
    values = {**values, "data": str(tmp_path / "rows.csv")}
    (tmp_path / "rows.csv").write_text(table.read_text())
    with pytest.raises(Crash):
        step(verb, **values, out=str(tmp_path / "run"), display=Stopper(5, Crash))
    first = table.read_text().splitlines()[1]
    (tmp_path / "rows.csv").write_text(table.read_text().replace(first, f"very {first}", 1))
    with pytest.raises(CheckpointError, match=r"cannot go on.*: data \(.* is now .*\); bring back"):
        step(verb, **values, out=str(tmp_path / "run"))


# No room


@pytest.fixture
def no_room(monkeypatch):
    """Let the tensors of some steps' checkpoints not be written, for lack of room."""

    def at(*steps):
        def save(tensors, path):
            if any(f"{step:08d}" in str(path) for step in steps):
                path.write_bytes(b"half")
                raise OSError(errno.ENOSPC, "No space left on device")
            save_file(tensors, path)

        monkeypatch.setattr("ptft.training.checkpoint.save_file", save)

    return at


def test_checkpoint_that_finds_no_room_ends_nothing(tmp_path, step, settings, whole_run, no_room):
    verb, values = settings["finetune"]
    no_room(4, 6)
    display = Stopper()
    step(verb, **values, out=str(tmp_path / "run"), display=display)
    (said,) = [sentence for sentence in display.sentences if "No space" in sentence]
    assert re.fullmatch(
        r"training goes on; cannot write the checkpoint .*step-00000004: .*No space left on device; "
        r"older checkpoints are intact, the last one is of step 2",
        said,
    )
    assert checkpoints(tmp_path / "run") == ["step-00000002", "step-00000008"]
    assert_same_end(tmp_path / "run", whole_run("finetune"))


def test_run_that_found_no_room_goes_on_from_the_last_one(tmp_path, step, settings, resume, whole_run, no_room):
    verb, values = settings["finetune"]
    no_room(4)
    with pytest.raises(Crash):
        step(verb, **values, out=str(tmp_path / "run"), display=Stopper(5, Crash))
    assert checkpoints(tmp_path / "run") == ["step-00000002"]
    assert "continuing after step 2" in resume("finetune", tmp_path / "run")
    assert_same_end(tmp_path / "run", whole_run("finetune"))


@pytest.mark.parametrize(
    ("at", "steps", "sentence"),
    [
        (5, (5,), r"stopped after step 5 of 9; cannot write .*step-00000005: .*; older .* the last one is of step 4"),
        (1, (1,), r"stopped after step 1 of 9; cannot write .*step-00000001: .* are intact: there is none"),
    ],
)
def test_stop_that_finds_no_room_names_the_last_one(at, steps, sentence, tmp_path, step, settings, no_room):
    verb, values = settings["finetune"]
    no_room(*steps)
    with pytest.raises(Interrupted, match=sentence) as stop:
        step(verb, **values, out=str(tmp_path / "run"), display=Stopper(at, signal.SIGTERM))
    assert stop.value.signal_number == signal.SIGTERM


@pytest.mark.parametrize("name", ["bert", "finetune"])
def test_model_that_finds_no_room(name, tmp_path, step, settings, resume, whole_run, monkeypatch):
    verb, values = settings[name]

    def full(*arguments):
        (Path(arguments[-1]) / "config.json").write_text("{")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(
            {"bert": "ptft.steps.pretrain.save_model", "finetune": "ptft.steps.finetune.save_classifier"}[name], full
        )
        with pytest.raises(
            CheckpointError, match=r"cannot write the model .*run.model: .*No space left .*; make room and"
        ):
            step(verb, **values, out=str(tmp_path / "run"))
    assert not {path for path in files(tmp_path / "run") if "model" in path}
    assert checkpoints(tmp_path / "run") == ["step-00000006", "step-00000008"]
    assert "continuing after step 8" in resume(name, tmp_path / "run")
    assert_same_end(tmp_path / "run", whole_run(name))


@pytest.mark.parametrize("name", ["manifest.json", "result.json"])
def test_result_that_finds_no_room(name, tmp_path, step, settings, resume, whole_run, monkeypatch):
    from ptft.training.aside import write_text

    verb, values = settings["finetune"]

    def full(path, text):
        if path.name == name:
            raise OSError(errno.ENOSPC, "No space left on device")
        write_text(path, text)

    with monkeypatch.context() as patch:
        patch.setattr("ptft.steps.folder.write_text", full)
        with pytest.raises(CheckpointError, match=f"cannot write .*{name}: No space left on device; make room and"):
            step(verb, **values, out=str(tmp_path / "run"))
    assert "continuing after step 8" in resume("finetune", tmp_path / "run")
    assert_same_end(tmp_path / "run", whole_run("finetune"))


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
