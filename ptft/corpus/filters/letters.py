"""Leaves out documents of numbers and signs."""

from typing import ClassVar

from pydantic import Field

from ptft.corpus.filters.filter import Filter


class Letters(Filter):
    """Keep documents whose words mostly hold a letter.

    Paper:
        Rae et al. 2021 (Gopher), appendix A.1, arXiv 2112.11446.
    """

    name: ClassVar[str] = "letters"
    at_least: float = Field(0.8, ge=0, le=1)
    """Share of the words, parted by spaces, that hold a letter of any script."""

    def keeps(self, document: list[str]) -> bool:
        """Whether enough words hold a letter."""
        words = [word for sentence in document for word in sentence.split()]
        return sum(any(map(str.isalpha, word)) for word in words) >= self.at_least * len(words)
