"""Manifests as a tree."""

import json

import pytest

from ptft.errors import CheckpointError
from ptft.inspection.lineage import lineage_tree


def test_parents_are_nested(tmp_path):
    tokenizer = {"step": "tokenizer", "seeds": [0], "parents": []}
    encoder = {
        "step": "pretrain",
        "corpus": {"path": "embedded"},
        "parents": [{"path": "runs/t", "manifest": tokenizer}],
    }
    manifest = {
        "versions": {"torch": "2.13", "ptft": "0.1"},
        "step": "finetune",
        "seeds": [1, 2],
        "note": "",
        "parents": [{"path": "runs/e/model", "manifest": encoder}, {"path": "user/name"}],
    }
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    assert lineage_tree(tmp_path) == [
        f"{tmp_path}  (finetune)",
        "│ seeds: 1, 2",
        "│ versions: torch 2.13, ptft 0.1",
        "├─ runs/e/model  (pretrain)",
        "│  │ corpus.path: embedded",
        "│  └─ runs/t  (tokenizer)",
        "│       seeds: 0",
        "└─ user/name",
        "     manifest: none: not made by ptft, or no longer there when this was made from it",
    ]


def test_steps_of_a_recipe_are_read_from_their_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, parent in {"a": "r/b", "b": "r/a"}.items():
        (tmp_path / "r" / name).mkdir(parents=True)
        (tmp_path / "r" / name / "manifest.json").write_text(json.dumps({"step": name, "parents": [{"path": parent}]}))
    (tmp_path / "r" / "manifest.json").write_text(json.dumps({"step": "run", "parents": [{"path": "r/a"}]}))
    lines = lineage_tree(tmp_path / "r")
    assert [line.strip(" └─│├") for line in lines if "(" in line] == [
        f"{tmp_path / 'r'}  (run)",
        "r/a  (a)",
        "r/b  (b)",
    ]


def test_an_unfinished_recipe_shows_the_steps_that_are_done(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").write_text(json.dumps({"step": name}))
    assert lineage_tree(tmp_path) == [f"{tmp_path / 'a'}  (a)", f"{tmp_path / 'b'}  (b)"]


def test_a_folder_without_a_manifest_is_refused(tmp_path):
    with pytest.raises(
        CheckpointError, match=r"holds no manifest\.json, .*; give the folder of a finished run, its out="
    ):
        lineage_tree(tmp_path)
