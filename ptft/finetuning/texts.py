"""Texts and labels as token ids, and the batches of an epoch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from numpy import ndarray
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from ptft import rng
from ptft.models.packing import best_fit
from ptft.objectives.rows import Batch, hash_rows, pad_to_multiple
from ptft.tasks.task import Example
from ptft.training.work import BatchSource

_SAMPLED_STEPS = 8


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

    def batch(
        self,
        index: Int[ndarray, " texts"],
        labels: Int[ndarray, " texts"] | None = None,
        *,
        packed: bool = False,
        is_static: bool = False,
    ) -> Batch:
        """The texts at ``index``, in rows as wide as the longest of them.

        Args:
            index: Which texts.
            labels: Of all texts, the number of each one's label; None leaves labels out.
            packed: Let short texts share a row, none seeing another. The batch has the same texts and the same hash.
            is_static: Make rows as wide as the longest input.
        """
        lengths = np.array([len(self.ids[i]) for i in index])
        width = self.length if is_static else pad_to_multiple(lengths, self.length)
        ids = self._padded(self.ids, index, width, self.pad)
        arrays = {"input_ids": ids, "attention_mask": (np.arange(width) < lengths[:, None]).astype(np.int64)}
        if self.segments is not None:
            arrays["token_type_ids"] = self._padded(self.segments, index, width, 0)
        if packed:
            arrays = self._shared(arrays, lengths, width)
        targets = {} if labels is None else {"labels": labels[index]}
        return Batch(
            {name: torch.from_numpy(array) for name, array in (arrays | targets).items()},
            {"classify": len(index)} if targets else {},
            num_tokens=int(lengths.sum()),
            num_slots=arrays["input_ids"].size,
            hash=hash_rows(ids, lengths, targets),
        )

    def _shared(
        self, arrays: Mapping[str, Int[ndarray, "texts seq"]], lengths: Int[ndarray, " texts"], width: int
    ) -> dict[str, NDArray[np.int64]]:
        """Inputs moved to rows that texts share, and where they lie, in place of an attention mask.

        ``parts`` has the number of each slot's text, from 0; at padding it is the number of texts.
        """
        layout = best_fit(lengths, width)
        numbers = np.broadcast_to(np.arange(len(lengths))[:, None], (len(lengths), width))
        shared = {
            "input_ids": layout.placed(arrays["input_ids"], lengths, self.pad),
            "parts": layout.placed(numbers, lengths, len(lengths)),
            "lengths": lengths,
            "position_ids": layout.positions(lengths),
            "part_ends": layout.ends(lengths),
        }
        if "token_type_ids" in arrays:
            shared["token_type_ids"] = layout.placed(arrays["token_type_ids"], lengths)
        return shared

    def some(self, index: Sequence[int]) -> "EncodedTexts":
        """The texts at ``index``, of which none counts as cut."""
        segments = self.segments and [self.segments[i] for i in index]
        return EncodedTexts([self.ids[i] for i in index], segments, 0, self.pad, self.length)

    @staticmethod
    def _padded(
        rows: list[list[int]], index: Int[ndarray, " texts"], width: int, fill: int
    ) -> Int[ndarray, "texts seq"]:
        return np.array([rows[i] + [fill] * (width - len(rows[i])) for i in index], np.int64)


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
    """Batches of labelled texts: each epoch is a new order, and one epoch follows the other without a seam.

    Args:
        texts: Encoded texts.
        labels: The index of each one's label.
        rows_per_step: Texts of the global batch.
        seed: Of the order.
        numbers: Of each text, the row of its table, counted from 1; None where there is no table.
        packed: Whether texts of a micro-batch share rows.
        is_static: Make all rows as wide as the longest input, so that all batches have one shape.
    """

    unit = "rows of the table, counted from 1"

    def __init__(
        self,
        texts: EncodedTexts,
        labels: Int[ndarray, " texts"],
        rows_per_step: int,
        seed: int,
        numbers: Sequence[int] | None = None,
        *,
        packed: bool = False,
        is_static: bool = False,
    ) -> None:
        self._is_static = is_static
        self.texts = texts
        self._packed = packed
        self.labels = labels
        self._seed = seed
        self._numbers = range(1, len(labels) + 1) if numbers is None else numbers
        self.rows_per_step = rows_per_step
        self.steps_per_epoch = max(1, -(-len(labels) // rows_per_step))

    def batch(self, step: int, start: int, stop: int) -> Batch:
        """Rows ``start`` to ``stop`` of the step's batch."""
        index = self.index(step, start, stop)
        return self.texts.batch(index, self.labels, packed=self._packed, is_static=self._is_static)

    def placed(self, texts: EncodedTexts) -> Int[Tensor, "rows seq"]:
        """The ids of some texts in rows as a batch of them has them."""
        index = np.arange(len(texts.ids))
        return texts.batch(index, packed=self._packed, is_static=self._is_static).tensors["input_ids"]

    def documents(self, step: int) -> list[int]:
        """The table's rows in the step's batch, counted from 1."""
        return sorted({self._numbers[index] for index in self.index(step, 0, self.rows_per_step)})

    def mean_width(self, rows_at_once: int) -> float:
        """How many positions one sees, with so many texts in a micro-batch: the mean over those of the first steps."""
        starts = range(0, self.rows_per_step, rows_at_once)
        shares = [(start, min(start + rows_at_once, self.rows_per_step)) for start in starts]
        steps = range(min(_SAMPLED_STEPS, self.steps_per_epoch))
        first = [self.batch(step, *share) for step in steps for share in shares]
        return sum(map(_seen, first)) / sum(batch.num_slots for batch in first)

    def index(self, step: int, start: int, stop: int) -> Int[ndarray, " rows"]:
        """The texts in rows ``start`` to ``stop`` of the step's batch."""
        size = len(self.labels)
        place = step * self.rows_per_step + np.arange(start, stop)
        rows = np.empty(len(place), np.int64)
        for epoch in np.unique(place // size):
            here = place // size == epoch
            rows[here] = rng.permuted(place[here] % size, size, self._seed, int(epoch))
        return rows


def _seen(batch: Batch) -> float:
    """How many positions all of a batch see together: those of the row, in packed rows of the text."""
    if "part_ends" in batch.tensors:
        return float(batch.tensors["lengths"].square().sum())
    return batch.num_slots**2 / batch.num_rows


def label_ids(examples: Sequence[Example], labels: Sequence[str]) -> Int[ndarray, " texts"]:
    """The index of each example's label."""
    number = {label: index for index, label in enumerate(labels)}
    return np.array([number[str(example.label)] for example in examples], np.int64)
