"""Train a classifier with the one loop, and predict with it."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor, nn

from ptft.compute import Compute
from ptft.finetuning.texts import EncodedTexts
from ptft.models.classifier import Classifier
from ptft.models.compiling import eagerly
from ptft.models.prediction import summed_cross_entropy


class ClassificationModule(nn.Module):
    """A classifier as the loop wants it: from a batch to the sum of its cross-entropies."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier
        self.weights: Mapping[str, float] = {"classify": 1.0}

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The summed cross-entropy of the batch's labels, in nats; of texts, or of features that a body gave."""
        known = "features" in batch
        logits = self.classifier.decide(batch["features"]) if known else self.classifier(batch)
        return {"classify": self.loss_sum(logits, batch)}

    def loss_sum(self, logits: Float[Tensor, "texts labels"], batch: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """The summed cross-entropy of the batch's labels, in nats."""
        return summed_cross_entropy(logits, batch["labels"])


def predict_probabilities(
    classifier: Classifier,
    texts: EncodedTexts,
    compute: Compute,
    *,
    texts_per_batch: int = 64,
    progress: Callable[[int, int], None] | None = None,
) -> Float[ndarray, "texts labels"]:
    """The probability of each label for each text, in the order of the texts; short and long ones go apart.

    Args:
        classifier: The model.
        texts: Encoded texts.
        compute: Device and precision.
        texts_per_batch: At most so many at once.
        progress: Called with the number of texts done and of all.
    """
    rows = np.empty((len(texts.ids), len(classifier.labels)))
    for done, (index, logits) in _passes(classifier, classifier, texts, compute, texts_per_batch):
        rows[index] = logits.double().softmax(-1).cpu().numpy()
        if progress is not None:
            progress(done, len(rows))
    return rows


def features_of(
    classifier: Classifier, texts: EncodedTexts, compute: Compute, texts_per_batch: int = 64
) -> Float[Tensor, "texts *layers pooled"]:
    """What the head sees of each text, without dropout, on the CPU."""
    order, found = [], []
    for _, (index, features) in _passes(classifier, classifier.features, texts, compute, texts_per_batch):
        order.append(index)
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
    order = np.argsort([len(ids) for ids in texts.ids], kind="stable")
    was_training = classifier.training
    classifier.eval()
    classifier.to(compute.device)
    for start in range(0, len(order), texts_per_batch):
        index = order[start : start + texts_per_batch]
        with torch.inference_mode(), eagerly(), compute.autocast():
            given = give({name: t.to(compute.device) for name, t in texts.batch(index).tensors.items()})
        yield start + len(index), (index, given)
    classifier.train(was_training)
