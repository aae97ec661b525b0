"""A token store that is not what it was any more is noticed before anything more is logged or saved."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import ptft.corpus.watch
from ptft.errors import DataError


def names_of(folder):
    return sorted(folder.glob("*.bin"))


def overwrite(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def put_another_in_its_place(path):
    other = path.with_name("other")
    other.write_bytes(path.read_bytes()[::-1] + b"x")
    other.replace(path)


@pytest.mark.parametrize("damage", [overwrite, put_another_in_its_place])
@pytest.mark.parametrize("name", ["tokens", "document_ends", "end_bits"])
def test_a_changed_file_is_named(ragged_store, name, damage):
    store, folder = ragged_store()
    assert store.watch.problem() == ""
    damage(folder / f"{name}.bin")
    assert store.watch.problem() == f"{folder / name}.bin was changed while it was read"


@pytest.mark.parametrize("delete", [lambda folder: (folder / "end_bits.bin").unlink(), shutil.rmtree])
def test_a_deleted_store_is_noticed(ragged_store, delete):
    store, folder = ragged_store()
    delete(folder)
    assert store.watch.problem().startswith(f"{folder}")
    assert store.watch.problem().endswith(".bin was taken away while it was read (No such file or directory)")


def test_the_same_content_is_no_change_and_is_read_once(ragged_store, monkeypatch):
    store, folder = ragged_store()
    read = []
    digest = ptft.corpus.watch.sha256
    monkeypatch.setattr("ptft.corpus.watch.sha256", lambda path: read.append(path.name) or digest(path))
    assert store.watch.problem() == ""
    assert read == []
    os.utime(folder / "tokens.bin")
    shutil.copy(folder / "end_bits.bin", folder / "copy")
    (folder / "copy").replace(folder / "end_bits.bin")
    assert [store.watch.problem() for _ in range(3)] == [""] * 3
    assert read == ["tokens.bin", "end_bits.bin"]


def test_a_store_in_memory_has_nothing_to_watch(work_of, store_of):
    _, source = work_of("causal_lm", store=store_of([[[7] * 9] * 9] * 9))
    assert source.problem() == ""


class Changer:
    """A display that changes the token store when a step is logged."""

    def __init__(self, step, change):
        self.step, self.change = step, change

    def say(self, sentence):
        pass

    def progress(self, what, done, total, figures=None):
        if done == self.step:
            self.change()


@pytest.fixture
def settings(pretrain_settings, tmp_path):
    return pretrain_settings("gpt2", cache=str(tmp_path / "cache"), budget="9steps", checkpoint_every_steps=2)


def store_folder(tmp_path):
    sizes = {path.parent: path.stat().st_size for path in (tmp_path / "cache").glob("stores/*/tokens.bin")}
    return max(sizes, key=sizes.get)  # the other one is the held-out text's


@pytest.mark.parametrize("log_every_steps", [1, 100])
def test_a_run_stops_before_its_next_line_or_checkpoint(tmp_path, step, settings, log_every_steps):
    settings |= {"log_every_steps": log_every_steps, "evaluate_every_steps": 4}
    change = Changer(4, lambda: overwrite(store_folder(tmp_path) / "tokens.bin"))
    run = tmp_path / "run"
    with pytest.raises(DataError) as error:
        step("pretrain", **settings, out=str(run), display=change)
    changed = store_folder(tmp_path) / "tokens.bin"
    # The change is made behind the line of step 4 and before its checkpoint, which is not written any more.
    assert str(error.value) == (
        f"step 4: {changed} was changed while it was read; no checkpoint was written after that, the last good "
        f"checkpoint is {run}/checkpoints/step-00000002; delete the store's folder, and the same command compiles it "
        "again and goes on from there"
    )
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["step-00000002"]
    assert not (run / "model").exists()
    if log_every_steps > 1:
        return
    with pytest.raises(DataError, match=r"tokens.bin is damaged: its SHA-256 is .* delete "):
        step("pretrain", **settings, out=str(run))
    shutil.rmtree(changed.parent)
    assert step("pretrain", **settings, out=str(run))["steps"] == 9
    whole = step("pretrain", **settings, out=str(tmp_path / "whole"))
    assert whole["clm.loss"] == json.loads((run / "result.json").read_text())["clm.loss"]


def test_a_change_is_noticed_at_the_end(tmp_path, step, settings):
    settings |= {"checkpoint_every_steps": 0}
    change = Changer(8, lambda: shutil.rmtree(store_folder(tmp_path)))
    with pytest.raises(
        DataError, match=r"step 9: .*tokens.bin was taken away .*the last good checkpoint: none yet; del"
    ):
        step("pretrain", **settings, out=str(tmp_path / "run"), display=change)
    assert not Path(tmp_path / "run" / "model").exists()


def test_samplers_read_the_mapped_files(ragged_store, work_of):
    """What is watched is what is read."""
    store, folder = ragged_store()
    assert np.array_equal(store.tokens, np.fromfile(folder / "tokens.bin", store.info.dtype))
    _, source = work_of("masked_lm", store=store)
    assert source._sampler.store is store
