"""Leaves out documents that say the same again: menus, tables, machine output."""

from typing import ClassVar

from pydantic import Field

from ptft.corpus.filters.filter import Filter


class RepeatedLines(Filter):
    """Keep documents that repeat few of their sentences.

    Paper:
        Rae et al. 2021 (Gopher), appendix A.1, table A1, arXiv 2112.11446. Differs: a line is a sentence here, and
        their rules on repeated paragraphs and n-grams are left out.
    """

    name: ClassVar[str] = "repeated_lines"
    at_most: float = Field(0.3, ge=0, le=1)
    """Share of the sentences that stood in the document before."""
    characters_at_most: float = Field(0.2, ge=0, le=1)
    """Share of the characters in such sentences."""

    def keeps(self, document: list[str]) -> bool:
        """Whether both shares are low enough."""
        once = set(document)
        characters = sum(map(len, document))
        return (
            len(document) - len(once) <= self.at_most * len(document)
            and characters - sum(map(len, once)) <= self.characters_at_most * characters
        )
