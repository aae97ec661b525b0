"""What the step ``prompt`` asks beside labels of a decoder."""

import json

import pytest

from ptft.errors import RecipeError
from ptft.models.building import open_trained
from ptft.prompting import cloze_loglikelihoods, loglikelihoods, pseudo_loglikelihoods, read_records
from ptft.tokenization import load_tokenizer

WORDS = {"cold": "blue", "warm": "red"}


@pytest.fixture
def prompt(step, tmp_path, run_of):
    def do(model="gpt2", out="asked", **settings):
        return step("prompt", model=str(run_of(model)), out=str(tmp_path / out), **settings)

    return do


@pytest.fixture
def opened(run_of):
    """A model and its tokenizer."""

    def do(kind):
        head = "masked_lm" if kind == "bert" else "causal_lm"
        return open_trained(str(run_of(kind)), head), load_tokenizer(run_of(kind) / "model")

    return do


@pytest.fixture
def pairs(tmp_path):
    rows = [
        {
            "sentence_good": "the red sun is hot",
            "sentence_bad": "the red sun hot is",
            "UID": "order",
            "field": "syntax",
        },
        {"sentence_good": "my blue lake", "sentence_bad": "blue my lake", "UID": "order", "field": "syntax"},
        {"sentence_good": "ice is very cold", "sentence_bad": "ice are very cold", "UID": "verbs", "field": "syntax"},
    ]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path, rows


def test_an_encoder_fills_the_gap(prompt, opened, table, tmp_path):
    result = prompt("bert", data=(str(table),), template="{text} it is {mask}", words=WORDS, k=(0, 1), seeds=1, limit=5)
    assert {"weather.k0", "weather.k1", "weather.majority"} <= result.keys()
    assert {record["method"] for record in result["records"]} >= {"raw", "per_token", "batch_calibration"}
    assert not {record["method"] for record in result["records"]} & {"pmi", "channel", "contextual_calibration"}
    records = read_records(tmp_path / "asked" / "choices.jsonl")
    rows = [line.rsplit(",", 1)[0] for line in table.read_text().splitlines()[1:]]
    for record in (record for record in records if record.k == 0):
        found = [cloze_loglikelihoods(*opened("bert"), [(f"{row} it is ", "", WORDS[record.choice])]) for row in rows]
        assert any(abs(scored.log_likelihood - record.log_likelihood) < 1e-4 for (scored,) in found)


def test_a_gap_and_label_are_the_default_of_an_encoder(prompt, table):
    result = prompt("bert", data=(str(table),), k=(0,), seeds=1, limit=5)
    assert {record["template"] for record in result["records"]} == {"{text}\nLabel: {mask}"}


@pytest.mark.parametrize(("model", "score"), [("gpt2", loglikelihoods), ("bert", pseudo_loglikelihoods)])
def test_minimal_pairs(model, score, prompt, opened, pairs):
    path, rows = pairs
    result = prompt(model, data=(str(path),), kind="minimal_pairs")
    hits = 0
    for row in rows:
        sentences = [("", row["sentence_good"]), ("", row["sentence_bad"])]
        good, bad = (scored.log_likelihood for scored in score(*opened(model), sentences))
        hits += good > bad
    assert result["pairs.accuracy"] == pytest.approx(hits / 3)
    assert {"pairs.subtask.order", "pairs.subtask.verbs", "pairs.accuracy_of_subtasks"} <= result.keys()
    assert [(r["group"], r["n"]) for r in result["records"]][:1] == [("all", 3)]


def test_perplexity(prompt, tmp_path, corpus_file):
    result = prompt(data=(str(corpus_file),), kind="perplexity", limit=10)
    assert {"corpus.bits_per_byte", "corpus.word_perplexity", "corpus.n"} <= result.keys()
    lines = (tmp_path / "asked" / "documents.jsonl").read_text().splitlines()
    assert len(lines) == result["corpus.n"] <= 10


def test_generation(prompt, tmp_path):
    (tmp_path / "say.csv").write_text("text,label\nthe red sun,is hot\nblue ice,is cold\nmy lamp,is warm\n")
    (tmp_path / "more.csv").write_text("text,label\na fire,is warm\nthe snow,is cold\n")
    settings = {"kind": "generation", "template": "{text} TL;DR:", "max_new_tokens": 3}
    result = prompt(data=(str(tmp_path / "say.csv"),), **settings)
    assert {f"say.k0.{score}" for score in ("exact_match", "f1", "rouge1", "rouge2", "rougeL")} <= result.keys()
    shown = prompt(
        data=(str(tmp_path / "say.csv"),), shots=str(tmp_path / "more.csv"), k=(0, 2), seeds=1, out="shown", **settings
    )
    assert {"say.k0.f1", "say.k2.f1"} <= shown.keys()
    assert len((tmp_path / "shown" / "documents.jsonl").read_text().splitlines()) == 6


@pytest.mark.parametrize(
    ("model", "settings", "message"),
    [
        ("bert", {"kind": "perplexity"}, "kind=perplexity needs a decoder"),
        ("bert", {"kind": "generation"}, "kind=generation needs a decoder"),
        ("bert", {"data": ("words_topic_L",)}, "words_topic_L brings prompts for a decoder"),
        ("bert", {"template": "{text} it is"}, "has no gap; write {mask} once"),
        ("bert", {"method": "channel"}, "'channel' does not go with this protocol and kind of model"),
        ("gpt2", {"template": "{text} {mask}"}, "unknown field 'mask'"),
        ("gpt2", {"kind": "minimal_pairs", "k": (1,)}, "k has no effect with kind=minimal_pairs"),
        ("gpt2", {"pll": "original"}, "pll has no effect with kind=labels"),
        ("gpt2", {"kind": "minimal_pairs", "pll": "original"}, "pll has no effect on a decoder"),
        ("gpt2", {"stop": ("x",)}, "stop has no effect with kind=labels"),
        ("gpt2", {"data": ()}, "name at least one task or table"),
    ],
)
def test_what_does_not_go_together(model, settings, message, prompt, table):
    with pytest.raises(RecipeError, match=message):
        prompt(model, **{"data": (str(table),), **settings})
