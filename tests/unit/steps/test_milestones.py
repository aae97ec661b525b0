"""Stock checkpoints at marks of words seen."""

import itertools
import json
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForPreTraining, AutoTokenizer

from ptft.errors import CheckpointError
from ptft.steps.folder import parent
from ptft.steps.milestones import marks_between, short
from ptft.training.work import PretrainingModule

M = 1e6
NAMES = ["words-200", "words-600", "words-700"]


class Crash(Exception):
    """A power cut."""


class Listener:
    """Stops the run after a step, if asked."""

    def __init__(self, step=0):
        self.step = step
        self.sentences = []

    def say(self, sentence):
        self.sentences.append(sentence)

    def progress(self, what, done, total, figures=None):
        if done == self.step:
            raise Crash


@pytest.mark.parametrize(
    ("marks", "low", "high", "found"),
    [
        (("babylm",), 0, 0.9 * M, []),
        (("babylm",), 0, 3 * M, [M, 2 * M, 3 * M]),
        (("babylm",), 8.5 * M, 25 * M, [9 * M, 10 * M, 20 * M]),
        (("babylm",), 85 * M, 350 * M, [90 * M, 100 * M, 200 * M, 300 * M]),
        ((5e5, "babylm", 1e6, 1.5e6), 0, 2 * M, [5e5, M, 1.5e6, 2 * M]),
        ((100.0, 50.0), 50, 100, [100.0]),
    ],
)
def test_marks(marks, low, high, found):
    assert marks_between(marks, low, high) == found


def test_every_mark_is_passed_once_however_words_are_cut_into_steps():
    bounds = [round(1e9 * (n / 997) ** 2) for n in range(998)]
    found = [mark for low, high in itertools.pairwise(bounds) for mark in marks_between(("babylm",), low, high)]
    assert found == marks_between(("babylm",), 0, 1e9)
    assert len(found) == 10 + 9 + 9


@pytest.mark.parametrize(
    ("words", "text"), [(1e6, "1M"), (1e9, "1000M"), (1234567, "1.234567M"), (2500, "2.5k"), (9, "9")]
)
def test_names(words, text):
    assert short(words) == text


def weights(folder):
    return load_file(folder / "model.safetensors")


@pytest.fixture(scope="module")
def settings(pretrain_settings):
    """Predicted tokens are seen as they are, so that the text of the rows can be read off the model's inputs."""
    as_they_are = {"name": "masked_lm", "replace_ratio": 0, "random_ratio": 0}
    objective = [as_they_are, "next_sentence"]
    more = {"budget": "6steps", "checkpoint_every_steps": 2, "milestones_words": [200, 600, 700.0]}
    return pretrain_settings("bert", objective=objective, **more)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, step, settings):
    """A run, with the rows of its steps in ``rows.json``."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    rows, forward = [], PretrainingModule.forward

    def kept(module, batch):
        if module.training:
            rows.append(batch["input_ids"].tolist())
        return forward(module, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PretrainingModule, "forward", kept)
        step("pretrain", **settings, out=str(folder))
    (folder / "rows.json").write_text(json.dumps(rows))
    return folder


def counted_words(run):
    """Words seen until the end of each step, in the text of the rows themselves."""
    tokenizer = AutoTokenizer.from_pretrained(run / "model")
    texts = json.loads((run / "rows.json").read_text())
    words = [sum(len(row.split()) for row in tokenizer.decode(rows, skip_special_tokens=True)) for rows in texts]
    return list(itertools.accumulate(words))


def test_milestones_are_stock_models_of_the_first_step_that_reaches_the_mark(whole, bert_run):
    lines = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    manifest = json.loads((whole / "manifest.json").read_text())
    assert [facts["path"] for facts in manifest["milestones"]] == [f"milestones/{name}" for name in NAMES]
    for facts in manifest["milestones"]:
        seen = enumerate(counted_words(whole), 1)
        step, words = next((step, words) for step, words in seen if words >= facts["words"])
        assert (facts["step"], facts["tokens_seen"]) == (step, lines[step - 1]["tokens"])
        assert facts["words_seen"] == pytest.approx(words, rel=0.02)
        folder = whole / facts["path"]
        model, info = AutoModelForPreTraining.from_pretrained(folder, output_loading_info=True)
        assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
        assert len(AutoTokenizer.from_pretrained(folder)) <= model.config.vocab_size
    first, last = (weights(whole / "milestones" / name) for name in (NAMES[0], NAMES[-1]))
    assert not torch.equal(*(w["bert.embeddings.word_embeddings.weight"] for w in (first, last)))
    assert "milestones" not in json.loads((bert_run / "manifest.json").read_text())
    assert not (bert_run / "milestones").exists()


def test_words_seen_are_those_of_the_rows_and_not_their_special_tokens(whole):
    result = json.loads((whole / "result.json").read_text())
    words = counted_words(whole)[-1]
    assert result["words"] == pytest.approx(words, rel=0.02)
    assert result["tokens"] > 1.1 * words  # three of at most 32 are special


def test_a_budget_in_words_counts_the_words_of_the_rows(whole, step, settings, tmp_path):
    words = counted_words(whole)[-1]
    settings = {**settings, "budget": f"{words}words", "milestones_words": [], "out": str(tmp_path / "run")}
    assert step("pretrain", **settings)["steps"] == 6


def test_a_milestone_can_be_gone_on_from_and_says_where_it_comes_from(whole, step, pretrain_settings, tmp_path):
    model = str(whole / "milestones" / NAMES[0])
    settings = pretrain_settings("bert", preset="", shape={}, model=model, budget="1steps")
    step("pretrain", **settings, out=str(tmp_path / "on"))
    (found,) = json.loads((tmp_path / "on" / "manifest.json").read_text())["parents"]
    assert found["milestone"]["words"] == 200
    assert found["manifest"]["step"] == "pretrain"
    assert parent(model) == found


def test_a_continued_run_makes_what_is_missing_and_leaves_the_rest(whole, step, settings, tmp_path):
    folder = tmp_path / "run"
    manifest = json.loads((whole / "manifest.json").read_text())
    with pytest.raises(Crash):
        step("pretrain", **settings, out=str(folder), display=Listener(manifest["milestones"][-1]["step"]))
    there = {path.name: path.stat().st_ino for path in (folder / "milestones").iterdir()}
    assert "words-200" in there
    assert "words-700" not in there
    (folder / "milestones" / ".words-700.partial").mkdir()
    display = Listener()
    step("pretrain", **settings, out=str(folder), display=display)
    said = [sentence for sentence in display.sentences if re.search(r"words-.*after step", sentence)]
    assert len(said) == len(NAMES) - len(there)
    assert all((folder / "milestones" / name).stat().st_ino == inode for name, inode in there.items())
    assert sorted(path.name for path in (folder / "milestones").iterdir()) == NAMES
    for name in NAMES:
        ours, theirs = weights(folder / "milestones" / name), weights(whole / "milestones" / name)
        assert all(torch.equal(value, theirs[key]) for key, value in ours.items())
    assert json.loads((folder / "manifest.json").read_text())["milestones"] == manifest["milestones"]


def test_a_full_disk_leaves_no_half_milestone(settings, step, tmp_path, monkeypatch):
    def full(folder):
        (folder / "config.json").write_text("{")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ptft.steps.pretrain.save_model", lambda model, tokenizer, folder: full(folder))
    with pytest.raises(CheckpointError, match=r"cannot write the milestone .*words-200: .*No space left .*make room"):
        step("pretrain", **settings, out=str(tmp_path / "run"))
    assert list((tmp_path / "run" / "milestones").iterdir()) == []


def test_one_of_a_later_step_is_made_again(whole, step, settings, tmp_path):
    """It may be of another text: the run was killed before its first checkpoint, and the text changed."""
    folder = tmp_path / "run"
    with pytest.raises(Crash):
        step("pretrain", **settings, out=str(folder), display=Listener(1))
    shutil.copytree(whole / "milestones" / NAMES[-1], folder / "milestones" / NAMES[-1])
    (folder / "milestones" / NAMES[-1] / "model.safetensors").write_bytes(b"of another text")
    step("pretrain", **settings, out=str(folder))
    ours, theirs = weights(folder / "milestones" / NAMES[-1]), weights(whole / "milestones" / NAMES[-1])
    assert all(torch.equal(value, theirs[key]) for key, value in ours.items())
