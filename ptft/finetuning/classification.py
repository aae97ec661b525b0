"""Train a classifier with the one loop, and predict with it."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor, nn

from ptft.compute import Compute
from ptft.finetuning.texts import EncodedTexts
from ptft.models.classifier import Classifier
from ptft.models.compiling import eagerly
from ptft.tasks.problem import Values
from ptft.tasks.task import Example


class ClassificationModule(nn.Module):
    """A classifier as the loop wants it: from a batch to the sum of its losses."""

    label_weights: Float[Tensor, " labels"] | None
    """Factors of the labels' losses, if they are weighted."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier
        self.weights: Mapping[str, float] = {"classify": 1.0}
        self.register_buffer("label_weights", None, persistent=False)

    def weigh(self, label_weights: Float[Tensor, " labels"]) -> None:
        """Let losses of classification count by their labels."""
        self.label_weights = label_weights

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The sum of the problem's losses over the batch; of texts, or of features that a body gave."""
        known = "features" in batch
        logits = self.classifier.decide(batch["features"]) if known else self.classifier(batch)
        return {"classify": self.loss_sum(logits, batch)}

    def loss_sum(self, logits: Float[Tensor, "units outputs"], batch: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """The sum of the problem's losses over the batch."""
        if self.label_weights is None:
            return self.classifier.problem.loss_sum(logits, batch["labels"])
        return torch.nn.functional.cross_entropy(
            logits.float(), batch["labels"], weight=self.label_weights, reduction="sum"
        )


def predict_logits(
    classifier: Classifier,
    texts: EncodedTexts,
    compute: Compute,
    *,
    texts_per_batch: int = 64,
    progress: Callable[[int, int], None] | None = None,
) -> Float[ndarray, "units outputs"]:
    """What the model says of each text, choice or word, in their order; NaN of words that were cut off.

    Args:
        classifier: The model.
        texts: Encoded examples.
        compute: Device and precision.
        texts_per_batch: At most so many examples at once.
        progress: Called with the number of examples done and of all.
    """
    rows = np.full((texts.num_units, classifier.num_outputs), np.nan)
    for done, (index, logits) in _passes(classifier, classifier, texts, compute, texts_per_batch):
        rows[texts.units_of(index)] = logits.double().cpu().numpy()
        if progress is not None:
            progress(done, len(texts))
    return rows


def predict_probabilities(
    classifier: Classifier,
    texts: EncodedTexts,
    examples: Sequence[Example],
    compute: Compute,
    *,
    calibrated: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Values:
    """What the model says of each example, as its problem puts it: the probability of each label, choice or tag.

    Args:
        classifier: The model.
        texts: The examples, encoded.
        examples: The same as they are.
        compute: Device and precision.
        calibrated: Divide logits by the classifier's temperature.
        progress: Called with the number of examples done and of all.
    """
    logits = predict_logits(classifier, texts, compute, progress=progress)
    temperature = classifier.calibration.temperature if calibrated else 1.0
    return classifier.problem.probabilities(logits / temperature, examples)


def features_of(
    classifier: Classifier, texts: EncodedTexts, compute: Compute, texts_per_batch: int = 64
) -> Float[Tensor, "units *layers pooled"]:
    """What the head sees of each text, choice or word that was not cut off, without dropout, on the CPU."""
    order, found = [], []
    for _, (index, features) in _passes(classifier, classifier.features, texts, compute, texts_per_batch):
        order.append(texts.units_of(index))
        found.append(features.float().cpu())
    return torch.cat(found)[torch.from_numpy(np.argsort(np.concatenate(order)))]


def _passes(
    classifier: Classifier,
    give: Callable[[Mapping[str, Tensor]], Tensor],
    texts: EncodedTexts,
    compute: Compute,
    texts_per_batch: int,
) -> Iterator[tuple[int, tuple[Int[ndarray, " some"], Tensor]]]:
    """Number of texts done, and which ones with what is given for them: short and long ones go apart, nothing drops."""
    order = np.argsort(texts.lengths(), kind="stable")
    was_training = classifier.training
    classifier.eval()
    classifier.to(compute.device)
    for start in range(0, len(order), texts_per_batch):
        index = order[start : start + texts_per_batch]
        with torch.inference_mode(), eagerly(), compute.autocast():
            given = give({name: t.to(compute.device) for name, t in texts.batch(index).tensors.items()})
        yield start + len(index), (index, given)
    classifier.train(was_training)
