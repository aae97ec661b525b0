"""What an action is: typed settings, and something done with a model whose answer is text."""

import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from ptft.config import Settings
from ptft.display import Display
from ptft.errors import RecipeError


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


def check_new_file(out: str, instead: str = "another file", elsewhere: str = "another file") -> None:
    """Refuse a file that cannot be made; ``instead`` and ``elsewhere`` say what to name in its place.

    Raises:
        RecipeError: There is one of that name, or its folder is not there or may not be written.
    """
    path = Path(out)
    if path.exists():
        raise RecipeError(f"out: {out!r} exists already; name {instead}")
    if not path.absolute().parent.is_dir():
        raise RecipeError(f"out: the folder {str(path.parent)!r} does not exist; make it first")
    if not os.access(path.absolute().parent, os.W_OK | os.X_OK):
        raise RecipeError(f"out: no permission to write in {str(path.absolute().parent)!r}; name {elsewhere}")
