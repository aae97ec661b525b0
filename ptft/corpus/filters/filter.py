"""What a document filter is: it says whether a document stays."""

from abc import ABC, abstractmethod
from typing import ClassVar

from ptft.config import Settings


class Filter(Settings, ABC):
    """One rule; its settings are its own, and it knows one document at a time."""

    name: ClassVar[str]

    @abstractmethod
    def keeps(self, document: list[str]) -> bool:
        """Whether a document, given as its sentences (at least one), stays."""
