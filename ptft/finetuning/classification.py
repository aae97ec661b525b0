"""Train a classifier with the one loop, and predict with it."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor, nn

from ptft.compute import Compute
from ptft.finetuning.texts import EncodedTexts
from ptft.models.classifier import Classifier
from ptft.models.compiling import eagerly
from ptft.models.prediction import summed_cross_entropy


class ClassificationModule(nn.Module):
    """A classifier as the loop wants it: from a batch to the sum of its cross-entropies."""

    weights: Mapping[str, float] = {"classify": 1.0}

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The summed cross-entropy of the batch's labels, in nats."""
        return {"classify": summed_cross_entropy(self.classifier(batch), batch["labels"])}


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
    order = np.argsort([len(ids) for ids in texts.ids], kind="stable")
    rows = np.empty((len(order), len(classifier.labels)))
    was_training = classifier.training
    classifier.eval()
    classifier.to(compute.device)
    with torch.inference_mode(), eagerly():
        for start in range(0, len(order), texts_per_batch):
            index = order[start : start + texts_per_batch]
            tensors = {name: t.to(compute.device) for name, t in texts.batch(index).tensors.items()}
            with compute.autocast():
                logits = classifier(tensors)
            rows[index] = logits.double().softmax(-1).cpu().numpy()
            if progress is not None:
                progress(start + len(index), len(order))
    classifier.train(was_training)
    return rows
