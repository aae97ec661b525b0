"""What a fine-tuned model has to beat: TF-IDF with logistic regression, and the most frequent label."""

import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int
from numpy import ndarray
from scipy.sparse import csr_matrix, hstack
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from ptft.tasks.problems.classification import Classification
from ptft.tasks.task import Example

INVERSE_PENALTIES = (0.1, 1.0, 10.0, 100.0)
"""The values of C to choose from."""
_MOST_ITERATIONS = 1000
_WORD = r"\w+|[^\w\s]+"


class MostFrequent:
    """Always gives the most frequent label of the training rows; of equally frequent ones the first.

    Args:
        train: The rows; at least one.
        labels: The labels of the task.
    """

    def __init__(self, train: Sequence[Example], labels: Sequence[str]) -> None:
        counts = Counter(row.label for row in train)
        self._answer = max(range(len(labels)), key=lambda index: counts[labels[index]])

    def predict(self, rows: Sequence[Example]) -> Int[ndarray, " rows"]:
        """The index of the label of each row."""
        return np.full(len(rows), self._answer, np.int64)


class TfidfRegression:
    """TF-IDF features and logistic regression, fitted on the training rows alone.

    Features are words and pairs of neighbouring words, together with the pieces of one to four characters within what
    stands between spaces. The pieces serve inflected and agglutinative languages, such as Korean, and scripts without
    spaces; both kinds are always taken, so that nothing depends on guessing a language. Letters are lower-cased, counts
    enter by their logarithm, and each kind is scaled to length 1. The two texts of a pair have features of their own.

    C, the inverse of the penalty, is the one of :data:`INVERSE_PENALTIES` with the best accuracy on the validation
    rows, and the smallest of those that are equally good. No random number is drawn.

    Args:
        train: The rows to fit; at least one. If all have one label, it is always the answer.
        valid: The rows to choose C with.
        labels: The labels of the task.

    Paper: Salton and Buckley 1988 (weights of terms); Wang and Manning 2012 (n-grams with a linear classifier as the
    baseline). Differs: pieces of words beside words, and logistic regression.
    """

    def __init__(self, train: Sequence[Example], valid: Sequence[Example], labels: Sequence[str]) -> None:
        has_pairs = any(row.text_b for row in train)
        self._parts = [("text", kind) for kind in _vectorizers()]
        self._parts += [("text_b", kind) for kind in _vectorizers()] if has_pairs else []
        features = hstack([kind.fit_transform(_texts(train, part)) for part, kind in self._parts], "csr")
        gold = Classification().targets(train, labels)
        self._model: Any = None
        self._answer = int(gold[0])
        self.inverse_penalty = 0.0
        """The chosen C; 0 where there was nothing to fit."""
        wanted = Classification().targets(valid, labels)
        self.valid_accuracy = float(np.mean(wanted == self._answer))
        """Share of the validation rows that are answered right."""
        if len(set(gold.tolist())) < 2:
            return
        self.valid_accuracy = -1.0
        held_out = self._features(valid)
        for inverse_penalty in INVERSE_PENALTIES:
            model = _fitted(features, gold, inverse_penalty)
            accuracy = float(np.mean(model.predict(held_out) == wanted))
            if accuracy > self.valid_accuracy:
                self._model, self.inverse_penalty, self.valid_accuracy = model, inverse_penalty, accuracy

    def predict(self, rows: Sequence[Example]) -> Int[ndarray, " rows"]:
        """The index of the most probable label of each row."""
        if self._model is None:
            return np.full(len(rows), self._answer, np.int64)
        predicted: Int[ndarray, " rows"] = self._model.predict(self._features(rows))
        return predicted

    def _features(self, rows: Sequence[Example]) -> csr_matrix:
        return hstack([kind.transform(_texts(rows, part)) for part, kind in self._parts], "csr")


def _vectorizers() -> list[TfidfVectorizer]:
    return [
        TfidfVectorizer(analyzer="word", token_pattern=_WORD, ngram_range=(1, 2), sublinear_tf=True),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 4), sublinear_tf=True),
    ]


def _texts(rows: Sequence[Example], part: str) -> list[str]:
    return [getattr(row, part) for row in rows]


def _fitted(features: csr_matrix, gold: Int[ndarray, " rows"], inverse_penalty: float) -> LogisticRegression:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # what it has found by then is scored like any other
        return LogisticRegression(C=inverse_penalty, max_iter=_MOST_ITERATIONS).fit(features, gold)
