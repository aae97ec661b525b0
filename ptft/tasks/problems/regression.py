"""Regression: a number for each text or pair."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from numpy.typing import NDArray
from torch import Tensor

from ptft.corpus.tables import Row
from ptft.errors import DataError
from ptft.tasks.problem import Mistake, Parts, Problem, Values, read_text
from ptft.tasks.regression_metrics import regression_figures
from ptft.tasks.task import Example

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_LARGEST = float(np.finfo(np.float32).max)


class Regression(Problem):
    """Give each text or pair a number.

    Targets are the numbers as they stand; the loss is the squared error, in the square of their unit.
    """

    name = "regression"
    summary = "a number for each text or pair"
    metric = "pearson"
    mistake_size = "distance"

    def read_label(self, row: Row, column: str, example: Example) -> float | None:
        """The number, or None where there is none.

        Raises:
            DataError: The cell is no finite number.
        """
        cell = row.values[column]
        text = "" if cell is None else str(cell).strip()
        if not text:
            return None
        if not _NUMBER.fullmatch(text) or abs(float(text)) > _LARGEST:
            raise DataError(
                f"{row.where}: column {column!r} holds {text!r}, which is no number to learn; allowed: finite numbers "
                "such as 3 or -0.5, or nothing where there is no label; mend the cell, name another column, or leave "
                "problem=regression out"
            )
        return float(text)

    def labels(self, name: str, column: str, parts: Parts) -> tuple[str, ...]:
        """None, once it is known that the numbers of the training rows are not all the same."""
        numbers = {example.label for example in parts["train"]}
        if len(numbers) == 1:
            raise DataError(
                f"{name}: column {column!r} holds a single number, {numbers.pop()!r}; allowed: two or more; add rows "
                "of another number, or name another column"
            )
        return ()

    def num_outputs(self, labels: Sequence[str]) -> int:
        """One: the number itself."""
        return 1

    def targets(self, examples: Sequence[Example], labels: Sequence[str]) -> Float[ndarray, " examples"]:
        """The numbers in fp32."""
        return np.array([example.label for example in examples], np.float32)

    def loss_sum(self, logits: Float[Tensor, "texts 1"], targets: Float[Tensor, " texts"]) -> Float[Tensor, ""]:
        """The sum of the squared errors."""
        return (logits.float().flatten() - targets).square().sum()

    def probabilities(self, logits: NDArray[Any], examples: Sequence[Example]) -> Float[ndarray, " texts"]:
        """The predicted numbers, which are no probabilities."""
        return logits.astype(np.float64).reshape(-1)

    def answers(self, examples: Sequence[Example], scores: Values, labels: Sequence[str]) -> list[dict[str, str]]:
        """``label``: the number with six digits."""
        return [{"label": f"{float(value):.6g}"} for value in scores]

    def figures(self, targets: Values, scores: Values, labels: Sequence[str], seed: int) -> dict[str, float]:
        """Those of :func:`~ptft.tasks.regression_metrics.regression_figures`."""
        return regression_figures(np.asarray(targets), np.asarray(scores), seed)

    def mistakes(self, examples: Sequence[Example], scores: Values, labels: Sequence[str]) -> list[Mistake]:
        """All answers, each with its distance from the label in the labels' unit."""
        return [
            Mistake(
                example.where, read_text(example), f"{example.label:.6g}", f"{float(value):.6g}",
                abs(float(value) - float(str(example.label))),
            )
            for example, value in zip(examples, scores, strict=True)
        ]  # fmt: skip
