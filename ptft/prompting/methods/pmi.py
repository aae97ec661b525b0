"""What the question adds to the choice's own log-likelihood."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from ptft.prompting.method import Answers, Asked, Method, Pair


class Pmi(Method):
    """Pointwise mutual information: a choice that is probable after anything gains nothing from that.

    The log-likelihood after the question less that at the beginning of a text. lm-eval calls it acc_mutual_info.

    Paper: Li et al. 2016, arXiv 1510.03055; Holtzman et al. 2021, arXiv 2104.08315.
    """

    name = "pmi"
    summary = "log-likelihood less that of the choice alone"
    needs_beginning = True

    def wants(self, asked: Asked) -> Sequence[Sequence[Pair]]:
        """Each choice at the beginning of a text."""
        return [[("", choice)] for choice in asked.item.choices]

    def scores(self, answers: Answers) -> Float[ndarray, "questions choices"]:
        """The difference."""
        return np.asarray(answers.log_likelihoods - answers.references[self.name][..., 0])
