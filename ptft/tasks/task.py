"""What a downstream task is: labelled examples in three splits, and the metric that scores them."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

Label = str | float | tuple[str, ...]
"""What an example is labelled with: one of the task's labels, a number, or several labels."""


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled text, or pair of texts.

    Args:
        text: The text, or the first of a pair; for tags the words with a space between them.
        label: What the task's problem (see :class:`~ptft.tasks.problem.Problem`) makes of its label; empty text where
            there is none.
        text_b: The second text of a pair; empty for tasks on single texts.
        where: Where the example stands, for messages: ``reviews.csv:17`` with the line it starts on.
        row: The row of its table, counted from 1; 0 where there is none.
        choices: The possible answers of a multiple-choice question.
        words: The words that tags belong to.
    """

    text: str
    label: Label
    text_b: str = ""
    where: str = ""
    row: int = field(default=0, compare=False)
    choices: tuple[str, ...] = ()
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class TaskData:
    """A task's examples.

    Args:
        name: The task, or the file the examples came from.
        labels: All labels, in the order of their indices; none where labels are numbers.
        train: Training examples; the first n of them are what a run with n labels sees.
        valid: Validation examples.
        tests: The name of each test set with its examples; most tasks have one, named ``test``.
        problem: What kind of labels the examples have: a name of :data:`ptft.tasks.problems.PROBLEMS`.
    """

    name: str
    labels: tuple[str, ...]
    train: tuple[Example, ...]
    valid: tuple[Example, ...]
    tests: Mapping[str, tuple[Example, ...]]
    problem: str = "classification"

    @property
    def fingerprint(self) -> str:
        """A SHA-256 of all rows and labels, wherever they were read from, and of the problem if it is not the usual."""
        parts = {"train": self.train, "valid": self.valid, **{f"test {n}": rows for n, rows in self.tests.items()}}
        if self.problem == "classification":
            rows = {name: [(r.text, r.text_b, r.label) for r in part] for name, part in parts.items()}
            return _sha256([self.labels, rows])
        whole = {name: [(r.text, r.text_b, r.label, r.choices, r.words) for r in part] for name, part in parts.items()}
        return _sha256([self.problem, self.labels, whole])


def _sha256(content: object) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


class Task(ABC):
    """A downstream task: one file in ``ptft/tasks`` with a class derived from this one.

    Attributes:
        name: What recipes call it.
        summary: One line for ``ptft list tasks``.
        source: Where its examples come from.
        licence: The terms of its examples.
        metric: The main metric.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    source: ClassVar[str]
    licence: ClassVar[str]
    metric: ClassVar[str]

    @abstractmethod
    def data(self, seed: int) -> TaskData:
        """Return the examples; tasks that draw them key every draw by ``seed`` (>= 0)."""
