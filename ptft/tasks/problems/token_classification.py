"""Token classification: a tag for each word, such as named entities or parts of speech."""

from collections.abc import Collection, Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from ptft.corpus.tables import Cell, Row
from ptft.errors import DataError
from ptft.tasks.labels import label_name, names_of, numbers_of, ordered_names, whole_names
from ptft.tasks.problem import Columns, Mistake, Parts, Problem, Values, softmax
from ptft.tasks.tagging_metrics import tagging_figures
from ptft.tasks.task import Example

_IGNORED = -100
_WORDS_AROUND = 5  # of a mistake, on either side


class TokenClassification(Problem):
    """Give each word a tag.

    Words and tags are lists, or texts with spaces between them, or the lines of a .conll file. A word is labelled at
    its first sub-token, under causal attention at its last one; a target of -100 counts nothing. The loss is the
    cross-entropy of the words' tags in nats. A word that was cut off, or of whose characters the tokenizer leaves out
    all, has logits of NaN: it is answered with nothing, and counts as wrong.
    """

    name = "token_classification"
    summary = "a tag for each word"
    metric = "f1"
    unit = "word"

    def list_columns(self, columns: Columns) -> Collection[str]:
        """The text's and the label's."""
        return (*columns.texts, columns.label)

    def read_input(self, row: Row, columns: Columns) -> Example:
        """The words.

        Raises:
            DataError: One is empty.
        """
        (column,) = columns.texts
        words = tuple(_text(cell) for cell in _cells(row, column))
        if "" in words:
            raise DataError(
                f"{row.where}: word {words.index('') + 1} of {len(words)} is empty; allowed: words with a character; "
                "leave it and its tag out"
            )
        return Example(" ".join(words), "", where=row.where, words=words)

    def read_label(self, row: Row, column: str, example: Example) -> tuple[str, ...] | None:
        """The tags, or None where there are none.

        Raises:
            DataError: There is not one for each word.
        """
        tags = tuple(label_name(cell, column, row.where) for cell in _cells(row, column))
        if not tags:
            return None
        if len(tags) != len(example.words):
            raise DataError(
                f"{row.where}: {len(example.words)} words in the text and {len(tags)} tags in column {column!r}; "
                "allowed: as many tags as words; mend the row"
            )
        if "" in tags:
            raise DataError(
                f"{row.where}: tag {tags.index('') + 1} of {len(tags)} is empty; allowed: text or whole numbers; fill "
                "it in (O is usual for words outside of everything)"
            )
        return tags

    def settled(self, parts: Parts, known: Collection[str] = ()) -> Parts:
        """Tags such as 1.0 as whole numbers, where all of the column are numbers."""
        return whole_names(parts, known)

    def labels(self, name: str, column: str, parts: Parts) -> tuple[str, ...]:
        """The tags of the training rows: at least two, by value if all are whole numbers, else as text."""
        return ordered_names(name, column, parts, "words")

    def num_outputs(self, labels: Sequence[str]) -> int:
        """One logit for each tag."""
        return len(labels)

    def targets(self, examples: Sequence[Example], labels: Sequence[str]) -> list[Int[ndarray, " words"]]:
        """Of each example the index of each word's tag."""
        number = numbers_of(labels)
        return [np.array([number[tag] for tag in names_of(example)], np.int64) for example in examples]

    def loss_sum(
        self, logits: Float[Tensor, "*positions tags"], targets: Int[Tensor, "*positions"]
    ) -> Float[Tensor, ""]:
        """The sum of the cross-entropies, in nats, at all positions whose target is not -100."""
        flat = logits.float().flatten(0, -2)
        return cross_entropy(flat, targets.flatten(), ignore_index=_IGNORED, reduction="sum")

    def count(self, targets: NDArray[Any]) -> int:
        """Targets that are not -100."""
        return int((targets != _IGNORED).sum())

    def probabilities(self, logits: NDArray[Any], examples: Sequence[Example]) -> list[Float[ndarray, "words tags"]]:
        """Of each example the probability of each tag for each word; NaN for words that were cut off."""
        ends = accumulate((len(example.words) for example in examples), initial=0)
        return [softmax(logits[start:end]) for start, end in pairwise(ends)]

    def answers(self, examples: Sequence[Example], scores: Values, labels: Sequence[str]) -> list[dict[str, str]]:
        """``label``, the most probable tags, and ``probability``, theirs, with spaces between; ``-`` if cut off."""
        rows = []
        for row in scores:
            names = [labels[tag] if tag >= 0 else "-" for tag in _best(row)]
            sure = [f"{value:.6f}" if value == value else "-" for value in row.max(-1)]
            rows.append({"label": " ".join(names), "probability": " ".join(sure)})
        return rows

    def figures(self, targets: Values, scores: Values, labels: Sequence[str], seed: int) -> dict[str, float]:
        """Those of :func:`~ptft.tasks.tagging_metrics.tagging_figures`, for the most probable tags."""
        return tagging_figures(list(targets), [_best(row) for row in scores], labels, seed)

    def mistakes(self, examples: Sequence[Example], scores: Values, labels: Sequence[str]) -> list[Mistake]:
        """The words with a wrong tag, each in brackets among its neighbours; words that were cut off are left out."""
        found = []
        for example, row in zip(examples, scores, strict=True):
            for place, (given, tag) in enumerate(zip(names_of(example), _best(row), strict=True)):
                if tag >= 0 and labels[tag] != given:
                    before = example.words[max(0, place - _WORDS_AROUND) : place]
                    after = example.words[place + 1 : place + 1 + _WORDS_AROUND]
                    text = " ".join([*before, f"[{example.words[place]}]", *after])
                    found.append(Mistake(example.where, text, given, labels[tag], float(row[place, tag])))
        return found

    def confused(self, targets: Values, scores: Values) -> Int[ndarray, "seen 2"]:
        """The tag of each word that was not cut off, and the most probable one."""
        pairs = [np.stack([tags, _best(row)], axis=1) for tags, row in zip(targets, scores, strict=True)]
        found = np.concatenate(pairs)
        return found[found[:, 1] >= 0]


def _best(row: Float[ndarray, "words tags"]) -> Int[ndarray, " words"]:
    return np.where(np.isnan(row).any(-1), -1, row.argmax(-1))


def _cells(row: Row, column: str) -> Sequence[Cell]:
    if column in row.lists:
        return row.lists[column]
    cell = row.values[column]
    return [] if cell is None else str(cell).split()


def _text(cell: Cell) -> str:
    return "" if cell is None else str(cell).strip()
