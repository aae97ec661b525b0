import math

import numpy as np
import pytest

from ptft.prompting.statistics import best_choices, credit


@pytest.mark.parametrize(
    ("log_likelihoods", "expected"),
    [
        ([-1.0, -2.0], [True, False]),
        ([-1.0, -1.0], [True, True]),
        ([-1.0, -1.0 - 9e-7], [True, True]),
        ([-1.0, -1.0 - 2e-6], [True, False]),
        ([-500.0, -500.0004], [True, True]),  # the tolerance grows with the size, as rounding does
        ([-500.0, -500.001], [True, False]),
        ([0.0, -1e-7], [True, True]),
        ([-3.0, -math.inf], [True, False]),  # a choice that this document does not have
        ([-math.inf, -math.inf], [True, True]),
    ],
)
def test_choices_are_equal_but_for_rounding(log_likelihoods, expected):
    assert best_choices(np.array(log_likelihoods)).tolist() == expected
    top = max(log_likelihoods)
    assert expected == [math.isclose(value, top, rel_tol=1e-6, abs_tol=1e-6) for value in log_likelihoods]


def test_equal_choices_share_the_credit():
    log_likelihoods = np.array([[-1.0, -2.0, -3.0], [-1.0, -1.0, -3.0], [-1.0, -1.0, -3.0], [-1.0, -1.0, -1.0]])
    assert credit(log_likelihoods, np.array([0, 1, 2, 2])).tolist() == [1, 0.5, 0, 1 / 3]


def test_credit_keeps_the_shape_of_what_is_asked():
    log_likelihoods = np.random.default_rng(0).normal(size=(2, 3, 5, 4))
    gold = np.random.default_rng(1).integers(0, 4, (2, 3, 5))
    assert (credit(log_likelihoods, gold) == (log_likelihoods.argmax(-1) == gold)).all()
    assert credit(np.array([-1.0, -2.0]), np.array(0)) == 1


def test_a_model_that_tells_nothing_apart_is_at_chance():
    assert credit(np.full((100, 4), -2.5), np.arange(100) % 3).mean() == 0.25
