import signal
import subprocess
import sys

import pytest

from ptft.corpus.aside import clean, locked_aside

WRITING = """
import sys, time
from pathlib import Path
from ptft.corpus.aside import locked_aside

with locked_aside(Path(sys.argv[1]) / "folder") as partial:
    (partial / "file").write_text("half")
    print("writing", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def writing(tmp_path):
    """A process that writes a folder until it is killed."""
    process = subprocess.Popen([sys.executable, "-c", WRITING, str(tmp_path)], stdout=subprocess.PIPE)
    process.stdout.readline()
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_has_its_name_only_when_it_is_complete(tmp_path):
    with locked_aside(tmp_path / "deep" / "folder") as partial:
        (partial / "file").write_text("text")
        assert not (tmp_path / "deep" / "folder").exists()
    assert names(tmp_path / "deep") == ["folder"]
    assert (tmp_path / "deep" / "folder" / "file").read_text() == "text"


def test_a_failure_leaves_nothing(tmp_path):
    with pytest.raises(KeyError), locked_aside(tmp_path / "folder") as partial:
        (partial / "file").write_text("text")
        raise KeyError
    assert names(tmp_path) == []


def test_a_complete_folder_is_not_replaced(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("first")
    with pytest.raises(OSError, match="not empty"), locked_aside(tmp_path / "folder") as partial:
        (partial / "file").write_text("second")
    assert names(tmp_path) == ["folder"]
    assert (tmp_path / "folder" / "file").read_text() == "first"


def test_what_is_being_written_stays_and_what_a_killed_process_left_is_deleted(tmp_path, writing):
    clean(tmp_path)
    (partial,) = tmp_path.glob(".folder.*.partial")
    assert (partial / "file").read_text() == "half"
    writing.send_signal(signal.SIGKILL)
    writing.wait()
    assert partial.exists()
    clean(tmp_path)
    assert names(tmp_path) == []


def test_two_that_write_the_same_do_not_meet(tmp_path, writing):
    with locked_aside(tmp_path / "folder") as partial:
        assert names(partial) == []
        clean(tmp_path)
        (partial / "file").write_text("whole")
    assert (tmp_path / "folder" / "file").read_text() == "whole"
    assert len(list(tmp_path.glob(".folder.*.partial"))) == 1


def test_nothing_else_is_deleted(tmp_path):
    for name in ("other.partial", ".other.partial", "uv.lock"):
        (tmp_path / name).mkdir()
    clean(tmp_path)
    clean(tmp_path / "not there")
    assert names(tmp_path) == [".other.partial", "other.partial", "uv.lock"]
