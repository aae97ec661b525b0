"""Next-sentence prediction (Devlin et al. 2019): does B follow A, or does it come from elsewhere?"""

from functools import partial
from typing import ClassVar, Literal

from ptft.errors import RecipeError
from ptft.objectives.pair_objective import PairObjective
from ptft.objectives.pairs import PairRule, document_pairs, sentence_pairs


class NextSentence(PairObjective):
    """Tell whether the second of two texts follows the first: 0 if it does, 1 if it was drawn from elsewhere.

    It makes the rows, ``[CLS] A [SEP] B [SEP]``, by the published reference's rules; ``masked_lm`` masks them.
    """

    name: ClassVar[str] = "next_sentence"
    prefix: ClassVar[str] = "nsp"
    least_documents: ClassVar[int] = 2
    segments: Literal["chunks", "sentences"] = "chunks"
    """What A and B are: chunks of sentences that fill the row (BERT), or single sentences."""
    same_document_fix: bool = False
    """Say that B follows where ten draws found no other document (NVIDIA); the reference says that it does not."""

    def check(self) -> None:
        """Refuse settings of chunks where A and B are single sentences."""
        ignored = self.changed("same_document_fix", "short_ratio") if self.segments == "sentences" else []
        if ignored:
            raise RecipeError(
                f"objective: next_sentence.{ignored[0]}: has no effect on pairs of single sentences "
                "(segments=sentences); leave it out"
            )

    @property
    def rule(self) -> PairRule:
        """The reference's pairs, or pairs of single sentences."""
        if self.segments == "sentences":
            return sentence_pairs
        return partial(document_pairs, same_document_fix=self.same_document_fix)
