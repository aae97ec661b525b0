"""Where the variance of a few-shot accuracy comes from, and an interval that counts documents and shots as drawn."""

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.special import stdtrit

from ptft.errors import DataError
from ptft.tasks.metrics import NORMAL_QUANTILE, FloatArray, wilson

Hits = Float[ndarray, "documents examples orders templates"]

_DOCUMENTS, _EXAMPLES, _ORDER, _TEMPLATE = range(4)
# What each name sums up. An order belongs to its shots: the second order of one set has nothing to do with that of
# another, so what orders and sets of shots change together counts as the order's.
_SOURCES: dict[str, list[tuple[int, ...]]] = {
    "documents": [(_DOCUMENTS,)],
    "examples": [(_EXAMPLES,)],
    "order": [(_ORDER,), (_EXAMPLES, _ORDER)],
    "template": [(_TEMPLATE,)],
}
_AGREED = 0.1  # documents answered alike in all prompts that are added to each side, so no interval has no width
_LEAST_NOISE = 0.25  # share of the chance of single answers below which sets of shots are not believed to agree


@dataclass(frozen=True)
class VarianceSplit:
    """Estimated variances of one answer's hit.

    Attributes:
        components: ``documents``, ``examples`` (sets of shots), ``order`` (of one set's shots), ``template``, and
            ``rest`` (what they change together, and chance). Those of which there is only one are left out.
        negative: Names whose estimate was below 0, and is given as 0.
    """

    components: dict[str, float]
    negative: tuple[str, ...]


def split_variance(hits: Hits) -> VarianceSplit:
    """Estimate which part of the variance of hits documents, shots, their order and the template have.

    All four are taken as drawn at random and fully crossed. The estimates are those of the analysis of variance, which
    have no bias, but for those below 0, which are cut there and named. With documents alone, their variance has the
    chance of single answers in it, since nothing tells them apart.

    Args:
        hits: What each answer counts, in [0, 1]; any of the last three axes may have length 1.

    Raises:
        DataError: There are fewer than two documents.

    Paper: Cornfield and Tukey 1956 (expected mean squares of crossed designs); Searle, Casella and McCulloch 1992.
    Differs: what shots and their order change together counts as the order's, since each set has orders of its own.
    """
    _check(hits)
    drawn = [axis for axis in range(4) if hits.shape[axis] > 1]
    subsets = [subset for size in range(1, len(drawn) + 1) for subset in combinations(drawn, size)]
    squares = {subset: _mean_square(hits, subset) for subset in subsets}
    variances: dict[tuple[int, ...], float] = {}
    for inner in subsets:
        signed = [
            (-1) ** (len(outer) - len(inner)) * square for outer, square in squares.items() if set(inner) <= set(outer)
        ]
        variances[inner] = math.fsum(signed) / math.prod(hits.shape[axis] for axis in drawn if axis not in inner)
    components = {
        name: sum(variances.pop(part) for part in parts if part in variances)
        for name, parts in _SOURCES.items()
        if parts[0] in variances
    }
    if variances:
        components["rest"] = sum(variances.values())
    negative = tuple(name for name, variance in components.items() if variance < 0)
    return VarianceSplit({name: max(0.0, variance) for name, variance in components.items()}, negative)


def _mean_square(hits: FloatArray, subset: tuple[int, ...]) -> float:
    """The mean square of what the axes of ``subset`` change together and none of its parts alone."""
    others = tuple(axis for axis in range(4) if axis not in subset)
    effect = hits.mean(others, keepdims=True)
    for axis in subset:
        effect = effect - effect.mean(axis, keepdims=True)
    repeats: int = math.prod(hits.shape[axis] for axis in others)
    freedom: int = math.prod(hits.shape[axis] - 1 for axis in subset)
    return float(np.square(effect).sum()) * repeats / freedom


def accuracy_interval(hits: Hits) -> tuple[float, float, float]:
    """Mean accuracy with a 95 % interval for other documents and other shots than these.

    Orders and templates are averaged, as part of what is measured. The variance of the mean over n documents and S sets
    of shots is estimated by (documents + shots - chance) / (n S) of their mean squares, and says how many independent
    answers they are worth; Wilson's interval is made for so many. Its quantile q lies between the normal z and t of
    Student with S - 1 degrees of freedom: q**2 = z**2 + (t**2 - z**2) share**2, where ``share`` is the shots' part of
    the variance. One set of shots says nothing of others: the interval is then Wilson's, and holds for these alone.

    In simulations it holds the true accuracy 94 to 97 times in a hundred; with two sets of shots 92 to 97 times, and it
    is wide, since t is 12.7: a third set is worth its cost.

    Args:
        hits: What each answer counts, in [0, 1]; any of the last three axes may have length 1.

    Returns:
        Mean, low, high.

    Raises:
        DataError: There are fewer than two documents.

    Paper: Wilson 1927; Welch 1947 (the quantile: his first term, with Student's t where the shots' part is all).
    Differs: an effective number of answers stands in Wilson's formula; the mean square of the shots is not taken below
    a quarter of chance's; a tenth of a document that all prompts get right and a tenth of one that all get wrong are
    added where it is estimated how a document's answers agree, so a few errors do not pass for independent ones.
    """
    _check(hits)
    answers = hits.mean((_ORDER, _TEMPLATE))
    num_documents, num_sets = answers.shape
    mean = float(answers.mean())
    documents, shots, chance = _shares(answers)
    total = max(documents - chance, 0.0) + max(shots, _LEAST_NOISE * chance)
    quantile = NORMAL_QUANTILE
    if num_sets > 1:
        t2, z2 = float(stdtrit(num_sets - 1, 0.975)) ** 2, NORMAL_QUANTILE**2
        quantile = math.sqrt(z2 + (t2 - z2) * min(shots / total, 1.0) ** 2)
    effective = num_documents * num_sets / total
    return mean, *wilson(mean * effective, effective, quantile)


def _shares(answers: Float[ndarray, "documents sets"]) -> tuple[float, float, float]:
    """Mean squares of documents, shots and chance, as shares of the variance of a hit of this mean."""
    num_documents, num_sets = answers.shape
    of_document, of_set, mean = answers.mean(1), answers.mean(0), answers.mean()
    weight = num_documents + 2 * _AGREED
    agreed_mean = (num_documents * mean + _AGREED) / weight
    agreed_variance = agreed_mean * (1 - agreed_mean)
    spread = (np.square(of_document).sum() + _AGREED) / weight - agreed_mean**2
    documents = num_sets * spread / agreed_variance
    if num_sets == 1:
        return float(documents), 0.0, 0.0
    between = num_documents * np.square(of_set - mean).sum() / (num_sets - 1)
    noise = np.square(answers - of_document[:, None] - of_set + mean).sum() / (num_sets - 1)
    variance = mean * (1 - mean)
    shots = between / variance if variance > 0 else 0.0
    return float(documents), float(shots), float(noise / weight / agreed_variance)


def _check(hits: FloatArray) -> None:
    if len(hits) < 2:
        raise DataError(f"{len(hits)} document says nothing of how documents vary; ask about at least two")
