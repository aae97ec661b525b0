"""Decontamination: which documents of a corpus hold texts that models will be evaluated on."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from ptft.corpus.ngrams import Hashes, ngram_hashes, words_of

Evaluation = Mapping[str, Sequence[tuple[str, str]]]
"""The texts of each evaluation task, each with the place where it stands."""

_WORDS = 13
_FEWEST_BYTES = 48  # ten English words, sixteen Hangul syllables: less is said again by chance
_MOST_EXAMPLES = 100  # of a task, in the report


class _Table(NamedTuple):
    """Hashes of n-grams in order, and the number of the text that each is from."""

    hashes: Hashes
    texts: Int[ndarray, "hashes"]


class Contamination:
    """Finds evaluation texts in documents by runs of 13 words, and keeps the record.

    Words are compared as :func:`~ptft.corpus.ngrams.words_of` gives them. A text of 13 words or more is found where any
    13 of its words in a row stand in a document, across sentences too; a shorter one where all of it does. Texts of
    less than 48 bytes are not looked for, since they are said again by chance; the report counts them.

    Args:
        evaluation: What to look for.

    Paper:
        Brown et al. 2020, appendix C, arXiv 2005.14165. Differs: they take N from 8 to 13 by the lengths of each task's
        examples and ignore what is found more than ten times; we take 13 for all, whole shorter texts, and let the
        report show what repeats.
    """

    def __init__(self, evaluation: Evaluation) -> None:
        self._places = [(task, where) for task, texts in evaluation.items() for where, _ in texts]
        self._is_found = np.zeros(len(self._places), bool)
        self._is_long_enough = np.zeros(len(self._places), bool)
        self._tables = self._make_tables(evaluation)
        self._examples: dict[str, list[dict[str, Any]]] = {task: [] for task in evaluation}
        self._num_documents = 0

    def _make_tables(self, evaluation: Evaluation) -> dict[int, _Table]:
        found: dict[int, list[tuple[Hashes, int]]] = {}
        for number, (_, text) in enumerate(text for texts in evaluation.values() for text in texts):
            words = words_of(text)
            if len(" ".join(words).encode()) < _FEWEST_BYTES:
                continue
            self._is_long_enough[number] = True
            *_, (length, hashes) = ngram_hashes(words, _WORDS)
            found.setdefault(length, []).append((np.unique(hashes), number))
        tables = {}
        for length, parts in found.items():
            hashes = np.concatenate([part for part, _ in parts])
            texts = np.repeat([number for _, number in parts], [len(part) for part, _ in parts])
            order = np.argsort(hashes, kind="stable")
            tables[length] = _Table(hashes[order], texts[order])
        return tables

    def is_in(self, document: list[str], number: int) -> bool:
        """Whether a document holds an evaluation text, which then is noted.

        Args:
            document: Its sentences.
            number: What the report calls it.
        """
        words = words_of(" ".join(document))
        new: dict[int, str] = {}
        for length, hashes in ngram_hashes(words, max(self._tables, default=0)):
            if length in self._tables:
                for place, text in self._matches(hashes, self._tables[length]):
                    new.setdefault(text, " ".join(words[place : place + length]))
        for text, ngram in new.items():
            self._is_found[text] = True
            task, where = self._places[text]
            if len(self._examples[task]) < _MOST_EXAMPLES:
                self._examples[task].append({"document": number, "text": where, "words": ngram})
        self._num_documents += bool(new)
        return bool(new)

    @staticmethod
    def _matches(hashes: Hashes, table: _Table) -> Iterator[tuple[int, int]]:
        first = np.searchsorted(table.hashes, hashes)
        is_match = table.hashes[np.minimum(first, len(table.hashes) - 1)] == hashes
        for place in np.flatnonzero(is_match).tolist():
            last = np.searchsorted(table.hashes, hashes[place], side="right")
            for text in table.texts[first[place] : last].tolist():
                yield place, text

    def report(self) -> dict[str, Any]:
        """What was found so far: documents, and for each task its texts, those found and examples."""
        tasks = np.array([task for task, _ in self._places])
        return {
            "documents": self._num_documents,
            "tasks": {
                task: {
                    "texts": int((tasks == task).sum()),
                    "too_short": int((~self._is_long_enough[tasks == task]).sum()),
                    "found": int(self._is_found[tasks == task].sum()),
                    "examples": examples,
                }
                for task, examples in self._examples.items()
            },
        }


def evaluation_hash(evaluation: Evaluation) -> str:
    """A hash of all texts, their places and tasks: what decides the report besides the corpus."""
    return hashlib.sha256(json.dumps(evaluation).encode()).hexdigest()
