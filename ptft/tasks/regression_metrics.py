"""Figures of predicted numbers with 95 % intervals."""

import math

import numpy as np

from ptft.tasks.metrics import NORMAL_QUANTILE, FloatArray, summed_figures


def regression_figures(gold: FloatArray, predicted: FloatArray, seed: int) -> dict[str, float]:
    """Score numbers: Pearson's and Spearman's correlation and the root of the mean squared error.

    A correlation is 0 where one side is constant: a model that always gives one number gets 0 for both, and in rmse
    the standard deviation of the true numbers if that number is their mean.

    Args:
        gold: The true number of each row.
        predicted: The predicted one.
        seed: Key of the resampling.

    Returns:
        ``pearson`` with ``low`` and ``high``, ``spearman`` with ``_low`` and ``_high`` (see :func:`fisher`), ``rmse``
        in the unit of the labels with ``_low`` and ``_high`` (percentiles of 1000 bootstrap resamples), and ``n``.

    Raises:
        ValueError: There are no rows, or not one prediction for each.
    """
    if len(gold) == 0 or gold.shape != predicted.shape:
        raise ValueError(f"{len(gold)} true numbers and {len(predicted)} predicted ones: one each is needed")
    gold, predicted = gold.astype(np.float64), predicted.astype(np.float64)
    pearson = correlation(gold, predicted)
    spearman = correlation(ranks(gold), ranks(predicted))
    low, high = fisher(pearson, len(gold))
    spearman_low, spearman_high = fisher(spearman, len(gold), 1 + spearman**2 / 2)
    squares = np.stack([(predicted - gold) ** 2, np.ones_like(gold)], axis=1)
    ((rmse, rmse_low, rmse_high),) = summed_figures(squares, lambda sums: np.sqrt(sums[:, 0] / sums[:, 1])[None], seed)
    return {
        "pearson": pearson,
        "low": low,
        "high": high,
        "spearman": spearman,
        "spearman_low": spearman_low,
        "spearman_high": spearman_high,
        "rmse": rmse,
        "rmse_low": rmse_low,
        "rmse_high": rmse_high,
        "n": len(gold),
    }


def correlation(a: FloatArray, b: FloatArray) -> float:
    """Pearson's correlation of two rows of numbers; 0 where one is constant.

    Paper: Pearson 1895.
    """
    if not (np.ptp(a) and np.ptp(b)):
        return 0.0
    a, b = ((side - side.mean()) / np.ptp(side) for side in (a, b))  # so that squares of tiny numbers are not 0
    return float(np.clip((a @ b) / math.sqrt((a @ a) * (b @ b)), -1, 1))


def ranks(numbers: FloatArray) -> FloatArray:
    """The rank of each number, counted from 1; equal numbers share the mean of theirs."""
    _, place, count = np.unique(numbers, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(count) - (count - 1) / 2)[place])


def fisher(r: float, n: int, variance: float = 1.0) -> tuple[float, float]:
    """The 95 % interval of a correlation of ``n`` pairs by Fisher's z; (-1, 1) for three pairs or fewer.

    Args:
        r: The correlation.
        n: Number of pairs.
        variance: Of z, times ``n - 3``: 1 for Pearson's, ``1 + r**2 / 2`` for Spearman's correlation.

    Paper: Fisher 1921; Bonett and Wright 2000 (Spearman).
    """
    if n <= 3:
        return -1.0, 1.0
    if abs(r) == 1:
        return r, r
    half = NORMAL_QUANTILE * math.sqrt(variance / (n - 3))
    return math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half)
