"""Labelled tables as tasks: a file, a folder, a data set or the name of a task becomes examples in splits."""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ptft import rng
from ptft.corpus.files import check_file, exists, file_format, read_lines
from ptft.corpus.tables import Cell, check_columns
from ptft.errors import DataError, RecipeError
from ptft.family import nearest
from ptft.tasks import TASKS
from ptft.tasks.table_source import Table, file_table, open_tables, refuse_given, text_columns, texts_of
from ptft.tasks.task import Example, TaskData

_HELD_OUT_RATIO = 0.1  # of the rows of a label, for each part that is not given
_MOST_LABELS = 1000
_FEWEST_ROWS_TO_DOUBT = 10  # with fewer rows, labels that hardly repeat are no sign of a wrong column
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)")

Parts = dict[str, list[Example]]


def read_task(
    data: str,
    *,
    valid: str = "",
    test: str = "",
    text: str = "",
    text_a: str = "",
    text_b: str = "",
    label: str = "label",
    seed: int = 0,
) -> tuple[TaskData, list[str]]:
    """Read labelled examples in three splits.

    Labels are text as it stands, in order: by value if all are whole numbers, else as text. Rows with an empty text or
    no label are left out and counted. A part that is not given is held out of the training rows: a tenth of each label,
    at least one row of it as long as one is left to train on.

    Args:
        data: A table, a folder with a ``train`` table (and ``valid`` and ``test``), a task's name, a saved data set, or
            the name of one on the Hub. A task's name wins over a file of that name: write ``./name`` for the file.
        valid: A table for validation, if ``data`` does not bring one or another is wanted.
        test: A table for testing, likewise.
        text: The column of the text; if not given ``text``, or else ``text_a`` and ``text_b``.
        text_a: The column of the first text of a pair.
        text_b: The column of the second text of a pair.
        label: The column of the label.
        seed: Key of what is held out, and of tasks that draw their examples; >= 0.

    Returns:
        The examples, and a sentence for people about each thing that was left out or decided.

    Raises:
        DataError: A table cannot be found or read, lacks a column, or its labels cannot be used.
        RecipeError: Settings contradict one another or have no effect.
    """
    if data in TASKS:
        given = {"valid": valid, "test": test, "text": text, "text_a": text_a, "text_b": text_b}
        refuse_given({**given, "label": "" if label == "label" else label}, f"task {data!r} has rows of its own")
        return TASKS[data]().data(seed), []
    tables = open_tables(data, valid, test)
    columns = text_columns(tables["train"], text, text_a, text_b)
    if label in columns:
        raise RecipeError(f"label is {label!r}, which is a column of text too; allowed: another column; name it")
    for table in tables.values():
        check_columns(table.name, table.columns, columns)
        check_columns(table.name, table.columns, [label], "; name the column of labels with label=COLUMN")
    notes: list[str] = []
    parts = {split: _examples(table, columns, label, notes) for split, table in tables.items()}
    for split in [split for split, examples in parts.items() if not examples]:
        if split == "train" or not tables[split].of_dataset:
            raise DataError(f"{tables[split].name}: no row has both a text and a label; fill some in, or name others")
        del parts[split]  # published test sets often keep their labels secret
    labels = _labels(tables["train"].name, label, parts)
    _divide(tables["train"].name, parts, seed, notes)
    examples = {split: tuple(part) for split, part in parts.items()}
    return TaskData(task_name(data), labels, examples["train"], examples["valid"], {"test": examples["test"]}), notes


def subset(data: TaskData, num_labels_rows: int, seed: int) -> TaskData:
    """Keep ``num_labels_rows`` training rows; the rows for 16 are among those for 64 of the same seed.

    The first rows are one of each label; the others follow in the labels' proportions.

    Args:
        data: A task's examples.
        num_labels_rows: Number of labelled rows to train on.
        seed: Key of the order, >= 0.

    Raises:
        DataError: There are fewer training rows, or less than one is wanted.
    """
    if not 1 <= num_labels_rows <= len(data.train):
        raise DataError(
            f"{num_labels_rows!r} labelled rows are wanted of {data.name}; allowed: 1 to {len(data.train)}, the number "
            "of its training rows; ask for fewer, or give more data"
        )
    keyed: list[tuple[float, float, int]] = []
    for label, rows in _shuffled_by_label(data.train, "rows to train on", seed).items():
        turn = float(rng.uniform(rng.key_of("turns of labels"), seed, rng.key_of(label)))
        keyed += [((place + 0.5) / len(rows) if place else 0.0, turn, row) for place, row in enumerate(rows)]
    return replace(data, train=tuple(data.train[row] for _, _, row in sorted(keyed)[:num_labels_rows]))


def read_texts(path: str, text: str = "", text_a: str = "", text_b: str = "") -> list[tuple[str, str, str]]:
    """Read texts without labels: one for each row of a table or each line of a .txt file, empty ones too.

    Args:
        path: A table or a .txt file.
        text: The column of the text, as for :func:`read_task`.
        text_a: The column of the first text of a pair.
        text_b: The column of the second text of a pair.

    Returns:
        Where each stands, the text, and the second text or nothing.

    Raises:
        DataError: The file cannot be found or read, lacks a column, or has no text at all.
        RecipeError: Settings contradict one another or have no effect.
    """
    if file_format(check_file(path)) == ".txt":
        refuse_given({"text": text, "text_a": text_a, "text_b": text_b}, f"{path} has no columns")
        texts = [(f"{path}:{number}", line.strip(), "") for number, line in read_lines(path)]
    else:
        table = file_table(path)
        columns = text_columns(table, text, text_a, text_b)
        texts = [(row.where, *texts_of(row, columns)) for row in table.rows(columns)]
    if not any(first for _, first, _ in texts):
        raise DataError(f"{path}: holds no text; allowed: at least one row with text; name another file or column")
    return texts


def task_name(data: str) -> str:
    """What a task is called: the name of the file or folder without its endings, or the data set's or task's own."""
    path = Path(data).absolute()
    if not exists(path):
        return data
    return path.name if path.is_dir() else Path(path.stem).stem if path.suffix.lower() == ".gz" else path.stem


def _examples(table: Table, columns: list[str], label: str, notes: list[str]) -> list[Example]:
    examples = []
    left_out: dict[str, list[str]] = {"a text": [], "a label": []}
    for number, row in enumerate(table.rows([*columns, label]), 1):
        texts, name = texts_of(row, columns), _label(row.values[label], label, row.where)
        if not all(texts[: len(columns)]):
            left_out["a text"].append(row.where)
        elif not name:
            left_out["a label"].append(row.where)
        else:
            examples.append(Example(texts[0], name, texts[1], row.where, number))
    for what, places in left_out.items():
        if places:
            first = places[0].removeprefix(table.name).replace(":", "line ").strip()
            count = f"1 row without {what} was" if len(places) == 1 else f"{len(places)} rows without {what} were"
            notes.append(f"{table.name}: {count} left out (first: {first})")
    return examples


def _label(value: Cell, column: str, where: str) -> str:
    if isinstance(value, float):
        if not value.is_integer():
            raise _no_class(where, column, str(value))
        value = int(value)
    return "" if value is None else str(value).strip()


def _no_class(where: str, column: str, value: str) -> DataError:
    return DataError(
        f"{where}: column {column!r} holds {value}, which is no class; allowed: text or whole numbers, or nothing "
        "where there is no label; name another column, or turn the numbers into classes"
    )


def _labels(name: str, column: str, parts: Parts) -> tuple[str, ...]:
    """Check the labels of all parts and return those of the training rows in order."""
    everything = [example for part in parts.values() for example in part]
    seen = {example.label: example for example in reversed(everything)}
    if all(_NUMBER.fullmatch(label) for label in seen):
        for label, example in seen.items():
            if not float(label).is_integer():
                raise _no_class(example.where, column, label)
    if len(seen) > _MOST_LABELS or (len(everything) >= _FEWEST_ROWS_TO_DOUBT and len(seen) > len(everything) / 2):
        raise DataError(
            f"{name}: column {column!r} has {len(seen)} different values in {len(everything)} rows and does not look "
            f"like a label; allowed: at most {_MOST_LABELS}, and at most half as many as rows; name another column"
        )
    labels = {example.label for example in parts["train"]}
    if len(parts["train"]) < 2:
        raise DataError(f"{name}: holds 1 row with text and label; allowed: 2 or more; add rows")
    if len(labels) < 2:
        raise DataError(
            f"{name}: column {column!r} holds a single label, {labels.pop()!r}; allowed: two or more; add rows of "
            "another label, or name another column"
        )
    for example in everything:
        if example.label not in labels:
            raise DataError(
                f"{example.where}: label {example.label!r} does not occur in the training rows"
                f"{nearest(example.label, sorted(labels)[:30])}"
            )
    if all(_NUMBER.fullmatch(label) for label in labels):
        return tuple(sorted(labels, key=lambda label: (float(label), label)))
    return tuple(sorted(labels))


def _shuffled_by_label(examples: Sequence[Example], purpose: str, seed: int) -> dict[str, list[int]]:
    """The numbers of the rows of each label, in random order."""
    order = np.argsort(rng.bits(rng.key_of(purpose), seed, np.arange(len(examples))), kind="stable")
    rows: defaultdict[str, list[int]] = defaultdict(list)
    for row in order.tolist():
        rows[examples[row].label].append(row)
    return rows


def _divide(name: str, parts: Parts, seed: int, notes: list[str]) -> None:
    """Hold training rows out for each part that is not there, and say what was done."""
    train = parts["train"]
    part_of_row: dict[int, str] = {}
    missing = [split for split in ("test", "valid") if split not in parts]
    for rows in _shuffled_by_label(train, "held-out rows", seed).values():
        quota = max(1, round(_HELD_OUT_RATIO * len(rows)))
        spare = rows[1:]
        for split in missing:
            part_of_row |= dict.fromkeys(spare[:quota], split)
            spare = spare[quota:]
    for split in ["train", *missing]:
        parts[split] = [example for row, example in enumerate(train) if part_of_row.get(row, "train") == split]
    if not parts["test"]:
        raise DataError(
            f"{name}: {len(train)} rows, one of each label, are too few to hold some out for testing; allowed: two of "
            "some label; add rows, or give test=FILE"
        )
    if missing:
        counts = [f"{len(parts['train'])} to train on", *(f"{len(parts[split])} for {split}" for split in missing)]
        notes.append(f"{name}: {len(train)} rows were divided by label: {', '.join(counts)} (seed {seed})")
    known = {(example.text, example.text_b) for example in parts["train"]}
    num_known = sum((example.text, example.text_b) in known for example in parts["test"])
    if num_known:
        notes.append(
            f"{name}: {num_known} of {len(parts['test'])} rows for test have the text of a row to train on, which "
            "flatters the result"
        )
