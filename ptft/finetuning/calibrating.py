"""Make a fine-tuned classifier's probabilities more believable with the rows that it was not trained on."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from ptft.models.classifier import Classifier
from ptft.tasks.calibration import expected_calibration_error, fitted, negative_log_likelihood
from ptft.tasks.problem import softmax
from ptft.tasks.task import Example


def calibrate(
    classifier: Classifier, rows: Sequence[Example], logits: Float[ndarray, "units outputs"]
) -> tuple[dict[str, float], str]:
    """Fit the temperature of a classifier with one label a text, in place; others are left alone.

    Args:
        classifier: The model, trained.
        rows: Labelled rows that it was not trained on.
        logits: What it says of them.

    Returns:
        ``nll`` (nats) and ``ece`` (15 bins) of these rows as they were, ``nll_calibrated`` and ``ece_calibrated`` with
        the temperature - flattering, since it was chosen on them -, and ``temperature``, 1 where none was fitted; and
        why none was, or nothing.
    """
    if classifier.problem.name != "classification":
        return {}, ""
    targets = np.asarray(classifier.problem.targets(rows, classifier.labels))
    classifier.calibration, reason = fitted(logits, targets)
    temperature = classifier.calibration.temperature
    figures = {}
    for ending, some in (("", logits), ("_calibrated", logits / temperature)):
        figures[f"nll{ending}"] = negative_log_likelihood(some, targets)
        figures[f"ece{ending}"] = expected_calibration_error(softmax(some), targets)
    return {**figures, "temperature": temperature}, reason
