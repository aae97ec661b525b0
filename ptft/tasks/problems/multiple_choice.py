"""Multiple choice: which of an example's own choices goes with its text."""

from collections.abc import Collection, Sequence
from itertools import accumulate, chain, pairwise
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

from ptft.corpus.tables import Cell, Row
from ptft.errors import DataError
from ptft.tasks.metrics import wilson
from ptft.tasks.problem import Columns, Mistake, Parts, Problem, Values, read_text, softmax
from ptft.tasks.table_source import texts_of
from ptft.tasks.task import Example

_FEWEST_CHOICES = 2


class MultipleChoice(Problem):
    """Choose one of the choices that an example brings along; examples may differ in how many they have.

    A model reads the text with each choice apart and gives each such pair one logit; the second text of a pair, such
    as the beginning of an answer, stands before each choice. A label is the index of the right choice, counted from 0,
    or its text. Targets are the index and the number of choices; the loss is the cross-entropy of the softmax over an
    example's choices, in nats.
    """

    name = "multiple_choice"
    summary = "one of the choices that each text brings along"
    metric = "accuracy"
    unit = "choice"

    def list_columns(self, columns: Columns) -> Collection[str]:
        """The column of choices, if it is one."""
        return columns.choices if len(columns.choices) == 1 else ()

    def read_input(self, row: Row, columns: Columns) -> Example:
        """The text and its choices: a list, or the cells of several columns, of which the last ones may be empty.

        A row without both has no choices.

        Raises:
            DataError: There are fewer than two choices, or one is empty.
        """
        text, text_b = texts_of(row, columns.texts)
        choices = [_text(cell) for cell in _cells(row, columns.choices)]
        while choices and not choices[-1]:
            choices.pop()
        if not (text or choices):
            return Example("", "", "", row.where)
        if "" in choices:
            raise DataError(
                f"{row.where}: choice {choices.index('')} is empty and a later one is not; allowed: choices with text, "
                "counted from 0; fill it in, or move those behind it"
            )
        if len(choices) < _FEWEST_CHOICES:
            raise DataError(
                f"{row.where}: the number of choices is {len(choices)}; allowed: {_FEWEST_CHOICES} or more; add "
                "choices, or leave the row out"
            )
        return Example(text, "", text_b, row.where, choices=tuple(choices))

    def read_label(self, row: Row, column: str, example: Example) -> str | None:
        """The index of the right choice in digits, or None where there is no label.

        Raises:
            DataError: The label is neither an index nor a choice, or could be both.
        """
        cell = row.values[column]
        label, choices = _text(cell), example.choices
        if not label:
            return None
        index = int(label) if label.isascii() and label.isdigit() else -1
        by_text = choices.index(label) if label in choices else -1
        if not 0 <= index < len(choices):
            index = by_text
        if index < 0:
            raise DataError(
                f"{row.where}: column {column!r} holds {label!r}, which is none of the {len(choices)} choices; "
                f"allowed: 0 to {len(choices) - 1}, or the text of the right choice; mend the label"
            )
        if by_text not in (-1, index) and (isinstance(cell, str) or _has_number(row, column, label)):
            raise DataError(
                f"{row.where}: label {label!r} is the text of choice {by_text} and may mean choice {index} as well; "
                "allowed: indices that are numbers beside choices that are texts (.jsonl, .json, .parquet), or texts "
                "that are no index; write them so"
            )
        return str(index)

    def labels(self, name: str, column: str, parts: Parts) -> tuple[str, ...]:
        """The indices of as many choices as an example has at most."""
        return tuple(map(str, range(max(len(example.choices) for part in parts.values() for example in part))))

    def inputs(self, example: Example) -> list[tuple[str, str]]:
        """The text with each of the choices."""
        return [(example.text, f"{example.text_b} {choice}".lstrip()) for choice in example.choices]

    def num_outputs(self, labels: Sequence[str]) -> int:
        """One for each pair of text and choice."""
        return 1

    def targets(self, examples: Sequence[Example], labels: Sequence[str]) -> Int[ndarray, "examples 2"]:
        """The index of the right choice, and the number of choices."""
        rows = [(int(str(example.label)), len(example.choices)) for example in examples]
        return np.array(rows, np.int64).reshape(-1, 2)

    def loss_sum(self, logits: Float[Tensor, "choices 1"], targets: Int[Tensor, "examples 2"]) -> Float[Tensor, ""]:
        """The sum over examples of the cross-entropy of the right choice among its own, in nats."""
        right, sizes = targets.unbind(1)
        rows = logits.float().flatten().split(sizes.tolist())
        return cross_entropy(pad_sequence(list(rows), True, -torch.inf), right, reduction="sum")

    def probabilities(self, logits: NDArray[Any], examples: Sequence[Example]) -> list[Float[ndarray, " choices"]]:
        """Of each example the probability of each choice: they sum to 1."""
        ends = accumulate((len(example.choices) for example in examples), initial=0)
        return [softmax(logits.reshape(-1)[start:end]) for start, end in pairwise(ends)]

    def answers(self, examples: Sequence[Example], scores: Values, labels: Sequence[str]) -> list[dict[str, str]]:
        """``label``, the index of the most probable choice, ``choice``, its text, and ``probability.INDEX``."""
        most = max((len(row) for row in scores), default=0)
        rows = []
        for example, row in zip(examples, scores, strict=True):
            best = int(row.argmax())
            cells = {f"probability.{index}": f"{row[index]:.6f}" if index < len(row) else "" for index in range(most)}
            rows.append({"label": str(best), "choice": example.choices[best], **cells})
        return rows

    def figures(self, targets: Values, scores: Values, labels: Sequence[str], seed: int) -> dict[str, float]:
        """Share of questions answered right.

        Returns:
            ``accuracy`` with ``low`` and ``high`` (Wilson), ``majority`` (accuracy of always giving the most frequent
            index, not the chance of a guess) and ``n``.
        """
        right = np.asarray(targets)[:, 0]
        num_right = sum(int(row.argmax() == index) for row, index in zip(scores, right, strict=True))
        low, high = wilson(num_right, len(right))
        return {
            "accuracy": num_right / len(right),
            "low": low,
            "high": high,
            "majority": int(np.bincount(right).max()) / len(right),
            "n": len(right),
        }

    def mistakes(self, examples: Sequence[Example], scores: Values, labels: Sequence[str]) -> list[Mistake]:
        """The questions that are answered wrong, with the text of both choices."""
        found = []
        for example, row in zip(examples, scores, strict=True):
            right, guess = int(str(example.label)), int(row.argmax())
            if right != guess:
                given, predicted = example.choices[right], example.choices[guess]
                found.append(Mistake(example.where, read_text(example), given, predicted, float(row[guess])))
        return found


def _cells(row: Row, columns: Sequence[str]) -> Sequence[Cell]:
    if len(columns) > 1:
        return [row.values[column] for column in columns]
    (column,) = columns
    if column not in row.lists and row.values[column] is not None:
        raise DataError(
            f"{row.where}: column {column!r} holds {str(row.values[column])[:40]!r} where a list is wanted; allowed: a "
            "list of choices (.jsonl, .json, .parquet), or several columns; name them with choices=A,B,C"
        )
    return row.lists.get(column, [])


def _has_number(row: Row, column: str, label: str) -> bool:
    """Whether one of the row's cells but the label is a number and reads like the label."""
    cells = [*chain(*row.lists.values()), *(cell for name, cell in row.values.items() if name != column)]
    return any(isinstance(cell, int | float) and _text(cell) == label for cell in cells)


def _text(cell: Cell) -> str:
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)
    return "" if cell is None else str(cell).strip()
