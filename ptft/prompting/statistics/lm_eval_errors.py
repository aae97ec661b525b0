"""The standard errors that lm-evaluation-harness prints, equal in every digit but made a thousand times faster.

Its bootstrap draws from Python's Mersenne Twister, 1,000 resamples from each of the seeds 0, 1, 2, ...; numpy has the
same generator, and makes all draws of a seed at once. No other number of ours comes from it.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptft.errors import RecipeError
from ptft.prompting.statistics.resampling import binary_f1
from ptft.tasks.metrics import FloatArray, IntArray, confusion_scores, tallied

_CHUNK = 1000

# From the documents drawn, shaped (resamples, documents), to the statistic of each resample.
_Statistic = Callable[[IntArray], FloatArray]


def lm_eval_stderr(statistic: str, *columns: NDArray[Any], iterations: int = 100_000) -> float:
    """The standard error that lm-eval 0.4.13 gives for a statistic of all documents.

    Of ``mean`` it is the sample's standard deviation over the root of n; of the others the standard deviation over
    resamples, of which only whole thousands are made, or all where there are fewer than 1,000.

    Args:
        statistic: ``mcc``, ``f1`` (of label 1 of the labels 0 and 1), ``perplexity`` (of the documents, from their
            log-likelihoods), ``median`` (the upper of two) or ``mean``.
        columns: For ``mcc`` and ``f1`` the true and the predicted label of each document; else one value for each.
        iterations: How many resamples, lm-eval's ``bootstrap_iters``; at least 2.

    Returns:
        The error; NaN for a single document, where lm-eval prints N/A.

    Raises:
        RecipeError: The statistic is not one of these, or there are too few iterations.
        ValueError: The columns are not as many or as long as is said above, or ``f1`` has other labels than 0 and 1.

    Example:
        >>> lm_eval_stderr("mean", np.array([1.0, 0.0, 1.0, 1.0]))
        0.25
    """
    if statistic not in (*_LABELLED, *_VALUED, "mean"):
        known = ", ".join(sorted((*_LABELLED, *_VALUED, "mean")))
        raise RecipeError(f"lm-eval has no standard error of {statistic!r} that is made here; choose one of {known}")
    if iterations < 2:
        raise RecipeError(f"iterations is {iterations!r}; a standard error takes at least 2 resamples")
    num_columns, num_rows = 1 + (statistic in _LABELLED), len(columns[0])
    if len(columns) != num_columns or any(len(column) != num_rows for column in columns):
        lengths = [len(column) for column in columns]
        raise ValueError(f"{statistic} takes {num_columns} columns of equal length, not such of {lengths} documents")
    if num_rows < 2:
        return math.nan
    if statistic == "mean":
        return float(np.std(columns[0], ddof=1) / math.sqrt(num_rows))
    of_drawn = _LABELLED[statistic](*columns) if statistic in _LABELLED else _VALUED[statistic](columns[0])
    return float(np.std(np.concatenate([of_drawn(drawn) for drawn in _drawn(num_rows, iterations)]), ddof=1))


def _drawn(num_rows: int, iterations: int) -> Iterator[IntArray]:
    """What ``random.Random(seed).choices`` draws, as indices shaped (resamples, rows), for one seed after another."""
    size = min(_CHUNK, iterations)
    for seed in range(iterations // size):
        # A list as seed is set up as random.Random sets up its integer; a number would not be.
        uniform = np.random.RandomState([seed]).random_sample((size, num_rows))
        yield (uniform * num_rows).astype(np.int64)


def _mcc(gold: IntArray, predicted: IntArray) -> _Statistic:
    labels, indices = np.unique(np.concatenate([gold, predicted]), return_inverse=True)
    pairs = indices[: len(gold)] * len(labels) + indices[len(gold) :]
    cells, cell_of_row = np.unique(pairs, return_inverse=True)
    return lambda drawn: confusion_scores(tallied(cell_of_row[drawn], len(cells)), cells, len(labels))[1]


def _f1(gold: IntArray, predicted: IntArray) -> _Statistic:
    labels = {*gold.tolist(), *predicted.tolist()}
    if not labels <= {0, 1}:
        raise ValueError(f"lm-eval's f1 is that of label 1 of 0 and 1, not of the labels {sorted(labels)}")
    pairs = 2 * gold.astype(np.int64) + predicted
    return lambda drawn: binary_f1(tallied(pairs[drawn], 4), np.arange(4))


def _perplexity(values: FloatArray) -> _Statistic:
    return lambda drawn: np.exp(-values[drawn].mean(1))


def _median(values: FloatArray) -> _Statistic:
    ordered, ranks = np.unique(values, return_inverse=True)
    middle = len(values) // 2
    return lambda drawn: ordered[np.partition(ranks[drawn], middle, axis=1)[:, middle]]


_LABELLED = {"mcc": _mcc, "f1": _f1}
_VALUED = {"perplexity": _perplexity, "median": _median}
