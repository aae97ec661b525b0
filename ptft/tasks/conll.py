"""Tagged words in CoNLL form: a word and its tag a line, a blank line between sentences."""

import re
from collections.abc import Collection, Iterator, Sequence

from ptft.corpus.files import check_file, read_lines
from ptft.corpus.tables import Cell, Row, check_columns
from ptft.errors import DataError

CONLL = ".conll"
"""The ending of such files."""
CONLL_COLUMNS = ("text", "label")
"""Words and tags: two columns of lists."""
_DOCUMENT = "-DOCSTART-"


def read_sentences(path: str, columns: Sequence[str], lists: Collection[str] = ()) -> Iterator[Row]:
    """Yield the sentences of a file as rows of two lists.

    The first of a line's columns, which spaces or tabs part, is the word, the last one the tag; what lies between is
    passed over, and so are lines that begin a document (``-DOCSTART-``). A ``#`` is a word as any other.

    Args:
        path: A .conll file, or a gzip of one.
        columns: Which of ``text`` and ``label`` are wanted.
        lists: Those of them whose cells may be lists, which must be all.

    Raises:
        DataError: The file is missing, is no text, holds no sentence, or a tag is wanted and not there; or it is read
            as something else than words with tags.
    """
    check_columns(path, CONLL_COLUMNS, columns)
    if not {*columns} <= {*lists}:
        raise DataError(
            f"{path}: holds words with a tag each; allowed: problem=token_classification, or a model that was "
            "fine-tuned so; give one of the two, or name another file"
        )
    empty = True
    for start, rows in _sentences(path):
        empty = False
        cells: dict[str, list[Cell]] = {column: [] for column in columns}
        for number, parts in rows:
            if "label" in columns and len(parts) < 2:
                raise DataError(
                    f"{path}:{number}: holds {parts[0]!r} alone; allowed: a word and its tag, with a space or tab "
                    "between them; add the tag"
                )
            for column in columns:
                cells[column].append(parts[0] if column == "text" else parts[-1])
        yield Row(f"{path}:{start}", {}, cells)
    if empty:
        raise DataError(
            f"{path}: holds no sentence; allowed: a word and its tag a line; add some, or name another file"
        )


def _sentences(path: str) -> Iterator[tuple[int, list[tuple[int, list[str]]]]]:
    """The number of the first line of each sentence, and the number and the columns of each of its lines."""
    rows: list[tuple[int, list[str]]] = []
    for number, line in read_lines(check_file(path)):
        parts = [part for part in re.split("[ \t]+", line) if part]
        if parts and parts[0] != _DOCUMENT:
            rows.append((number, parts))
        elif rows:
            yield rows[0][0], rows
            rows = []
    if rows:
        yield rows[0][0], rows
