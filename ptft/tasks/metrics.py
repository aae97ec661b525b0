"""Figures of a classifier with 95 % intervals, the resampling behind them, and intervals over seeds."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from ptft import rng

IntArray = NDArray[np.integer[Any]]
FloatArray = NDArray[np.floating[Any]]

NORMAL_QUANTILE = 1.959963984540054  # 97.5 % of the standard normal distribution
_NUM_RESAMPLES = 1000
_DRAWS_PER_BLOCK = 2**20


def classification_figures(gold: IntArray, predicted: IntArray, num_labels: int, seed: int) -> dict[str, float]:
    """Score predictions: accuracy, macro F1 and Matthews correlation with their intervals, and the majority's accuracy.

    Macro F1 is the mean over all labels of the task; a label that is neither given nor predicted counts 0. The
    correlation is 0 where one side has a single label.

    Args:
        gold: True label of each row, an index below ``num_labels``.
        predicted: Predicted label of each row.
        num_labels: Number of labels of the task.
        seed: Key of the resampling.

    Returns:
        ``accuracy`` with ``low`` and ``high`` (Wilson), ``macro_f1`` and ``mcc`` with ``_low`` and ``_high``
        (percentiles of 1000 bootstrap resamples of the rows), ``majority`` (accuracy of always giving the most frequent
        gold label) and ``n`` (rows).

    Raises:
        ValueError: There are no rows, or not one prediction for each.

    Paper: Wilson 1927; Gorodkin 2004 (correlation of more than two labels); Efron 1979 (bootstrap). Differs: a label
    that a resample happens to miss is left out of that resample's macro F1.
    """
    num_rows = len(gold)
    if num_rows == 0 or len(predicted) != num_rows:
        raise ValueError(f"{num_rows} true labels and {len(predicted)} predicted ones: one each is needed")
    cells, cell_of_row = np.unique(gold.astype(np.int64) * num_labels + predicted, return_inverse=True)
    counts = np.bincount(cell_of_row)[None]
    macro_f1, mcc = confusion_scores(counts, cells, num_labels)
    blocks = [confusion_scores(block, cells, num_labels) for block in resampled(cell_of_row, len(cells), seed)]
    (macro_f1_low, mcc_low), (macro_f1_high, mcc_high) = np.percentile(
        np.concatenate(blocks, axis=1), (2.5, 97.5), axis=1
    )
    num_right = int(np.sum(gold == predicted))
    low, high = wilson(num_right, num_rows)
    return {
        "accuracy": num_right / num_rows,
        "low": low,
        "high": high,
        "macro_f1": float(macro_f1[0]),
        "macro_f1_low": float(macro_f1_low),
        "macro_f1_high": float(macro_f1_high),
        "mcc": float(mcc[0]),
        "mcc_low": float(mcc_low),
        "mcc_high": float(mcc_high),
        "majority": int(np.bincount(gold).max()) / num_rows,
        "n": num_rows,
    }


def wilson(successes: float, n: float, quantile: float = NORMAL_QUANTILE) -> tuple[float, float]:
    """The 95 % Wilson interval of a share; (0, 1) when nothing was tried.

    Args:
        successes: How often it was so; part of a success counts as that part.
        n: How often it was tried, or as how many trials the share is worth.
        quantile: 97.5 % of the distribution to go by, where it is not the normal one.

    Paper: Wilson 1927.

    Example:
        >>> [round(bound, 3) for bound in wilson(9, 10)]
        [0.596, 0.982]
    """
    if n == 0:
        return 0.0, 1.0
    share, z2 = successes / n, quantile**2
    centre = share + z2 / (2 * n)
    half = quantile * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    # At 0 and n the bound is exact; rounding would leave it just inside.
    low = 0.0 if successes == 0 else (centre - half) / (1 + z2 / n)
    high = 1.0 if successes == n else (centre + half) / (1 + z2 / n)
    return low, high


def mean_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean of one figure over seeds with its 95 % interval of Student's t; a single value is its own interval.

    Returns:
        Mean, low, high.

    Raises:
        ValueError: There is no value.

    Paper: Student 1908.
    """
    if not values:
        raise ValueError("the mean of no values")
    mean = math.fsum(values) / len(values)
    if len(values) == 1:
        return mean, mean, mean
    variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    half = float(stdtrit(len(values) - 1, 0.975)) * math.sqrt(variance / len(values))
    return mean, mean - half, mean + half


def interval_over_seeds(
    values: Sequence[float], lows: Sequence[float], highs: Sequence[float]
) -> tuple[float, float, float]:
    """Mean of a figure over seeds with its 95 % interval, in which seeds and test rows were both drawn.

    What Student's interval over the seeds leaves open and what the rows leave open, which all seeds share, add up as
    independent errors do, in squares and on each side (Zou and Donner 2008). So it is never narrower than the seeds'
    own intervals are on average, and one seed has its own. It ends at 0 and at 1 (a correlation at -1 and 1) where no
    seed's own interval goes beyond.

    Args:
        values: The figure of each seed.
        lows, highs: The ends of its 95 % interval over the test rows.

    Returns:
        Mean, low, high.

    Raises:
        ValueError: There is no seed.
    """
    mean, seeds_low, _ = mean_interval(values)
    if len(values) == 1:
        return mean, lows[0], highs[0]
    of_seeds = mean - seeds_low
    below, above = (math.fsum(ends) / len(values) for ends in (lows, highs))
    floor = max(end for end in (-math.inf, -1.0, 0.0) if end <= min(lows))
    ceiling = min(end for end in (1.0, math.inf) if end >= max(highs))
    low, high = mean - math.hypot(mean - below, of_seeds), mean + math.hypot(above - mean, of_seeds)
    return mean, max(low, floor), min(high, ceiling)


def paired_interval(a: Sequence[float], b: Sequence[float]) -> tuple[float, float, float]:
    """Mean of ``a - b`` over seeds, taken pair by pair, with its 95 % interval of Student's t.

    Returns:
        Mean difference, low, high.

    Raises:
        ValueError: The two differ in length, or are empty.
    """
    return mean_interval([first - second for first, second in zip(a, b, strict=True)])


def resampled(
    cell_of_row: IntArray, num_cells: int, seed: int, num_resamples: int = _NUM_RESAMPLES
) -> Iterator[IntArray]:
    """Yield rows drawn with replacement, in blocks of resamples.

    Args:
        cell_of_row: Which of the different rows each row is, such as a pair of a gold and a predicted label.
        num_cells: How many different ones there are.
        seed: Key of the draws.
        num_resamples: How many; the first are the same whatever their number.

    Yields:
        How often each resample has each cell, shaped (resamples, cells).
    """
    num_rows = len(cell_of_row)
    key, places = rng.key_of("bootstrap"), np.arange(num_rows)
    per_block = max(1, _DRAWS_PER_BLOCK // num_rows)
    for start in range(0, num_resamples, per_block):
        resamples = np.arange(start, min(start + per_block, num_resamples))[:, None]
        yield tallied(cell_of_row[rng.integers(num_rows, key, seed, resamples, places)], num_cells)


def tallied(drawn: IntArray, num_cells: int) -> IntArray:
    """How often each line of ``drawn``, shaped (samples, rows), has each cell; shaped (samples, cells)."""
    offsets = np.arange(len(drawn))[:, None] * num_cells
    return np.bincount((drawn + offsets).ravel(), minlength=len(drawn) * num_cells).reshape(-1, num_cells)


def summed_figures(
    rows: NDArray[Any], figures: Callable[[FloatArray], FloatArray], seed: int
) -> list[tuple[float, float, float]]:
    """Figures that depend on sums over the rows, each with its 95 % interval.

    Args:
        rows: What each row adds to the sums, shaped (rows, sums).
        figures: Turns sums shaped (samples, sums) into figures shaped (figures, samples); NaN where the sums say
            nothing of a figure.
        seed: Key of the resampling.

    Returns:
        Value, low and high (percentiles of 1000 bootstrap resamples of the rows) of each figure. A figure without a
        value is 0; a resample that says nothing of it counts as the value.
    """
    cells, cell_of_row = np.unique(rows.astype(np.float64), axis=0, return_inverse=True)
    cell_of_row = cell_of_row.reshape(-1)
    blocks = [figures(counts @ cells) for counts in resampled(cell_of_row, len(cells), seed)]
    values = np.nan_to_num(figures(np.bincount(cell_of_row)[None] @ cells))
    found = np.concatenate(blocks, axis=1)
    low, high = np.percentile(np.where(np.isnan(found), values, found), (2.5, 97.5), axis=1)
    return list(zip(values[:, 0].tolist(), low.tolist(), high.tolist(), strict=True))


def ratio(above: FloatArray, below: FloatArray) -> FloatArray:
    """``above / below``, and NaN where nothing is below."""
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)


def macro_f1(hits: FloatArray, given: FloatArray, guessed: FloatArray, occurs: NDArray[np.bool_]) -> FloatArray:
    """The mean F1 over labels for each sample.

    A label that is neither given nor guessed counts 0 if it does not occur in the rows. One that the rows have and a
    sample happens to miss says nothing about the classifier and is left out: counted as 0 it would push the interval
    below the value where labels are rare.

    Args:
        hits: How often each label is given and guessed, shaped (samples, labels).
        given: How often it is given.
        guessed: How often it is guessed.
        occurs: Whether the rows have it at all, given or guessed, for each label.
    """
    f1 = np.divide(2 * hits, given + guessed, out=np.zeros_like(hits), where=given + guessed > 0)
    missed = occurs & (given + guessed == 0)
    return np.asarray(f1.sum(1) / (f1.shape[1] - missed.sum(1)))


def confusion_scores(counts: IntArray, cells: IntArray, num_labels: int) -> tuple[FloatArray, FloatArray]:
    """Macro F1 and Matthews correlation of samples, as in :func:`classification_figures`.

    Args:
        counts: How often each sample has each cell, shaped (samples, cells).
        cells: Which pair each cell is: the true label times ``num_labels`` plus the predicted one.
        num_labels: Number of labels of the task.
    """
    gold, predicted = np.divmod(cells, num_labels)
    labels = np.arange(num_labels)
    of_gold, of_predicted = gold[:, None] == labels, predicted[:, None] == labels
    weights = counts.astype(np.float64)
    given, guessed, hits = weights @ of_gold, weights @ of_predicted, weights @ (of_gold & of_predicted)
    total = weights.sum(1)
    covariance = hits.sum(1) * total - (given * guessed).sum(1)
    spread = (total**2 - (given**2).sum(1)) * (total**2 - (guessed**2).sum(1))
    mcc = np.divide(covariance, np.sqrt(spread), out=np.zeros_like(total), where=spread > 0)
    return macro_f1(hits, given, guessed, (of_gold | of_predicted).any(0)), mcc
