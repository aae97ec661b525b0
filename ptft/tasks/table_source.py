"""Where labelled tables come from - files, folders, data sets - and which of their columns hold the text."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from ptft.corpus import hub
from ptft.corpus.files import TEXT_FORMATS, exists, file_format, neighbours, split_files
from ptft.corpus.tables import Row, check_columns, column_names, read_rows
from ptft.errors import DataError, RecipeError
from ptft.family import nearest
from ptft.tasks import TASKS
from ptft.tasks.conll import CONLL, CONLL_COLUMNS, read_sentences

TABLE_FORMATS = (*(ending for ending in TEXT_FORMATS if ending != ".txt"), CONLL)
"""Endings of tables, each also with ``.gz``."""


class ReadsRows(Protocol):
    """Yields rows with the columns asked for; a cell of one of the columns ``lists`` may be a list."""

    def __call__(self, columns: Sequence[str], lists: Collection[str] = (), /) -> Iterator[Row]:
        """Begin anew with the first row."""


@dataclass(frozen=True)
class Table:
    """Something with rows.

    Args:
        name: What messages call it.
        columns: Its columns.
        rows: Yields its rows.
        of_dataset: Whether it is published as part of a data set.
    """

    name: str
    columns: Sequence[str]
    rows: ReadsRows
    of_dataset: bool = False


def open_tables(data: str, valid: str = "", test: str = "") -> dict[str, Table]:
    """Find the tables of the splits ``train``, ``valid`` and ``test``, as far as there are such.

    Args:
        data: A table, a folder of tables, a saved data set, or the name of one on the Hub.
        valid: A table that takes the place of the one for validation.
        test: A table that takes the place of the one for testing.

    Raises:
        DataError: One cannot be found or read, or there is none to train on.
    """
    path, there = Path(data), exists(data)
    if there and not path.is_dir():
        tables = {"train": file_table(data)}
    elif there and not hub.is_saved(path):
        tables = _folder_tables(path)
    elif there or (hub.looks_like_name(data) and file_format(path) not in (*TABLE_FORMATS, ".txt")):
        tables = _dataset_tables(data)
    else:
        raise DataError(f"there is no file {data!r}{neighbours(path)}")
    return tables | {split: file_table(file) for split, file in (("valid", valid), ("test", test)) if file}


def split_table(data: str, split: str) -> Table:
    """Find the rows of one split: a table's are all of them, whatever the split.

    Args:
        data: A table, or a folder of tables or a data set as for :func:`open_tables`.
        split: ``train``, ``valid`` or ``test``.

    Raises:
        DataError: It cannot be found or read, or has no such split.
    """
    if exists(data) and not Path(data).is_dir():
        return file_table(data)
    tables = open_tables(data)
    if split not in tables:
        raise DataError(f"{data}: has no {split} rows of its own; name a table")
    return tables[split]


def file_table(path: str) -> Table:
    """Open one file.

    Raises:
        DataError: It cannot be found or read.
    """
    if file_format(Path(path)) == CONLL:
        return Table(path, CONLL_COLUMNS, partial(read_sentences, path))
    return Table(path, column_names(path), partial(read_rows, path))


def text_columns(table: Table, text: str, text_a: str, text_b: str) -> list[str]:
    """Say which column holds the text, or which two hold a pair.

    Args:
        table: The table to train on.
        text: The column that was named, if any; else ``text``, or else ``text_a`` and ``text_b``.
        text_a: The column of the first text of a pair, if it was named.
        text_b: The column of the second text of a pair, if it was named.

    Raises:
        DataError: There is no such column.
        RecipeError: What was named contradicts itself.
    """
    if text and text_a:
        raise RecipeError(f"text is {text!r} and text_a is {text_a!r}; allowed: one of the two; leave one out")
    if text_a and not text_b:
        raise RecipeError(f"text_a is {text_a!r} without text_b; allowed: both; name the second text's column too")
    if not (text or text_a) and "text" not in table.columns and {"text_a", "text_b"} <= {*table.columns}:
        text_a, text_b = "text_a", text_b or "text_b"
    columns = [text or text_a or "text", *([text_b] if text_b else [])]
    if len({*columns}) < len(columns):
        raise RecipeError(f"both texts of the pair are column {text_b!r}; allowed: two columns; name the other one")
    check_columns(table.name, table.columns, columns, "; name the column of texts with text=COLUMN")
    return columns


def texts_of(row: Row, columns: Sequence[str]) -> tuple[str, str]:
    """The text of a row, and the second text or nothing, without spaces around them."""
    texts = ["" if row.values[column] is None else str(row.values[column]).strip() for column in columns]
    return texts[0], texts[1] if len(texts) > 1 else ""


def left_out_notes(table: Table, left_out: Mapping[str, Sequence[str]]) -> list[str]:
    """A sentence about each kind of rows that were left out.

    Args:
        table: Whose rows they are.
        left_out: Where the rows stand that lack something, by what they lack.
    """
    notes = []
    for what, places in left_out.items():
        if places:
            first = places[0].removeprefix(table.name).replace(":", "line ").strip()
            count = f"1 row without {what} was" if len(places) == 1 else f"{len(places)} rows without {what} were"
            notes.append(f"{table.name}: {count} left out (first: {first})")
    return notes


def refuse_given(given: Mapping[str, str], reason: str) -> None:
    """Refuse settings that would be ignored.

    Raises:
        RecipeError: One of the values is not empty.
    """
    for setting, value in given.items():
        if value:
            raise RecipeError(f"{setting} is {value!r} but has no effect: {reason}; leave {setting} out")


def _folder_tables(folder: Path) -> dict[str, Table]:
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and file_format(path) in TABLE_FORMATS]
    splits = split_files(folder, files)
    if "train" not in splits:
        raise DataError(
            f"{folder}: the folder holds no table named train; allowed: train, valid and test, each with one of "
            f"{', '.join(TABLE_FORMATS)} (and .gz); rename one, or name a file"
        )
    return {split: file_table(str(path)) for split, path in splits.items()}


def _dataset_tables(data: str) -> dict[str, Table]:
    try:
        known = hub.split_names(data)
    except DataError as error:
        raise DataError(f"{error}; nor is it a task{nearest(data, TASKS)}") from None
    names = {
        "train": known[0] if len(known) == 1 else "train",
        "valid": next((name for name in hub.HELD_OUT if name in known), ""),
        "test": "test" if "test" in known and len(known) > 1 else "",
    }
    tables = {}
    for split, name in names.items():
        if name:
            dataset, where = hub.load(data, name), f"{data}[{name}]"
            tables[split] = Table(where, dataset.column_names, partial(hub.rows, dataset, where), of_dataset=True)
    return tables
