"""How much the order of the shots changes what a model answers."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.special import entr

from ptft.prompting.statistics.answers import best_choices, credit
from ptft.tasks.problem import softmax


@dataclass(frozen=True)
class OrderSensitivity:
    """What several orders of the same shots gave.

    Attributes:
        accuracies: Of each order.
        global_entropies: Entropy in nats of how often each label is predicted; low where an order favors one label.
        local_entropies: Entropy in nats of a document's probabilities, on average over the documents.
    """

    accuracies: Float[ndarray, " orders"]
    global_entropies: Float[ndarray, " orders"]
    local_entropies: Float[ndarray, " orders"]

    @property
    def figures(self) -> dict[str, float]:
        """Mean, sample standard deviation (0 for a single order), lowest and highest accuracy over the orders."""
        accuracies = self.accuracies
        return {
            "mean": float(accuracies.mean()),
            "sd": float(accuracies.std(ddof=1)) if len(accuracies) > 1 else 0.0,
            "min": float(accuracies.min()),
            "max": float(accuracies.max()),
        }


def order_sensitivity(
    log_likelihoods: Float[ndarray, "orders documents labels"], gold: Int[ndarray, " documents"]
) -> OrderSensitivity:
    """Accuracy and the two entropies of each order; the true labels count for the accuracies alone.

    Args:
        log_likelihoods: Of each label after each document, in nats; the documents may be a model's own inventions, as
            in the paper, if only the entropies are wanted.
        gold: The right label of each document, as an index.

    Raises:
        ValueError: There is no order, or no document.

    Paper: Lu et al. 2022, arXiv 2104.08786, section 3.2 (GlobalE and LocalE). Differs: a document whose best labels are
    equally probable is predicted as each of them by its share.

    Example:
        >>> found = order_sensitivity(np.log([[[0.9, 0.1], [0.4, 0.6]], [[0.9, 0.1], [0.6, 0.4]]]), np.array([0, 1]))
        >>> found.accuracies, found.global_entropies.round(3)
        (array([1. , 0.5]), array([0.693, 0.   ]))
    """
    if log_likelihoods.shape[0] == 0 or log_likelihoods.shape[1] == 0:
        raise ValueError(f"{log_likelihoods.shape[0]} orders of {log_likelihoods.shape[1]} documents")
    best = best_choices(log_likelihoods)
    predicted = (best / best.sum(-1, keepdims=True)).mean(1)
    return OrderSensitivity(
        credit(log_likelihoods, np.broadcast_to(gold, log_likelihoods.shape[:2])).mean(1),
        entr(predicted).sum(-1),
        entr(softmax(log_likelihoods)).sum(-1).mean(1),
    )
