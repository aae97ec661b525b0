"""What lm_eval 0.4.13 makes of log-likelihoods: figures of a document, their means and standard errors."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Aggregate(NamedTuple):
    """A figure over documents."""

    value: float
    """The mean."""
    stderr: float | None
    """Its standard error; None where lm_eval gives none: of the Brier score, and of a single document."""


def document_metrics(
    log_likelihoods: Sequence[float],
    is_greedy: Sequence[bool],
    choices: Sequence[str],
    gold: int,
    unconditional: Sequence[float] = (),
) -> dict[str, float]:
    """The figures of one multiple-choice document.

    ``acc`` asks whether the most probable choice is the right one, ``acc_norm`` and ``acc_bytes`` the same after
    division by characters and by UTF-8 bytes, ``acc_mutual_info`` after the unconditional log-likelihoods are taken
    away; of equals the first wins, and what is no number wins over all. ``exact_match`` asks whether the right choice
    is what greedy decoding would write. ``brier_score`` is the squared distance, summed over choices, between the
    softmax of the log-likelihoods and the right choice.

    Args:
        log_likelihoods: Of each choice.
        is_greedy: Whether each token of a choice was the most probable one.
        choices: The choices without the delimiter before them.
        gold: Index of the right one; one too high, as lm_eval's tasks may have it, is never right and makes no Brier
            score.
        unconditional: Log-likelihoods of the choices, with the delimiter, without context; empty leaves out
            ``acc_mutual_info``.
    """
    characters, num_bytes = ([len(part) for part in parts] for parts in (choices, [c.encode() for c in choices]))
    return sized_metrics(log_likelihoods, is_greedy, characters, num_bytes, gold, unconditional)


def sized_metrics(
    log_likelihoods: Sequence[float],
    is_greedy: Sequence[bool],
    characters: Sequence[int],
    num_bytes: Sequence[int],
    gold: int,
    unconditional: Sequence[float] = (),
) -> dict[str, float]:
    """As :func:`document_metrics`, from the sizes of the choices."""
    scores = np.array(log_likelihoods, float)
    found = {"acc": _hit(scores, gold)}
    with np.errstate(divide="ignore", invalid="ignore"):  # an empty choice has no characters
        found["acc_norm"] = _hit(scores / np.array(characters, float), gold)
        found["acc_bytes"] = _hit(scores / np.array(num_bytes, float), gold)
    if unconditional:
        found["acc_mutual_info"] = _hit(scores - np.array(unconditional, float), gold)
    found["exact_match"] = float(gold < len(scores) and is_greedy[gold])
    if gold < len(scores):
        powers = np.exp(scores - scores.max())
        distance = powers / powers.sum() - np.eye(len(scores))[gold]
        found["brier_score"] = float((distance**2).sum())
    return found


def _hit(scores: NDArray[np.float64], gold: int) -> float:
    return float(int(np.argmax(scores)) == gold)


def aggregates(documents: Sequence[Mapping[str, float]]) -> dict[str, Aggregate]:
    """The mean of each figure that all documents have, and its standard error.

    The standard error is the sample standard deviation over the root of the number of documents.

    Args:
        documents: At least one.
    """
    found = {}
    for name in (name for name in documents[0] if all(name in document for document in documents)):
        values = [document[name] for document in documents]
        n, mean = len(values), sum(values) / len(values)
        stderr = None
        if n > 1 and name != "brier_score":
            stderr = math.sqrt(sum((value - mean) ** 2 for value in values) / (n - 1)) / math.sqrt(n)
        found[name] = Aggregate(mean, stderr)
    return found
