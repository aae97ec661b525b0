"""What a problem is: which labels a task has, how they become targets and a loss, and how answers are scored."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ptft.corpus.tables import Row
from ptft.tasks.table_source import texts_of
from ptft.tasks.task import Example, Label

if TYPE_CHECKING:  # torch takes a second to import: the members need it, those that only list tasks do not
    from torch import Tensor

Parts = Mapping[str, Sequence[Example]]
"""The examples of the splits ``train``, ``valid`` and ``test``, as far as there are such."""
Values = NDArray[Any] | Sequence[NDArray[Any]]
"""Something for each example: one array over all, or an array for each where examples differ in size."""


@dataclass(frozen=True)
class Columns:
    """Which columns of a table hold what.

    Args:
        texts: The column of the text, or the two of a pair.
        choices: One column of lists of choices, or a column for each choice; none where there are no choices.
        label: The column of the label; empty where labels are not read.
    """

    texts: tuple[str, ...]
    choices: tuple[str, ...] = ()
    label: str = ""

    @property
    def names(self) -> list[str]:
        """All of them."""
        return [*self.texts, *self.choices, *([self.label] if self.label else [])]


@dataclass(frozen=True)
class Mistake:
    """An answer that is not the label.

    Attributes:
        where: Where the example stands.
        text: What was read, or as much of it as tells which part the answer is about.
        given: The label.
        predicted: The answer.
        size: The probability of the wrong answer, or how far a number is from the label.
    """

    where: str
    text: str
    given: str
    predicted: str
    size: float


class Problem(ABC):
    """A kind of labelled task: one class in a file of ``ptft/tasks/problems``, without state.

    A model gives ``num_outputs`` logits for each unit: a text or pair, one of an example's choices, or a word. Logits
    and probabilities of units come in the order of the examples and, within one, of its choices or words.

    Attributes:
        name: What recipes call it.
        summary: One line for ``ptft list problems``.
        metric: The key of its main figure, of which more is better; its interval is under ``low`` and ``high``.
        unit: What one row of logits belongs to.
        mistake_size: What the size of a mistake is.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    metric: ClassVar[str]
    unit: ClassVar[Literal["text", "choice", "word"]] = "text"
    mistake_size: ClassVar[str] = "probability"

    def list_columns(self, columns: Columns) -> Collection[str]:
        """The columns whose cells may be lists."""
        return ()

    def read_input(self, row: Row, columns: Columns) -> Example:
        """Read what a model sees of a row; the label is left empty, and so is a text that is not there.

        Raises:
            DataError: A cell cannot be used.
        """
        text, text_b = texts_of(row, columns.texts)
        return Example(text, "", text_b, row.where)

    @abstractmethod
    def read_label(self, row: Row, column: str, example: Example) -> Label | None:
        """Read the label of a row.

        Args:
            row: The row.
            column: The label's column.
            example: What was read of the row already.

        Returns:
            The label, or None where there is none.

        Raises:
            DataError: It is no label of this problem.
        """

    def settled(self, parts: Parts, known: Collection[str] = ()) -> Parts:
        """The examples of all splits with labels whose reading depends on the other rows.

        Args:
            parts: The examples.
            known: Labels that a model has already, which are read as they stand.
        """
        return parts

    @abstractmethod
    def labels(self, name: str, column: str, parts: Parts) -> tuple[str, ...]:
        """Check the labels of all splits together, and return those of the task in the order of their indices.

        Args:
            name: What messages call the training rows.
            column: The label's column.
            parts: The examples; of the training rows there are at least two.

        Raises:
            DataError: The column does not look like one of labels, or a label is not among the training rows' own.
        """

    def stratum(self, example: Example) -> str:
        """What is kept in proportion when rows are divided: the label where there is one of few, else nothing."""
        return ""

    def inputs(self, example: Example) -> list[tuple[str, str]]:
        """The texts or pairs (second text empty or not) that a model reads for an example."""
        return [(example.text, example.text_b)]

    @abstractmethod
    def num_outputs(self, labels: Sequence[str]) -> int:
        """Logits for each unit."""

    @abstractmethod
    def targets(self, examples: Sequence[Example], labels: Sequence[str]) -> Values:
        """What is to be predicted for each example, in the form that the loss and the figures take."""

    @abstractmethod
    def loss_sum(self, logits: "Tensor", targets: "Tensor") -> "Tensor":
        """The sum of the losses of a batch's targets, a scalar in fp32.

        The training step divides it by :meth:`count` of the whole accumulated window over all processes.
        """

    def count(self, targets: NDArray[Any]) -> int:
        """The number of losses that :meth:`loss_sum` adds up for a batch's targets."""
        return len(targets)

    @abstractmethod
    def probabilities(self, logits: NDArray[Any], examples: Sequence[Example]) -> Values:
        """What logits say of each example.

        Args:
            logits: Shaped (units, outputs).
            examples: The examples that the units belong to.
        """

    @abstractmethod
    def answers(self, examples: Sequence[Example], scores: Values, labels: Sequence[str]) -> list[dict[str, str]]:
        """What is written for each example: columns and cells, ``label`` first, the same columns for all.

        Args:
            examples: The examples, labelled or not.
            scores: Their :meth:`probabilities`.
            labels: The task's labels.
        """

    @abstractmethod
    def figures(self, targets: Values, scores: Values, labels: Sequence[str], seed: int) -> dict[str, float]:
        """Score :meth:`probabilities` against :meth:`targets`: flat keys, with 95 % intervals.

        Args:
            targets: Of all examples.
            scores: Of all examples.
            labels: The task's labels.
            seed: Key of the resampling.
        """

    def mistakes(self, examples: Sequence[Example], scores: Values, labels: Sequence[str]) -> list[Mistake]:
        """The wrong answers, in the order of the examples.

        Args:
            examples: Labelled examples.
            scores: Their :meth:`probabilities`.
            labels: The task's labels.
        """
        answers = self.answers(examples, scores, labels)
        return [
            Mistake(example.where, read_text(example), str(example.label), answer["label"], float(row.max()))
            for example, answer, row in zip(examples, answers, scores, strict=True)
            if answer["label"] != example.label
        ]

    def confused(self, targets: Values, scores: Values) -> NDArray[Any]:
        """The indices of the given and the predicted label of each answer, shaped (answers, 2).

        There is no answer where it is not one of the task's labels.
        """
        return np.empty((0, 2), np.int64)


def read_text(example: Example) -> str:
    """The text of an example, and of a pair both with a bar between them."""
    return f"{example.text} | {example.text_b}" if example.text_b else example.text


def softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Probabilities of the outputs of each unit, shaped as the logits."""
    weights = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
    return np.asarray(weights / weights.sum(-1, keepdims=True))


def probability_cells(labels: Sequence[str], row: NDArray[Any]) -> dict[str, str]:
    """A column for each label's probability."""
    return {f"probability.{label}": f"{value:.6f}" for label, value in zip(labels, row, strict=True)}
