"""Rows: what an objective's sampler makes of a token store, before and after targets are added."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Int
from numpy import ndarray
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from ptft import rng
from ptft.corpus.store import TokenStore
from ptft.models.packing import Layout
from ptft.tokenization.words import starting_ids


@dataclass(frozen=True)
class Vocabulary:
    """The few facts about a tokenizer that making examples needs.

    Attributes:
        size: Number of ids the model has.
        cls, sep, pad, mask, eos, unknown: Ids of special tokens, -1 where the tokenizer has none.
        special: For each id, whether it is a special token.
        starts: For each id, whether it begins a word; None where the id does not tell.
    """

    size: int
    cls: int
    sep: int
    pad: int
    mask: int
    eos: int
    unknown: int
    special: Bool[ndarray, " vocabulary"]
    starts: Bool[ndarray, " vocabulary"] | None = None

    @staticmethod
    def of(tokenizer: PreTrainedTokenizerBase) -> "Vocabulary":
        """Read the facts off a tokenizer."""
        special = np.zeros(len(tokenizer), bool)
        special[tokenizer.all_special_ids] = True
        names = {name: name for name in ("cls", "sep", "pad", "mask", "eos")} | {"unknown": "unk"}
        ids = {field: getattr(tokenizer, f"{name}_token_id") for field, name in names.items()}
        known = {field: -1 if i is None else i for field, i in ids.items()}
        return Vocabulary(size=len(tokenizer), special=special, starts=starting_ids(tokenizer), **known)


@dataclass
class Rows:
    """Some rows of a step, as arrays.

    Attributes:
        ids: Token ids, padded on the right.
        lengths: Number of real tokens in each row.
        draw_keys: Row keys for random draws: one number a row, unique in the run's epoch.
        epoch_keys: (seed, epoch) that go before them.
        segments: Token type ids, or None where rows are single texts.
        pair_labels: 0 where B follows A, 1 where it does not, or None.
        starts: Whether each token begins a word, or None where that is not known.
        progress: Share of the training that lies before this step, from 0 to 1; None in evaluation.
        layout: Where the rows lie in packed ones, or None where each goes through the model by itself.
        num_added: Special tokens that the sampler put around the texts of all rows; the others are the corpus's.
        has_mask: Give the model a mask of real tokens even where there is no padding.
        targets: Arrays that objectives add: model inputs and labels by name.
        counts: Number of targets by objective.
    """

    ids: Int[ndarray, "rows seq"]
    lengths: Int[ndarray, " rows"]
    draw_keys: Int[ndarray, " rows"]
    epoch_keys: tuple[int, int]
    segments: Int[ndarray, "rows seq"] | None = None
    pair_labels: Int[ndarray, " rows"] | None = None
    starts: Bool[ndarray, "rows seq"] | None = None
    progress: float | None = 0.0
    layout: Layout | None = None
    num_added: int = 0
    has_mask: bool = False
    targets: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def present(self) -> Bool[ndarray, "rows seq"]:
        """True at real tokens, False at padding."""
        mask: NDArray[np.bool_] = np.arange(self.ids.shape[1]) < self.lengths[:, None]
        return mask

    def batch(self) -> "Batch":
        """The same as tensors: model inputs, targets and counts."""
        arrays = {"input_ids": self.ids, **self.targets}
        if self.segments is not None:
            arrays["token_type_ids"] = self.segments
        if self.layout is not None:
            arrays = self._packed(self.layout, arrays)
        elif self.has_mask or (self.lengths < self.ids.shape[1]).any():
            arrays["attention_mask"] = self.present().astype(np.int64)
        return Batch(
            tensors={name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()},
            counts=self.counts,
            num_tokens=int(self.lengths.sum()),
            num_slots=arrays["input_ids"].size,
            hash=hash_rows(self.ids, self.lengths, self.targets),
            num_text_tokens=int(self.lengths.sum()) - self.num_added,
        )

    def _packed(self, layout: Layout, arrays: dict[str, NDArray[np.int64]]) -> dict[str, NDArray[np.int64]]:
        """Model inputs and positions of targets moved to packed rows, and who shares them."""
        for name, array in arrays.items():
            if name in ("input_ids", "token_type_ids"):
                arrays[name] = layout.placed(array, self.lengths)
            elif name.endswith("positions"):
                arrays[name] = layout.moved(array, self.ids.shape[1])
        return arrays | {
            "parts": layout.parts(self.lengths),
            "position_ids": layout.positions(self.lengths),
            "part_ends": layout.ends(self.lengths),
            "part_places": layout.places(self.lengths),
            "part_origins": layout.origins(self.lengths),
            "part_lengths": self.lengths,
            "first_positions": layout.first(),
        }


@dataclass(frozen=True)
class Batch:
    """A micro-batch: what goes through the model at once.

    Attributes:
        tensors: Model inputs and targets by name.
        counts: Number of targets by objective.
        num_tokens: Real tokens.
        num_slots: Real tokens and padding.
        num_text_tokens: Real tokens that are the corpus's own, without the special tokens around the texts of a row.
        hash: That of its rows (see :func:`hash_rows`).
        num_predictions: Positions at which the vocabulary head is computed.
    """

    tensors: dict[str, Tensor]
    counts: dict[str, int]
    num_tokens: int
    num_slots: int
    num_text_tokens: int = 0
    hash: int = 0
    num_predictions: int = 0

    @property
    def num_rows(self) -> int:
        """Rows of its first tensor."""
        return len(next(iter(self.tensors.values())))


class Size(NamedTuple):
    """Of rows: their real tokens, those of them that are the corpus's own, and real tokens with padding."""

    tokens: float
    text_tokens: float
    slots: float


def hash_rows(
    ids: Int[ndarray, "rows seq"], lengths: Int[ndarray, " rows"], targets: Mapping[str, NDArray[np.int64]]
) -> int:
    """The sum over rows of 32 bits for each: hashes of parts of a batch add up to that of the batch, in any order.

    Args:
        ids: Inputs as the model sees them, padded on the right.
        lengths: Number of real tokens in each row; padding has no part in the hash.
        targets: Of these, ``labels`` and all that end so: those with ``positions`` beside them lie flat in the padded
            rows, the others have equally many in each row.
    """
    width = ids.shape[1]
    places = rng.bits(np.arange(width))
    present = np.arange(width) < lengths[:, None]
    state = np.where(present, rng.bits(places ^ ids.astype(np.uint64)), np.uint64(0)).sum(1)
    for name in sorted(name for name in targets if name.endswith("labels")):
        labels, positions = targets[name], targets.get(f"{name.removesuffix('labels')}positions")
        if positions is None:
            row, column = np.divmod(np.arange(labels.size), labels.size // len(ids))
        else:
            row, column = np.divmod(positions, width)
        np.add.at(state, row, rng.bits(rng.key_of(name), places[column] ^ labels.astype(np.uint64)))
    return int((rng.bits(state) >> np.uint64(32)).sum())


class Sampler(ABC):
    """Where rows come from: a corpus cut into epochs, each into blocks of equally many rows in random order."""

    store: TokenStore
    rows_per_block: int
    blocks_per_epoch: int
    is_static: bool = False
    """Whether all rows are padded to the longest, so that equally many make a batch of the same shape."""

    @abstractmethod
    def rows(self, epoch: int, block: int, start: int, stop: int) -> Rows:
        """Rows ``start`` to ``stop`` of a block: a pure function of the sampler's seed and these numbers."""

    @abstractmethod
    def documents(self, epoch: int, block: int, start: int, stop: int) -> list[int]:
        """The documents of which these rows hold a token, as indices in the store, rising."""

    @abstractmethod
    def size_per_row(self, rows_at_once: int) -> Size:
        """The mean over the first rows, with so many padded to one width."""


def pad_to_multiple(lengths: Int[ndarray, " rows"], longest: int, multiple: int = 8) -> int:
    """The width of a batch: its longest row, rounded up to a multiple, at most ``longest``."""
    width = int(lengths.max())
    return min(longest, -(-width // multiple) * multiple)


def rows_to_plan(rows: int, rows_per_step: int) -> int:
    """How many rows make whole steps: cut off below 1 % of them, else filled up by a further pass."""
    cut = rows // rows_per_step * rows_per_step
    return cut if cut and (rows - cut) < 0.01 * rows else cut + rows_per_step


__all__ = ["Batch", "Rows", "Sampler", "Size", "Vocabulary", "hash_rows", "pad_to_multiple", "rows_to_plan"]
