"""Labelled tables as tasks: a file, a folder, a data set or the name of a task becomes examples in splits."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ptft import rng
from ptft.corpus.files import check_file, exists, file_format, read_lines
from ptft.corpus.tables import Row, check_columns
from ptft.errors import DataError, RecipeError
from ptft.tasks import TASKS
from ptft.tasks.labels import names_of
from ptft.tasks.problem import Columns, Problem
from ptft.tasks.problems import PROBLEMS
from ptft.tasks.table_source import (
    Table,
    file_table,
    left_out_notes,
    open_tables,
    refuse_given,
    split_table,
    text_columns,
)
from ptft.tasks.task import Example, TaskData

_MOST_SHOWN = 10  # labels in a sentence
_UNNAMED = re.compile(r"LABEL_\d+")
_HELD_OUT_RATIO = 0.1  # of the rows of a label, for each part that is not given
# Parts that should share no text: whose rows are counted, with whose they are compared, and what it does.
_OVERLAPS = (
    ("test", "a row to train on", "train", "the result"),
    ("valid", "a row to train on", "train", "what is chosen by them"),
    ("test", "a row for valid", "valid", "the result of what is chosen there"),
)


def read_task(
    data: str,
    *,
    valid: str = "",
    test: str = "",
    text: str = "",
    text_a: str = "",
    text_b: str = "",
    label: str = "label",
    problem: str = "classification",
    choices: str = "",
    seed: int = 0,
) -> tuple[TaskData, list[str]]:
    """Read labelled examples in three splits.

    What a label may be and how labels are ordered is the problem's. Rows with an empty text or no label are left out
    and counted. A part that is not given is held out of the training rows: a tenth of each label - of all rows where a
    row has no single label of few -, at least one row of it as long as one is left to train on.

    Args:
        data: A table, a folder with a ``train`` table (and ``valid`` and ``test``), a task's name, a saved data set, or
            the name of one on the Hub. A task's name wins over a file of that name: write ``./name`` for the file.
        valid: A table for validation, if ``data`` does not bring one or another is wanted.
        test: A table for testing, likewise.
        text: The column of the text; if not given ``text``, or else ``text_a`` and ``text_b``.
        text_a: The column of the first text of a pair.
        text_b: The column of the second text of a pair.
        label: The column of the label.
        problem: What kind of labels there are: a name of :data:`~ptft.tasks.problems.PROBLEMS`.
        choices: The column of lists of choices (if not given ``choices``), or a comma list of columns of one each.
        seed: Key of what is held out, and of tasks that draw their examples; >= 0.

    Returns:
        The examples, and a sentence for people about each thing that was left out or decided.

    Raises:
        DataError: A table cannot be found or read, lacks a column, or its labels cannot be used.
        RecipeError: Settings contradict one another or have no effect, or one table is both for validation and testing.
    """
    if data in TASKS:
        settings = {"valid": valid, "test": test, "text": text, "text_a": text_a, "text_b": text_b, "choices": choices}
        usual = {"label": (label, "label"), "problem": (problem, "classification")}
        settings |= {setting: "" if value == default else value for setting, (value, default) in usual.items()}
        refuse_given(settings, f"task {data!r} has rows of its own")
        return TASKS[data]().data(seed), []
    kind = PROBLEMS[problem]()
    tables = open_tables(data, valid, test)
    given = [tables[split].name for split in ("valid", "test") if split in tables]
    if len({Path(name).resolve() for name in given}) < len(given):
        raise RecipeError(
            f"valid and test are both {given[0]!r}; allowed: two tables, since what is chosen on one is scored on "
            "the other; name another one, or leave one out: it is then held out of the rows to train on"
        )
    columns = _columns(tables["train"], kind, text, text_a, text_b, choices, label)
    for table in tables.values():
        check_columns(table.name, table.columns, [*columns.texts, *columns.choices])
        check_columns(table.name, table.columns, [label], "; name the column of labels with label=COLUMN")
    notes: list[str] = []
    parts = {split: _examples(table, kind, columns, notes) for split, table in tables.items()}
    for split in [split for split, examples in parts.items() if not examples]:
        if split == "train" or not tables[split].of_dataset:
            raise DataError(f"{tables[split].name}: no row has both a text and a label; fill some in, or name others")
        del parts[split]  # published test sets often keep their labels secret
    name = tables["train"].name
    if len(parts["train"]) < 2:
        raise DataError(f"{name}: holds 1 row with text and label; allowed: 2 or more; add rows")
    parts = {split: list(examples) for split, examples in kind.settled(parts).items()}
    labels = kind.labels(name, label, parts)
    _divide(name, kind, parts, seed, notes)
    train, held_out, tests = (tuple(parts[split]) for split in ("train", "valid", "test"))
    return TaskData(task_name(data), labels, train, held_out, {"test": tests}, problem), notes


def read_labelled(
    data: str,
    labels: Sequence[str],
    *,
    problem: str,
    text: str = "",
    text_a: str = "",
    text_b: str = "",
    label: str = "label",
    choices: str = "",
    pairs: bool | None = None,
) -> tuple[dict[str, tuple[Example, ...]], list[str]]:
    """Read rows to score a model on, whose labels are known already and are matched by their names.

    Args:
        data: A table, all of whose rows are read; or a folder, a task's name or a data set, of which the test rows are.
        labels: Those of the model.
        problem: What the model is for.
        text: The column of the text, as for :func:`read_task`.
        text_a: The column of the first text of a pair.
        text_b: The column of the second text of a pair.
        label: The column of the label.
        choices: The column of the choices, or the columns.
        pairs: Whether the model reads pairs of texts; None where that is not known.

    Returns:
        The examples of each test set by its name - a table's is ``test`` -, and a sentence about what was left out.

    Raises:
        DataError: There are no such rows, a row has a label that the model does not know, the task is of another
            problem, or they are single texts where the model reads pairs, or the other way round.
        RecipeError: Settings contradict one another or have no effect.
    """
    kind = PROBLEMS[problem]()
    notes: list[str] = []
    if data in TASKS:
        given = {"text": text, "text_a": text_a, "text_b": text_b, "choices": choices}
        refuse_given(given | {"label": "" if label == "label" else label}, f"task {data!r} has rows of its own")
        task = TASKS[data]().data(0)
        if task.problem != problem:
            raise DataError(f"task {data!r} is {task.problem} and the model is for {problem}; give rows of that kind")
        tests = dict(task.tests)
        _check_pairs(data, pairs, is_pair=any(row.text_b for rows in tests.values() for row in rows))
    else:
        table = split_table(data, "test")
        columns = _columns(table, kind, text, text_a, text_b, choices, label)
        _check_pairs(table.name, pairs, is_pair=len(columns.texts) > 1)
        check_columns(table.name, table.columns, [*columns.texts, *columns.choices])
        check_columns(table.name, table.columns, [label], "; name the column of labels with label=COLUMN")
        examples = _examples(table, kind, columns, notes)
        if not examples:
            raise DataError(f"{table.name}: no row has both a text and a label; fill some in, or name another table")
        tests = {"test": tuple(kind.settled({"test": examples}, labels)["test"])}
    if labels and kind.unit != "choice":
        for rows in tests.values():
            _check_known(data, rows, labels)
    return tests, notes


def _check_known(data: str, rows: Sequence[Example], labels: Sequence[str]) -> None:
    first = {name: row.where for row in reversed(rows) for name in names_of(row)}
    unknown = sorted({*first} - {*labels})
    if not unknown:
        return
    unnamed = all(_UNNAMED.fullmatch(label) for label in labels)
    why = ", names that stand for none: nobody told the model what its labels mean" if unnamed else ""
    raise DataError(
        f"{first[unknown[0]] or data}: the model does not know the label{'s' * (len(unknown) > 1)} {_listed(unknown)}; "
        f"its labels are {_listed(labels)}{why}; write the table's as the model's, or name another column with "
        "label=COLUMN"
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join([*map(repr, names[:_MOST_SHOWN]), *(["..."] if len(names) > _MOST_SHOWN else [])])


def subset(data: TaskData, num_labels_rows: int, seed: int) -> TaskData:
    """Keep ``num_labels_rows`` training rows; the rows for 16 are among those for 64 of the same seed.

    The first rows are one of each label; the others follow in the labels' proportions. Rows whose problem has no single
    label of few come in random order.

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
    kind = PROBLEMS[data.problem]()
    for label, rows in _shuffled_by_stratum(kind, data.train, "rows to train on", seed).items():
        turn = float(rng.uniform(rng.key_of("turns of labels"), seed, rng.key_of(label)))
        keyed += [((place + 0.5) / len(rows) if place else 0.0, turn, row) for place, row in enumerate(rows)]
    return replace(data, train=tuple(data.train[row] for _, _, row in sorted(keyed)[:num_labels_rows]))


def balanced_weights(data: TaskData) -> list[float]:
    """For each label the number of training rows over that of the labels times that of the label's own rows."""
    counts = Counter(str(example.label) for example in data.train)
    return [len(data.train) / (len(data.labels) * counts[label]) if counts[label] else 1.0 for label in data.labels]


def read_inputs(
    path: str,
    *,
    problem: str = "classification",
    text: str = "",
    text_a: str = "",
    text_b: str = "",
    choices: str = "",
    pairs: bool | None = None,
) -> list[Example]:
    """Read what a model of a problem predicts from: one example without label for each row or line, empty ones too.

    Args:
        path: A table, a .txt file (where words stand apart by spaces), or a .conll file, whose tags are not read.
        problem: A name of :data:`~ptft.tasks.problems.PROBLEMS`.
        text: The column of the text, as for :func:`read_task`.
        text_a: The column of the first text of a pair.
        text_b: The column of the second text of a pair.
        choices: The column of the choices, or the columns.
        pairs: Whether the model reads pairs of texts; None where that is not known.

    Raises:
        DataError: The file cannot be found or read, lacks a column, has no text at all, or a row without choices; or
            it has single texts where the model reads pairs, or the other way round.
        RecipeError: Settings contradict one another or have no effect.
    """
    kind = PROBLEMS[problem]()
    if file_format(check_file(path)) == ".txt":
        if kind.unit == "choice":
            raise DataError(
                f"{path}: lines of text have no choices, which problem={problem} chooses from; allowed: a table with a "
                "text and choices a row; name one"
            )
        refuse_given({"text": text, "text_a": text_a, "text_b": text_b, "choices": choices}, f"{path} has no columns")
        _check_pairs(path, pairs, is_pair=False)
        lines = (Row(f"{path}:{number}", {"text": line}) for number, line in read_lines(path))
        examples = [kind.read_input(line, Columns(("text",))) for line in lines]
    else:
        table = file_table(path)
        columns = _columns(table, kind, text, text_a, text_b, choices)
        _check_pairs(path, pairs, is_pair=len(columns.texts) > 1)
        rows = table.rows(columns.names, kind.list_columns(columns))
        examples = [kind.read_input(row, columns) for row in rows]
    if not any(example.text for example in examples):
        raise DataError(f"{path}: holds no text; allowed: at least one row with text; name another file or column")
    for example in examples:
        if not kind.inputs(example):
            raise DataError(f"{example.where}: the row has neither text nor choices; fill it in, or leave it out")
    return examples


def _check_pairs(name: str, pairs: bool | None, *, is_pair: bool) -> None:
    if pairs is None or pairs == is_pair:
        return
    if pairs:
        raise DataError(
            f"{name}: the model was fine-tuned on pairs of texts, and single ones are given; name the columns of both, "
            "with text_a=COLUMN and text_b=COLUMN"
        )
    raise DataError(
        f"{name}: the model was fine-tuned on single texts, and pairs are given; name one column, with text=COLUMN"
    )


def task_name(data: str) -> str:
    """What a task is called: the name of the file or folder without its endings, or the data set's or task's own."""
    path = Path(data).absolute()
    if not exists(path):
        return data
    return path.name if path.is_dir() else Path(path.stem).stem if path.suffix.lower() == ".gz" else path.stem


def _columns(
    table: Table, kind: Problem, text: str, text_a: str, text_b: str, choices: str, label: str = ""
) -> Columns:
    """Which columns hold what, as they were named or by their usual names; all are there."""
    texts = tuple(text_columns(table, text, text_a, text_b))
    several: tuple[str, ...] = ()
    if kind.unit == "choice":
        names = choices or "choices"
        several = (names,) if names in table.columns else tuple(name.strip() for name in names.split(","))
        remedy = "; name the column of choices with choices=COLUMN, or a column for each with choices=A,B,C"
        check_columns(table.name, table.columns, several, remedy)
    else:
        refuse_given({"choices": choices}, f"problem={kind.name} has no choices")
    if kind.unit == "word" and len(texts) > 1:
        raise RecipeError(f"text_b is {texts[1]!r} but problem={kind.name} reads one text; leave text_b out")
    for held, what in ((texts, "text"), (several, "choices")):
        if label in held:
            raise RecipeError(f"label is {label!r}, which is a column of {what} too; allowed: another column; name it")
    return Columns(texts, several, label)


def _examples(table: Table, kind: Problem, columns: Columns, notes: list[str]) -> list[Example]:
    examples = []
    left_out: dict[str, list[str]] = {"a text": [], "a label": []}
    for number, row in enumerate(table.rows(columns.names, kind.list_columns(columns)), 1):
        example = kind.read_input(row, columns)
        if not all((example.text, example.text_b)[: len(columns.texts)]):
            left_out["a text"].append(row.where)
        elif (label := kind.read_label(row, columns.label, example)) is None:
            left_out["a label"].append(row.where)
        else:
            examples.append(replace(example, label=label, row=number))
    notes += left_out_notes(table, left_out)
    return examples


def _shuffled_by_stratum(kind: Problem, examples: Sequence[Example], purpose: str, seed: int) -> dict[str, list[int]]:
    """The numbers of the rows of each label (all rows where there is none of few), in random order."""
    order = np.argsort(rng.bits(rng.key_of(purpose), seed, np.arange(len(examples))), kind="stable")
    rows: defaultdict[str, list[int]] = defaultdict(list)
    for row in order.tolist():
        rows[kind.stratum(examples[row])].append(row)
    return rows


def _divide(name: str, kind: Problem, parts: dict[str, list[Example]], seed: int, notes: list[str]) -> None:
    """Hold training rows out for each part that is not there, and say what was done."""
    train = parts["train"]
    part_of_row: dict[int, str] = {}
    missing = [split for split in ("test", "valid") if split not in parts]
    for rows in _shuffled_by_stratum(kind, train, "held-out rows", seed).values():
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
        by_label = " by label" if any(map(kind.stratum, train)) else ""
        notes.append(f"{name}: {len(train)} rows were divided{by_label}: {', '.join(counts)} (seed {seed})")
    texts = {split: [(row.text, row.text_b, row.choices) for row in rows] for split, rows in parts.items()}
    for split, what, other, flattered in _OVERLAPS:
        known = {*texts[other]}
        if num_known := sum(text in known for text in texts[split]):
            notes.append(
                f"{name}: {num_known} of {len(texts[split])} rows for {split} have the text of {what}, which flatters "
                f"{flattered}"
            )
