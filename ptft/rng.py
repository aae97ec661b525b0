"""Random numbers as a pure function of counters: no state, no order of calls, the same on every machine.

Each function mixes its integer keys (scalars or arrays that broadcast) with the finaliser of SplitMix64 (Steele, Lea
and Flood 2014), so the draw for (seed, epoch, example, position) never depends on what was drawn before it.
"""

import hashlib
import random
from typing import Any

import numpy as np
from numpy.typing import NDArray

Key = int | NDArray[Any]
_Words = NDArray[np.uint64] | np.uint64  # numpy makes a scalar of what is computed from arrays without an axis
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mix(state: _Words) -> _Words:
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def bits(*keys: Key) -> NDArray[np.uint64]:
    """64 random bits for each combination of the broadcast ``keys`` (integers >= 0)."""
    state: _Words = np.uint64(0)
    with np.errstate(over="ignore"):
        for key in keys:
            state = _mix(state * _GOLDEN + np.asarray(key).astype(np.uint64) + _GOLDEN)
    return np.asarray(state)


def uniform(*keys: Key) -> NDArray[np.float64]:
    """Numbers in [0, 1) with 53 random bits each, one for each combination of the broadcast ``keys``."""
    return np.asarray((bits(*keys) >> np.uint64(11)) * 2.0**-53)


def integers(high: int, *keys: Key) -> NDArray[np.int64]:
    """Integers in [0, high), one for each combination of the broadcast ``keys``; the bias is below 2**-32."""
    return np.asarray((bits(*keys) >> np.uint64(32)) * np.uint64(high) >> np.uint64(32)).astype(np.int64)


def permuted(index: Key, size: int, *keys: Key) -> NDArray[np.int64]:
    """Where a keyed permutation of ``range(size)`` sends ``index``: order without materialising it.

    A four-round Feistel network over the next power of four, walked until it lands inside (Black and Rogaway 2002).
    """
    half = max(1, ((size - 1).bit_length() + 1) // 2)
    mask = np.uint64((1 << half) - 1)
    out = np.atleast_1d(np.asarray(index)).astype(np.uint64)
    outside = np.ones(out.shape, bool)
    while outside.any():
        value = out[outside]
        left, right = value >> np.uint64(half), value & mask
        for turn in range(4):
            left, right = right, left ^ (bits(*keys, turn, right) & mask)
        out[outside] = left << np.uint64(half) | right
        outside = out >= size
    return out.astype(np.int64).reshape(np.shape(index))


def key_of(text: str) -> int:
    """A 63-bit key for a piece of text, the same on every machine (unlike ``hash``)."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def mersenne(seed: int) -> random.Random:
    """Python's own generator, for numbers that must equal those of another system; nothing of ours draws from it."""
    return random.Random(seed)


class Stream:
    """The three draws that sequential published rules need (as ``random.Random`` offers them), from counters.

    Args:
        keys: What the stream belongs to, such as seed, epoch and document.
    """

    def __init__(self, *keys: int) -> None:
        self._keys = keys
        self._count = 0
        self._ahead: list[float] = []

    def random(self) -> float:
        """The next number in [0, 1)."""
        if not self._ahead:
            counters = np.arange(self._count, self._count + 64)
            self._ahead = uniform(*self._keys, counters)[::-1].tolist()
            self._count += 64
        return self._ahead.pop()

    def randint(self, low: int, high: int) -> int:
        """The next integer in [low, high], both ends included."""
        return low + int(self.random() * (high - low + 1))

    def shuffle(self, items: list[Any]) -> None:
        """Shuffle a list in place (Fisher-Yates)."""
        for last in range(len(items) - 1, 0, -1):
            other = self.randint(0, last)
            items[last], items[other] = items[other], items[last]
