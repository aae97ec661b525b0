"""Run folders as they are found on disk: whole, partial, torn."""

import json

import pytest

from ptft.errors import CheckpointError
from ptft.report.folder import flat, lineage_rows, read_metrics, read_run, read_runs


def test_a_torn_last_line_is_left_out_and_counted(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1, "loss": 2.0}\n\n{"step": 2, "new": "key"}\n{"step": 3, "lo\xc3')
    assert read_metrics(path) == ([{"step": 1, "loss": 2.0}, {"step": 2, "new": "key"}], 1)


def test_a_line_that_is_no_object_is_left_out_and_counted(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('7\n{"step": 1}\n')
    assert read_metrics(path) == ([{"step": 1}], 1)


def test_what_is_missing_is_empty(tmp_path):
    folder = read_run(tmp_path)
    assert (folder.figures, folder.records, folder.metrics, folder.manifest, folder.recipe) == ({}, [], [], {}, "")


def test_records_are_kept_apart_from_figures(tmp_path):
    (tmp_path / "result.json").write_text(json.dumps({"n": 3, "records": [{"k": 1}, "odd"]}))
    folder = read_run(tmp_path)
    assert folder.figures == {"n": 3}
    assert folder.records == [{"k": 1}]


def test_steps_with_a_result_follow_their_run_by_name(tmp_path):
    for name in ("b", "a", "checkpoints"):
        (tmp_path / name).mkdir()
    for name in ("b", "a"):
        (tmp_path / name / "result.json").write_text("{}")
    assert [folder.path for folder in read_runs(tmp_path)] == [tmp_path, tmp_path / "a", tmp_path / "b"]


@pytest.mark.parametrize("name", ["missing", "."])
def test_a_folder_without_a_run_is_refused(tmp_path, name):
    with pytest.raises(CheckpointError, match=r"no run in folder '.*'; .* holds result.json, .* give the folder"):
        read_runs(tmp_path / name)


def test_a_broken_result_is_refused_with_its_place(tmp_path):
    (tmp_path / "result.json").write_text('{"a": ')
    with pytest.raises(CheckpointError, match=r"result.json: not readable as JSON: .*; run the step again"):
        read_run(tmp_path)


def test_a_manifest_that_is_no_object_is_refused(tmp_path):
    (tmp_path / "manifest.json").write_text("[1]")
    with pytest.raises(CheckpointError, match=r"manifest.json: holds a JSON list; an object is allowed"):
        read_run(tmp_path)


def test_nested_lineage_is_laid_out_by_dotted_names():
    manifest = {"versions": {"torch": "2.13"}, "parents": [{"path": "runs/a", "manifest": {"seeds": [1, 2]}}], "x": []}
    assert flat(manifest) == [
        ("versions.torch", "2.13"),
        ("parents.0.path", "runs/a"),
        ("parents.0.manifest.seeds", "1, 2"),
        ("x", "none"),
    ]


def test_the_recipe_is_no_lineage_row():
    assert lineage_rows({"recipe": {"lr": 1}, "commit": None}) == [("commit", "none")]
