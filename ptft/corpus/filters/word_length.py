"""Leaves out documents whose words are no words: single letters, addresses, code."""

from typing import ClassVar

from pydantic import Field

from ptft.corpus.filters.filter import Filter


class WordLength(Filter):
    """Keep documents whose words have a usual length on average; no use for text without spaces.

    Paper:
        Rae et al. 2021 (Gopher), appendix A.1, arXiv 2112.11446. Differs: they ask for 3 characters at least; a Korean
        word has fewer.
    """

    name: ClassVar[str] = "word_length"
    at_least: float = Field(2.0, ge=0)
    """Lowest mean number of characters of a word."""
    at_most: float = Field(10.0, gt=0)
    """Highest mean number of characters of a word."""

    def keeps(self, document: list[str]) -> bool:
        """Whether the mean is in bounds."""
        lengths = [len(word) for sentence in document for word in sentence.split()]
        return self.at_least <= sum(lengths) / len(lengths) <= self.at_most
