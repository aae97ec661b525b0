"""What objectives of decoders share: rows that are windows over the stream of all documents."""

from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from ptft import rng
from ptft.corpus.sources import Beginning
from ptft.corpus.store import TokenStore
from ptft.errors import DataError
from ptft.objectives.frames import Continued
from ptft.objectives.objective import Objective
from ptft.objectives.packed_plan import Packing
from ptft.objectives.pairs import PairSampler, exact_chunks
from ptft.objectives.rows import Rows, Sampler, Size, Vocabulary, rows_to_plan


class WindowSampler(Sampler):
    """Rows of equal length cut from the stream of all documents, each closed by the end-of-text token.

    The cuts move by a drawn offset from epoch to epoch and the rows come in an order drawn for the epoch, so a row is
    found without planning anything. Differs: GPT-2 and nanoGPT draw windows with replacement and have no epochs.
    """

    blocks_per_epoch = 1

    def __init__(self, store: TokenStore, vocabulary: Vocabulary, length: int, rows_per_step: int, seed: int) -> None:
        self.store = store
        self._vocabulary = vocabulary
        self._length = length
        self._seed = seed
        self._windows = max(1, len(store.tokens) // length - 1)
        self._shifts = len(store.tokens) - self._windows * length  # a row takes one token more than its length
        if self._shifts < 1:
            raise _too_small(f"{len(store.tokens)} tokens", length)
        self.rows_per_block = rows_to_plan(self._windows, rows_per_step)

    def rows(self, epoch: int, block: int, start: int, stop: int) -> Rows:
        """Windows ``start`` to ``stop`` of the epoch, one token longer than the model's input."""
        index = np.arange(start, stop)
        place = self._begins(epoch, index)[:, None] + np.arange(self._length + 1)
        ids = self.store.tokens[place].astype(np.int64)
        by_id = self._vocabulary.starts
        return Rows(
            ids=ids,
            lengths=np.full(len(index), self._length + 1),
            draw_keys=index,
            epoch_keys=(self._seed, epoch),
            starts=self.store.starts(place) if by_id is None else by_id[ids],
        )

    def documents(self, epoch: int, block: int, start: int, stop: int) -> list[int]:
        """The documents whose tokens, the closing one included, lie in these windows."""
        begins = self._begins(epoch, np.arange(start, stop))
        first, last = (self.store.document_of(place) for place in (begins, begins + self._length))
        return sorted({document for pair in zip(first, last, strict=True) for document in range(pair[0], pair[1] + 1)})

    def _begins(self, epoch: int, index: Int[ndarray, " rows"]) -> Int[ndarray, " rows"]:
        """The token at which each row of the epoch begins."""
        window = np.empty(len(index), np.int64)
        for turn in np.unique(index // self._windows):  # beyond one pass over the corpus: another order
            here = index // self._windows == turn
            window[here] = rng.permuted(index[here] % self._windows, self._windows, self._seed, epoch, int(turn))
        shift = int(rng.integers(self._shifts, self._seed, epoch, 0x73686966))
        return shift + window * self._length

    def size_per_row(self, rows_at_once: int) -> Size:
        """All rows are full, of the corpus's own tokens."""
        return Size(self._length, self._length, self._length)


def _too_small(have: str, length: int) -> DataError:
    return DataError(
        f"the corpus has {have}, but a row of length {length} needs {length + 1} tokens; give more text or a smaller "
        "length"
    )


class WindowObjective(Objective):
    """An objective of decoders; documents follow each other in its rows, divided by the end-of-text token."""

    kind: ClassVar[Literal["encoder", "decoder"]] = "decoder"

    def sampler(
        self,
        store: TokenStore,
        vocabulary: Vocabulary,
        length: int,
        rows_per_step: int,
        seed: int,
        packing: Packing | None = None,
    ) -> Sampler:
        """Windows over the stream of documents, or packed rows of whole documents, cut where they are too long."""
        if packing is not None:
            limits = (length, rows_per_step, seed, 0.0)
            return PairSampler(exact_chunks, store, vocabulary, *limits, frame=Continued(), packing=packing)
        return WindowSampler(store, vocabulary, length, rows_per_step, seed)

    def check_corpus(self, beginning: Beginning, length: int) -> None:
        """Refuse a corpus that is too small even if each of its bytes were a token."""
        if beginning.is_all and beginning.text_bytes + beginning.sentences <= length:
            raise _too_small(f"{beginning.text_bytes} bytes", length)
