"""Two models, or one with two prompts, on the same documents: is the difference more than chance?"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.special import bdtr, chdtrc

from ptft.errors import DataError
from ptft.prompting.statistics.resampling import Resampled
from ptft.tasks.metrics import resampled


@dataclass(frozen=True)
class Paired:
    """How two results on the same documents differ.

    The test to report is ``mid_p``: the exact one rejects too seldom, the chi-square one needs many documents in which
    the two differ, and mid-p keeps its level at all sizes (Fagerland, Lydersen and Laake 2013).

    Attributes:
        difference: First accuracy minus second, with its percentile interval and standard error over documents.
        bootstrap_p: Share of resamples, moved to a difference of nothing, that lie as far from it as the one found.
        only_first: In how many documents the first has more credit.
        only_second: In how many the second has more.
        mid_p: McNemar's test: half the probability of what was found, and all of what is less likely, two-sided.
        exact_p: McNemar's test by the binomial distribution.
        chi_square_p: McNemar's test by the chi-square distribution, with the correction for continuity; 1 where both
            have as many, as in R (statsmodels corrects a difference of 0 to one of 1).
    """

    difference: Resampled
    bootstrap_p: float
    only_first: int
    only_second: int
    mid_p: float
    exact_p: float
    chi_square_p: float


def paired_test(
    first: Float[ndarray, " documents"],
    second: Float[ndarray, " documents"],
    seed: int,
    num_resamples: int = 10_000,
) -> Paired:
    """Test whether two results on the same documents differ; ask :func:`check_same_documents` first.

    Args:
        first: What each document counts for the first model, in [0, 1]; with several seeds, its mean over them.
        second: The same for the second.
        seed: Key of the resampling.
        num_resamples: How often the documents are drawn, at least 2.

    Raises:
        ValueError: There are no documents, not one of the second for each of the first, or too few resamples.

    Paper: McNemar 1947; Edwards 1948 (correction); Fagerland, Lydersen and Laake 2013 (mid-p); Efron 1979 (bootstrap).
    Differs: with shares of a hit, McNemar's counts are of documents in which one model has more credit than the other.
    """
    if len(first) == 0 or len(first) != len(second) or num_resamples < 2:
        raise ValueError(f"{num_resamples} resamples of {len(first)} and {len(second)} documents")
    gains = first - second
    values, value_of_row = np.unique(gains, return_inverse=True)
    means = np.concatenate([
        counts @ values / len(gains) for counts in resampled(value_of_row, len(values), seed, num_resamples)
    ])  # fmt: skip
    found = float(gains.mean())
    reach = abs(found) - 1e-12  # equal means come out of sums in another order
    is_as_far = np.abs(means - found) >= reach
    only_first, only_second = int((gains > 0).sum()), int((gains < 0).sum())
    return Paired(
        Resampled.of(found, means),
        float((is_as_far.sum() + 1) / (num_resamples + 1)),
        only_first,
        only_second,
        *_mcnemar(only_first, only_second),
    )


def _mcnemar(only_first: int, only_second: int) -> tuple[float, float, float]:
    """Mid-p, exact and chi-square probability of discordant documents falling like this by chance."""
    both, fewer = only_first + only_second, min(only_first, only_second)
    if both == 0:
        return 1.0, 1.0, 1.0
    tail = float(bdtr(fewer, both, 0.5))
    less = float(bdtr(fewer - 1, both, 0.5)) if fewer else 0.0
    corrected = max(0, abs(only_first - only_second) - 1) ** 2 / both
    return tail + less, min(1.0, 2 * tail), float(chdtrc(1, corrected))


def check_same_documents(first: Sequence[object], second: Sequence[object]) -> None:
    """Refuse two results that are not about the same documents in the same order.

    Args:
        first: What tells the documents of one result apart: hashes of their texts, or their numbers.
        second: The same of the other result.

    Raises:
        DataError: Documents differ.
    """
    places = [place for place, pair in enumerate(zip_longest(first, second)) if pair[0] != pair[1]]
    if places:
        of = f"{len(first)}" if len(first) == len(second) else f"{len(first)} and {len(second)}"
        raise DataError(
            f"{len(places)} of {of} documents differ between the two results, the first at place {places[0]}; "
            "compare results on the same documents in the same order"
        )
