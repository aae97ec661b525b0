"""Temperature and calibration error against values worked out by hand."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from ptft.tasks.calibration import Calibration, expected_calibration_error, fitted, negative_log_likelihood
from ptft.tasks.problem import softmax


def two_labels(gap, num_right, num_wrong):
    """Rows whose answer is ahead by ``gap``."""
    logits = np.array([[gap, 0.0]] * (num_right + num_wrong))
    return logits, np.array([0] * num_right + [1] * num_wrong)


@pytest.mark.parametrize("gap", [0.3, 4.0, 15.0])
def test_the_temperature_makes_sureness_the_share_of_right_answers(gap):
    logits, targets = two_labels(gap, 30, 10)
    found, reason = fitted(logits, targets)
    assert found.temperature == pytest.approx(gap / math.log(3), rel=1e-9)  # gap / T = log(0.75 / 0.25)
    assert (found.rows, reason) == (40, "")
    sure = softmax(logits / found.temperature)
    assert sure[:, 0] == pytest.approx(0.75)
    assert expected_calibration_error(sure, targets) == pytest.approx(0, abs=1e-9)


def test_no_other_temperature_makes_the_rows_likelier():
    logits = np.sin(np.arange(600.0).reshape(200, 3) ** 1.5) * 6
    targets = np.where(np.arange(200) % 3 == 0, logits.argmin(1), logits.argmax(1))
    found, _ = fitted(logits, targets)
    best = minimize_scalar(lambda t: negative_log_likelihood(logits / t, targets), bounds=(0.05, 20), method="bounded")
    assert found.temperature == pytest.approx(best.x, rel=1e-4)
    assert negative_log_likelihood(logits / found.temperature, targets) <= best.fun


@pytest.mark.parametrize(
    ("logits", "targets", "sentence"),
    [
        (*two_labels(2.0, 20, 9), "29 validation rows are too few, 30 are wanted"),
        (*two_labels(2.0, 40, 0), "below 0.05, as where all validation rows are answered right"),
        (*two_labels(2.0, 20, 20), "above 20, as where answers are no better than chance"),
        (*two_labels(2.0, 10, 30), "above 20, as where answers are no better than chance"),
        (*two_labels(0.01, 30, 10), "below 0.05"),
    ],
)
def test_where_no_temperature_is_right_none_is_fitted(logits, targets, sentence):
    found, reason = fitted(logits, targets)
    assert found == Calibration(temperature=1.0, rows=0)
    assert sentence in reason


def test_likelihood_of_one_row():
    assert negative_log_likelihood(np.log([[0.2, 0.8]]), np.array([0])) == pytest.approx(-math.log(0.2))


def test_the_calibration_error_is_a_weighted_mean_over_bins():
    sure = [0.52, 0.60, 0.61, 0.95, 1.0]  # bins (7/15, 8/15], (8/15, 9/15], (9/15, 10/15], (14/15, 1], (14/15, 1]
    rows = np.array([[p, 1 - p] for p in sure])
    targets = np.array([0, 1, 0, 0, 1])
    by_hand = (abs(1 - 0.52) + abs(0 - 0.60) + abs(1 - 0.61) + abs(1 - (0.95 + 1.0))) / 5
    assert expected_calibration_error(rows, targets) == pytest.approx(by_hand)
