"""What is done to documents on their way to the token store, in one pass, and the record of it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ptft.corpus.contamination import Contamination
from ptft.corpus.duplicates import Duplicates
from ptft.corpus.filters.filter import Filter
from ptft.corpus.splitting import Language, split_document


@dataclass
class Report:
    """What cleaning did: filled while documents are read, so it is complete when all are.

    Attributes:
        is_cleaned: Whether anything but reading was asked for.
        num_read: Documents before cleaning.
        dropped: Number of documents by the reason why they were left out: a filter's name, ``duplicate`` or
            ``contaminated``.
        contamination: What was found of evaluation texts (see :meth:`Contamination.report`), if it was looked for.
    """

    is_cleaned: bool = False
    num_read: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    contamination: Contamination | None = None

    @property
    def num_kept(self) -> int:
        """Documents that were left."""
        return self.num_read - self.dropped.total()

    def plain(self) -> dict[str, Any]:
        """All of it for JSON; empty if nothing was to be cleaned."""
        if not self.is_cleaned:
            return {}
        found = {"contamination": self.contamination.report()} if self.contamination else {}
        return {
            "documents_read": self.num_read,
            "documents_kept": self.num_kept,
            "dropped": dict(self.dropped),
            **found,
        }


class Cleaner:
    """Splits documents and decides which stay; it remembers those it was given, so the order of calls matters.

    Args:
        language: Whose rules split lines into sentences.
        filters: Rules by which documents are left out, in the order in which they are asked.
        duplicates: What knows documents that were given before, if they are to be left out.
        contamination: What finds evaluation texts, if they are looked for.
        drops_contaminated: Whether documents that hold such are left out.
        report: Where it is written down.
    """

    def __init__(
        self,
        language: Language,
        filters: Sequence[Filter],
        duplicates: Duplicates | None,
        contamination: Contamination | None,
        drops_contaminated: bool,
        report: Report,
    ) -> None:
        self._language = language
        self._filters = filters
        self._duplicates = duplicates
        self._contamination = contamination
        self._drops_contaminated = drops_contaminated
        self.report = report
        report.contamination = contamination
        report.is_cleaned = bool(filters or duplicates or contamination) or language != "none"

    def split(self, document: list[str]) -> list[str]:
        """A document in sentences."""
        return split_document(document, self._language)

    def keeps(self, document: list[str]) -> bool:
        """Whether a split document stays; each document is asked about once."""
        self.report.num_read += 1
        reason = self._reason(document)
        if reason:
            self.report.dropped[reason] += 1
        return not reason

    def _reason(self, document: list[str]) -> str:
        for rule in self._filters:
            if not rule.keeps(document):
                return rule.name
        if self._duplicates and self._duplicates.is_known(document):
            return "duplicate"
        # A document that is left out anyway is not looked at: what is reported is in the text that is trained on.
        if self._contamination and self._contamination.is_in(document, self.report.num_read):
            return "contaminated" if self._drops_contaminated else ""
        return ""


def summary(plain: dict[str, Any]) -> str:
    """Say in one line what a report holds.

    Args:
        plain: As :meth:`Report.plain` gives it, not empty.
    """
    read, kept = plain["documents_read"], plain["documents_kept"]
    dropped = ", ".join(f"{reason} {count:,}" for reason, count in plain["dropped"].items())
    line = f"{read:,} documents read, {kept:,} kept" + (f" (left out: {dropped})" if dropped else "")
    if "contamination" not in plain:
        return line
    found = ", ".join(
        f"{name} {task['found']:,} of {task['texts'] - task['too_short']:,}"
        for name, task in plain["contamination"]["tasks"].items()
    )
    return f"{line}; evaluation texts found: {found} (documents: {plain['contamination']['documents']:,})"
