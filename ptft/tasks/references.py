"""Tables of texts with free-text references: answers, summaries, translations."""

from typing import Literal

from ptft.corpus.tables import Cell, Row, check_columns
from ptft.errors import DataError, RecipeError
from ptft.tasks.table_source import left_out_notes, split_table, text_columns, texts_of
from ptft.tasks.task import Example


def read_references(
    data: str,
    *,
    split: Literal["train", "test"] = "test",
    text: str = "",
    text_a: str = "",
    text_b: str = "",
    label: str = "label",
) -> tuple[list[Example], list[str]]:
    """Read rows of a text, or a pair, and one or several references each.

    Rows with an empty text or without a reference are left out and counted. White space around texts and references
    goes.

    Args:
        data: A table, all of whose rows are read; or a folder of tables or a data set, of which those of ``split`` are.
        split: Which rows of a folder or data set: ``test`` to ask about, ``train`` to take solved examples from.
        text: The column of the text, as for :func:`~ptft.tasks.table.read_task`.
        text_a: The column of the first text of a pair.
        text_b: The column of the second text of a pair.
        label: The column of the reference; a cell may be a list of several of them.

    Returns:
        The examples, whose ``label`` is the tuple of references, and a sentence about what was left out.

    Raises:
        DataError: A table cannot be found or read, lacks a column or such rows, or has a cell of another kind.
        RecipeError: Settings contradict one another.
    """
    table = split_table(data, split)
    texts = text_columns(table, text, text_a, text_b)
    check_columns(table.name, table.columns, texts)
    check_columns(table.name, table.columns, [label], "; name the column of references with label=COLUMN")
    if label in texts:
        raise RecipeError(f"label is {label!r}, which is a column of text too; allowed: another column; name it")
    examples: list[Example] = []
    left_out: dict[str, list[str]] = {"a text": [], "a reference": []}
    for number, row in enumerate(table.rows([*texts, label], [label]), 1):
        first, second = texts_of(row, texts)
        example = Example(first, _references(row, label), second, row.where, number)
        if not all((first, second)[: len(texts)]):
            left_out["a text"].append(row.where)
        elif not example.label:
            left_out["a reference"].append(row.where)
        else:
            examples.append(example)
    if not examples:
        raise DataError(f"{table.name}: no row has both a text and a reference; fill some in, or name other columns")
    return examples, left_out_notes(table, left_out)


def _references(row: Row, column: str) -> tuple[str, ...]:
    cells = row.lists[column] if column in row.lists else [row.values[column]]
    return tuple(dict.fromkeys(text for text in map(_text_of, cells) if text))


def _text_of(cell: Cell) -> str:
    """A cell as text: a whole number that the table holds as 3.0 is 3, and what is no number is nothing."""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return "" if cell is None or cell != cell else str(cell).strip()
