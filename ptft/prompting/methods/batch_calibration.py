"""The choice's probability by its mean over all questions."""

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.special import log_softmax, logsumexp

from ptft.prompting.method import Answers, Method


class BatchCalibration(Method):
    """The choice's probability among the choices divided by its mean over all questions of the evaluation.

    Transductive: the answer to one question depends on what else is asked.

    Paper: Zhou et al. 2024, arXiv 2309.17249.
    """

    name = "batch_calibration"
    summary = "probability by its mean over all questions; transductive"
    needs_labels = True

    def scores(self, answers: Answers) -> Float[ndarray, "questions choices"]:
        """The log of the quotient."""
        log_probabilities = log_softmax(answers.log_likelihoods, axis=1)
        return np.asarray(log_probabilities - (logsumexp(log_probabilities, axis=0) - np.log(len(log_probabilities))))
