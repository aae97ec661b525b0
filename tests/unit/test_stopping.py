"""The command as batch systems and people stop it: exit codes, sentences, and what goes on afterwards."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file

from ptft.training.checkpoint import complete_checkpoints, examine

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow  # each start of a process imports torch and transformers


class Command:
    """A command line in a process of its own."""

    def __init__(self, folder, *arguments):
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ptft", *arguments], cwd=folder, env=environment, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def wait_for(self, is_there):
        """Until something is there, or the process has ended without it."""
        while not is_there():
            assert self.process.poll() is None, self.process.communicate()
            time.sleep(0.01)

    def end(self):
        """Exit code, output and complaints."""
        output, errors = self.process.communicate(timeout=300)
        return self.process.returncode, output, errors


@pytest.fixture
def settings(pretrain_settings, tmp_path):
    """Of a training that is long enough to be stopped."""

    def write(name, **others):
        values = pretrain_settings("bert", budget="3000steps", threads=1, precision="fp32", log_every_steps=1, **others)
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump({"out": str(tmp_path / name), **values}))
        return path

    return write


def num_lines(path):
    return len(path.read_text().splitlines()) if path.exists() else 0


def newest(folder):
    (path,) = sorted((folder / "checkpoints").glob("step-*"))[-1:]
    return json.loads((path / "state.json").read_text())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_training_saves_and_ends_with_its_code(number, settings, tmp_path):
    command = Command(tmp_path, "pretrain", str(settings("run")))
    command.wait_for(lambda: num_lines(tmp_path / "run" / "metrics.jsonl") >= 3)
    lines = num_lines(tmp_path / "run" / "metrics.jsonl")
    command.process.send_signal(number)
    code, _, errors = command.end()
    step = newest(tmp_path / "run")["step"]
    assert step >= lines
    assert num_lines(tmp_path / "run" / "metrics.jsonl") == step
    assert (code, errors) == (
        128 + number,
        f"ptft: stopped after step {step} of 3000; the same command goes on from there\n",
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_stopped_before_training_begins(number, settings, tmp_path):
    command = Command(tmp_path, "pretrain", str(settings("run")))
    command.wait_for((tmp_path / "run" / "recipe.yaml").exists)
    command.process.send_signal(number)
    code, _, errors = command.end()
    assert (code, errors) == (128 + number, "ptft: stopped; the same command goes on from there\n")


def test_a_recipe_passes_it_on_to_its_steps_and_ends_with_the_same_code(settings, tmp_path):
    steps = {name: {"name": "pretrain", **yaml.safe_load(settings(name).read_text())} for name in ("one", "two")}
    for step in steps.values():
        del step["out"]
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({"out": str(tmp_path / "runs"), "jobs": 2, "steps": steps}))
    command = Command(tmp_path, "run", str(recipe))
    logs = [tmp_path / "runs" / name / "metrics.jsonl" for name in steps]
    command.wait_for(lambda: all(num_lines(log) >= 2 for log in logs))
    command.process.send_signal(signal.SIGUSR1)
    code, _, errors = command.end()
    saved = {name: newest(tmp_path / "runs" / name)["step"] for name in steps}
    said = {f"{name}: stopped after step {step} of 3000" for name, step in saved.items()}
    assert code == 138
    assert errors.endswith("; the same command goes on from there\n")
    assert set(errors.removeprefix("ptft: ").partition(";")[0].split(", ")) == said
    hidden = {path.name for path in (tmp_path / "runs").glob(".*")}
    assert hidden == {".one.inputs", ".two.inputs"}


def test_two_processes_stop_after_the_same_step(settings, tmp_path):
    recipe = settings("run")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    launched = subprocess.Popen(
        [*launcher, "-m", "ptft", "pretrain", str(recipe)], cwd=tmp_path, env=environment, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        while num_lines(tmp_path / "run" / "metrics.jsonl") < 3:
            assert launched.poll() is None, launched.communicate()
            time.sleep(0.05)
        os.killpg(launched.pid, signal.SIGINT)  # as a terminal does: to all, and the launcher passes it on
        _, errors = launched.communicate()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(launched.pid, signal.SIGKILL)
    step = newest(tmp_path / "run")["step"]
    assert f"ptft: stopped after step {step} of 3000; the same command goes on from there" in errors
    assert num_lines(tmp_path / "run" / "metrics.jsonl") == step


@pytest.fixture
def curve(bert_run, table, tmp_path):
    """The settings of a curve of 18 cells, and their recipe, curve.yaml, with two cells side by side."""
    values = {
        "model": str(bert_run), "data": str(table), "methods": ["tfidf", "scratch", "pretrained"], "labels": [8, 32],
        "seeds": 3, "budget": "50steps", "length": 32, "rows_per_step": 8,
    }  # fmt: skip
    (tmp_path / "curve.yaml").write_text(yaml.safe_dump({**values, "jobs": 2, "threads": 1, "precision": "fp32"}))
    return values


def descendants(number):
    """Processes below one, by their numbers."""
    lines = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout.splitlines()
    children = [int(child) for child, parent in map(str.split, lines) if int(parent) == number]
    return children + [below for child in children for below in descendants(child)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_curve_with_cells_side_by_side(number, curve, step, tmp_path):
    arguments, log = ("curve", "curve.yaml", "out=run"), tmp_path / "run" / "cells.jsonl"
    command = Command(tmp_path, *arguments)
    command.wait_for(lambda: num_lines(log) >= 7)
    workers = descendants(command.process.pid)
    command.process.send_signal(number)
    code, _, errors = command.end()
    lines = log.read_text().splitlines()
    if number == signal.SIGKILL:
        assert code == -number
    else:
        sentence = f"ptft: stopped after {len(lines)} of 18 cells; the same command goes on from there\n"
        assert (code, errors) == (128 + number, sentence)
    end = time.monotonic() + 10
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < end, "a process is left"
        time.sleep(0.05)
    code, output, errors = Command(tmp_path, *arguments).end()
    assert code == 0, errors
    assert "was interrupted; going on" in output
    assert log.read_text().splitlines()[: len(lines)] == lines
    assert num_lines(log) == 18
    whole = step("curve", **curve, jobs=1, out=str(tmp_path / "whole"))
    assert json.loads((tmp_path / "run" / "result.json").read_text()) == whole


# A disk that is full


@pytest.fixture
def on_small_disk(tmp_path):
    """Run a command line where ``disk`` has so many bytes; what it leaves is copied to ``left``."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "left").mkdir()
    prefix = ["unshare", "-rm", "sh", "-c"]
    probe = subprocess.run([*prefix, "mount -t tmpfs none disk"], cwd=tmp_path, capture_output=True, check=False)
    if probe.returncode:
        pytest.skip("this system lets nobody mount a small disk")

    def run(size, *arguments):
        script = f'mount -t tmpfs -o size={size} none disk && "$@"; code=$?; cp -r disk/. left; exit $code'
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
        command = [*prefix, script, "sh", sys.executable, "-m", "ptft", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    return run


def test_a_full_disk_stops_no_training_and_the_last_checkpoint_is_whole(
    on_small_disk, tmp_path, step, pretrain_settings
):
    """The disk has room for five of eight checkpoints, and none for the model."""
    values = pretrain_settings("bert", budget="9steps", checkpoint_every_steps=1, keep_checkpoints=9)
    whole = tmp_path / "whole"
    step("pretrain", **values, out=str(whole))
    pages = {path: 4096 * -(-path.stat().st_size // 4096) for path in whole.rglob("*") if path.is_file()}
    checkpoint = sum(size for path, size in pages.items() if path.parent.name == "step-00000001")
    others = sum(
        size for path, size in pages.items() if path.parent.name == "tokenizer" or path.suffix in (".yaml", ".jsonl")
    )
    recipe = tmp_path / "run.yaml"
    recipe.write_text(yaml.safe_dump({**values, "threads": 1, "precision": "fp32", "out": "disk/run"}))
    code, output, errors = on_small_disk(others + int(5.1 * checkpoint), "pretrain", str(recipe))
    assert code == 2, (output, errors)
    assert errors.startswith("ptft: cannot write the model disk/run/model: ")
    assert "No space left" in errors
    assert output.count("training goes on; cannot write the checkpoint") == 1
    found = complete_checkpoints(tmp_path / "left" / "run" / "checkpoints")
    assert found
    assert all(examine(path)[1] == "" for path in found)
    assert not list((tmp_path / "left").rglob(".*.partial"))
    assert not (tmp_path / "left" / "run" / "model").exists()
    step("pretrain", **values, out=str(tmp_path / "left" / "run"))  # with room again
    ours, theirs = (load_file(tmp_path / run / "model" / "model.safetensors") for run in ("left/run", "whole"))
    assert all((ours[name] == theirs[name]).all() for name in theirs)


def test_a_log_file_on_a_full_disk_stops_nothing(settings, tmp_path):
    recipe = settings("run")
    recipe.write_text(recipe.read_text().replace("3000steps", "3steps"))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "ptft", "pretrain", str(recipe)], cwd=tmp_path, env=environment, stdout=full,
            stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert json.loads((tmp_path / "run" / "result.json").read_text())["steps"] == 3
    assert "Traceback" not in done.stderr
    assert done.returncode in (1, 2)
