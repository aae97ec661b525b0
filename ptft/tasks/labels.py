"""Names of labels: read from cells, checked over a whole table, and put in order."""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from ptft.corpus.tables import Cell
from ptft.errors import DataError
from ptft.family import nearest
from ptft.tasks.task import Example

_MOST_LABELS = 1000
_FEWEST_ROWS_TO_DOUBT = 10  # with fewer rows, labels that hardly repeat are no sign of a wrong column
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)")
_WHOLE = re.compile(r"(-?\d+)\.0*")
# What programs write where there is no label: never a label; the second ones may be one, but not beside numbers alone.
_NOTHING = {"nan", "<na>"}
_NOTHING_BESIDE_NUMBERS = {"na", "n/a", "null", "none"}


def label_name(value: Cell, column: str, where: str) -> str:
    """The text of a label as it stands, without spaces around it; nothing where there is no label.

    Raises:
        DataError: It is a number that is not whole.
    """
    if isinstance(value, float):
        if not value.is_integer():
            raise _no_class(where, column, str(value))
        value = int(value)
    return "" if value is None else str(value).strip()


def names_of(example: Example) -> tuple[str, ...]:
    """The names of an example's labels, be it one or several."""
    return example.label if isinstance(example.label, tuple) else (str(example.label),)


def whole_names(parts: Mapping[str, Sequence[Example]], known: Collection[str] = ()) -> dict[str, tuple[Example, ...]]:
    """The examples with labels such as 1.0 written as 1, as they are in tables that tell numbers from text.

    Labels stay as they stand where one of the column is no number, and where they are ``known`` so.
    """
    seen = {name for part in parts.values() for example in part for name in names_of(example)}
    short = {name: match[1] for name in seen - {*known} if (match := _WHOLE.fullmatch(name))}
    if not all(map(_NUMBER.fullmatch, seen)):
        short = {}

    def renamed(example: Example) -> Example:
        names = tuple(short.get(name, name) for name in names_of(example))
        return replace(example, label=names if isinstance(example.label, tuple) else names[0])

    return {split: tuple(map(renamed, part) if short else part) for split, part in parts.items()}


def ordered_names(
    name: str, column: str, parts: Mapping[str, Sequence[Example]], noun: str = "rows", fewest: int = 2
) -> tuple[str, ...]:
    """The labels of the training rows in order - by value if all are numbers, else as text - once all are checked.

    Args:
        name: What messages call the training rows.
        column: The label's column.
        parts: The examples of each split.
        noun: What has a label each, such as rows.
        fewest: How many labels there must be.

    Raises:
        DataError: Labels are measures, are too many or too few or hardly repeat, or one does not occur in the training
            rows or stands for none, as nan does.
    """
    everything = [(label, example) for part in parts.values() for example in part for label in names_of(example)]
    seen = dict(reversed(everything))  # with the first row of each
    numbers = {label for label in seen if _NUMBER.fullmatch(label)}
    words = {label.casefold() for label in seen.keys() - numbers} - _NOTHING
    nothing = _NOTHING | (_NOTHING_BESIDE_NUMBERS if numbers and words <= _NOTHING_BESIDE_NUMBERS else set())
    for label, example in seen.items():
        if label.casefold() in nothing:
            raise DataError(
                f"{example.where}: column {column!r} holds {label!r}, which stands for no label; allowed: text or "
                "whole numbers, or nothing where there is no label; empty such cells, and their rows are left out"
            )
        if len(numbers) == len(seen) and not float(label).is_integer():
            raise _no_class(example.where, column, label)
    if len(seen) > _MOST_LABELS or (len(everything) >= _FEWEST_ROWS_TO_DOUBT and len(seen) > len(everything) / 2):
        raise DataError(
            f"{name}: column {column!r} has {len(seen)} different values in {len(everything)} {noun} and does not look "
            f"like a label; allowed: at most {_MOST_LABELS}, and at most half as many as {noun}; name another column"
        )
    known = {label for example in parts["train"] for label in names_of(example)}
    if len(known) < fewest:
        raise DataError(
            f"{name}: column {column!r} holds a single label, {known.pop()!r}; allowed: two or more; add rows of "
            "another label, or name another column"
        )
    for label, example in everything:
        if label not in known:
            raise DataError(
                f"{example.where}: label {label!r} does not occur in the training rows"
                f"{nearest(label, sorted(known)[:30])}"
            )
    if all(_NUMBER.fullmatch(label) for label in known):
        return tuple(sorted(known, key=lambda label: (float(label), label)))
    return tuple(sorted(known))


def numbers_of(labels: Sequence[str]) -> dict[str, int]:
    """The index of each label."""
    return {label: index for index, label in enumerate(labels)}


def _no_class(where: str, column: str, value: str) -> DataError:
    also = ", or predict them as they are with problem=regression" if math.isfinite(float(value)) else ""
    return DataError(
        f"{where}: column {column!r} holds {value}, which is no class; allowed: text or whole numbers, or nothing "
        f"where there is no label; name another column, or turn the numbers into classes{also}"
    )
