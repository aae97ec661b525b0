"""The log-likelihood itself."""

from jaxtyping import Float
from numpy import ndarray

from ptft.prompting.method import Answers, Method


class Raw(Method):
    """The probability of the choice after the question, all its tokens together.

    Paper: Brown et al. 2020, section 2.4, arXiv 2005.14165.
    """

    name = "raw"
    summary = "log-likelihood of the choice"

    def scores(self, answers: Answers) -> Float[ndarray, "questions choices"]:
        """As they are."""
        return answers.log_likelihoods
