"""The documents of all parts of a corpus: cleaned, divided into train and valid, each as often as its weight says."""

import itertools
import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ptft import rng
from ptft.corpus.cleaning import Cleaner
from ptft.corpus.reading import Document, Source, Split
from ptft.errors import DataError


class FoundPart(NamedTuple):
    """A part of a corpus that was found; a corpus of one source is one part without a name.

    Attributes:
        name: Key of its draws.
        source: Where its documents come from.
        weight: How often a document comes in an epoch, on average; above 0.
    """

    name: str
    source: Source
    weight: float


def stream(parts: list[FoundPart], ratio: float, split: Split, seed: int, cleaner: Cleaner) -> Iterator[Document]:
    """Yield the documents of a split, part by part.

    The parts are read in turns, in turn 0 all of them, in turn 1 those whose documents come twice, and so on: a copy
    beside the first would teach a decoder to repeat what it just read.

    Args:
        parts: What to read.
        ratio: Share of the documents held out of parts that bring no validation text of their own.
        split: ``train``, or ``valid``, for which weights do not matter.
        seed: Key of what is held out and of fractions of weights; >= 0.
        cleaner: Splits documents and says which stay.

    Raises:
        DataError: A part has no sentence, or no document of any part stays.
    """
    is_kept = {part.name: bytearray() for part in parts}  # what was decided in the first turn
    for turn in range(math.ceil(max(part.weight for part in parts)) if split == "train" else 1):
        for name, source, weight in parts:
            if turn >= weight:
                continue
            raw = source.documents(split if source.held_out else "train", seed)
            summary = f"{source.summary}, {split} part" if source.held_out else source.summary
            documents = _cleaned(_not_empty(raw, summary), cleaner, is_kept[name], is_first=turn == 0)
            if not source.held_out:
                documents = _part(documents, split, ratio, seed)
            yield from documents if split == "valid" else _in_turn(documents, weight, turn, name, seed)
        if not cleaner.report.num_kept:
            reasons = ", ".join(f"{reason} {count:,}" for reason, count in cleaner.report.dropped.items())
            raise DataError(
                f"all {cleaner.report.num_read:,} documents of the corpus are left out ({reasons}); allowed: at least "
                "one that stays; loosen corpus.filters, or leave them out"
            )


def _cleaned(
    documents: Iterable[Document], cleaner: Cleaner, is_kept: bytearray, *, is_first: bool
) -> Iterator[Document]:
    """Split and judge documents; in later turns, what was judged in the first is only read again."""
    for number, document in enumerate(map(cleaner.split, documents)):
        if is_first:
            is_kept.append(cleaner.keeps(document))
        if is_kept[number]:
            yield document


def _in_turn(documents: Iterable[Document], weight: float, turn: int, name: str, seed: int) -> Iterator[Document]:
    """Those that come at least ``turn + 1`` times: with weight 2.5 each comes twice, and a half of them once more."""
    draws = rng.Stream(rng.key_of("mixture"), rng.key_of(name), seed)
    whole = math.floor(weight)
    for document in documents:
        if turn < whole + (draws.random() < weight - whole):
            yield document


def _not_empty(documents: Iterable[Document], summary: str) -> Iterator[Document]:
    empty = True
    for document in documents:
        empty = False
        yield document
    if empty:
        raise DataError(f"{summary}: the corpus holds no sentence; allowed: text; name another file or column")


def _part(documents: Iterator[Document], split: Split, ratio: float, seed: int) -> Iterator[Document]:
    # One of the first two documents is held out and the other is not, so that no part of two documents or more is
    # empty, although their number is not known before all are read.
    draws = rng.Stream(rng.key_of("held-out documents"), seed)
    certain = draws.randint(0, 1)
    first = list(itertools.islice(documents, 2))
    for number, document in enumerate(itertools.chain(first, documents)):
        held_out = draws.random() < ratio
        if number < 2:
            held_out = ratio > 0 and len(first) == 2 and number == certain
        if held_out == (split == "valid"):
            yield document
