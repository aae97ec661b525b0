"""Single tokens (Devlin et al. 2019)."""

from typing import ClassVar

from ptft.objectives.policies.policy import Candidates, Chosen, MaskingPolicy, smallest


class Token(MaskingPolicy):
    """Single tokens, each as likely as any other of its row, without replacement.

    Paper: Devlin et al. 2019, arXiv 1810.04805, section 3.1.
    """

    name: ClassVar[str] = "token"
    needs_words: ClassVar[bool] = False

    def choose(self, candidates: Candidates) -> Chosen:
        """Exactly ``wanted`` tokens a row."""
        return Chosen(smallest(candidates.uniform(), candidates.open, candidates.wanted))
