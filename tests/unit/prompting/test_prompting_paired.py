import numpy as np
import pytest
import scipy.stats

from ptft.errors import DataError
from ptft.prompting.statistics import check_same_documents, paired_test


def answers(only_first, only_second, both=10, neither=5):
    counts = [only_first, only_second, both, neither]
    return np.repeat([1.0, 0.0, 1.0, 0.0], counts), np.repeat([0.0, 1.0, 1.0, 0.0], counts)


def mcnemar(only_first, only_second):
    return paired_test(*answers(only_first, only_second), seed=0, num_resamples=2)


@pytest.mark.parametrize(("more", "fewer"), [(1, 0), (3, 3), (9, 2), (2, 9), (25, 14), (150, 100)])
def test_mcnemars_probabilities(more, fewer):
    found = mcnemar(more, fewer)
    exact = scipy.stats.binomtest(more, more + fewer).pvalue
    assert (found.only_first, found.only_second) == (more, fewer)
    assert found.exact_p == pytest.approx(exact, abs=1e-12)
    statistic = max(abs(more - fewer) - 1, 0) ** 2 / (more + fewer)
    assert found.chi_square_p == pytest.approx(scipy.stats.chi2.sf(statistic, 1), abs=1e-12)
    if more == fewer:
        assert found.mid_p == pytest.approx(1)
    else:
        half = scipy.stats.binom.pmf(more, more + fewer, 0.5)
        assert found.mid_p == pytest.approx(exact - half, abs=1e-12)


@pytest.mark.parametrize(("more", "fewer"), [(9, 2), (25, 14)])
def test_mcnemars_probabilities_are_those_of_statsmodels(more, fewer):
    tables = pytest.importorskip("statsmodels.stats.contingency_tables", reason="statsmodels is for benchmarks only")
    found, table = mcnemar(more, fewer), [[10, more], [fewer, 5]]
    assert found.exact_p == pytest.approx(tables.mcnemar(table, exact=True).pvalue, abs=1e-12)
    assert found.chi_square_p == pytest.approx(tables.mcnemar(table, exact=False).pvalue, abs=1e-12)


def test_equal_answers_are_no_difference():
    first, _ = answers(0, 0)
    found = paired_test(first, first, seed=0, num_resamples=100)
    assert found.difference.value == found.difference.low == found.difference.high == 0
    assert found.bootstrap_p == found.mid_p == found.exact_p == found.chi_square_p == 1


def test_bootstrap_agrees_with_the_normal_distribution():
    first, second = answers(60, 35, 80, 25)
    found = paired_test(first, second, seed=0, num_resamples=100_000)
    error = np.std(first - second) / np.sqrt(200)
    assert found.difference.value == pytest.approx(25 / 200)
    assert found.difference.stderr == pytest.approx(error, rel=0.01)
    assert found.difference.low == pytest.approx(0.125 - 1.96 * error, abs=0.006)
    assert found.difference.high == pytest.approx(0.125 + 1.96 * error, abs=0.006)
    # A resample's mean falls on whole hits, so half a hit is taken off.
    assert found.bootstrap_p == pytest.approx(2 * scipy.stats.norm.sf((0.125 - 0.5 / 200) / error), abs=0.002)


def test_which_result_is_first_changes_the_sign_alone():
    first, second = answers(20, 9)
    here, there = paired_test(first, second, seed=5), paired_test(second, first, seed=5)
    assert here.difference.value == -there.difference.value
    assert here.difference.low == pytest.approx(-there.difference.high)
    assert (here.bootstrap_p, here.mid_p) == (there.bootstrap_p, there.mid_p)


def test_probabilities_keep_their_level():
    # Two models that are right in 70 % of the documents each, and differ in 30 %.
    random = np.random.default_rng(0)
    rejected = np.zeros(3)
    for seed in range(600):
        shared, own = random.random(80) < 0.55, random.random((2, 80)) < 1 / 3
        found = paired_test(*(shared | own).astype(float), seed, num_resamples=400)
        rejected += np.array([found.mid_p, found.exact_p, found.bootstrap_p]) < 0.05
    mid, exact, resampled = rejected / 600
    assert exact <= mid <= 0.07
    assert mid == pytest.approx(0.045, abs=0.025)
    assert resampled == pytest.approx(0.05, abs=0.03)


def test_shares_of_a_hit_count_as_more_or_less_credit():
    first, second = np.array([0.5, 1.0, 0.0, 1.0]), np.array([0.0, 1.0, 0.5, 0.5])
    found = paired_test(first, second, seed=0, num_resamples=50)
    assert (found.only_first, found.only_second, found.difference.value) == (2, 1, 0.125)


@pytest.mark.parametrize(("first", "second", "resamples"), [(0, 0, 10), (3, 2, 10), (3, 3, 1)])
def test_what_cannot_be_paired_is_refused(first, second, resamples):
    with pytest.raises(ValueError, match=f"{resamples} resamples of {first} and {second} documents"):
        paired_test(np.zeros(first), np.zeros(second), seed=0, num_resamples=resamples)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (["a", "b", "c"], ["a", "x", "y"], "2 of 3 documents differ between the two results, the first at place 1; "),
        ([0, 1], [0, 1, 2, 3], "2 of 2 and 4 documents differ between the two results, the first at place 2; "),
        (["a", "b"], ["b", "a"], "compare results on the same documents in the same order"),
    ],
)
def test_other_documents_are_refused(first, second, message):
    with pytest.raises(DataError, match=message):
        check_same_documents(first, second)


def test_the_same_documents_are_not():
    check_same_documents(["a", "b"], ["a", "b"])
    check_same_documents([3, 7], (3, 7))
