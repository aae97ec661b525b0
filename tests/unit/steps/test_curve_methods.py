"""The step ``curve``: baselines and prompting beside fine-tuning, failed runs, and cells side by side."""

import json
import statistics
from types import SimpleNamespace

import pytest

from ptft.errors import DataError, RecipeError
from ptft.finetuning.policies.last_k import LastK
from ptft.report.curves import points
from ptft.steps.curve import Curve

TINY = {"length": 32, "budget": "2steps", "rows_per_step": 8, "jobs": 1}


@pytest.fixture
def curve(step, tmp_path, table, bert_run):
    def do(**settings):
        values = {**TINY, "data": str(table), "labels": (4, 16), "seeds": 2, "model": str(bert_run)}
        return step("curve", **{**values, "out": str(tmp_path / "run"), **settings})

    return do


def of(result, **wanted):
    return [row for row in result["records"] if all(row[key] == value for key, value in wanted.items())]


def test_baselines_need_no_model(curve, tmp_path):
    result = curve(model="", methods=("tfidf", "majority"), seeds=3)
    assert {row["n"] for row in result["records"]} == {8}
    for row in of(result, method="majority"):
        assert (row["value"], row["failed"]) == (row["majority"], False)
    values = [row["value"] for row in of(result, method="tfidf", labels=16)]
    assert result["test.16.tfidf"] == pytest.approx(statistics.fmean(values))
    assert result["test.16.tfidf.sd"] == pytest.approx(statistics.stdev(values))
    [point] = points(of(result, method="tfidf", labels=16), "labels")  # as the tables and pictures have it
    assert (result["test.16.tfidf.low"], result["test.16.tfidf.high"]) == (point.low, point.high)
    assert 0 <= point.low < point.mean <= point.high <= 1
    assert result["seeds"] == 3
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["parents"] == []
    assert "tokenizer" not in manifest


def test_prompting_beside_the_others(curve, gpt2_run, tmp_path):
    methods = ("majority", "tfidf", "prompting", "scratch")
    result = curve(methods=methods, prompt_model=str(gpt2_run), shots=6, template="{text} is", prompt_rows=5)
    few, many = of(result, method="prompting", labels=4), of(result, method="prompting", labels=16)
    assert {(row["shots"], row["n"], row["template"]) for row in few} == {(4, 5, "{text} is")}
    assert {row["shots"] for row in many} == {6}
    assert all(row["shots_shown"] <= row["shots"] for row in [*few, *many])
    for name in ("majority", "tfidf", "prompting", "scratch", "difference", "difference.prompting"):
        assert {f"test.4.{name}", f"test.4.{name}.low", f"test.4.{name}.high"} <= result.keys()
    expected = result["test.4.majority"] - result["test.4.scratch"]
    assert result["test.4.difference.scratch"] == pytest.approx(expected)
    parents = json.loads((tmp_path / "run" / "manifest.json").read_text())["parents"]
    assert [parent["path"] for parent in parents][1] == str(gpt2_run)


def test_prompts_drop_shots_that_do_not_fit(curve, gpt2_run):
    result = curve(model="", methods=("prompting",), prompt_model=str(gpt2_run), labels=(16,), seeds=1)
    (row,) = result["records"]
    assert row["shots"] == 16
    assert 0 < row["shots_shown"] < 16


def test_shots_are_rows_of_the_cell_and_never_the_question(curve, gpt2_run, tmp_path):
    (tmp_path / "same.csv").write_text("text,label\n" + "ice is cold,cold\nfire is hot,warm\n" * 3)
    (tmp_path / "valid.csv").write_text("text,label\nsnow,cold\n")
    files = {
        "data": str(tmp_path / "same.csv"),
        "valid": str(tmp_path / "valid.csv"),
        "test": str(tmp_path / "same.csv"),
    }
    result = curve(**files, model="", methods=("prompting",), prompt_model=str(gpt2_run), labels=(4,), seeds=1)
    assert result["records"][0]["shots"] == 1


def test_a_result_of_one_label_is_marked_as_failed(curve):
    said = []
    display = SimpleNamespace(say=said.append, progress=lambda *_: None)
    result = curve(methods=("tfidf", "scratch"), labels=(1, 64), lr=(1e-12,), seeds=1, display=display)
    assert [row["failed"] for row in of(result, method="tfidf")] == [True, False]
    failed = sum(row["failed"] for row in result["records"])
    assert result["failed"] == failed
    assert said[-1].startswith(f"failed: {failed} of 4 results, where every test row got the same answer (tfidf 1")


def test_tests_are_scored_for_the_chosen_rate_alone(curve, monkeypatch):
    from ptft.steps import curve_cells

    scored = []

    def count(classifier, rows, texts, compute):
        scored.append(rows)
        return original(classifier, rows, texts, compute)

    original = curve_cells.score
    monkeypatch.setattr(curve_cells, "score", count)
    result = curve(methods=("scratch",), labels=(8,), lr=(1e-4, 1e-3, 1e-2), seeds=3)
    (test,) = {rows for rows in scored if scored.count(rows) == 3}
    (valid,) = {rows for rows in scored if scored.count(rows) == 5}
    assert len(scored) == 8
    assert set(test).isdisjoint(valid)
    assert len({row["lr"] for row in result["records"]}) == 1


def test_each_policy_is_a_method(curve):
    names = ("last_k", "frozen", "full", "gradual_unfreezing", "lora", "scalar_mix")
    policy = {"name": "last_k", "k": 1}
    result = curve(methods=("pretrained", "scratch", *names), policy=policy, labels=(8,), seeds=1, lr=(0.01,))
    assert [row["method"] for row in result["records"]] == ["pretrained", "scratch", *names]
    own = [row["valid_accuracy"] for row in of(result, method="pretrained") + of(result, method="last_k")]
    assert own[0] == own[1]


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_a_budget_does_not_come_to_is_told_once_and_noted(jobs, curve):
    said = []
    display = SimpleNamespace(say=said.append, progress=lambda *_: None)
    settings = {"methods": ("full", "gradual_unfreezing"), "budget": "2epochs", "min_steps": 0}
    result = curve(**settings, labels=(8, 16), lr=(1e-3, 1e-2), jobs=jobs, display=display)
    sentence = (
        "policy: gradual_unfreezing trains all 1 layers and the embeddings from epoch 3 on, and there are 2: "
        "the lowest ones stay as they are"
    )
    assert said.count(sentence) == 1
    notes = {row["method"]: row.get("note") for row in result["records"]}
    assert notes == {"full": None, "gradual_unfreezing": sentence}


def test_all_training_rows_are_tokenised_once(curve, monkeypatch):
    from ptft.steps import curve_cells

    sizes = []
    original = curve_cells.encode_examples

    def count(rows, *others):
        sizes.append(len(rows))
        return original(rows, *others)

    monkeypatch.setattr(curve_cells, "encode_examples", count)
    curve(methods=("frozen", "scratch"), labels=("all",), seeds=2)
    assert sorted(sizes) == [8, 8, 64]


def test_other_problems_have_their_own_figure(curve, tmp_path):
    path = tmp_path / "numbers.csv"
    path.write_text("text,label\n" + "".join(f"{'hot ' * (n % 7)}ice,{n % 7}.5\n" for n in range(40)))
    result = curve(data=str(path), problem="regression", methods=("full",), labels=(8,), seeds=1)
    (row,) = result["records"]
    assert row["metric"] != "accuracy"
    assert row["value"] == row[row["metric"]] == result["test.8.full"]


def test_what_a_method_fine_tunes_with():
    curve = Curve(model="x", data="polarity", policy=LastK(k=3), lr=(1e-3, 1e-2))
    found = {name: curve.cell_settings(name) for name in ("pretrained", "last_k", "frozen", "scratch")}
    assert {name: settings.policy.name for name, settings in found.items()} == {
        "pretrained": "last_k", "last_k": "last_k", "frozen": "frozen", "scratch": "full",
    }  # fmt: skip
    assert found["last_k"].policy == found["pretrained"].policy == curve.policy
    assert {name for name, settings in found.items() if settings.init == "scratch"} == {"scratch"}


@pytest.mark.parametrize(
    ("settings", "kind", "message"),
    [
        (
            {"methods": ("tfdif",)},
            RecipeError,
            r"methods: unknown method 'tfdif'; did you mean 'tfidf'\? Known: auxiliary_lm, frozen",
        ),
        ({"methods": ("tfidf", "tfidf")}, RecipeError, r"methods: name each of them once, got tfidf, tfidf"),
        ({"labels": (64, "all")}, RecipeError, r"labels: must be different numbers, got 64, 64"),
        ({"methods": ("prompting",)}, RecipeError, r"prompt_model: methods=prompting needs a decoder"),
        ({"methods": ("prompting",), "prompt_model": "{bert}"}, RecipeError, r"prompt_model: .* is no causal language"),
        (
            {"methods": ("tfidf", "full"), "problem": "regression"},
            RecipeError,
            r"methods: tfidf can do problem=classification only, got 'regression'; leave them out",
        ),
        ({"prompt_model": "x"}, RecipeError, r"prompt_model is 'x' but has no effect: prompting is not among methods"),
        (
            {"methods": ("tfidf", "majority"), "lr": (1e-3,)},
            RecipeError,
            r"model: has no effect: no method fine-tunes a model, got tfidf, majority; leave it out",
        ),
        (
            {"methods": ("tfidf",), "model": "", "lr": (1e-3,)},
            RecipeError,
            r"lr: has no effect: no method fine-tunes a model, got tfidf; leave it out",
        ),
        (
            {"methods": ("full", "scratch"), "policy": "frozen"},
            RecipeError,
            r"policy: frozen has no effect: neither it nor pretrained is among methods; add one of them, or",
        ),
        ({"methods": ("tfidf",), "data": "nowhere.csv", "model": ""}, DataError, r"there is no file 'nowhere\.csv'"),
        ({"preset": "bert-tiny", "model": ""}, RecipeError, r"model: name the checkpoint .*; a preset needs init"),
    ],
)
def test_mistakes_in_methods(settings, kind, message, curve, bert_run, tmp_path):
    with pytest.raises(kind, match=message):
        curve(**{key: str(bert_run) if value == "{bert}" else value for key, value in settings.items()})
    assert not (tmp_path / "run").exists()


def test_scratch_from_a_preset_needs_no_checkpoint(curve):
    result = curve(model="", preset="bert-tiny", vocab_size=100, methods=("scratch", "majority"), labels=(4,), seeds=1)
    assert {row["method"] for row in result["records"]} == {"scratch", "majority"}


# cells side by side


def test_the_result_does_not_depend_on_jobs(curve, gpt2_run, tmp_path):
    settings = {"methods": ("pretrained", "scratch", "tfidf", "prompting"), "prompt_model": str(gpt2_run)}
    alone = curve(**settings, labels=(4,), lr=(1e-3, 1e-2))
    beside = curve(**settings, labels=(4,), lr=(1e-3, 1e-2), jobs=2, out=str(tmp_path / "beside"))
    assert beside == alone


def test_a_curve_that_goes_on_keeps_its_precision(curve, tmp_path, monkeypatch):
    """auto is measured, and what else the machine does must not decide it anew in the middle."""
    from ptft.run import perform

    asked = []
    monkeypatch.setattr("ptft.run.write_report", lambda folder: None)
    monkeypatch.setattr(
        "ptft.steps.curve.resolve_precision", lambda given, kept="": asked.append((given, kept)) or "fp32"
    )
    settings = {**TINY, "data": "polarity", "methods": ("tfidf", "majority"), "labels": (8,), "seeds": 2, "threads": 1}
    for path in (tmp_path / "run" / "result.json", tmp_path / "run" / "cells.jsonl"):
        perform("curve", **settings, out=str(tmp_path / "run"))
        path.unlink()
    assert asked == [("auto", ""), ("auto", "fp32")]


@pytest.mark.parametrize(
    ("cores", "free", "threads", "expected"),
    [(4, 10**12, 0, 4), (4, 10**12, 2, 2), (4, 3 * 10**9, 0, 2), (64, 10**12, 0, 8), (4, 1, 0, 1), (2, 0, 0, 2)],
)
def test_jobs_for_cores_and_memory(cores, free, threads, expected, monkeypatch, bert_run):
    monkeypatch.setattr("ptft.steps.curve_settings.num_cores", lambda: cores)
    monkeypatch.setattr("ptft.steps.curve_settings.free_bytes", lambda device: free)
    monkeypatch.setattr("ptft.steps.curve_settings.device_type", lambda: "cpu")
    settings = Curve(data="polarity", model=str(bert_run), threads=threads)
    assert settings.jobs_now(8) == expected
