"""Random choices for one document after another, each a pure function of the document's keys and number."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np

from ptft import rng

T = TypeVar("T")

# One call of the generator fills a block of documents: a call a document would cost more than the document's text.
_DOCUMENTS_PER_BLOCK = 512
_DRAWS_PER_DOCUMENT = 192


class Draws:
    """The choices of one document, taken in order from numbers drawn beforehand.

    Args:
        values: Numbers in [0, 1); running out of them is a bug, not a mistake of the user.
    """

    __slots__ = ("_values",)

    def __init__(self, values: Sequence[float]) -> None:
        self._values = iter(values)

    def below(self, high: int) -> int:
        """An integer in [0, high)."""
        return int(next(self._values) * high)

    def between(self, low: int, high: int) -> int:
        """An integer in [low, high], both ends included."""
        return low + int(next(self._values) * (high - low + 1))

    def pick(self, items: Sequence[T]) -> T:
        """One of the items."""
        return items[int(next(self._values) * len(items))]

    def sample(self, items: Sequence[T], count: int) -> list[T]:
        """``count`` different items in random order (the first steps of Fisher-Yates)."""
        rest = list(items)
        for at in range(count):
            other = at + int(next(self._values) * (len(rest) - at))
            rest[at], rest[other] = rest[other], rest[at]
        return rest[:count]

    def one_of_each(self, pairs: Sequence[tuple[T, T]], count: int) -> list[T]:
        """One member of each of ``count`` different pairs: the two members of a pair are never drawn together."""
        return [self.pick(pair) for pair in self.sample(pairs, count)]


def draws_for(num_documents: int, *keys: int) -> Iterator[Draws]:
    """The choices of documents 0, 1, ... of the series that ``keys`` (integers >= 0) name."""
    places = np.arange(_DRAWS_PER_DOCUMENT)
    for start in range(0, num_documents, _DOCUMENTS_PER_BLOCK):
        numbers = np.arange(start, min(start + _DOCUMENTS_PER_BLOCK, num_documents))[:, None]
        for values in rng.uniform(*keys, numbers, places).tolist():
            yield Draws(values)
