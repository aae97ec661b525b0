"""Bootstrap of what a confusion of labels gives: 100,000 resamples in a fraction of a second."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from ptft.tasks.metrics import FloatArray, IntArray, confusion_scores, resampled


@dataclass(frozen=True)
class Resampled:
    """A figure and how it varies with the documents.

    Attributes:
        value: Of the documents as they are.
        low: 2.5 % percentile over resamples.
        high: 97.5 % percentile.
        stderr: Standard deviation over resamples.
    """

    value: float
    low: float
    high: float
    stderr: float

    @classmethod
    def of(cls, value: float, resamples: FloatArray) -> "Resampled":
        """Sum up what the resamples gave."""
        low, high = np.percentile(resamples, (2.5, 97.5)).tolist()
        return cls(float(value), low, high, float(resamples.std(ddof=1)))


def bootstrap(
    gold: Int[ndarray, " documents"],
    predicted: Int[ndarray, " documents"],
    num_labels: int,
    seed: int,
    num_resamples: int = 100_000,
) -> dict[str, Resampled]:
    """Resample the documents and say how accuracy, correlation and F1 vary.

    Args:
        gold: True label of each document, an index below ``num_labels``.
        predicted: Predicted label of each.
        num_labels: Number of labels.
        seed: Key of the draws.
        num_resamples: How often the documents are drawn, at least 2.

    Returns:
        ``accuracy``, ``mcc``, ``macro_f1`` and, of two labels, ``f1`` (that of label 1; 0 where a resample neither has
        nor predicts it, as scikit-learn counts).

    Raises:
        ValueError: There are no documents, not one prediction for each, or fewer than two resamples.

    Paper: Efron 1979. Differs: as in :func:`ptft.tasks.metrics.classification_figures` for macro F1.
    """
    if len(gold) == 0 or len(predicted) != len(gold) or num_resamples < 2:
        raise ValueError(f"{num_resamples} resamples of {len(gold)} true labels and {len(predicted)} predicted ones")
    cells, cell_of_row = np.unique(gold.astype(np.int64) * num_labels + predicted, return_inverse=True)
    values = _scores(np.bincount(cell_of_row)[None], cells, num_labels)
    blocks = [_scores(counts, cells, num_labels) for counts in resampled(cell_of_row, len(cells), seed, num_resamples)]
    return {name: Resampled.of(values[name][0], np.concatenate([block[name] for block in blocks])) for name in values}


def _scores(counts: IntArray, cells: IntArray, num_labels: int) -> dict[str, FloatArray]:
    macro_f1, mcc = confusion_scores(counts, cells, num_labels)
    is_hit = cells // num_labels == cells % num_labels
    scores = {"accuracy": counts @ is_hit / counts.sum(1), "mcc": mcc, "macro_f1": macro_f1}
    if num_labels == 2:
        scores["f1"] = binary_f1(counts, cells)
    return scores


def binary_f1(counts: IntArray, cells: IntArray) -> FloatArray:
    """F1 of label 1 of two for each sample; 0 where a sample neither has nor predicts it.

    Args:
        counts: How often each sample has each cell, shaped (samples, cells).
        cells: Which pair each cell is: twice the true label plus the predicted one.
    """
    ones = counts @ (cells // 2 + cells % 2)
    return np.asarray(np.divide(2.0 * (counts @ (cells == 3)), ones, out=np.zeros(len(counts)), where=ones > 0))
