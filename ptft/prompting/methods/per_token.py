"""The log-likelihood by the choice's length in tokens."""

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from ptft.prompting.method import Answers, Method


class PerToken(Method):
    """The log-likelihood of the choice divided by its tokens: a long choice is not punished for its length.

    Paper: Brown et al. 2020, section 2.4, arXiv 2005.14165.
    """

    name = "per_token"
    summary = "log-likelihood by tokens, as GPT-3 was evaluated"

    def scores(self, answers: Answers) -> Float[ndarray, "questions choices"]:
        """Divided by length."""
        return np.asarray(answers.log_likelihoods / answers.lengths["tokens"])
