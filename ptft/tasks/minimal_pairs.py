"""Minimal pairs: two sentences that differ in one thing, of which one is acceptable."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ptft.corpus.files import exists, file_format, neighbours
from ptft.corpus.tables import Row, check_columns, column_names, read_rows
from ptft.errors import DataError
from ptft.tasks.conll import CONLL
from ptft.tasks.table_source import TABLE_FORMATS

_READABLE = tuple(ending for ending in TABLE_FORMATS if ending != CONLL)
_SUBTASKS = ("UID",)
_PHENOMENA = ("phenomenon", "linguistics_term")


@dataclass(frozen=True, slots=True)
class MinimalPair:
    """Two sentences, of which a language model should find the first more probable.

    Attributes:
        good: The acceptable one.
        bad: The other.
        subtask: The set that the pair belongs to; BLiMP has 67.
        phenomenon: What the set tests; BLiMP has 13. Empty if nothing says so.
    """

    good: str
    bad: str
    subtask: str
    phenomenon: str = ""


def read_minimal_pairs(
    path: str,
    *,
    good: str = "sentence_good",
    bad: str = "sentence_bad",
    subtask: str = "",
    phenomenon: str = "",
) -> tuple[list[MinimalPair], list[str]]:
    """Read pairs from a table (.jsonl, .csv, ...), or from all tables of a folder as BLiMP publishes them.

    Args:
        path: The file or folder.
        good: The column of acceptable sentences.
        bad: The column of unacceptable ones.
        subtask: The column of the set's name; empty takes ``UID`` if it is there, else the name of the file.
        phenomenon: The column of what is tested; empty takes ``phenomenon`` or ``linguistics_term`` if one is there.

    Returns:
        The pairs, and notes on what is odd about them: two equal sentences can only tie, and stay in.

    Raises:
        DataError: There is no such file, no table in the folder, no such column, or a sentence is empty.

    Paper: Warstadt et al. 2020 (BLiMP), arXiv 1912.00582.
    """
    pairs: list[MinimalPair] = []
    equal: list[str] = []
    for file in _files(path):
        known = column_names(file)
        sets = subtask or _first_known(_SUBTASKS, known)
        tested = phenomenon or _first_known(_PHENOMENA, known)
        hint = "; name the columns of sentences with good=COLUMN and bad=COLUMN"
        check_columns(str(file), known, [good, bad], hint)
        of_file = file.name.partition(".")[0]
        for row in read_rows(file, [column for column in (good, bad, sets, tested) if column]):
            pair = MinimalPair(
                _sentence(row, good),
                _sentence(row, bad),
                str(row.values.get(sets) or of_file),
                str(row.values.get(tested) or ""),
            )
            pairs.append(pair)
            if pair.good == pair.bad:
                equal.append(row.where)
    notes = []
    if equal:
        notes.append(
            f"{path}: {len(equal)} of {len(pairs)} pairs have two equal sentences (first: {equal[0]}); each counts as "
            "half a hit"
        )
    return pairs, notes


def _files(path: str) -> list[Path]:
    if not exists(path):
        raise DataError(f"there is no file or folder {path!r}{neighbours(Path(path))}")
    if not Path(path).is_dir():
        return [Path(path)]
    files = [file for file in sorted(Path(path).iterdir()) if file.is_file() and file_format(file) in _READABLE]
    if not files:
        raise DataError(
            f"{path}: the folder holds no table of minimal pairs; allowed: {', '.join(_READABLE)} (and .gz); name a "
            "folder that does, or a file"
        )
    return files


def _first_known(names: Sequence[str], known: Sequence[str]) -> str:
    return next((name for name in names if name in known), "")


def _sentence(row: Row, column: str) -> str:
    value = row.values[column]
    text = "" if value is None else str(value).strip()
    if not text:
        raise DataError(
            f"{row.where}: the sentence in column {column!r} is empty; give both sentences, or remove the row"
        )
    return text
