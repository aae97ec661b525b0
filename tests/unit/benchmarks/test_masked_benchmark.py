"""The benchmark of masked scoring compares what it says."""

import json
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


@pytest.fixture
def checks(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import masked_checks

    monkeypatch.setattr(masked_checks, "SENTENCES", 3)
    monkeypatch.setattr(masked_checks, "VOCABULARIES", {"": 900})
    monkeypatch.setattr(masked_checks, "_TRAINING_DOCUMENTS", 100)
    return masked_checks


def test_sentences_have_words_of_several_tokens(checks):
    case = checks.case_of(900)
    assert len(case.sentences) == 3
    words = [word for sentence in case.sentences for word in sentence.split()]
    assert any(len(case.tokenizer.tokenize(word)) > 2 for word in words)


def test_sentences_of_a_file(checks, tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("one\n\n" + "x" * 500 + "\ntwo\n둘\nfour\n")
    assert list(checks.case_of(900, path).sentences) == ["one", "two", "둘"]


@pytest.mark.filterwarnings("ignore")
def test_both_sides_agree_and_are_timed(checks):
    pytest.importorskip("minicons", reason="minicons is a library of the benchmarks")
    assert all(0 <= value < 1e-4 for value in checks.masked_differences().values())
    figures = checks.masked_cpu_ratios(turns=1)
    assert figures["pll_original_cpu_ratio"] > 0 < figures["pll_within_word_cpu_ratio"]


def test_a_model_that_knows_nothing_is_at_chance(checks, tmp_path):
    rows = [{"sentence_good": f"It was {n}.", "sentence_bad": f"It {n} was.", "UID": "a"} for n in range(3)]
    rows += [{"sentence_good": "It was.", "sentence_bad": "It was it.", "UID": "b"}]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    figures = checks.constant_model_figures(path)
    assert figures == {"constant_model_blimp_accuracy": 0.5, "uniform_model_blimp_accuracy": 2.5 / 4}
