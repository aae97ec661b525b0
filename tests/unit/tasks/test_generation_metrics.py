import numpy as np
import pytest

from ptft.tasks.generation_metrics import (
    SCORES,
    common_subsequence,
    generation_figures,
    normalised,
    rouge_l,
    rouge_n,
    scores_of,
    token_f1,
)

ENGLISH = [
    "The quick brown fox jumps over the lazy dog.",
    "A quick fox: it jumped over 2 lazy dogs, didn't it?",
    "the the the fox",
    "over over the dog fox lazy",
    "",
    "?!",
    "Prices rose 3.5% in 1999 - again (U.S. figures).\nThe end_of_text",
]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The Cat, in an Hat!", "cat in hat"),
        ("  anthem\tof a\nband ", "anthem of band"),
        ("$3.50 (U.S.)", "350 us"),
        ("«Été» — 3，5。", "été 35"),
    ],
)
def test_what_does_not_count_in_a_match(text, expected):
    assert normalised(text) == expected


def test_raw_and_normalised_matches():
    assert scores_of(" Paris\n", ["Paris"])["raw_match"] == 1
    scores = scores_of("the Paris.", ["Paris"])
    assert (scores["raw_match"], scores["exact_match"]) == (0, 1)
    assert scores_of("Lyon", ["Paris"])["exact_match"] == 0


@pytest.mark.parametrize(
    ("written", "reference", "expected"),
    [
        ("the red house", "a house", 2 * 0.5 * 1 / 1.5),
        ("red red", "red", 2 * 0.5 * 1 / 1.5),
        ("blue", "red", 0),
        ("the", "", 1),
        ("red", "the", 0),
        ("東京都", "東京", 0.8),
    ],
)
def test_token_f1(written, reference, expected):
    assert token_f1(written, reference) == pytest.approx(expected)


def test_rouge_by_hand():
    written, reference = "the cat sat on the mat", "the cat lay on a mat"
    assert rouge_n(written, reference, 1) == pytest.approx(4 / 6)
    assert rouge_n(written, reference, 2) == pytest.approx(1 / 5)
    assert rouge_l(written, reference) == pytest.approx(4 / 6)
    assert rouge_l("mat the on sat", "sat on the mat") == pytest.approx(1 / 4)


def test_rouge_is_that_of_the_usual_package_on_english():
    """Runs where the package rouge_score is installed; it is no dependency."""
    rouge_scorer = pytest.importorskip("rouge_score.rouge_scorer")
    names = ["rouge1", "rouge2", "rougeL"]
    scorer = rouge_scorer.RougeScorer(names, use_stemmer=False)
    for written in ENGLISH:
        for reference in ENGLISH:
            expected = scorer.score(reference, written)
            for name in names:
                assert SCORES[name](written, reference) == pytest.approx(expected[name].fmeasure, abs=1e-12)


@pytest.mark.parametrize("text", ["Ünïcode élan Straße", "зима близко", "한국어 문장", "日本語", "५२"])
def test_rouge_knows_words_of_other_scripts(text):
    assert rouge_n(text, text, 1) == 1
    assert rouge_l(text, text) == 1


def test_the_longest_common_subsequence_is_that_of_the_table():
    random = np.random.default_rng(0)
    for _ in range(50):
        one, other = (random.integers(4, size=random.integers(12)).astype(str).tolist() for _ in range(2))
        table = np.zeros((len(one) + 1, len(other) + 1), int)
        for i, a in enumerate(one):
            for j, b in enumerate(other):
                table[i + 1, j + 1] = table[i, j] + 1 if a == b else max(table[i, j + 1], table[i + 1, j])
        assert common_subsequence(one, other) == table[-1, -1]


def test_the_best_reference_counts_for_each_score():
    scores = scores_of("red house on hill", ["red house", "a hill on house red", "blue"])
    assert scores["rouge1"] == max(rouge_n("red house on hill", r, 1) for r in ("red house", "a hill on house red"))
    assert scores["rouge1"] == pytest.approx(8 / 9)
    assert scores["rouge2"] == pytest.approx(2 / 4)
    with pytest.raises(ValueError, match="no reference"):
        scores_of("red", [])


def test_figures_are_means_inside_their_intervals():
    rows = [scores_of("red house", [reference]) for reference in ("red house", "house", "blue", "red red")] * 5
    figures = generation_figures(rows, seed=0)
    assert set(figures) == {f"{name}{end}" for name in SCORES for end in ("", ".low", ".high")}
    for name in SCORES:
        assert figures[name] == pytest.approx(np.mean([row[name] for row in rows]))
        assert figures[f"{name}.low"] < figures[name] < figures[f"{name}.high"]
    with pytest.raises(ValueError, match="no scores"):
        generation_figures([], seed=0)
