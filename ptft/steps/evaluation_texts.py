"""The texts of evaluation tasks, which a corpus is searched for (``corpus.decontaminate``)."""

from collections.abc import Iterator
from pathlib import Path

from ptft.corpus.contamination import Evaluation
from ptft.corpus.files import exists, file_format, read_lines
from ptft.corpus.sources import CorpusSettings
from ptft.errors import DataError
from ptft.tasks import PROMPT_TASKS, TASKS
from ptft.tasks.table_source import Table, open_tables

Texts = list[tuple[str, str]]
_TEXT_COLUMNS = ("text", "text_a", "text_b")


def evaluation_texts(corpus: CorpusSettings, seed: int) -> Evaluation:
    """Read what ``corpus.decontaminate`` names.

    A task of the family gives its test rows or questions; a folder or data set its test part, or else its validation
    part; a table all its rows, in which the columns text, text_a and text_b are texts or, if there are none, every
    column, and the items of a list are one text; a .txt file its lines.

    Args:
        corpus: Names what to read.
        seed: Of tasks that draw their rows.

    Raises:
        DataError: One cannot be found or read, or holds no text.
    """
    return {name: _texts(name, seed) for name in corpus.decontaminate}


def _texts(name: str, seed: int) -> Texts:
    if name in TASKS:
        tests = TASKS[name]().data(seed).tests
        rows = [(f"{test} row {number}", row) for test in tests for number, row in enumerate(tests[test], 1)]
        return [(where, text) for where, row in rows for text in (row.text, row.text_b) if text]
    if name in PROMPT_TASKS:
        items = enumerate(PROMPT_TASKS[name]().items(0, seed), 1)
        return [(f"question {number}", item.context) for number, item in items]
    texts = list(_lines(name) if exists(name) and file_format(Path(name)) == ".txt" else _cells(open_tables(name)))
    if not texts:
        raise DataError(
            f"corpus.decontaminate: {name!r} holds no text; allowed: at least one; name another file or task"
        )
    return texts


def _lines(name: str) -> Iterator[tuple[str, str]]:
    return ((f"{name}:{number}", line) for number, line in read_lines(name) if line.strip())


def _cells(tables: dict[str, Table]) -> Iterator[tuple[str, str]]:
    table = next(tables[split] for split in ("test", "valid", "train") if split in tables)
    columns = [column for column in _TEXT_COLUMNS if column in table.columns] or table.columns
    for row in table.rows(columns, columns):
        cells = [*row.values.values(), *(" ".join(map(str, items)) for items in row.lists.values())]
        yield from ((row.where, cell) for cell in cells if isinstance(cell, str) and cell.strip())
