"""How a run folder is begun, continued, left alone and refused."""

import json
import os

import pytest
from filelock import FileLock

from ptft.config import load
from ptft.errors import RecipeError
from ptft.run import execute
from ptft.steps.folder import finish, parent, write_text
from ptft.steps.tokenizer import Tokenizer


class Listener:
    def __init__(self):
        self.sentences = []

    def say(self, sentence):
        self.sentences.append(sentence)

    def progress(self, what, done, total, figures=None):
        pass


@pytest.fixture
def tokenizer(step, tmp_path, corpus_file):
    """The quickest step there is; the run is in ``tmp_path / "run"``."""

    def do(**settings):
        values = {"corpus": {"path": str(corpus_file)}, "vocab_size": 100, "out": str(tmp_path / "run")}
        return step("tokenizer", **{**values, **settings})

    return do


def contents(folder):
    return {path: path.stat().st_mtime_ns for path in sorted(folder.rglob("*")) if path.is_file()}


def test_files_of_a_run(tokenizer, tmp_path):
    tokenizer()
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {"recipe.yaml", "manifest.json", "result.json", "model"}


def test_stored_recipe_says_every_setting_and_gives_the_same_run(tokenizer, step, tmp_path):
    result = tokenizer(lowercase=False)
    stored = load(Tokenizer, tmp_path / "run" / "recipe.yaml")
    assert (stored.settings.lowercase, stored.settings.vocab_size, stored.settings.seed) == (False, 100, 0)
    assert not [key for key, origin in stored.origin.items() if origin == "default"]
    again = load(Tokenizer, tmp_path / "run" / "recipe.yaml", [f"out={tmp_path / 'again'}"]).settings
    assert execute(again) == result


def test_the_page_is_written(tmp_path, corpus_file):
    settings = {"corpus": {"path": str(corpus_file)}, "vocab_size": 100, "out": str(tmp_path / "run")}
    execute(load(Tokenizer, base=settings).settings)
    assert "<html" in (tmp_path / "run" / "report.html").read_text()


def test_finished_run_is_left_alone(tokenizer, tmp_path):
    result = tokenizer()
    before, display = contents(tmp_path / "run"), Listener()
    assert tokenizer(display=display) == result
    assert contents(tmp_path / "run") == before
    assert display.sentences == [
        f"{tmp_path / 'run'} is finished; nothing to do (resume=false runs it again in a new folder)"
    ]


def test_other_settings_are_refused_by_name(tokenizer, tmp_path):
    tokenizer()
    before = contents(tmp_path / "run")
    message = (
        r"out: '.*run' holds a run with other settings \(vocab_size: 100 before, 90 now; lowercase: true before, "
        r"false now\); name another folder, or give resume=false to start over in a new one"
    )
    with pytest.raises(RecipeError, match=message):
        tokenizer(vocab_size=90, lowercase=False)
    assert contents(tmp_path / "run") == before


@pytest.mark.parametrize("other", [{"cache": "elsewhere"}, {"trackers": ()}])
def test_settings_that_change_no_result_may_differ(other, tokenizer, tmp_path):
    result = tokenizer()
    assert tokenizer(**other) == result


def test_resume_false_starts_over_in_a_new_folder(tokenizer, tmp_path):
    tokenizer()
    before = contents(tmp_path / "run")
    tokenizer(resume=False)
    tokenizer(resume=False, vocab_size=90)
    assert contents(tmp_path / "run") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "run-2", "run-3"]
    assert json.loads((tmp_path / "run-3" / "result.json").read_text())["vocabulary"] <= 90


def test_resume_false_takes_the_name_if_it_is_free(tokenizer, tmp_path):
    tokenizer(resume=False)
    assert (tmp_path / "run" / "result.json").exists()


def test_run_of_another_step_is_refused(tokenizer, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.yaml").write_text("objective: masked_lm\n")
    with pytest.raises(RecipeError, match=r"holds the run of another step or version; name another folder"):
        tokenizer()


def test_folder_that_is_no_run_is_refused(tokenizer, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("years of work")
    with pytest.raises(RecipeError, match=r"out: '.*run' exists and is no run folder of ptft; name a new folder"):
        tokenizer()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.tex"]


def test_file_is_refused(tokenizer, tmp_path):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(RecipeError, match="exists and is no run folder"):
        tokenizer()
    with pytest.raises(RecipeError, match=r"is a file, so .* cannot be made|no permission to write"):
        tokenizer(out=str(tmp_path / "run" / "below"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_without_permission_is_refused(tokenizer, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o555)
    with pytest.raises(RecipeError, match="no permission to write"):
        tokenizer(out=str(tmp_path / "locked" / "run"))


def test_empty_folder_may_be_there(tokenizer, tmp_path):
    (tmp_path / "run").mkdir()
    assert tokenizer()["vocabulary"] <= 100


def test_run_that_was_killed_while_it_began(tokenizer, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".recipe.yaml.partial").write_text("vocab")
    assert tokenizer()["vocabulary"] <= 100


def test_out_is_required(tokenizer):
    with pytest.raises(RecipeError, match=r"out: is required; name a folder for the run with out=\.\.\."):
        tokenizer(out="")


def test_result_is_written_last(tmp_path, monkeypatch):
    """A run with a result is finished: whatever a kill leaves before that is done again."""
    written = []
    monkeypatch.setattr("ptft.steps.folder.write_text", lambda path, text: written.append(path.name))
    finish(tmp_path, {"accuracy": 1.0}, [], {})
    assert written == ["manifest.json", "result.json"]


def test_text_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    write_text(tmp_path / "a.json", "old")

    def fail(self, text, *arguments, **more):
        raise OSError("disk full")

    monkeypatch.setattr("pathlib.Path.write_text", fail)
    with pytest.raises(OSError, match="disk full"):
        write_text(tmp_path / "a.json", "new")
    assert (tmp_path / "a.json").read_text() == "old"


def test_one_process_at_a_time(tokenizer, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    with FileLock(folder / ".lock"), pytest.raises(RecipeError, match=r"another process is at work in .*run'; wait"):
        tokenizer()
    assert [path.name for path in folder.iterdir()] == [".lock"]  # as one that was killed leaves it
    assert tokenizer()
    assert not (folder / ".lock").exists()


def test_the_lock_of_a_process_that_was_killed_at_its_very_end_goes(tokenizer, tmp_path):
    tokenizer()
    lock = tmp_path / "run" / ".lock"
    lock.touch()
    with FileLock(lock):
        tokenizer()
        assert lock.exists()
    tokenizer()
    assert not lock.exists()


def test_a_parent_without_a_folder_is_one_of_the_hub(tmp_path):
    assert parent("ann/encoder") == {"path": "ann/encoder", "hub": True}
    assert parent(str(tmp_path)) == {"path": str(tmp_path)}
