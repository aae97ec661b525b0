"""What a model said of each choice of each question, as lines of a file that all figures can be worked out from."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from ptft.errors import DataError
from ptft.prompting.method import Answers


class Evaluation(NamedTuple):
    """What all questions of one evaluation share."""

    task: str
    template: str
    protocol: str
    k: int
    seed: int
    order: int
    """Which order of the same shots; 0 is that in which they were drawn."""


@dataclass(frozen=True, slots=True)
class ChoiceRecord:
    """One choice of one question."""

    task: str
    template: str
    protocol: str
    k: int
    seed: int
    order: int
    index: int
    """Number of the question in its test set, from 0."""
    choice: str
    """The label, or the choice's text without white space around it."""
    is_gold: bool
    log_likelihood: float
    is_greedy: bool
    characters: int
    bytes: int
    continuation_ids: list[int]
    context_tokens: int
    """Tokens before the continuation, the beginning-of-text token included."""
    shots: list[str]
    """A hash of each solved example in the prompt, in order."""
    prompt: str
    """A hash of the context."""
    document: str
    """A hash of the question itself, whatever stands before it."""
    references: dict[str, list[float]] = field(default_factory=dict)
    """Log-likelihoods that scoring methods asked for beside, by method."""

    @property
    def evaluation(self) -> Evaluation:
        """What it belongs to."""
        return Evaluation(self.task, self.template, self.protocol, self.k, self.seed, self.order)

    @property
    def line(self) -> str:
        """As a line of JSON."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False) + "\n"


def short_hash(*texts: str) -> str:
    """Sixteen hexadecimal digits that stand for some texts."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


def read_records(path: str | Path) -> list[ChoiceRecord]:
    """Read the ``choices.jsonl`` of a run of ``ptft prompt``.

    Raises:
        DataError: The file cannot be read, or a line is not such a record.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DataError(f"{str(path)!r} cannot be read: {error.strerror}; name the choices.jsonl of a run") from error
    records = []
    for number, line in enumerate(lines, 1):
        try:
            records.append(ChoiceRecord(**json.loads(line)))
        except (ValueError, TypeError) as error:
            raise DataError(f"{path}:{number}: no record of a choice ({error}); name a run's choices.jsonl") from error
    return records


def evaluations(records: Iterable[ChoiceRecord]) -> Iterator[tuple[Evaluation, list[list[ChoiceRecord]]]]:
    """The records of each evaluation, question by question; they must stand in this order, as they are written."""
    for evaluation, mine in groupby(records, key=lambda record: record.evaluation):
        yield evaluation, [list(question) for _, question in groupby(mine, key=lambda record: record.index)]


def answers_of(questions: Sequence[Sequence[ChoiceRecord]]) -> Answers:
    """The records of one evaluation as arrays."""
    names = questions[0][0].references
    return Answers(
        _table(questions, lambda record: record.log_likelihood),
        {
            "characters": _table(questions, lambda record: record.characters),
            "bytes": _table(questions, lambda record: record.bytes),
            "tokens": _table(questions, lambda record: len(record.continuation_ids)),
        },
        {name: _references(questions, name) for name in names},
    )


def _table(questions: Sequence[Sequence[ChoiceRecord]], value: Any) -> Float[ndarray, "questions choices"]:
    table = np.full((len(questions), max(map(len, questions))), np.nan)
    for row, question in zip(table, questions, strict=True):
        row[: len(question)] = [value(record) for record in question]
    return table


def _references(questions: Sequence[Sequence[ChoiceRecord]], name: str) -> Float[ndarray, "questions choices wanted"]:
    wanted = len(questions[0][0].references[name])
    parts = [_table(questions, lambda record, at=place: record.references[name][at]) for place in range(wanted)]
    return np.stack(parts, axis=2)
