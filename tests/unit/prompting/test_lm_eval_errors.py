"""The draws are Python's own here; the comparison with lm-eval itself needs it installed and is skipped without."""

import math
import random
import statistics

import numpy as np
import pytest
from sklearn.metrics import f1_score, matthews_corrcoef

from ptft.errors import RecipeError
from ptft.prompting.statistics import lm_eval_stderr

GOLD = np.random.default_rng(0).integers(0, 2, 12)
PREDICTED = np.where(np.random.default_rng(1).random(12) < 0.7, GOLD, 1 - GOLD)
VALUES = -np.random.default_rng(2).gamma(2, size=12).round(1)
PAIRS = list(zip(GOLD.tolist(), PREDICTED.tolist(), strict=True))
CASES = {
    "mcc": (lambda items: matthews_corrcoef(*zip(*items, strict=True)), PAIRS, (GOLD, PREDICTED)),
    "f1": (lambda items: f1_score(*zip(*items, strict=True), zero_division=0), PAIRS, (GOLD, PREDICTED)),
    "perplexity": (lambda items: math.exp(-sum(items) / len(items)), VALUES.tolist(), (VALUES,)),
    "median": (lambda items: sorted(items)[len(items) // 2], VALUES.tolist(), (VALUES,)),
}


@pytest.mark.filterwarnings("ignore:A single label was found")
@pytest.mark.parametrize("iterations", [2, 7, 2300])
@pytest.mark.parametrize("name", CASES)
def test_errors_are_those_of_pythons_own_draws(name, iterations):
    function, items, columns = CASES[name]
    if iterations > 1000 and name in ("mcc", "f1"):
        function = _remembering(function)
    size = min(1000, iterations)
    values = []
    for seed in range(iterations // size):
        draws = random.Random(seed)
        values += [function(draws.choices(items, k=len(items))) for _ in range(size)]
    ours = lm_eval_stderr(name, *columns, iterations=iterations)
    assert ours == pytest.approx(statistics.stdev(values), abs=1e-12)


def _remembering(function):
    """scikit-learn takes a millisecond for each resample, and many have the same counts."""
    known = {}

    def remembered(items):
        key = tuple(sorted(items))
        if key not in known:
            known[key] = function(key)
        return known[key]

    return remembered


@pytest.mark.parametrize("name", CASES)
def test_errors_are_those_of_lm_eval(name, monkeypatch, capsys):
    metrics = pytest.importorskip("lm_eval.api.metrics", reason="lm_eval is for benchmarks only")
    monkeypatch.setenv("DISABLE_MULTIPROC", "1")
    names = {"mcc": "matthews_corrcoef", "f1": "f1_score"}
    _, items, columns = CASES[name]
    theirs = metrics.bootstrap_stderr(getattr(metrics, names.get(name, name)), items, 300)
    assert lm_eval_stderr(name, *columns, iterations=300) == pytest.approx(theirs, abs=1e-12)


def test_labels_may_be_any_numbers_for_the_correlation():
    odd = {0: -4, 1: 17}
    other = [np.array([odd[label] for label in labels.tolist()]) for labels in (GOLD, PREDICTED)]
    assert lm_eval_stderr("mcc", *other, iterations=50) == lm_eval_stderr("mcc", GOLD, PREDICTED, iterations=50)


def test_mean_has_the_closed_form():
    assert lm_eval_stderr("mean", VALUES) == pytest.approx(statistics.stdev(VALUES) / math.sqrt(12), abs=1e-15)


@pytest.mark.parametrize("name", ["mean", "median"])
def test_a_single_document_has_no_error(name):
    assert math.isnan(lm_eval_stderr(name, np.array([1.0])))


def test_an_unknown_statistic_is_refused():
    message = "no standard error of 'bleu' that is made here; choose one of f1, mcc, mean, median, perplexity"
    with pytest.raises(RecipeError, match=message):
        lm_eval_stderr("bleu", VALUES)


def test_too_few_resamples_are_refused():
    with pytest.raises(RecipeError, match="iterations is 1; a standard error takes at least 2 resamples"):
        lm_eval_stderr("median", VALUES, iterations=1)


@pytest.mark.parametrize(("name", "columns", "lengths"), [("mcc", (GOLD,), [12]), ("median", (GOLD, GOLD), [12, 12])])
def test_other_columns_are_refused(name, columns, lengths):
    with pytest.raises(ValueError, match="columns of equal length, not such of") as error:
        lm_eval_stderr(name, *columns)
    assert str(lengths) in str(error.value)


def test_f1_of_other_labels_is_refused():
    with pytest.raises(ValueError, match=r"label 1 of 0 and 1, not of the labels \[0, 1, 2\]"):
        lm_eval_stderr("f1", np.array([0, 1]), np.array([1, 2]))
