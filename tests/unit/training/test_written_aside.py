"""Folders and files that appear whole or not at all."""

import errno
import os
from pathlib import Path

import pytest

from ptft.errors import CheckpointError
from ptft.training.aside import discard, remove_leftovers, write_aside, write_text, written_aside


def fill(folder, text):
    (folder / "below" / "deep").mkdir(parents=True)
    (folder / "one").write_text(text)
    (folder / "below" / "two").write_text(text)
    (folder / "below" / "deep" / "three").write_text(text)


def content(folder):
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_is_replaced_whole(tmp_path):
    target = tmp_path / "runs" / "model"
    for text in ("old", "new"):
        with written_aside(target) as partial:
            fill(partial, text)
            assert set(content(target).values()) == ({"old"} if text == "new" else set())
        assert content(target) == dict.fromkeys(["one", "below/two", "below/deep/three"], text)
    assert [path.name for path in target.parent.iterdir()] == ["model"]


def test_every_file_and_folder_is_flushed_before_it_has_its_name(tmp_path, monkeypatch):
    flushed, flush = [], os.fsync
    target = tmp_path / "new" / "model"

    def note(handle):
        flushed.append((os.fstat(handle).st_ino, target.exists()))
        flush(handle)

    monkeypatch.setattr(os, "fsync", note)
    with written_aside(target) as partial:
        fill(partial, "x")
    inside = {path.stat().st_ino for path in [target, *target.rglob("*")]}
    assert inside == {inode for inode, is_named in flushed if not is_named}
    names = {target.parent.stat().st_ino, tmp_path.stat().st_ino}  # the folder of the folder is new too
    assert names == {inode for inode, is_named in flushed if is_named}


def test_what_fails_leaves_what_was_there(tmp_path):
    target = tmp_path / "model"
    write_aside(target, "model", lambda folder: fill(folder, "old"))

    def full(folder):
        (folder / "one").write_text("ne")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(
        CheckpointError, match=r"cannot write the model .*model: .*No space left .*; make room and give"
    ):
        write_aside(target, "model", full)
    assert set(content(target).values()) == {"old"}
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_library_in_rust_says_it_in_its_own_way(tmp_path):
    def full(folder):
        raise Exception("No space left on device (os error 28)")  # as tokenizers does

    with pytest.raises(CheckpointError, match="os error 28"):
        write_aside(tmp_path / "model", "model", full)


def test_a_bug_stays_one(tmp_path):
    with pytest.raises(ZeroDivisionError):
        write_aside(tmp_path / "model", "model", lambda folder: 1 / 0)
    assert list(tmp_path.iterdir()) == []


def test_a_discarded_folder_loses_its_name_first(tmp_path, monkeypatch):
    fill(tmp_path / "step", "x")
    monkeypatch.setattr("shutil.rmtree", lambda path, **options: (Path(path) / "one").unlink())
    discard(tmp_path / "step")
    assert [path.name for path in tmp_path.iterdir()] == [".step.partial"]


def test_leftovers_are_removed_and_nothing_else(tmp_path):
    fill(tmp_path / ".step-00000003.partial", "half")
    (tmp_path / ".metrics.jsonl.partial").write_text("half")
    for name in ("notes.partial", ".notes", "metrics.jsonl"):
        (tmp_path / name).write_text("mine")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / ".step-00000003.partial").write_text("of another run")
    remove_leftovers(tmp_path)
    remove_leftovers(tmp_path / "nowhere")
    names = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    assert names == {"notes.partial", ".notes", "metrics.jsonl", "other", "other/.step-00000003.partial"}


def test_what_was_to_be_replaced_comes_back_if_it_was_not(tmp_path):
    fill(tmp_path / ".best.former", "old")
    fill(tmp_path / ".model.former", "old")
    fill(tmp_path / "model", "new")
    remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best", "model"]
    assert (set(content(tmp_path / "best").values()), set(content(tmp_path / "model").values())) == ({"old"}, {"new"})


def test_a_small_file_is_flushed_and_named(tmp_path, monkeypatch):
    flushed = []
    monkeypatch.setattr("ptft.training.aside.flush", lambda path: flushed.append(path.name))
    write_text(tmp_path / "result.json", "{}")
    assert flushed == [".result.json.partial", tmp_path.name]
    assert content(tmp_path) == {"result.json": "{}"}
