"""Score a fine-tuned model on labelled rows: figures, which labels are taken for which, and the worst mistakes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int
from numpy import ndarray
from transformers import PreTrainedTokenizerBase

from ptft.compute import Compute
from ptft.finetuning.classification import predict_logits
from ptft.finetuning.texts import encode_examples
from ptft.models.classifier import Classifier
from ptft.tasks.calibration import expected_calibration_error, negative_log_likelihood
from ptft.tasks.problem import Mistake
from ptft.tasks.task import Example


@dataclass(frozen=True)
class Evaluation:
    """What was found on one test set.

    Attributes:
        figures: Those of the model's problem; with one label a text also ``nll`` (nats) and ``ece`` (15 bins).
        confusion: How often each label (row) got each answer (column); empty where answers are no labels of few.
        mistakes: The wrong answers, the surest or largest first.
        num_truncated: How many texts were cut.
    """

    figures: dict[str, float]
    confusion: Int[ndarray, "labels labels"]
    mistakes: list[Mistake]
    num_truncated: int

    def content(self, labels: Sequence[str]) -> dict[str, Any]:
        """All of it as JSON can hold it."""
        confusion = {"labels": list(labels), "counts": self.confusion.tolist()} if self.confusion.size else {}
        return {
            "figures": self.figures,
            "confusion": confusion,
            "mistakes": [vars(mistake) for mistake in self.mistakes],
            "truncated": self.num_truncated,
        }


def evaluate_labelled(
    classifier: Classifier,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Example],
    length: int,
    compute: Compute,
    *,
    calibrated: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Score a model on rows whose labels are among its own.

    Args:
        classifier: The model.
        tokenizer: The model's.
        rows: Labelled examples.
        length: Longest input in tokens.
        compute: Device and precision.
        calibrated: Divide logits by the classifier's temperature.
        progress: Called with the number of rows done and of all.
    """
    problem, labels = classifier.problem, classifier.labels
    texts = encode_examples(rows, problem, tokenizer, length)
    logits = predict_logits(classifier, texts, compute, progress=progress)
    if calibrated:
        logits = logits / classifier.calibration.temperature
    scores, targets = problem.probabilities(logits, rows), problem.targets(rows, labels)
    figures = problem.figures(targets, scores, labels, seed=0)
    if problem.name == "classification":
        right = np.asarray(targets)
        figures["nll"] = negative_log_likelihood(logits, right)
        figures["ece"] = expected_calibration_error(np.asarray(scores), right)
    answers = problem.confused(targets, scores)
    counts = np.zeros((len(labels), len(labels)) if len(answers) else (0, 0), np.int64)
    np.add.at(counts, (answers[:, 0], answers[:, 1]), 1)
    mistakes = sorted(problem.mistakes(rows, scores, labels), key=lambda mistake: -mistake.size)
    return Evaluation(figures, counts, mistakes, texts.num_truncated)
