"""How far a classifier's probabilities can be believed, and the one temperature that makes them more believable."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.optimize import brentq
from scipy.special import logsumexp

from ptft.tasks.problem import softmax

NUM_BINS = 15
_FEWEST_ROWS = 30  # with fewer, the temperature is mostly noise
_BOUNDS = (0.05, 20.0)


@dataclass(frozen=True)
class Calibration:
    """What logits are divided by.

    Attributes:
        temperature: Above 1 it makes probabilities less sure, below 1 surer; labels stay as they are.
        rows: How many held-out rows it was fitted on; 0 where none was fitted.
    """

    temperature: float = 1.0
    rows: int = 0


def fitted(logits: Float[ndarray, "rows labels"], targets: Int[ndarray, " rows"]) -> tuple[Calibration, str]:
    """Fit the temperature with which held-out rows are most likely.

    The derivative of their likelihood has one zero, since the logarithm is concave in 1 / temperature. With fewer than
    30 rows, or where the zero does not lie between 0.05 and 20 - as when all rows are answered right, and surer is
    always better -, no temperature is fitted: probabilities stay as they are.

    Args:
        logits: Of rows that were not trained on.
        targets: Their true labels, as indices.

    Returns:
        The calibration, and why none was fitted; empty where one was.

    Paper: Guo et al. 2017, arXiv 1706.04599, section 4.2. Differs: a bracketed root in place of gradient steps.
    """
    num_rows = len(targets)
    if num_rows < _FEWEST_ROWS:
        return Calibration(), f"{num_rows} validation rows are too few, {_FEWEST_ROWS} are wanted"
    right = np.take_along_axis(logits, targets[:, None], 1)[:, 0]

    def slope(sharpness: float) -> float:
        """The derivative of the negative log-likelihood by 1 / temperature."""
        return float(((softmax(sharpness * logits) * logits).sum(1) - right).sum())

    blunt, sharp = 1 / _BOUNDS[1], 1 / _BOUNDS[0]
    if slope(sharp) <= 0:
        return Calibration(), f"the best one is below {_BOUNDS[0]:g}, as where all validation rows are answered right"
    if not slope(blunt) < 0:
        return Calibration(), f"the best one is above {_BOUNDS[1]:g}, as where answers are no better than chance"
    return Calibration(1 / float(brentq(slope, blunt, sharp, xtol=1e-12)), num_rows), ""


def negative_log_likelihood(logits: Float[ndarray, "rows labels"], targets: Int[ndarray, " rows"]) -> float:
    """The mean over rows of minus the logarithm of the true label's probability, in nats."""
    right = np.take_along_axis(logits, targets[:, None], 1)[:, 0]
    return float((logsumexp(logits, axis=1) - right).mean())


def expected_calibration_error(
    probabilities: Float[ndarray, "rows labels"], targets: Int[ndarray, " rows"], num_bins: int = NUM_BINS
) -> float:
    """How far the probability of the answer is from the share of right answers, on average over the rows.

    Rows are put together by the probability of their answer in bins of equal width, each with its upper end.

    Paper: Naeini et al. 2015; Guo et al. 2017, arXiv 1706.04599, equation 3.

    Example:
        >>> rows = np.array([[0.8, 0.2], [0.8, 0.2], [0.4, 0.6]])
        >>> round(expected_calibration_error(rows, np.array([0, 1, 1])), 4)  # 2/3 |0.5 - 0.8| + 1/3 |1 - 0.6|
        0.3333
    """
    sure = probabilities.max(1)
    is_right = probabilities.argmax(1) == targets
    bins = np.clip(np.ceil(sure * num_bins).astype(np.int64) - 1, 0, num_bins - 1)
    gaps = np.bincount(bins, is_right - sure, num_bins)
    return float(np.abs(gaps).sum() / len(targets))
