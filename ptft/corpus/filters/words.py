"""Leaves out documents that are too short or too long."""

from typing import ClassVar

from pydantic import Field

from ptft.corpus.filters.filter import Filter


class Words(Filter):
    """Keep documents of a number of words, parted by spaces.

    Paper:
        Rae et al. 2021 (Gopher), appendix A.1, arXiv 2112.11446. Differs: they ask for 50 words at least; reviews and
        utterances are shorter.
    """

    name: ClassVar[str] = "words"
    at_least: int = Field(20, ge=0)
    """Fewest words of a document."""
    at_most: int = Field(100_000, ge=1)
    """Most words of a document."""

    def keeps(self, document: list[str]) -> bool:
        """Whether the number of words is in bounds."""
        return self.at_least <= sum(len(sentence.split()) for sentence in document) <= self.at_most
