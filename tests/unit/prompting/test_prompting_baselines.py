import numpy as np
import pytest

from ptft.prompting.statistics import baselines


def test_baselines_are_what_drawing_gives():
    random = np.random.default_rng(0)
    gold = random.choice(3, 400, p=[0.6, 0.3, 0.1])
    prior = np.array([0.2, 0.5, 0.3])
    found = baselines(gold, 3, prior)
    drawn = random.choice(3, (20_000, 1), p=prior)
    assert found["majority"] == max(np.mean(gold == label) for label in range(3))
    assert found["uniform"] == pytest.approx(1 / 3)
    assert found["prior"] == pytest.approx((drawn == gold).mean(), abs=0.01)


def test_the_documents_own_shares_are_the_prior_unless_another_is_given():
    assert baselines(np.array([0, 1, 1, 1]), 2)["prior"] == 0.25**2 + 0.75**2


def test_documents_may_have_different_numbers_of_choices():
    assert baselines(np.array([0, 1, 4]), np.array([2, 2, 5]))["uniform"] == pytest.approx((0.5 + 0.5 + 0.2) / 3)


def test_labels_that_one_side_lacks_count_nothing():
    assert baselines(np.array([0, 2]), 3, np.array([1.0]))["prior"] == 0.5
    assert baselines(np.array([0, 0]), 3, np.array([0.5, 0.25, 0.25]))["prior"] == 0.5


def test_no_documents_are_refused():
    with pytest.raises(ValueError, match="baselines of no documents"):
        baselines(np.array([], int), 2)
