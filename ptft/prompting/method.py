"""What a scoring method is: what it asks a model beyond the plain question, and what it makes of the answers."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from jaxtyping import Float, Int
from numpy import ndarray

from ptft.prompting.template import Template
from ptft.tasks.prompt_task import PromptItem
from ptft.tasks.task import Example

Pair = tuple[str, str]
"""A context and the continuation that is scored after it."""


@dataclass(frozen=True)
class Asked:
    """One question as a model is asked it.

    Args:
        item: Context and choices.
        template: What the question was made with; None where a task makes its own.
        example: What it asks about; None where a task makes its own.
        shots: The solved examples before it, where a template made them.
        labels: The label of each choice; none where each question brings choices of its own.
    """

    item: PromptItem
    template: Template | None = None
    example: Example | None = None
    shots: tuple[Example, ...] = ()
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answers:
    """A model's answers to all questions of one evaluation; a question with fewer choices than others has NaN there.

    Args:
        log_likelihoods: Of each choice after the question.
        lengths: ``characters``, ``bytes`` and ``tokens`` of each choice; the first two without white space around it.
        references: What methods asked for beside, by method: for each choice as many log-likelihoods as it wanted.
    """

    log_likelihoods: Float[ndarray, "questions choices"]
    lengths: Mapping[str, Int[ndarray, "questions choices"]]
    references: Mapping[str, Float[ndarray, "questions choices wanted"]] = field(default_factory=dict)


class Method(ABC):
    """A way to score the choices of a question: one file in ``ptft/prompting/methods``.

    Attributes:
        name: What recipes and results call it.
        summary: One line for ``ptft list methods``.
        needs_template: Whether it must know the parts of a question.
        needs_labels: Whether all questions must have the same choices.
        needs_beginning: Whether the tokenizer must have a token to begin a text with.
    """

    name: ClassVar[str] = ""
    summary: ClassVar[str]
    needs_template: ClassVar[bool] = False
    needs_labels: ClassVar[bool] = False
    needs_beginning: ClassVar[bool] = False

    def applies(self, asked: Asked) -> bool:
        """Whether it can be used on such questions."""
        return (not self.needs_template or asked.template is not None) and (not self.needs_labels or bool(asked.labels))

    def wants(self, asked: Asked) -> Sequence[Sequence[Pair]]:
        """What must be scored beside the question: for each choice the same number of pairs; none by default."""
        return ()

    @abstractmethod
    def scores(self, answers: Answers) -> Float[ndarray, "questions choices"]:
        """What the choices are compared by: the highest is the answer."""
