"""Accuracies of those who never read the text, to be held beside a model's."""

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray


def baselines(
    gold: Int[ndarray, " documents"],
    num_choices: int | Int[ndarray, " documents"],
    prior: Float[ndarray, " choices"] | None = None,
) -> dict[str, float]:
    """Expected accuracies without a model.

    Args:
        gold: The right choice of each document, as an index.
        num_choices: How many choices a document has: one number, or one for each.
        prior: How often each choice is right elsewhere, such as in the training rows, summing to 1; ``None`` takes
            the documents' own shares.

    Returns:
        ``majority`` (always the most frequent right choice), ``uniform`` (any choice at random) and ``prior`` (a choice
        drawn as often as it is right).

    Raises:
        ValueError: There are no documents.

    Example:
        >>> baselines(np.array([0, 0, 0, 1]), 2)
        {'majority': 0.75, 'uniform': 0.5, 'prior': 0.625}
    """
    if len(gold) == 0:
        raise ValueError("baselines of no documents")
    shares = np.bincount(gold) / len(gold)
    drawn = shares if prior is None else prior
    known = min(len(shares), len(drawn))
    return {
        "majority": float(shares.max()),
        "uniform": float(np.mean(1 / np.asarray(num_choices))),
        "prior": float(shares[:known] @ drawn[:known]),
    }
