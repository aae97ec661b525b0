"""The choice's probability by what it gets where there is nothing to go by."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.special import logsumexp

from ptft.prompting.method import Answers, Asked, Method, Pair
from ptft.tasks.task import Example

CONTENT_FREE = ("N/A", "[MASK]", "")
"""Texts that say nothing."""


class ContextualCalibration(Method):
    """The choice's probability divided by its mean probability for texts that say nothing, after the same shots.

    Paper: Zhao et al. 2021, arXiv 2102.09690, section 4: a diagonal matrix and no offset. Differs: choices may have
    several tokens.
    """

    name = "contextual_calibration"
    summary = "probability by that for texts that say nothing, after the same shots"
    needs_template = True
    needs_labels = True

    def wants(self, asked: Asked) -> Sequence[Sequence[Pair]]:
        """Each choice for each text that says nothing."""
        assert asked.template is not None, "it applies"
        empty = [
            asked.template.item(Example(text, asked.labels[0], text), asked.labels, asked.shots).context
            for text in CONTENT_FREE
        ]
        return [[(context, choice) for context in empty] for choice in asked.item.choices]

    def scores(self, answers: Answers) -> Float[ndarray, "questions choices"]:
        """The log of the quotient."""
        free = answers.references[self.name]
        return np.asarray(answers.log_likelihoods - (logsumexp(free, axis=2) - np.log(free.shape[2])))
