"""What the statistics of prompting give, beside scipy, statsmodels, scikit-learn and lm-eval, and beside the truth."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from itertools import product
from typing import Any

import numpy as np
import scipy.stats
from scipy.special import ndtr, ndtri
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from ptft import rng
from ptft.prompting.statistics import accuracy_interval, bootstrap, lm_eval_stderr, paired_test

SIMULATIONS, AGAIN = 2000, 20_000
COVERED = (0.93, 0.97)
ACCURACIES, DOCUMENTS, SETS = (0.55, 0.75, 0.95), (50, 200, 500), (1, 2, 3, 5)
ALIKE = (0.6, 0.9)  # correlation of what decides a document's answers in two sets of shots
BY_SHOTS = (
    0.0,
    0.15,
)  # standard deviation by sets of shots, of what decides; at 75 % it moves the accuracy by 5 points
ROWS, RESAMPLES = 200, 100_000


Setting = tuple[float, int, int, float, float]


def coverages() -> dict[Setting, float]:
    """How often the interval holds the accuracy over all documents and sets of shots, for each simulated setting.

    An answer is right where a sum of normal deviates is below a threshold: of the document, of the set of shots, and
    of both. With one set of shots, what is to be held is the accuracy with that set. A share of 2,000 simulations is
    off by 0.005, so a setting that comes out beyond 0.93 to 0.97 is simulated anew, 20,000 times, and that counts.
    """
    found = {}
    for key, setting in enumerate(product(ACCURACIES, DOCUMENTS, SETS, ALIKE, BY_SHOTS)):
        found[setting] = _coverage(key, setting, range(SIMULATIONS))
        if not COVERED[0] <= found[setting] <= COVERED[1]:
            found[setting] = _coverage(key, setting, range(SIMULATIONS, SIMULATIONS + AGAIN))
    return found


def _coverage(key: int, setting: Setting, simulations: range) -> float:
    accuracy, num_documents, num_sets, alike, by_shots = setting
    threshold = ndtri(accuracy) * np.sqrt(1 + by_shots**2)
    documents, sets = np.arange(num_documents)[:, None], np.arange(num_sets)
    is_held = 0
    for number in simulations:
        shots = by_shots * ndtri(rng.uniform(0, key, number, sets))
        difficulty = np.sqrt(alike) * ndtri(rng.uniform(1, key, number, documents))
        is_right = rng.uniform(2, key, number, documents, sets) < ndtr(
            (threshold + shots + difficulty) / np.sqrt(1 - alike)
        )
        _, low, high = accuracy_interval(is_right[:, :, None, None].astype(float))
        truth = accuracy if num_sets > 1 else float(ndtr(threshold + shots[0]))
        is_held += low <= truth <= high
    return is_held / len(simulations)


def interval_coverage() -> dict[str, float]:
    """Lowest and highest coverage over the settings, of all and by the number of sets of shots; nominal is 0.95."""
    found = coverages()
    figures = {"interval_coverage_low": min(found.values()), "interval_coverage_high": max(found.values())}
    for sets in SETS:
        mine = [share for setting, share in found.items() if setting[2] == sets]
        figures |= {f"interval_coverage_low.sets{sets}": min(mine), f"interval_coverage_high.sets{sets}": max(mine)}
    return figures


def mcnemar_max_difference() -> dict[str, float]:
    """From scipy's binomial test and statsmodels' McNemar, over numbers of documents in which two models differ."""
    from statsmodels.stats.contingency_tables import mcnemar

    numbers = (0, 1, 2, 3, 5, 8, 13, 40, 41, 200)
    largest = 0.0
    for more, fewer in product(numbers, numbers):
        if more == fewer == 0:
            continue
        first = np.repeat([1.0, 0.0, 1.0], [more, fewer, 5])
        second = np.repeat([0.0, 1.0, 1.0], [more, fewer, 5])
        found = paired_test(first, second, seed=0, num_resamples=2)
        exact = scipy.stats.binomtest(more, more + fewer).pvalue
        table = [[5, more], [fewer, 0]]
        tails = [(found.exact_p, exact), (found.exact_p, mcnemar(table, exact=True).pvalue)]
        if more != fewer:  # there statsmodels corrects a difference of 0 to 1, and mid-p is 1
            tails += [
                (found.chi_square_p, mcnemar(table, exact=False, correction=True).pvalue),
                (found.mid_p, exact - scipy.stats.binom.pmf(more, more + fewer, 0.5)),
            ]
        largest = max(largest, *(abs(ours - theirs) for ours, theirs in tails))
    return {"mcnemar_max_difference": float(largest)}


class _OurDraws(np.random.Generator):
    """Gives scipy the rows that we draw."""

    def integers(self, low: Any, high: Any = None, size: Any = None, **_: Any) -> Any:
        resamples, rows = size
        return rng.integers(high, rng.key_of("bootstrap"), 0, np.arange(resamples)[:, None], np.arange(rows))


def bootstrap_max_difference(resamples: int = 1000) -> dict[str, float]:
    """Of intervals and standard errors from scipy's bootstrap of scikit-learn's scores, on the same draws."""
    gold, predicted = _answers(2)
    ours = bootstrap(gold, predicted, 2, seed=0, num_resamples=resamples)
    scores = {
        "accuracy": accuracy_score,
        "mcc": matthews_corrcoef,
        "f1": f1_score,
        "macro_f1": lambda *labels: f1_score(*labels, average="macro"),
    }
    largest = 0.0
    for name, score in scores.items():
        theirs = scipy.stats.bootstrap(
            (gold, predicted), score, paired=True, vectorized=False, n_resamples=resamples, method="percentile",
            rng=_OurDraws(np.random.PCG64(0)),
        )  # fmt: skip
        low, high = theirs.confidence_interval
        mine = ours[name]
        pairs = [(mine.low, low), (mine.high, high), (mine.stderr, theirs.standard_error)]
        pairs.append((mine.value, score(gold, predicted)))
        largest = max(largest, *(abs(a - b) for a, b in pairs))
    return {"bootstrap_max_difference": float(largest)}


def _answers(num_labels: int) -> tuple[np.ndarray, np.ndarray]:
    gold = rng.integers(num_labels, 3, np.arange(ROWS))
    guess = rng.integers(num_labels, 4, np.arange(ROWS))
    return gold, np.where(rng.uniform(5, np.arange(ROWS)) < 0.6, gold, guess)


def resamples_seconds() -> dict[str, float]:
    """Time of 100,000 resamples of 200 documents: ours of all scores at once, and lm-eval's error of MCC replayed."""
    gold, predicted = _answers(4)
    start = time.perf_counter()
    bootstrap(gold, predicted, 4, seed=0, num_resamples=RESAMPLES)
    middle = time.perf_counter()
    lm_eval_stderr("mcc", gold, predicted, iterations=RESAMPLES)
    end = time.perf_counter()
    return {"resamples_seconds": middle - start, "lm_eval_resamples_seconds": end - middle}


def lm_eval_stderr_max_difference(iterations: int = 2000) -> dict[str, float]:
    """From lm-eval's own functions, with fewer resamples than its 100,000, since those take it minutes."""
    from lm_eval.api import metrics

    gold, predicted = _answers(2)
    values = -3 * rng.uniform(6, np.arange(ROWS))
    pairs = list(zip(gold.tolist(), predicted.tolist(), strict=True))
    bootstrapped = [
        ("mcc", metrics.matthews_corrcoef, pairs, (gold, predicted)),
        ("f1", metrics.f1_score, pairs, (gold, predicted)),
        ("perplexity", metrics.perplexity, values.tolist(), (values,)),
        ("median", metrics.median, values.tolist(), (values,)),
    ]
    largest = abs(metrics.mean_stderr(values.tolist()) - lm_eval_stderr("mean", values))
    with _quiet_in_one_process():
        for name, function, items, columns in bootstrapped:
            theirs = metrics.bootstrap_stderr(function, items, iterations)
            largest = max(largest, abs(theirs - lm_eval_stderr(name, *columns, iterations=iterations)))
    return {"lm_eval_stderr_max_difference": float(largest)}


@contextmanager
def _quiet_in_one_process() -> Iterator[None]:
    """As lm-eval can be told by its environment; its progress goes nowhere."""
    before = os.environ.get("DISABLE_MULTIPROC")
    os.environ["DISABLE_MULTIPROC"] = "1"
    try:
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            yield
    finally:
        del os.environ["DISABLE_MULTIPROC"]
        if before is not None:
            os.environ["DISABLE_MULTIPROC"] = before


def statistics_figures() -> dict[str, float]:
    """All of them."""
    parts = (
        interval_coverage,
        mcnemar_max_difference,
        bootstrap_max_difference,
        resamples_seconds,
        lm_eval_stderr_max_difference,
    )
    return {name: value for part in parts for name, value in part().items()}
