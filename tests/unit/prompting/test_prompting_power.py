import math

import numpy as np
import pytest
from scipy.stats import binom, norm

from ptft.prompting.statistics import detectable_paired, detectable_unpaired, paired_test


@pytest.mark.parametrize(("num_documents", "discordant"), [(200, 0.1), (500, 0.3), (2000, 0.05)])
def test_mcnemars_test_finds_the_paired_difference_four_times_in_five(num_documents, discordant):
    difference = detectable_paired(num_documents, discordant)
    # Whatever number of documents is discordant, the first model is right in a binomial share of them.
    found = 0.0
    both = np.arange(1, num_documents + 1)
    weight = binom.pmf(both, num_documents, discordant)
    for number, share in zip(both[weight > 1e-6], weight[weight > 1e-6], strict=True):
        first = np.arange(number + 1)
        fewer = np.minimum(first, number - first)
        mid_p = 2 * binom.cdf(fewer, number, 0.5) - binom.pmf(fewer, number, 0.5)
        found += share * binom.pmf(first, number, 0.5 + difference / discordant / 2)[mid_p < 0.05].sum()
    assert found == pytest.approx(0.8, abs=0.04)


@pytest.mark.parametrize(("num_documents", "accuracy"), [(100, 0.5), (400, 0.8), (1000, 0.9)])
def test_the_test_of_two_shares_finds_the_unpaired_difference_four_times_in_five(num_documents, accuracy):
    gain = detectable_unpaired(num_documents, accuracy)
    random = np.random.default_rng(0)
    worse, better = random.binomial(num_documents, [[accuracy], [accuracy + gain]], (2, 20_000)) / num_documents
    middle = (worse + better) / 2
    z = (better - worse) / np.sqrt(2 * middle * (1 - middle) / num_documents)
    assert (2 * norm.sf(np.abs(z)) < 0.05).mean() == pytest.approx(0.8, abs=0.03)


def test_more_documents_show_smaller_differences_and_pairs_still_smaller_ones():
    paired = [detectable_paired(n, 0.1) for n in (100, 200, 400)]
    unpaired = [detectable_unpaired(n, 0.8) for n in (100, 200, 400)]
    assert paired == sorted(paired, reverse=True)
    assert unpaired == sorted(unpaired, reverse=True)
    assert all(pair < apart for pair, apart in zip(paired, unpaired, strict=True))


def test_too_few_documents_show_nothing():
    assert detectable_paired(30, 0.1) == math.inf
    assert detectable_unpaired(10, 0.9) == math.inf
    # Three documents that all speak for one model are no proof.
    assert paired_test(np.ones(30), np.repeat([0.0, 1.0], [3, 27]), seed=0, num_resamples=2).mid_p > 0.05


@pytest.mark.parametrize(("num_documents", "share"), [(0, 0.5), (10, 0.0), (10, 1.1)])
def test_impossible_shares_are_refused(num_documents, share):
    with pytest.raises(ValueError, match=f"{num_documents} documents of which a share of {share} is discordant"):
        detectable_paired(num_documents, share)


@pytest.mark.parametrize(("num_documents", "accuracy"), [(0, 0.5), (10, 1.0), (10, -0.1)])
def test_impossible_accuracies_are_refused(num_documents, accuracy):
    with pytest.raises(ValueError, match=f"{num_documents} documents and an accuracy of {accuracy}"):
        detectable_unpaired(num_documents, accuracy)
