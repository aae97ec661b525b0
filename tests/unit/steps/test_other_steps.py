"""The steps ``curve``, ``prompt`` and ``tokenizer`` from end to end."""

import json
import re
from types import SimpleNamespace

import pytest
from transformers import AutoTokenizer

from ptft.errors import CheckpointError, DataError, RecipeError
from ptft.prompting.records import read_records
from ptft.prompting.results import summarise

TINY = {"length": 32, "budget": "2steps", "rows_per_step": 8}


class Crash(Exception):
    pass


class CrashingDisplay:
    """Crashes when the second cell of a curve is done."""

    def say(self, sentence):
        pass

    def progress(self, what, done, total, figures=None):
        if what == "cells" and done == 2:
            raise Crash


def read(folder, name):
    return json.loads((folder / name).read_text())


# curve


@pytest.fixture
def curve(step, tmp_path, table, bert_run):
    def do(**settings):
        values = {**TINY, "data": str(table), "labels": (4, "all"), "seeds": 2, "model": str(bert_run), "jobs": 1}
        return step("curve", **{**values, "out": str(tmp_path / "run"), **settings})

    return do


def test_curve(curve, tmp_path):
    result = curve()
    cells = [(record["method"], record["labels"], record["seed"]) for record in result["records"]]
    expected = [(m, n, s) for n in (4, 64) for m in ("pretrained", "scratch") for s in (0, 1)]
    assert sorted(cells) == sorted(expected)
    for name in ("4.pretrained", "4.scratch", "4.difference", "64.pretrained", "64.scratch", "64.difference"):
        assert {f"test.{name}", f"test.{name}.low", f"test.{name}.high"} <= result.keys()
    of = {cell: record["value"] for cell, record in zip(cells, result["records"], strict=True)}
    assert result["test.4.pretrained"] == pytest.approx((of["pretrained", 4, 0] + of["pretrained", 4, 1]) / 2)
    assert result["test.4.difference"] == pytest.approx(result["test.4.pretrained"] - result["test.4.scratch"])
    assert read(tmp_path / "run", "manifest.json")["seeds"] == [0, 1]


def test_curve_chooses_the_rate_on_the_validation_rows(curve):
    result = curve(lr=(1e-9, 0.02), labels=("all",), methods=("pretrained",), seeds=(4, 5), budget="60steps")
    first, second = result["records"]
    assert first["lr"] == second["lr"] == 0.02
    assert first["valid_accuracy"] > 0.8


def test_interrupted_curve_does_not_do_finished_cells_again(curve, tmp_path, monkeypatch):
    whole = curve(out=str(tmp_path / "whole"))
    with pytest.raises(Crash):
        curve(display=CrashingDisplay())
    number = len((tmp_path / "run" / "cells.jsonl").read_text().splitlines())
    assert number == 2
    result = curve()
    assert len((tmp_path / "run" / "cells.jsonl").read_text().splitlines()) == 8
    assert result == whole


@pytest.mark.parametrize(
    ("settings", "kind", "message"),
    [
        ({"lr": ()}, RecipeError, r"lr: must be one or several rates above 0, got \[\]"),
        ({"lr": (0.1, -1.0)}, RecipeError, r"lr: must be one or several rates above 0, got \[0\.1, -1\.0\]"),
        ({"methods": ()}, RecipeError, r"methods and labels: name at least one of each"),
        ({"labels": (16, 1000)}, DataError, r"1000 labelled rows are wanted of weather; allowed: 1 to 64"),
    ],
)
def test_mistakes_in_a_curve_leave_no_folder_behind(settings, kind, message, curve, tmp_path):
    with pytest.raises(kind, match=message):
        curve(**settings)
    assert not (tmp_path / "run").exists()


# prompt


@pytest.fixture
def prompt(step, tmp_path, table, gpt2_run):
    def do(**settings):
        values = {"model": str(gpt2_run), "data": (str(table),), "k": (0, 1), "seeds": 2, "limit": 6}
        return step("prompt", **{**values, "out": str(tmp_path / "run"), **settings})

    return do


def test_prompt_on_a_table(prompt, tmp_path, gpt2_run):
    result = prompt()
    assert {(record["k"], record["seed"]) for record in result["records"]} >= {(0, 0), (1, 0), (1, 1)}
    for record in result["records"]:
        assert {"task", "k", "seed", "template", "method", "value", "low", "high", "n"} <= record.keys()
        assert record["n"] == 6
        assert 0 <= record["low"] <= record["value"] <= record["high"] <= 1
    assert any(name.startswith("weather") and 0 <= value <= 1 for name, value in result.items() if name != "records")
    manifest = read(tmp_path / "run", "manifest.json")
    assert manifest["parents"][0]["path"] == str(gpt2_run)
    figures, records = summarise(read_records(tmp_path / "run" / "choices.jsonl"))
    assert records == result["records"]
    assert figures.items() <= result.items()


def test_prompt_with_shots_template_and_words(prompt, tmp_path):
    (tmp_path / "shots.csv").write_text("text,label\n눈이 와요,cold\nhot hot,warm\nice,cold\nfire,warm\n", "utf-8")
    words = {"cold": "blue", "warm": "red"}
    template = "Text: {text} Colour:"
    settings = {"shots": str(tmp_path / "shots.csv"), "words": words, "k": (2,), "seeds": 1}
    result = prompt(template=template, **settings)
    for record in result["records"]:
        assert (record["task"], record["template"], record["k"], record["n"]) == ("weather", template, 2, 6)
    several = prompt(template=f"{template}|||{{text}}\nIt is", out=str(tmp_path / "two"), orders=2, **settings)
    places = {(record["template"], record["order"]) for record in several["records"]}
    assert places == {(form, order) for form in (template, "{text}\nIt is") for order in (0, 1)}


def test_prompt_by_the_methods_asked_for(prompt):
    result = prompt(method="per_token", methods=("channel",), k=(1,), seeds=1)
    assert {record["method"] for record in result["records"]} == {"per_token", "channel"}
    value = next(record["value"] for record in result["records"] if record["method"] == "per_token")
    assert result["weather.k1"] == value


def test_prompt_with_tasks_by_name(prompt):
    result = prompt(data=("words_topic_H", "polarity"), k=(0,), seeds=1, limit=4)
    assert {record["task"] for record in result["records"]} == {"words_topic_H", "polarity.L", "polarity.H"}


@pytest.mark.parametrize(
    ("settings", "kind", "message"),
    [
        ({"k": ()}, RecipeError, r"k.* \[\]"),
        ({"k": (-1,)}, RecipeError, r"k.* \[-1\]"),
        ({"data": ()}, RecipeError, r"data: name at least one task or table"),
        ({"k": (500,)}, DataError, r"500"),
        (
            {"model": "{bert}", "data": ("words_topic_L",)},
            RecipeError,
            r"data: words_topic_L brings prompts for a decoder",
        ),
        ({"template": "no field"}, RecipeError, r"no field"),
        ({"shots": "nowhere.csv", "data": ("polarity",)}, RecipeError, r"shots: the task 'polarity' brings its own"),
    ],
)
def test_mistakes_in_prompting_leave_no_folder_behind(settings, kind, message, prompt, bert_run, tmp_path):
    if settings.get("model"):
        settings = settings | {"model": str(bert_run)}
    with pytest.raises(kind, match=message):
        prompt(**settings)
    assert not (tmp_path / "run").exists()


# tokenizer


@pytest.mark.parametrize(
    ("kind", "name"), [("wordpiece", "BertTokenizer"), ("bpe", "GPT2Tokenizer"), ("unigram", "TokenizersBackend")]
)
def test_tokenizer(kind, name, step, corpus_file, tmp_path):
    settings = {"corpus": {"path": str(corpus_file)}, "vocab_size": 300, "kind": kind, "model_max_length": 99}
    result = step("tokenizer", **settings, out=str(tmp_path / "run"))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run" / "model")
    assert type(tokenizer).__name__ == name
    assert (len(tokenizer), tokenizer.model_max_length) == (result["vocabulary"], 99)
    assert result["unknown_ratio"] == 0
    manifest = read(tmp_path / "run", "manifest.json")
    assert manifest["corpus"]["path"] == str(corpus_file)
    assert len(manifest["tokenizer"]["hash"]) == 64


def test_tokenizers_side_by_side_on_the_same_text(step, corpus_file, tmp_path, bert_run):
    corpus, other = {"path": str(corpus_file)}, str(bert_run)
    result = step("tokenizer", corpus=corpus, vocab_size=64, compare=[other], out=str(tmp_path / "run"))
    assert result["fertility"] > result[f"{other}.fertility"] >= 1
    records = [(record["tokenizer"], record["script"]) for record in result["records"]]
    assert records == [(name, script) for name in ("trained here", other) for script in ("all", "Latin")]
    assert result["records"][0]["words"] == result["records"][2]["words"]
    with pytest.raises(CheckpointError, match="holds no tokenizer that transformers can open"):
        step("tokenizer", corpus=corpus, compare=[str(tmp_path)], out=str(tmp_path / "other"))


def test_more_text_than_a_tokenizer_is_trained_on(step, corpus_file, tmp_path):
    said = []
    display = SimpleNamespace(say=said.append, progress=lambda *_: None)
    settings = {"corpus": {"path": str(corpus_file)}, "vocab_size": 100, "train_bytes": 2000}
    first = step("tokenizer", **settings, display=display, out=str(tmp_path / "run"))
    assert re.fullmatch(r"the vocabulary is trained on \d\d of 79 documents, drawn evenly: 0\.0 of 0\.0 MB", said[0])
    again = step("tokenizer", **settings, out=str(tmp_path / "again"))
    assert first == again


def test_tokenizer_of_a_missing_corpus(step, tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.txt"):
        step("tokenizer", corpus={"path": str(tmp_path / "nowhere.txt")}, out=str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_tokenizer_of_a_text_without_characters(step, tmp_path):
    (tmp_path / "odd.txt").write_text("\u200b\n\n\u200b\n", "utf-8")
    with pytest.raises((DataError, CheckpointError)):
        step("tokenizer", corpus={"path": str(tmp_path / "odd.txt")}, out=str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_prompt_with_choices_in_columns(prompt, tmp_path):
    rows = [f"the soup {n},red,blue,{('red', 'blue')[n % 2]}" for n in range(12)]
    (tmp_path / "colours.csv").write_text("text,a,b,label\n" + "\n".join(rows) + "\n")
    result = prompt(data=(str(tmp_path / "colours.csv"),), choices="a,b", k=(0, 2), seeds=1)
    assert 0 <= result["colours.k2"] <= 1
    assert {record["template"] for record in result["records"]} == {"{text}\nAnswer:"}
