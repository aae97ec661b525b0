"""Rows of .csv, .tsv, .jsonl, .json and .parquet files, each with the place where it stands."""

import csv
import io
import itertools
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ptft.corpus.files import check_file, file_format, read_bytes, read_lines, text_lines
from ptft.errors import DataError
from ptft.family import nearest

Cell = str | int | float | None
_ROWS_SHOWING_COLUMNS = 1000  # rows of a .jsonl file may lack keys, so its columns are those of its first rows
_LARGEST_CELL = 2**31 - 1  # characters; the csv module refuses cells over 131,072 unless told otherwise


class Row(NamedTuple):
    """One row of a table.

    Attributes:
        where: Where it stands, for messages: ``reviews.csv:17`` with the line it starts on.
        values: The wanted columns; a cell that is not there is None.
        lists: Of columns that may hold lists, the cells that are one; they are not among ``values``.
    """

    where: str
    values: dict[str, Cell]
    lists: Mapping[str, list[Cell]] = {}


def column_names(path: str | Path) -> list[str]:
    """The columns of a table, in order.

    Raises:
        DataError: The file is no table that can be read, is empty, or names a column twice.
    """
    path = check_file(path)
    columns, _ = _opened(path)
    return columns


def read_rows(path: str | Path, columns: Sequence[str], lists: Collection[str] = ()) -> Iterator[Row]:
    """Yield the rows of a table with the values of some columns.

    A .csv file is read by the csv module: a cell with a comma, a quote or a line end stands in double quotes. Its cells
    are split at commas, or at semicolons or tabs when its header has those and no comma. In a .tsv file a quote is a
    character of the text, unless it wraps the whole cell.

    Args:
        path: A .csv, .tsv, .jsonl, .json (a list of objects) or .parquet file, or a gzip of one.
        columns: Names of the wanted columns.
        lists: Those of them whose cells may be lists of text, numbers and nothing; .csv and .tsv files have none.

    Raises:
        DataError: The file is missing, is no table that can be read, lacks a column, has no rows, or has a broken row.
    """
    path = check_file(path)
    known, rows = _opened(path)
    check_columns(str(path), known, columns)
    empty = True
    for row in rows(list(dict.fromkeys(columns)), lists):
        empty = False
        yield row
    if empty:
        raise DataError(f"{path}: the table has columns ({_shown(known)}) and no rows; add rows below the header")


def check_columns(where: str, known: Sequence[str], columns: Iterable[str], remedy: str = "") -> None:
    """Refuse columns that are not there.

    Args:
        where: What messages call the table.
        known: Its columns.
        columns: The wanted ones.
        remedy: What else to tell, at the end of the sentence.

    Raises:
        DataError: A column is not known; the nearest one and all others are told.
    """
    for column in columns:
        if column not in known:
            names = [_shortened(name) for name in known[:30]]
            raise DataError(f"{where}: there is no column {column!r}{nearest(column, names)}{remedy}")


def checked_cell(value: Any, column: str, where: str) -> Cell:
    """Return a value that came from JSON, Parquet or a data set if it is text, a number or nothing.

    Raises:
        DataError: It is a list, an object, a date or the like, or text that is no Unicode.
    """
    if not isinstance(value, Cell):
        raise DataError(
            f"{where}: column {column!r} holds a {type(value).__name__}; allowed: text, numbers and null; "
            "name another column"
        )
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise DataError(
                f"{where}: column {column!r} holds half of a character ({value[error.start]!r}); allowed: Unicode "
                "text; mend the escape in that cell"
            ) from None
    return value


def checked_row(cells: Mapping[str, Any], lists: Collection[str], where: str) -> Row:
    """Return a row that came from JSON, Parquet or a data set if its cells are text, numbers, nothing or wanted lists.

    Args:
        cells: The value of each column.
        lists: The columns that may hold lists.
        where: Where the row stands.

    Raises:
        DataError: As for :func:`checked_cell`.
    """
    found = {
        column: [checked_cell(item, f"{column}[{place}]", where) for place, item in enumerate(value)]
        for column, value in cells.items()
        if column in lists and isinstance(value, list)
    }
    others = {column: checked_cell(value, column, where) for column, value in cells.items() if column not in found}
    return Row(where, others, found)


Rows = Callable[[list[str], Collection[str]], Iterator[Row]]


def _opened(path: Path) -> tuple[list[str], Rows]:
    openers = {
        ".csv": lambda: _delimited(path, _csv_rows(path)),
        ".tsv": lambda: _delimited(path, _tsv_rows(path)),
        ".jsonl": lambda: _objects(path, _jsonl_objects),
        ".json": lambda: _objects(path, _json_objects),
        ".parquet": lambda: _parquet(path),
    }
    if file_format(path) not in openers:
        hint = "rename it .tsv if tabs part its columns" if file_format(path) == ".txt" else "save it as CSV in UTF-8"
        raise DataError(
            f"{path}: not a table that can be read; allowed: {', '.join(openers)}, each also with .gz; {hint}"
        )
    return openers[file_format(path)]()


def _shortened(name: str) -> str:
    return name if len(name) <= 40 else name[:39] + "…"


def _shown(names: Sequence[str]) -> str:
    return ", ".join(map(_shortened, names[:10])) + (", ..." if len(names) > 10 else "")


def _delimited(path: Path, lines: Iterator[tuple[int, list[str]]]) -> tuple[list[str], Rows]:
    header = [name.strip() for name in next(lines, (1, []))[1]]
    if not header:
        raise DataError(f"{path}: the file is empty; allowed: a header with the names of the columns, then rows")
    twice = [name for name, count in Counter(header).items() if name and count > 1]
    if twice:
        raise DataError(f"{path}:1: two columns are named {twice[0]!r}; give each column of the header its own name")

    def rows(columns: list[str], _lists: Collection[str]) -> Iterator[Row]:
        places = [(column, header.index(column)) for column in columns]
        for number, cells in lines:
            if len(cells) != len(header):
                raise DataError(
                    f"{path}:{number}: the row has {len(cells)} cells where the header has {len(header)} "
                    f"({_shown(header)}); put a cell that holds the separator or a line end in double quotes"
                )
            yield Row(f"{path}:{number}", {column: cells[place] for column, place in places})

    return header, rows


@contextmanager
def _quotes_checked(path: Path, line: Callable[[], int]) -> Iterator[None]:
    try:
        yield
    except csv.Error as error:
        raise DataError(
            f"{path}:{line()}: the quotes of a cell do not fit ({error}); allowed: double quotes around the whole cell "
            "and each quote inside it doubled; mend the row, or save the table as .jsonl"
        ) from None


def _csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    lines = text_lines(path, keep_ends=True)
    header = next(lines, "")
    delimiter = next((mark for mark in ",;\t" if mark in header), ",")
    csv.field_size_limit(_LARGEST_CELL)
    # Without strict, a quote that is never closed would silently swallow all rows below it.
    reader = csv.reader(itertools.chain([header], lines), delimiter=delimiter, strict=True)
    start = 1
    with _quotes_checked(path, lambda: start):
        for cells in reader:
            if len(cells) > 1 or "".join(cells).strip():
                yield start, cells
            start = reader.line_num + 1


def _tsv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    # Published .tsv files (GLUE, NSMC) do not quote, those that pandas writes do. A line with the header's number of
    # tabs is a row as it stands, unless its last cell opens a quote and the next line is no row; other lines, and that
    # one, are read as rows with tabs or line ends in quotes.
    csv.field_size_limit(_LARGEST_CELL)
    lines = read_lines(path)
    ahead = next(lines, None)
    width = 0
    while ahead:
        (number, line), ahead = ahead, next(lines, None)
        if not line.strip(" "):
            continue
        cells = [_unwrapped(cell) for cell in line.split("\t")]
        width = width or len(cells)
        opens = cells[-1].startswith('"') and ahead is not None and ahead[1].count("\t") != width - 1
        num_quotes = line.count('"')
        if (num_quotes and len(cells) != width) or (opens and num_quotes % 2):
            parts = [line + "\n"]
            while num_quotes % 2 and ahead:
                parts.append(ahead[1] + "\n")
                num_quotes += ahead[1].count('"')
                ahead = next(lines, None)
            with _quotes_checked(path, lambda: number):  # noqa: B023 - called before the loop goes on
                cells = next(csv.reader(parts, delimiter="\t", strict=True))
        yield number, cells


def _unwrapped(cell: str) -> str:
    inner = cell[1:-1].replace('""', "")
    return cell[1:-1].replace('""', '"') if len(cell) > 1 and cell[0] == cell[-1] == '"' and '"' not in inner else cell


def _objects(path: Path, read: Callable[[Path], Iterator[tuple[str, dict[str, Any]]]]) -> tuple[list[str], Rows]:
    first = itertools.islice(read(path), _ROWS_SHOWING_COLUMNS)
    header = list(dict.fromkeys(itertools.chain.from_iterable(values for _, values in first)))
    if not header:
        raise DataError(f'{path}: the file is empty; allowed: objects such as {{"text": "..."}}')

    def rows(columns: list[str], lists: Collection[str]) -> Iterator[Row]:
        for where, values in read(path):
            yield checked_row({column: values.get(column) for column in columns}, lists, where)

    return header, rows


def _jsonl_objects(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in read_lines(path):
        if line.strip():
            try:
                value = json.loads(line)
            except ValueError as error:
                raise DataError(
                    f'{path}:{number}: not JSON ({error}); allowed: one object a line, such as {{"text": "..."}}; '
                    "mend the line"
                ) from None
            yield _checked_object(value, f"{path}:{number}")


def _json_objects(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    text = "".join(text_lines(path))
    try:
        values = json.loads(text if text.strip() else "[]")
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}:{error.lineno}: not JSON ({error.msg}); allowed: one list of objects; mend it, or name a file of "
            "one object a line .jsonl"
        ) from None
    if not isinstance(values, list):
        raise DataError(f"{path}: holds a {type(values).__name__}; allowed: one list of objects; put them in a list")
    for number, value in enumerate(values, 1):
        yield _checked_object(value, f"{path} row {number}")


def _checked_object(value: Any, where: str) -> tuple[str, dict[str, Any]]:
    if not isinstance(value, dict):
        raise DataError(
            f'{where}: holds a {type(value).__name__} where an object is wanted; allowed: such as {{"text": "..."}}'
        )
    return where, value


def _parquet(path: Path) -> tuple[list[str], Rows]:
    import pyarrow
    import pyarrow.parquet

    @contextmanager
    def opened() -> Iterator[Any]:
        try:
            with pyarrow.parquet.ParquetFile(io.BytesIO(read_bytes(path)) if path.suffix == ".gz" else path) as file:
                yield file
        except (pyarrow.ArrowException, OSError) as error:
            raise DataError(f"{path}: cannot be read as Parquet ({error}); check the file, or write it anew") from None

    def rows(columns: list[str], lists: Collection[str]) -> Iterator[Row]:
        with opened() as file:
            values = itertools.chain.from_iterable(batch.to_pylist() for batch in file.iter_batches(columns=columns))
            for number, row in enumerate(values, 1):
                yield checked_row({column: row[column] for column in columns}, lists, f"{path} row {number}")

    with opened() as file:
        return list(file.schema_arrow.names), rows
