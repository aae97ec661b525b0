"""The log-likelihood by the choice's length in bytes."""

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from ptft.prompting.method import Answers, Method


class PerByte(Method):
    """The log-likelihood of the choice divided by its bytes: a long choice is not punished for its length."""

    name = "per_byte"
    summary = "log-likelihood by bytes, lm-eval calls it acc_bytes"

    def scores(self, answers: Answers) -> Float[ndarray, "questions choices"]:
        """Divided by length."""
        return np.asarray(answers.log_likelihoods / answers.lengths["bytes"])
