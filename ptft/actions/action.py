"""What an action is: typed settings, and something done with a model whose answer is text."""

from abc import ABC, abstractmethod
from typing import ClassVar

from ptft.config import Settings
from ptft.display import Display


class Action(Settings, ABC):
    """Settings of a verb that answers at once: it has no run folder and nothing to go on with.

    The first line of a member's docstring is its line in ``ptft --help``.

    Attributes:
        name: The verb, a plain string literal in the class body, so that the list of verbs needs no import.
    """

    name: ClassVar[str] = ""

    def check(self) -> None:
        """Raise a ``UserError`` for what can be known to be wrong before it is done, for ``ptft check``."""

    @abstractmethod
    def do(self, display: Display) -> str:
        """Do it and return the text to print; empty prints nothing.

        Raises:
            UserError: A setting or a file is not as it must be.
        """
