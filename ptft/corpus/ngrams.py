"""Words and word n-grams as numbers: what texts are compared by, whatever their case, punctuation and spacing."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ptft import rng

WITHOUT_SPACES = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
"""Kana and Han, of which each character is a word: the inside of a class of a regular expression."""
_WORD = re.compile(rf"[{WITHOUT_SPACES}]|[^\W_{WITHOUT_SPACES}]+")
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_WORDS_REMEMBERED = 1 << 17

Hashes = NDArray[np.uint64]

_number_of = lru_cache(_WORDS_REMEMBERED)(rng.key_of)


def words_of(text: str) -> list[str]:
    """The words of a text: runs of letters and digits in small letters, and each kana or Han character.

    Example:
        >>> words_of("It's 3.5 Ｋｍ, isn't it?")
        ['it', 's', '3', '5', 'km', 'isn', 't', 'it']
    """
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def ngram_hashes(words: Sequence[str], longest: int) -> Iterator[tuple[int, Hashes]]:
    """Yield (n, the hash of each n-gram by the place of its first word) for n from 1 to ``longest``.

    It ends before the n-grams do: a text of four words has none of five. Two n-grams have one hash with a chance of
    about 2**-63.
    """
    numbers = np.fromiter(map(_number_of, words), np.uint64, len(words))
    hashes = numbers
    for n in range(1, min(longest, len(words)) + 1):
        if n > 1:
            hashes = hashes[:-1] * _FACTOR + numbers[n - 1 :]
        yield n, hashes
