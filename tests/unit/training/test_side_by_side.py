"""Questions answered by processes side by side."""

import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from ptft.errors import DataError, TrainingError
from ptft.training.side_by_side import Processes


def asked(code, questions, number, say=print):
    """What processes answer, whose greeting says to multiply by ten."""
    worker = f"from ptft.training.side_by_side import serve; {code}"
    with Processes(worker, {"threads": 1, "by": 10}, number, SimpleNamespace(say=say)) as processes:
        return list(processes.answers(questions))


@pytest.mark.parametrize(
    ("code", "kind", "message"),
    [
        ("import os; serve(lambda *_: lambda question: os.kill(os.getpid(), 9))", TrainingError, r"by signal 9, most"),
        ("raise SystemExit(3)", RuntimeError, r"ended with code 3"),
        ("serve(lambda *_: lambda question: 1 / 0)", RuntimeError, r"met a bug\nTraceback(.|\n)*ZeroDivisionError"),
        (
            "from ptft.errors import DataError\ndef mistake(*_): raise DataError('no rows')\nserve(mistake)",
            DataError,
            r"^no rows$",
        ),
    ],
)
def test_a_process_that_fails(code, kind, message):
    with pytest.raises(kind, match=message):
        asked(code, [1, 2, 3], 1)


def test_answers_and_sentences_of_processes():
    said = []
    code = "serve(lambda greeting, display: lambda n: (print('noise'), display.say(f'{n}'), n * greeting['by'])[2])"
    assert sorted(asked(code, [1, 2, 3], 2, said.append)) == [(0, 10), (1, 20), (2, 30)]
    assert sorted(said) == ["1", "2", "3"]


def test_no_process_is_left():
    processes = Processes(
        "from ptft.training.side_by_side import serve; import os; serve(lambda *_: lambda n: os.getpid())",
        {"threads": 1},
        2,
        SimpleNamespace(say=print),
    )
    with processes:
        (_, one), (_, other) = processes.answers([1, 2])
    for number in {one, other}:
        with pytest.raises(ProcessLookupError):
            os.kill(number, 0)


def test_a_process_ends_when_its_parent_is_killed(tmp_path):
    """Even in the middle of an answer: a killed parent cannot end it."""
    code = f"""
import os
import subprocess
import sys
from types import SimpleNamespace
from ptft.training.side_by_side import Processes
worker = "import os, pathlib, time; from ptft.training.side_by_side import serve; " \
    "serve(lambda *_: lambda path: (pathlib.Path(path).write_text(str(os.getpid())), time.sleep(600)))"
with Processes(worker, {{"threads": 1}}, 1, SimpleNamespace(say=print)) as processes:
    list(processes.answers([{str(tmp_path / "worker")!r}]))
"""
    parent = subprocess.Popen([sys.executable, "-c", code])
    wait_for(lambda: (tmp_path / "worker").exists() and (tmp_path / "worker").read_text())
    worker = int((tmp_path / "worker").read_text())
    parent.kill()
    parent.wait()
    wait_for(lambda: not is_alive(worker))


def is_alive(number):
    """Whether a process runs; one that has ended and that nobody has asked about yet does not."""
    try:
        return "(zombie)" not in Path(f"/proc/{number}/status").read_text()
    except OSError:
        return False


def wait_for(is_there):
    for _ in range(2000):
        if is_there():
            return
        time.sleep(0.01)
    raise AssertionError("it does not happen")
