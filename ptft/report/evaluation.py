"""The evaluation of a fine-tuned model as text: figures with intervals, the confusion matrix, the worst mistakes."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from ptft.report.tables import format_interval, format_value
from ptft.tasks.problem import Mistake

_MOST_LABELS = 12  # of a matrix; of more only the largest confusions are shown
_MOST_CONFUSIONS = 20
_LABEL_WIDTH, _TEXT_WIDTH = 20, 60


def figure_lines(figures: Mapping[str, float]) -> str:
    """A line a figure, with its 95 % interval where it has one; ``low`` and ``high`` are those of the first figure."""
    first = next(iter(figures))
    lines = []
    for name, value in figures.items():
        if name in ("low", "high") or name.endswith(("_low", "_high")):
            continue
        prefix = "" if name == first else f"{name}_"
        ends = [figures[f"{prefix}{end}"] for end in ("low", "high") if f"{prefix}{end}" in figures]
        lines.append([name, format_interval(value, *ends) if ends else format_value(value)])
    return _aligned(lines)


def confusion_table(counts: Int[ndarray, "labels labels"], labels: Sequence[str]) -> str:
    """The matrix with the labels' names, or of more than twelve labels the largest confusions.

    Args:
        counts: How often each label (row) got each answer (column).
        labels: Their names.
    """
    names = [_cut(label, _LABEL_WIDTH) for label in labels]
    if len(names) <= _MOST_LABELS:
        rows = [[name, *(f"{count:,}" for count in row)] for name, row in zip(names, counts, strict=True)]
        return "labels (rows) and answers (columns)\n" + _aligned([["", *names], *rows], right=True)
    wrong = counts * (1 - np.eye(len(names), dtype=np.int64))
    order = np.argsort(-wrong, axis=None, kind="stable")[: min(_MOST_CONFUSIONS, np.count_nonzero(wrong))]
    pairs = [divmod(int(place), len(names)) for place in order]
    rows = [[names[given], names[guess], f"{wrong[given, guess]:,}"] for given, guess in pairs]
    title = f"the {len(rows)} largest of {np.count_nonzero(wrong)} confusions"
    return f"{title}\n{_aligned([['label', 'answer', 'rows'], *rows])}"


def mistake_table(mistakes: Sequence[Mistake], most: int, size: str) -> str:
    """The first of the mistakes.

    Args:
        mistakes: All, the surest or largest first.
        most: How many are shown.
        size: What their size is called.
    """
    rows = [
        [format_value(m.size), _cut(m.given, _LABEL_WIDTH), _cut(m.predicted, _LABEL_WIDTH), _cut(m.text, _TEXT_WIDTH)]
        for m in mistakes[:most]
    ]
    title = f"the {len(rows)} worst of {len(mistakes)} mistakes"
    return f"{title}\n{_aligned([[size, 'label', 'answer', 'text'], *rows])}"


def _cut(text: str, width: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= width else f"{line[: width - 1]}…"


def _aligned(rows: Sequence[Sequence[str]], *, right: bool = False) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    place = str.rjust if right else str.ljust
    lines = [
        [row[0].ljust(widths[0]), *(place(cell, size) for cell, size in zip(row[1:], widths[1:], strict=True))]
        for row in rows
    ]
    return "\n".join("  ".join(line).rstrip() for line in lines)
