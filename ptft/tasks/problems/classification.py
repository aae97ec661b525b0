"""Single-label classification: one of a few labels for each text or pair."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from ptft.corpus.tables import Row
from ptft.tasks.labels import label_name, numbers_of, ordered_names, whole_names
from ptft.tasks.metrics import classification_figures
from ptft.tasks.problem import Parts, Problem, Values, probability_cells, softmax
from ptft.tasks.task import Example


class Classification(Problem):
    """Give each text or pair one label.

    A label is text as it stands, or a whole number; targets are its indices, the loss is the cross-entropy in nats.
    """

    name = "classification"
    summary = "one label for each text or pair"
    metric = "accuracy"

    def read_label(self, row: Row, column: str, example: Example) -> str | None:
        """The label's text, or None where there is none."""
        return label_name(row.values[column], column, row.where) or None

    def settled(self, parts: Parts, known: Collection[str] = ()) -> Parts:
        """Labels such as 1.0 as whole numbers, where all of the column are numbers."""
        return whole_names(parts, known)

    def labels(self, name: str, column: str, parts: Parts) -> tuple[str, ...]:
        """The labels of the training rows: at least two, by value if all are whole numbers, else as text."""
        return ordered_names(name, column, parts)

    def stratum(self, example: Example) -> str:
        """The label."""
        return str(example.label)

    def num_outputs(self, labels: Sequence[str]) -> int:
        """One logit for each label."""
        return len(labels)

    def targets(self, examples: Sequence[Example], labels: Sequence[str]) -> Int[ndarray, " examples"]:
        """The index of each label."""
        number = numbers_of(labels)
        return np.array([number[str(example.label)] for example in examples], np.int64)

    def loss_sum(self, logits: Float[Tensor, "texts labels"], targets: Int[Tensor, " texts"]) -> Float[Tensor, ""]:
        """The sum of the cross-entropies, in nats."""
        return cross_entropy(logits.float(), targets, reduction="sum")

    def probabilities(self, logits: NDArray[Any], examples: Sequence[Example]) -> Float[ndarray, "texts labels"]:
        """The probability of each label: they sum to 1."""
        return softmax(logits)

    def answers(self, examples: Sequence[Example], scores: Values, labels: Sequence[str]) -> list[dict[str, str]]:
        """``label``, the most probable one, and ``probability.LABEL`` for each."""
        return [{"label": labels[int(row.argmax())], **probability_cells(labels, row)} for row in scores]

    def figures(self, targets: Values, scores: Values, labels: Sequence[str], seed: int) -> dict[str, float]:
        """Those of :func:`~ptft.tasks.metrics.classification_figures`, for the most probable labels."""
        return classification_figures(np.asarray(targets), np.asarray(scores).argmax(-1), len(labels), seed)

    def confused(self, targets: Values, scores: Values) -> Int[ndarray, "examples 2"]:
        """The label of each example, and the most probable one."""
        return np.stack([np.asarray(targets), np.asarray(scores).argmax(-1)], axis=1)
