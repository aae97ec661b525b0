"""What a model answers by its log-likelihoods, and what an answer counts where choices are equally probable."""

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

_ROUNDING = 1e-6  # log-likelihoods nearer than this share depend on the batching, so they count as equal


def best_choices(log_likelihoods: Float[ndarray, "*documents choices"]) -> Bool[ndarray, "*documents choices"]:
    """Which choices share the highest log-likelihood, but for rounding: a difference of 1e-6, or of that share.

    Args:
        log_likelihoods: In nats; minus infinity where a document has fewer choices than others.
    """
    top = log_likelihoods.max(-1, keepdims=True)
    reach = _ROUNDING * np.maximum(1, np.maximum(np.abs(top), np.abs(log_likelihoods)))
    with np.errstate(invalid="ignore"):  # minus infinity from itself
        is_near = np.isfinite(log_likelihoods) & (top - log_likelihoods <= reach)
    return np.asarray(is_near | (log_likelihoods == top))


def credit(
    log_likelihoods: Float[ndarray, "*documents choices"], gold: Int[ndarray, " *documents"]
) -> Float[ndarray, " *documents"]:
    """1 for the right choice alone; where n choices share the best place, 1 / n if it is one of them, else 0.

    A model that tells nothing apart is so at chance. Differs from lm-eval, which takes the first of equal choices.

    Args:
        log_likelihoods: As in :func:`best_choices`.
        gold: The right choice of each document, as an index.

    Example:
        >>> credit(np.array([[-1.0, -2.0], [-1.0, -1.0]]), np.array([1, 1]))
        array([0. , 0.5])
    """
    best = best_choices(log_likelihoods)
    return np.asarray(np.take_along_axis(best, gold[..., None], -1)[..., 0] / best.sum(-1))
