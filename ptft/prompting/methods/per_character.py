"""The log-likelihood by the choice's length in characters."""

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from ptft.prompting.method import Answers, Method


class PerCharacter(Method):
    """The log-likelihood of the choice divided by its characters: a long choice is not punished for its length."""

    name = "per_character"
    summary = "log-likelihood by characters, lm-eval calls it acc_norm"

    def scores(self, answers: Answers) -> Float[ndarray, "questions choices"]:
        """Divided by length."""
        return np.asarray(answers.log_likelihoods / answers.lengths["characters"])
