"""Texts and labels as token ids, and the batches of an epoch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int
from numpy import ndarray
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from ptft import rng
from ptft.models.packing import best_fit
from ptft.objectives.rows import Batch, hash_rows, pad_to_multiple
from ptft.tasks.problem import Problem, Values
from ptft.tasks.problems.classification import Classification
from ptft.tasks.task import Example
from ptft.training.work import BatchSource

_SAMPLED_STEPS = 8
_CLASSIFICATION = Classification()


@dataclass(frozen=True)
class EncodedTexts:
    """Examples as ids, tokenised once: a text or pair each, or for each of an example's choices one.

    Attributes:
        ids: Token ids of each text, special tokens included.
        segments: Token type ids of each text, or None where the model takes none.
        num_truncated: How many texts were longer than the longest input.
        pad: Id of padding.
        length: The longest input in tokens.
        bounds: The first text of each example, and the number of texts; None where an example is a text.
        words: Of each text the places of each word's first and last token, shaped (words, 2), -1 for words that have
            none; None where words are not told apart.
        num_lost: How many words have no token though they were not cut off: the tokenizer leaves out all they are made
            of, such as spaces without width.
    """

    ids: list[list[int]]
    segments: list[list[int]] | None
    num_truncated: int
    pad: int
    length: int
    bounds: Int[ndarray, " ends"] | None = None
    words: list[Int[ndarray, "words 2"]] | None = None
    num_lost: int = 0

    def __len__(self) -> int:
        """Number of examples."""
        return len(self.ids) if self.bounds is None else len(self.bounds) - 1

    def texts_of(self, index: Int[ndarray, " examples"]) -> Int[ndarray, " texts"]:
        """The texts of the examples at ``index``."""
        if self.bounds is None:
            return index
        return np.concatenate([np.arange(self.bounds[i], self.bounds[i + 1]) for i in index])

    @property
    def num_units(self) -> int:
        """How many things are given logits: words where they are told apart, else texts."""
        return len(self.ids) if self.words is None else sum(map(len, self.words))

    def units_of(self, index: Int[ndarray, " examples"]) -> Int[ndarray, " units"]:
        """The numbers of the things that a batch of the examples at ``index`` gives logits for."""
        if self.words is None:
            return self.texts_of(index)
        return np.concatenate([self._word_ends[i] + np.flatnonzero(_with_token(self.words[i])) for i in index])

    @cached_property
    def _word_ends(self) -> Int[ndarray, " ends"]:
        return np.cumsum([0, *map(len, self.words or ())])

    def lengths(self) -> Int[ndarray, " examples"]:
        """Tokens of each example's longest text."""
        lengths = np.array([len(ids) for ids in self.ids])
        return lengths if self.bounds is None else np.maximum.reduceat(lengths, self.bounds[:-1])

    def batch(
        self,
        index: Int[ndarray, " examples"],
        targets: Values | None = None,
        problem: Problem = _CLASSIFICATION,
        *,
        packed: bool = False,
        is_static: bool = False,
    ) -> Batch:
        """The examples at ``index``, in rows as wide as the longest of their texts.

        Args:
            index: Which examples.
            targets: Of all examples, what the problem's loss takes; None leaves targets out.
            problem: Decides what targets are.
            packed: Let short texts share a row, none seeing another. The batch has the same texts and the same hash.
            is_static: Make rows as wide as the longest input.
        """
        texts = self.texts_of(index)
        lengths = np.array([len(self.ids[i]) for i in texts])
        width = self.length if is_static else pad_to_multiple(lengths, self.length)
        ids = self._padded(self.ids, texts, width, self.pad)
        arrays = {"input_ids": ids, "attention_mask": (np.arange(width) < lengths[:, None]).astype(np.int64)}
        if self.segments is not None:
            arrays["token_type_ids"] = self._padded(self.segments, texts, width, 0)
        if self.words is not None:
            rows = [row * width + self.words[i][_with_token(self.words[i])] for row, i in enumerate(texts)]
            arrays["word_positions"] = np.concatenate(rows)
        if packed:
            arrays = self._shared(arrays, lengths, width)
        labels = None if targets is None else self.chosen(targets, index)
        return Batch(
            {name: torch.from_numpy(a) for name, a in arrays.items()}
            | ({} if labels is None else {"labels": torch.from_numpy(labels)}),
            {} if labels is None else {"classify": problem.count(labels)},
            num_tokens=int(lengths.sum()),
            num_slots=arrays["input_ids"].size,
            hash=hash_rows(ids, lengths, {} if labels is None else self._told(labels)),
        )

    def _told(self, labels: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """The part that labels have in the hash of a batch: whole numbers that are one for each text."""
        is_one_each = self.words is None and labels.ndim == 1 and labels.dtype.kind == "i"
        return {"labels": labels} if is_one_each else {}

    def chosen(self, targets: Values, index: Int[ndarray, " examples"]) -> NDArray[Any]:
        """The targets of the examples at ``index``, those of words that were cut off left out."""
        if self.words is None:
            of_texts: NDArray[Any] = np.asarray(targets)[index]
            return of_texts
        return np.concatenate([targets[i][_with_token(self.words[i])] for i in index])

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
        if "word_positions" in arrays:
            shared["word_positions"] = layout.moved(arrays["word_positions"].ravel(), width).reshape(-1, 2)
        return shared

    def some(self, index: Sequence[int]) -> "EncodedTexts":
        """The examples at ``index``, of whose texts none counts as cut."""
        texts = self.texts_of(np.asarray(index, np.int64)).tolist()
        segments = self.segments and [self.segments[i] for i in texts]
        bounds = None if self.bounds is None else np.cumsum([0, *np.diff(self.bounds)[index]])
        words = self.words and [self.words[i] for i in texts]
        return EncodedTexts([self.ids[i] for i in texts], segments, 0, self.pad, self.length, bounds, words)

    @staticmethod
    def _padded(
        rows: list[list[int]], index: Int[ndarray, " texts"], width: int, fill: int
    ) -> Int[ndarray, "texts seq"]:
        return np.array([rows[i] + [fill] * (width - len(rows[i])) for i in index], np.int64)


def encode_examples(
    examples: Sequence[Example], problem: Problem, tokenizer: PreTrainedTokenizerBase, length: int
) -> EncodedTexts:
    """Tokenise what a model reads of each example, cut to ``length`` tokens, the longer text of a pair first."""
    if problem.unit == "word":
        return _encode_words([example.words for example in examples], tokenizer, length)
    inputs = [problem.inputs(example) for example in examples]
    texts = encode_texts([pair for pairs in inputs for pair in pairs], tokenizer, length)
    return replace(texts, bounds=np.cumsum([0, *map(len, inputs)])) if problem.unit == "choice" else texts


def encode_texts(examples: Sequence[tuple[str, str]], tokenizer: PreTrainedTokenizerBase, length: int) -> EncodedTexts:
    """Tokenise texts (second text empty) or pairs, cut to ``length`` tokens, the longer text of a pair first.

    Where a tokenizer has no border between the texts of a pair, as those of decoders, its end of text is put there
    (Radford et al. 2018, section 3.3, have a token of its own, whose embedding is new).
    """
    if not examples:
        return EncodedTexts([], None, 0, _padding(tokenizer), length)
    pairs = any(second for _, second in examples)
    first = [a for a, _ in examples]
    has_border = tokenizer.num_special_tokens_to_add(pair=True) > tokenizer.num_special_tokens_to_add(pair=False)
    border = "" if has_border else tokenizer.eos_token or " "
    second = [b and border + b for _, b in examples] if pairs else None
    encoded = tokenizer(first, second, truncation="longest_first", max_length=length)
    cut = sum(bool(text.overflowing) for text in encoded.encodings)
    pad = _padding(tokenizer)
    ids, segments = encoded["input_ids"], encoded.get("token_type_ids")
    if not all(ids):  # an empty text of a decoder's tokenizer, which adds no special tokens: one token stands for it
        end = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else pad
        ids = [row or [end] for row in ids]
        segments = segments and [row or [0] for row in segments]
    return EncodedTexts(ids, segments, cut, pad, length)


def _encode_words(texts: Sequence[Sequence[str]], tokenizer: PreTrainedTokenizerBase, length: int) -> EncodedTexts:
    """Words with a space between them; the tokens of a word are those that its characters are part of."""
    encoded = tokenizer(
        [" ".join(words) for words in texts], truncation=True, max_length=length, return_offsets_mapping=True
    )
    is_cut = [bool(text.overflowing) for text in encoded.encodings]
    places, num_lost = [], 0
    for words, spans, cut in zip(texts, encoded["offset_mapping"], is_cut, strict=True):
        owner = [number for at, word in enumerate(words) for number in (*[at] * len(word), -1)]  # of each character
        found = np.full((len(words), 2), -1)
        for token, (start, end) in enumerate(spans):
            for word in {*owner[start:end]} - {-1}:
                found[word] = found[word, 0] if found[word, 0] >= 0 else token, token
        has_token = np.flatnonzero(_with_token(found))
        num_lost += (has_token.max(initial=-1) + 1 if cut else len(words)) - len(has_token)
        places.append(found)
    return EncodedTexts(
        encoded["input_ids"], encoded.get("token_type_ids"), sum(is_cut), _padding(tokenizer), length,
        words=places, num_lost=int(num_lost),
    )  # fmt: skip


def _with_token(words: Int[ndarray, "words 2"]) -> Bool[ndarray, " words"]:
    """Which words have a token."""
    found: Bool[ndarray, " words"] = words[:, 0] >= 0
    return found


def _padding(tokenizer: PreTrainedTokenizerBase) -> int:
    known = (tokenizer.pad_token_id, tokenizer.eos_token_id)
    return next((token for token in known if token is not None), 0)


class LabelledBatches(BatchSource):
    """Batches of labelled texts: each epoch is a new order, and one epoch follows the other without a seam.

    Args:
        texts: Encoded examples.
        targets: What the problem's loss takes, of each example.
        rows_per_step: Examples of the global batch.
        seed: Of the order.
        numbers: Of each example, the row of its table, counted from 1; None where there is no table.
        problem: Decides what targets are.
        packed: Whether texts of a micro-batch share rows.
        is_static: Make all rows as wide as the longest input, so that all batches have one shape.
    """

    unit = "rows of the table, counted from 1"

    def __init__(
        self,
        texts: EncodedTexts,
        targets: Values,
        rows_per_step: int,
        seed: int,
        numbers: Sequence[int] | None = None,
        problem: Problem = _CLASSIFICATION,
        *,
        packed: bool = False,
        is_static: bool = False,
    ) -> None:
        self._is_static = is_static
        self.texts = texts
        self._packed = packed
        self._targets = targets
        self._problem = problem
        self._seed = seed
        self._numbers = range(1, len(texts) + 1) if numbers is None else numbers
        self.rows_per_step = rows_per_step
        self.steps_per_epoch = max(1, -(-len(texts) // rows_per_step))

    def batch(self, step: int, start: int, stop: int) -> Batch:
        """Rows ``start`` to ``stop`` of the step's batch."""
        index = self.index(step, start, stop)
        return self.texts.batch(index, self._targets, self._problem, packed=self._packed, is_static=self._is_static)

    def targets(self, index: Int[ndarray, " examples"]) -> tuple[NDArray[Any], dict[str, int]]:
        """What the loss takes of some examples, and the number of losses."""
        chosen = self.texts.chosen(self._targets, index)
        return chosen, {"classify": self._problem.count(chosen)}

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
        size = len(self.texts)
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
