"""What the question adds to the choice's log-likelihood after the words that announce an answer."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from ptft.prompting.method import Answers, Asked, Method, Pair


class DomainPmi(Method):
    r"""Domain-conditional pointwise mutual information: the choice is compared with how probable it is as an answer.

    The log-likelihood after the question less that after what the template has behind its last field: ``Sentiment:``
    of ``Review: {text}\nSentiment:``. A template with nothing there has no such premise.

    Paper: Holtzman et al. 2021, arXiv 2104.08315. Differs: the premise is not written by hand.
    """

    name = "domain_pmi"
    summary = "log-likelihood less that after the words that announce an answer"
    needs_template = True

    def applies(self, asked: Asked) -> bool:
        """Where the template ends in words."""
        return super().applies(asked) and asked.template is not None and bool(asked.template.cue)

    def wants(self, asked: Asked) -> Sequence[Sequence[Pair]]:
        """Each choice after the template's end."""
        assert asked.template is not None, "it applies"
        return [[(asked.template.cue, choice)] for choice in asked.item.choices]

    def scores(self, answers: Answers) -> Float[ndarray, "questions choices"]:
        """The difference."""
        return np.asarray(answers.log_likelihoods - answers.references[self.name][..., 0])
