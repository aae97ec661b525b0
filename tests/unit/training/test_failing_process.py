"""One of several processes fails: all end soon, one sentence reaches the user, the exit code says so."""

import json
import os
import subprocess
import sys

import pytest

from ptft import cli, compute, peers

ONE_ELSEWHERE = """
import os
if os.environ["RANK"] == "1":
    os.chdir("elsewhere")
from ptft.cli import main
main()
"""
ONE_RAISES = """
import os
from ptft import errors
from ptft.training import loop
totals, calls = loop._totals, []
def failing(*arguments):
    calls.append(1)
    if os.environ["RANK"] == "1" and len(calls) == 3:
        raise {error}("the third step failed")
    return totals(*arguments)
loop._totals = failing
from ptft.cli import main
main()
"""


def launch(program, settings, folder):
    (folder / "program.py").write_text(program)
    (folder / "recipe.yaml").write_text(json.dumps(settings))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONWARNINGS": "ignore"}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = ["program.py", "pretrain", str(folder / "recipe.yaml"), f"out={folder / 'run'}"]
    return subprocess.run(
        [*torchrun, *command], env=environment, capture_output=True, text=True, timeout=120, cwd=folder
    )


@pytest.fixture
def settings(tmp_path, pretrain_settings):
    return pretrain_settings("bert", cache=str(tmp_path / "stores"), precision="fp32", threads=1, budget="50steps")


@pytest.mark.slow
def test_a_file_that_one_process_cannot_read(tmp_path, settings):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "here.txt").write_text("One sentence.\nAnother one.\n\n" * 40)
    done = launch(ONE_ELSEWHERE, settings | {"corpus": {"path": "here.txt"}}, tmp_path)
    assert done.returncode != 0
    said = [line for line in done.stderr.splitlines() if line.startswith("ptft: ")]
    assert len(said) == 1, done.stderr
    assert "here.txt" in said[0]
    assert "Connection closed" not in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("error", "sentence"),
    [("errors.DataError", "ptft: the third step failed"), ("RuntimeError", "RuntimeError: the third step failed")],
)
def test_an_error_of_one_process_while_training(error, sentence, tmp_path, settings):
    done = launch(ONE_RAISES.format(error=error), settings, tmp_path)
    assert done.returncode != 0
    assert done.stderr.splitlines().count(sentence) == 1, done.stderr
    assert "Connection closed" not in done.stderr
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 2
    assert not (tmp_path / "run" / "result.json").exists()


class Store:
    """What the processes share."""

    def __init__(self, failed, *, is_gone=False):
        self.failed = failed
        self.is_gone = is_gone

    def add(self, key, amount):
        if self.is_gone:
            raise RuntimeError("Connection reset by peer")
        self.failed += amount
        return self.failed


@pytest.mark.parametrize(("store", "speaks"), [(Store(0), True), (Store(1), False), (Store(1, is_gone=True), True)])
def test_the_first_to_fail_says_why(store, speaks, monkeypatch, capsys):
    monkeypatch.setattr(compute.torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(compute, "_default_store", lambda: store)
    monkeypatch.setattr(peers, "_HEAD_START", 0.0)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert cli.command(["nonsense"]) == 2
    assert bool(capsys.readouterr().err) == speaks


@pytest.mark.parametrize(("rank", "speaks"), [("0", True), ("1", False)])
def test_before_they_have_met_the_first_of_a_machine_says_it(rank, speaks, monkeypatch, capsys):
    monkeypatch.setattr(peers, "_HEAD_START", 0.0)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", rank)
    assert cli.command(["nonsense"]) == 2
    assert bool(capsys.readouterr().err) == speaks
