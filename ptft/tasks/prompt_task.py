"""What an in-context task is: prompts with k solved examples, and choices of which one is right."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class PromptItem:
    """One question to a language model: the choice of highest log P(choice | context) is its answer.

    Args:
        context: The shots and the query, without trailing white space.
        choices: The possible continuations, each with its own leading space.
        gold: Index of the right choice.
        shots: How many solved examples the context holds.
        after: What stands behind the choice, which a masked model sees too.
    """

    context: str
    choices: tuple[str, ...]
    gold: int
    shots: int
    after: str = ""


class PromptTask(ABC):
    """An in-context task: one class in a file of ``ptft/tasks``.

    Attributes:
        name: What recipes call it.
        summary: One line for ``ptft list tasks``.
    """

    name: ClassVar[str]
    summary: ClassVar[str]

    @abstractmethod
    def items(self, k: int, seed: int) -> list[PromptItem]:
        """Return the items with ``k`` shots each, every draw keyed by ``seed`` (>= 0).

        Items are nested: those for k=4 ask the same queries as those for k=8, after the first 4 of the same shots.
        """
