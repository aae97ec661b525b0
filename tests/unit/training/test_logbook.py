import errno
import json
from pathlib import Path

import pytest

from ptft.errors import CheckpointError
from ptft.training.logbook import Logbook, read_log


def test_lines_are_appended(tmp_path):
    book = Logbook(tmp_path / "metrics.jsonl", 0)
    book.write({"step": 1, "loss": 2.5})
    book.write({"step": 2, "loss": 2.0})
    assert read_log(tmp_path / "metrics.jsonl") == [{"step": 1, "loss": 2.5}, {"step": 2, "loss": 2.0}]


def test_missing_log_is_empty(tmp_path):
    assert read_log(tmp_path / "metrics.jsonl") == []


def test_torn_last_line_is_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3, "lo')
    assert read_log(path) == [{"step": 1}, {"step": 2}]


def test_lines_after_the_last_saved_step_are_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps({"step": step}) + "\n" for step in (10, 20, 30)) + '{"step"')
    Logbook(path, 20).write({"step": 21})
    assert [line["step"] for line in read_log(path)] == [10, 20, 21]


def test_log_is_replaced_whole(tmp_path):
    Logbook(tmp_path / "metrics.jsonl", 0)
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_torn_inside_a_character(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n{"step": 2, "a": "\xc3')
    assert read_log(path) == [{"step": 1}]


class Disk:
    """A file that takes so many characters more, and half a line if need be."""

    def __init__(self, file, disk):
        self._file, self._disk = file, disk

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()

    def __getattr__(self, name):
        return getattr(self._file, name)

    def write(self, text):
        self._file.write(text[: self._disk["free"]])
        self._file.flush()
        if len(text) > self._disk["free"]:
            raise OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def disk(monkeypatch):
    """How much may be appended to any file."""
    free, real = {"free": 1000}, Path.open
    monkeypatch.setattr(
        Path,
        "open",
        lambda path, mode="r", **more: Disk(f, free) if (f := real(path, mode, **more)) and mode == "a" else f,
    )
    return free


def test_lines_wait_while_the_disk_is_full(tmp_path, disk):
    path, said = tmp_path / "metrics.jsonl", []
    book = Logbook(path, 0, said.append)
    book.write({"step": 1})
    disk["free"] = 5
    book.write({"step": 2})
    book.write({"step": 3})
    assert path.read_text() == '{"step": 1}\n{"ste'
    assert read_log(path) == [{"step": 1}]
    disk["free"] = 1000
    book.write({"step": 4})
    assert path.read_text() == "".join(f'{{"step": {step}}}\n' for step in (1, 2, 3, 4))
    assert said == [f"cannot write {path}: No space left on device; training goes on, and its lines wait"]
    disk["free"] = 0
    book.write({"step": 5})
    assert len(said) == 2


def test_a_log_that_cannot_be_begun_is_a_sentence(tmp_path, monkeypatch):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n')

    def full(self, text, **more):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(CheckpointError, match=r"cannot write .*metrics\.jsonl: Read-only file system; make room"):
        Logbook(path, 1)
    assert read_log(path) == [{"step": 1}, {"step": 2}]
