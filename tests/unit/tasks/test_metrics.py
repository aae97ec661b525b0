import math

import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from ptft.tasks.metrics import classification_figures, interval_over_seeds, mean_interval, paired_interval, wilson


def predictions(num_rows, num_labels, share_right, seed=0):
    random = np.random.default_rng(seed)
    gold = random.integers(0, num_labels, num_rows)
    return gold, np.where(random.random(num_rows) < share_right, gold, random.integers(0, num_labels, num_rows))


@pytest.mark.parametrize("num_labels", [2, 3, 20])
@pytest.mark.parametrize("share_right", [0.0, 0.5, 0.9, 1.0])
def test_points_equal_scikit_learn(num_labels, share_right):
    gold, predicted = predictions(500, num_labels, share_right)
    figures = classification_figures(gold, predicted, num_labels, seed=0)
    macro_f1 = f1_score(gold, predicted, labels=range(num_labels), average="macro", zero_division=0)
    assert figures["accuracy"] == accuracy_score(gold, predicted)
    assert figures["macro_f1"] == pytest.approx(macro_f1, abs=1e-12)
    assert figures["mcc"] == pytest.approx(matthews_corrcoef(gold, predicted), abs=1e-12)
    assert figures["majority"] == np.bincount(gold).max() / 500
    assert figures["n"] == 500


def test_label_that_never_occurs_counts_as_zero():
    gold, predicted = np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1])
    figures = classification_figures(gold, predicted, 4, seed=0)
    assert figures["macro_f1"] == f1_score(gold, predicted, labels=range(4), average="macro", zero_division=0) == 0.5
    assert figures["macro_f1_high"] == 0.5


@pytest.mark.parametrize(("gold", "predicted"), [([0, 0, 0], [0, 0, 1]), ([0, 1, 0], [1, 1, 1]), ([0, 0], [0, 0])])
def test_correlation_with_a_single_label_is_zero(gold, predicted):
    figures = classification_figures(np.array(gold), np.array(predicted), 2, seed=0)
    assert figures["mcc"] == figures["mcc_low"] == figures["mcc_high"] == 0


def test_intervals_hold_their_points():
    gold, predicted = predictions(200, 4, 0.7)
    figures = classification_figures(gold, predicted, 4, seed=0)
    assert figures["low"] < figures["accuracy"] < figures["high"]
    for name in ("macro_f1", "mcc"):
        assert figures[f"{name}_low"] < figures[name] < figures[f"{name}_high"]


def test_bootstrap_agrees_with_resampling_the_rows_themselves():
    gold, predicted = predictions(150, 3, 0.6)
    figures = classification_figures(gold, predicted, 3, seed=0)
    random = np.random.default_rng(1)
    draws = (random.integers(0, 150, 150) for _ in range(300))
    values = [matthews_corrcoef(gold[rows], predicted[rows]) for rows in draws]
    assert [figures["mcc_low"], figures["mcc_high"]] == pytest.approx(np.percentile(values, (2.5, 97.5)), abs=0.03)


def test_bootstrap_covers_the_truth():
    # A classifier right in 80 % of balanced rows and wrong at random has a correlation of 0.6.
    inside = 0
    for seed in range(60):
        random = np.random.default_rng(seed)
        gold = random.integers(0, 2, 200)
        predicted = np.where(random.random(200) < 0.8, gold, 1 - gold)
        figures = classification_figures(gold, predicted, 2, seed)
        inside += figures["mcc_low"] <= 0.6 <= figures["mcc_high"]
    assert inside >= 52


def test_rare_labels_do_not_push_the_interval_below_the_value():
    gold = np.repeat(np.arange(100), 2)
    figures = classification_figures(gold, gold, 100, seed=0)
    assert figures["macro_f1_low"] == figures["macro_f1"] == 1


def test_same_seed_same_figures():
    gold, predicted = predictions(100, 3, 0.6)
    assert classification_figures(gold, predicted, 3, 5) == classification_figures(gold, predicted, 3, 5)
    assert classification_figures(gold, predicted, 3, 5) != classification_figures(gold, predicted, 3, 6)


def test_figures_do_not_depend_on_the_blocks_of_resamples(monkeypatch):
    gold, predicted = predictions(100, 3, 0.6)
    whole = classification_figures(gold, predicted, 3, 0)
    monkeypatch.setattr("ptft.tasks.metrics._DRAWS_PER_BLOCK", 777)
    assert classification_figures(gold, predicted, 3, 0) == pytest.approx(whole, abs=1e-12)


def test_figures_are_plain_numbers():
    figures = classification_figures(*predictions(50, 3, 0.6), 3, 0)
    assert {type(value) for value in figures.values()} <= {int, float}
    assert all(math.isfinite(value) for value in figures.values())


@pytest.mark.parametrize(("gold", "predicted"), [([], []), ([0, 1], [0])])
def test_rows_and_predictions_must_fit(gold, predicted):
    with pytest.raises(ValueError, match=r"\d true labels and \d predicted ones: one each is needed"):
        classification_figures(np.array(gold, int), np.array(predicted, int), 2, 0)


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (1, 10), (5, 10), (9, 10), (10, 10), (873, 1000), (0, 1)])
def test_wilson_equals_scipy(successes, n):
    expected = scipy.stats.binomtest(successes, n).proportion_ci(0.95, method="wilson")
    assert wilson(successes, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_of_a_textbook():
    # Newcombe 1998, table I: 81 of 263.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)


def test_wilson_stays_inside_zero_and_one():
    assert wilson(0, 7)[0] == 0
    assert wilson(7, 7)[1] == 1
    assert wilson(0, 0) == (0, 1)


@pytest.mark.parametrize("values", [[0.5, 0.7], [0.81, 0.83, 0.79, 0.90, 0.70], [1.0, 1.0, 1.0]])
def test_mean_interval_equals_scipy(values):
    mean, low, high = mean_interval(values)
    error = scipy.stats.sem(values)
    expected = scipy.stats.t.interval(0.95, len(values) - 1, np.mean(values), error) if error else (mean, mean)
    assert mean == pytest.approx(np.mean(values))
    assert (low, high) == pytest.approx(expected)


def test_single_value_is_its_own_interval():
    assert mean_interval([0.75]) == (0.75, 0.75, 0.75)


def test_mean_of_nothing():
    with pytest.raises(ValueError, match="the mean of no values"):
        mean_interval([])


def test_an_interval_over_seeds_adds_the_errors_of_seeds_and_rows():
    values, lows, highs = [0.5, 0.6, 0.7], [0.4, 0.5, 0.6], [0.62, 0.72, 0.82]
    mean, low, high = interval_over_seeds(values, lows, highs)
    student = mean - mean_interval(values)[1]
    assert mean == pytest.approx(0.6)
    assert low == pytest.approx(0.6 - np.hypot(0.1, student))
    assert high == pytest.approx(0.6 + np.hypot(0.12, student))


def test_an_interval_over_seeds_covers_the_truth_and_students_alone_does_not():
    """A thousand test sets of 200 rows, hard and easy ones, each answered by five seeds that are right for 70 %."""
    draw = np.random.default_rng(0)
    covered = np.zeros(2)
    for _ in range(1000):
        chance = draw.choice([0.45, 0.95], 200) + draw.normal(0, 0.02, (5, 1))
        rights = (draw.random((5, 200)) < chance).sum(1)
        values = (rights / 200).tolist()
        ends = zip(*(wilson(right, 200) for right in rights), strict=True)
        for number, (_, low, high) in enumerate([interval_over_seeds(values, *ends), mean_interval(values)]):
            covered[number] += low <= 0.7 <= high
    assert covered[0] >= 950
    assert covered[1] < 900


@pytest.mark.parametrize(
    ("values", "lows", "highs", "expected"),
    [
        ([0.8], [0.7], [0.9], (0.8, 0.7, 0.9)),
        ([1.0, 1.0], [0.96, 0.96], [1.0, 1.0], (1.0, 0.96, 1.0)),
        ([0.667, 0.917], [0.39, 0.65], [0.86, 0.985], (0.792, 0.0, 1.0)),
        ([0.1, 0.9], [-0.2, 0.7], [0.4, 0.95], (0.5, -1.0, 1.0)),  # a correlation
    ],
)
def test_ends_of_an_interval_over_seeds(values, lows, highs, expected):
    assert interval_over_seeds(values, lows, highs) == pytest.approx(expected)


def test_paired_interval_takes_differences_seed_by_seed():
    a, b = [0.9, 0.8, 0.7], [0.85, 0.76, 0.64]
    mean, low, high = paired_interval(a, b)
    expected = scipy.stats.ttest_rel(a, b).confidence_interval(0.95)
    assert mean == pytest.approx(0.05)
    assert (low, high) == pytest.approx((expected.low, expected.high))


def test_pairs_must_fit():
    with pytest.raises(ValueError, match="shorter"):
        paired_interval([0.5, 0.6], [0.5])
