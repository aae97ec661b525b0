"""A classifier trained beside a language model of the same body."""

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Int
from numpy import ndarray
from torch import Tensor
from transformers import PreTrainedModel

from ptft import rng
from ptft.finetuning.classification import ClassificationModule
from ptft.finetuning.texts import EncodedTexts, LabelledBatches
from ptft.models.classifier import Classifier, parts_of
from ptft.models.prediction import Forward
from ptft.objectives.masked_lm import MaskedLM
from ptft.objectives.rows import Batch, Rows, Vocabulary
from ptft.training.work import BatchSource

_IGNORED = -1  # at slots where nothing is predicted


class AuxiliaryModule(ClassificationModule):
    """The task's loss and, as a second objective, that of a language model on the same texts.

    Args:
        classifier: The model of the task.
        lm: The language model, whose body is replaced by the classifier's.
        coefficient: Factor of its loss.

    Paper: Radford et al. 2018 (GPT-1), section 3.2; its code takes the mean of each text first, as here.
    """

    def __init__(self, classifier: Classifier, lm: PreTrainedModel, coefficient: float) -> None:
        super().__init__(classifier)
        setattr(lm, lm.base_model_prefix, classifier.model.base_model)
        lm.tie_weights()
        self.lm = lm
        self.weights = {"classify": 1.0, "lm": coefficient}

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The sum of the cross-entropies of labels, and of each text's mean one of its tokens, in nats."""
        forward = Forward(self.lm, batch)
        classify = self.loss_sum(self.classifier.decide(self.classifier.pooled(forward.hidden, batch)), batch)
        if "lm_input_ids" in batch:
            forward = Forward(self.lm, {**batch, "input_ids": batch["lm_input_ids"]})
        logits = forward.token_logits(batch["lm_positions"]).float()
        losses = torch.nn.functional.cross_entropy(logits, batch["lm_labels"], reduction="none")
        return {"classify": classify, "lm": (losses * batch["lm_weights"]).sum()}


class AuxiliaryBatches(BatchSource):
    """Batches of labelled texts with targets for a language model.

    Added to a batch are ``lm_positions`` (flat in its rows), ``lm_labels`` and ``lm_weights``: one over the number of
    the text's targets. For an encoder also ``lm_input_ids``: the rows with other masks in each step.

    Args:
        batches: Of the task.
        vocabulary: Of the tokenizer.
        seed: Of the masks.
        is_decoder: Whether next tokens are predicted, not masked ones.
    """

    unit: ClassVar[str] = LabelledBatches.unit

    def __init__(self, batches: LabelledBatches, vocabulary: Vocabulary, seed: int, *, is_decoder: bool) -> None:
        self._batches = batches
        self._vocabulary = vocabulary
        self._seed = int(rng.bits(seed, rng.key_of("auxiliary masks"))) >> 1
        self._is_decoder = is_decoder
        self.rows_per_step = batches.rows_per_step
        self.steps_per_epoch = batches.steps_per_epoch

    def batch(self, step: int, start: int, stop: int) -> Batch:
        """Rows ``start`` to ``stop`` of the step's batch."""
        batch = self._batches.batch(step, start, stop)
        parts, lengths = parts_of(batch.tensors)
        ids = batch.tensors["input_ids"]
        masked: dict[str, Tensor] = {}
        if self._is_decoder:
            goes_on = torch.nn.functional.pad(parts[:, 1:] == parts[:, :-1], (0, 1)) & (parts < len(lengths))
            labels = torch.where(goes_on, ids.roll(-1, 1), _IGNORED)
        else:
            masked["lm_input_ids"], labels = self._masked(step, self._batches.index(step, start, stop))
        positions = (labels.flatten() != _IGNORED).nonzero().squeeze(1)
        owners = parts.flatten()[positions]
        targets = torch.bincount(owners, minlength=len(lengths))
        added = masked | {
            "lm_positions": positions,
            "lm_labels": labels.flatten()[positions],
            "lm_weights": 1 / targets[owners].float(),
        }
        counts = batch.counts | {"lm": int((targets > 0).sum())}
        return replace(batch, tensors=batch.tensors | added, counts=counts, num_predictions=len(positions))

    def _masked(
        self, step: int, index: Int[ndarray, " examples"]
    ) -> tuple[Int[Tensor, "rows seq"], Int[Tensor, "rows seq"]]:
        """Masked inputs and labels, placed as the texts of the batch are."""
        texts = self._batches.texts
        index = texts.texts_of(index)
        lengths = np.array([len(texts.ids[i]) for i in index])
        ids = np.full((len(index), lengths.max()), texts.pad)
        for row, i in enumerate(index):
            ids[row, : lengths[row]] = texts.ids[i]
        rows = Rows(ids, lengths, index, (self._seed, step))
        found = MaskedLM().mask(rows, self._vocabulary)
        labels = np.full(ids.size, _IGNORED)
        labels[found.positions] = found.labels
        placed = [
            self._batches.placed(EncodedTexts([row[:n].tolist() for row, n in zip(array, lengths, strict=True)],
                                              None, 0, pad, texts.length))
            for array, pad in ((found.ids, texts.pad), (labels.reshape(ids.shape), _IGNORED))
        ]  # fmt: skip
        return placed[0], placed[1]

    def documents(self, step: int) -> list[int]:
        """The table's rows in the step's batch, counted from 1."""
        return self._batches.documents(step)
