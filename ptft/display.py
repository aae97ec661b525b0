"""What a long run tells the person in front of it; only the command line knows how to show it."""

from collections.abc import Mapping
from typing import Protocol


class Display(Protocol):
    """Receives sentences and progress."""

    def say(self, sentence: str) -> None:
        """A sentence that should stay on the screen."""

    def progress(self, what: str, done: int, total: int, figures: Mapping[str, float] | None = None) -> None:
        """How far ``what`` is, with a few figures; ``done == total`` ends it."""


class Silent:
    """Shows nothing: the default of the Python API."""

    def say(self, sentence: str) -> None:
        """Drop the sentence."""

    def progress(self, what: str, done: int, total: int, figures: Mapping[str, float] | None = None) -> None:
        """Drop the progress."""


class Once:
    """Shows a sentence the first time only, and all progress.

    Args:
        display: What shows it.
    """

    def __init__(self, display: Display) -> None:
        self._display = display
        self._said = set[str]()

    def say(self, sentence: str) -> None:
        """Show a sentence unless it was shown before."""
        if sentence not in self._said:
            self._said.add(sentence)
            self._display.say(sentence)

    def progress(self, what: str, done: int, total: int, figures: Mapping[str, float] | None = None) -> None:
        """Show it."""
        self._display.progress(what, done, total, figures)
