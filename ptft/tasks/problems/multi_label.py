"""Multi-label classification: any number of labels for each text or pair, none included."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from ptft.corpus.tables import Row
from ptft.errors import DataError
from ptft.tasks.labels import label_name, names_of, numbers_of, ordered_names, whole_names
from ptft.tasks.multi_label_metrics import multi_label_figures
from ptft.tasks.problem import Columns, Mistake, Parts, Problem, Values, probability_cells, read_text
from ptft.tasks.task import Example, Label

_MARKS = (";", "|", ",")


class MultiLabel(Problem):
    """Give each text or pair any number of labels.

    A cell is a list, or a text whose labels stand apart by semicolons; where no cell of any split has one by bars, and
    where none has those either by commas. Rows for a model that has its labels are cut at the one of these marks that
    leaves the fewest names unknown. A list or text that is empty means no label; null means that it is unknown, and the
    row is left out. Targets are 1 for labels given and 0 for others; the loss is the binary cross-entropy of
    each label in nats, whose count is texts times labels.
    """

    name = "multi_label"
    summary = "any number of labels for each text or pair"
    metric = "micro_f1"

    def list_columns(self, columns: Columns) -> Collection[str]:
        """The label's."""
        return (columns.label,)

    def read_label(self, row: Row, column: str, example: Example) -> Label | None:
        """The labels if they stand in a list; else the whole cell, which :meth:`settled` cuts; None for null."""
        if column in row.lists:
            names = (label_name(cell, f"{column}[{at}]", row.where) for at, cell in enumerate(row.lists[column]))
            return _several(names)
        cell = row.values[column]
        return None if cell is None else label_name(cell, column, row.where)

    def settled(self, parts: Parts, known: Collection[str] = ()) -> Parts:
        """Cut labels that stand in a text at the mark that the whole column uses; 1.0 is 1 where all are numbers."""
        if known:
            return min((self._cut(parts, mark, known) for mark in _MARKS), key=lambda cut: len(_names(cut) - {*known}))
        texts = [row.label for part in parts.values() for row in part if isinstance(row.label, str)]
        return self._cut(parts, next((mark for mark in _MARKS if any(mark in text for text in texts)), _MARKS[0]))

    @staticmethod
    def _cut(parts: Parts, mark: str, known: Collection[str] = ()) -> Parts:
        cut = {
            split: [
                replace(row, label=_several(row.label.split(mark))) if isinstance(row.label, str) else row
                for row in part
            ]
            for split, part in parts.items()
        }
        return whole_names(cut, known)

    def labels(self, name: str, column: str, parts: Parts) -> tuple[str, ...]:
        """The labels of the training rows: at least one, by value if all are whole numbers, else as text."""
        if not any(names_of(example) for example in parts["train"]):
            raise DataError(
                f"{name}: column {column!r} gives no row a label; allowed: labels in some rows; name another column"
            )
        return ordered_names(name, column, parts, "labels given", fewest=1)

    def num_outputs(self, labels: Sequence[str]) -> int:
        """One logit for each label."""
        return len(labels)

    def targets(self, examples: Sequence[Example], labels: Sequence[str]) -> Float[ndarray, "examples labels"]:
        """1 for the labels that an example has, 0 for the others, in fp32."""
        number = numbers_of(labels)
        rows = np.zeros((len(examples), len(labels)), np.float32)
        for row, example in zip(rows, examples, strict=True):
            row[[number[label] for label in names_of(example)]] = 1
        return rows

    def loss_sum(
        self, logits: Float[Tensor, "texts labels"], targets: Float[Tensor, "texts labels"]
    ) -> Float[Tensor, ""]:
        """The sum of the binary cross-entropies of all labels of all texts, in nats."""
        return binary_cross_entropy_with_logits(logits.float(), targets, reduction="sum")

    def count(self, targets: NDArray[Any]) -> int:
        """Texts times labels: the mean is that of stock models."""
        return targets.size

    def probabilities(self, logits: NDArray[Any], examples: Sequence[Example]) -> Float[ndarray, "texts labels"]:
        """The probability of each label by itself."""
        return np.exp(-np.logaddexp(0, -logits.astype(np.float64)))

    def answers(self, examples: Sequence[Example], scores: Values, labels: Sequence[str]) -> list[dict[str, str]]:
        """``label``, those of a probability above a half with semicolons between them, and ``probability.LABEL``."""
        return [
            {
                "label": _MARKS[0].join(label for label, value in zip(labels, row, strict=True) if value > 0.5),
                **probability_cells(labels, row),
            }
            for row in scores
        ]

    def figures(self, targets: Values, scores: Values, labels: Sequence[str], seed: int) -> dict[str, float]:
        """Those of :func:`~ptft.tasks.multi_label_metrics.multi_label_figures`, for probabilities above a half."""
        return multi_label_figures(np.asarray(targets).astype(np.int64), (np.asarray(scores) > 0.5).astype(int), seed)

    def mistakes(self, examples: Sequence[Example], scores: Values, labels: Sequence[str]) -> list[Mistake]:
        """The examples with a label too many or too few, each with how sure the model is of the surest such label."""
        given, sure = self.targets(examples, labels) > 0.5, np.asarray(scores)
        found = sure > 0.5
        surest = np.where(given != found, np.maximum(sure, 1 - sure), 0).max(1)
        names = [[_MARKS[0].join(np.array(labels)[row]) for row in side] for side in (given, found)]
        return [
            Mistake(example.where, read_text(example), right, guess, float(size))
            for example, right, guess, size in zip(examples, *names, surest, strict=True)
            if right != guess
        ]


def _names(parts: Parts) -> set[str]:
    return {name for part in parts.values() for row in part for name in names_of(row)}


def _several(names: Any) -> tuple[str, ...]:
    return tuple(sorted({name.strip() for name in names} - {""}))
