"""Figures of a multi-label classifier with 95 % intervals."""

import numpy as np

from ptft.tasks.metrics import FloatArray, IntArray, macro_f1, ratio, summed_figures, wilson


def multi_label_figures(gold: IntArray, predicted: IntArray, seed: int) -> dict[str, float]:
    """Score sets of labels: micro F1, macro F1 and exact match with their intervals.

    Micro F1 counts every label of every row alike; it is 0 where no label is given nor predicted. Macro F1 is the mean
    over all labels of the task; a label that is neither given nor predicted counts 0.

    Args:
        gold: Whether each row has each label, 0 or 1, shaped (rows, labels).
        predicted: Whether each is predicted.
        seed: Key of the resampling.

    Returns:
        ``micro_f1`` with ``low`` and ``high``, ``macro_f1`` with ``_low`` and ``_high`` (percentiles of 1000 bootstrap
        resamples of the rows), ``exact_match`` (the share of rows with all labels right) with ``_low`` and ``_high``
        (Wilson), and ``n`` (rows).

    Raises:
        ValueError: There are no rows, or not one prediction for each.

    Paper: Efron 1979 (bootstrap); Wilson 1927. Differs: see :func:`~ptft.tasks.metrics.macro_f1` on resamples that miss
    a label.
    """
    if len(gold) == 0 or gold.shape != predicted.shape:
        raise ValueError(f"true labels {gold.shape} and predicted ones {predicted.shape}: rows of the same are needed")
    occurs = np.asarray((gold | predicted).any(0))

    def scores(sums: FloatArray) -> FloatArray:
        hits, given, guessed = np.split(sums, 3, axis=1)
        micro = ratio(2 * hits.sum(1), (given + guessed).sum(1))
        return np.stack([micro, macro_f1(hits, given, guessed, occurs)])

    micro, macro = summed_figures(np.concatenate([gold & predicted, gold, predicted], axis=1), scores, seed)
    num_right = int((gold == predicted).all(1).sum())
    low, high = wilson(num_right, len(gold))
    return {
        "micro_f1": micro[0],
        "low": micro[1],
        "high": micro[2],
        "macro_f1": macro[0],
        "macro_f1_low": macro[1],
        "macro_f1_high": macro[2],
        "exact_match": num_right / len(gold),
        "exact_match_low": low,
        "exact_match_high": high,
        "n": len(gold),
    }
