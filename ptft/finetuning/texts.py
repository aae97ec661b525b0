"""Texts and labels as token ids, and the batches of an epoch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from numpy import ndarray
from transformers import PreTrainedTokenizerBase

from ptft import rng
from ptft.objectives.rows import Batch, pad_to_multiple
from ptft.tasks.task import Example
from ptft.training.work import BatchSource


@dataclass(frozen=True)
class EncodedTexts:
    """Texts or pairs as ids, tokenised once.

    Attributes:
        ids: Token ids of each text, special tokens included.
        segments: Token type ids of each text, or None where the model takes none.
        num_truncated: How many texts were longer than the longest input.
        pad: Id of padding.
        length: The longest input in tokens.
    """

    ids: list[list[int]]
    segments: list[list[int]] | None
    num_truncated: int
    pad: int
    length: int

    def batch(self, index: Int[ndarray, " texts"], labels: Int[ndarray, " texts"] | None = None) -> Batch:
        """The texts at ``index``, padded on the right to the longest of them."""
        lengths = np.array([len(self.ids[i]) for i in index])
        width = pad_to_multiple(lengths, self.length)
        tensors = {"input_ids": self._padded(self.ids, index, width, self.pad)}
        if self.segments is not None:
            tensors["token_type_ids"] = self._padded(self.segments, index, width, 0)
        tensors["attention_mask"] = torch.from_numpy((np.arange(width) < lengths[:, None]).astype(np.int64))
        counts = {}
        if labels is not None:
            tensors["labels"] = torch.from_numpy(labels[index])
            counts["classify"] = len(index)
        return Batch(tensors, counts, int(lengths.sum()), width * len(index))

    @staticmethod
    def _padded(rows: list[list[int]], index: Int[ndarray, " texts"], width: int, fill: int) -> torch.Tensor:
        return torch.tensor([rows[i] + [fill] * (width - len(rows[i])) for i in index])


def encode_texts(examples: Sequence[tuple[str, str]], tokenizer: PreTrainedTokenizerBase, length: int) -> EncodedTexts:
    """Tokenise texts (second text empty) or pairs, cut to ``length`` tokens, the longer text of a pair first."""
    pairs = any(second for _, second in examples)
    first = [a for a, _ in examples]
    second = [b for _, b in examples] if pairs else None
    encoded = tokenizer(first, second, truncation="longest_first", max_length=length)
    full = [i for i, ids in enumerate(encoded["input_ids"]) if len(ids) == length]  # these may have been longer
    whole = tokenizer([first[i] for i in full], second and [second[i] for i in full], verbose=False) if full else {}
    cut = sum(len(ids) > length for ids in whole.get("input_ids", []))
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    ids, segments = encoded["input_ids"], encoded.get("token_type_ids")
    if not all(ids):  # an empty text of a decoder's tokenizer, which adds no special tokens: one token stands for it
        end = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else pad or 0
        ids = [row or [end] for row in ids]
        segments = segments and [row or [0] for row in segments]
    return EncodedTexts(ids, segments, cut, pad or 0, length)


class LabelledBatches(BatchSource):
    """Batches of labelled texts: each epoch is a new order, and one epoch follows the other without a seam."""

    def __init__(self, texts: EncodedTexts, labels: Int[ndarray, " texts"], rows_per_step: int, seed: int) -> None:
        self._texts = texts
        self._labels = labels
        self._seed = seed
        self.rows_per_step = rows_per_step
        self.steps_per_epoch = max(1, -(-len(labels) // rows_per_step))

    def batch(self, step: int, start: int, stop: int) -> Batch:
        """Rows ``start`` to ``stop`` of the step's batch."""
        size = len(self._labels)
        place = step * self.rows_per_step + np.arange(start, stop)
        rows = np.empty(len(place), np.int64)
        for epoch in np.unique(place // size):
            here = place // size == epoch
            rows[here] = rng.permuted(place[here] % size, size, self._seed, int(epoch))
        return self._texts.batch(rows, self._labels)


def label_ids(examples: Sequence[Example], labels: Sequence[str]) -> Int[ndarray, " texts"]:
    """The index of each example's label."""
    number = {label: index for index, label in enumerate(labels)}
    return np.array([number[example.label] for example in examples], np.int64)
