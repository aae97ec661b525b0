"""Documents that were seen before: equal ones by their hash, similar ones by MinHash, one after the other."""

import hashlib
from collections.abc import Callable
from typing import Any, Literal, Protocol

import numpy as np

from ptft import rng
from ptft.corpus.ngrams import Hashes, ngram_hashes, words_of
from ptft.errors import DeviceError

Kind = Literal["keep", "exact", "near"]

_SHINGLE_WORDS = 5
_PERMUTATIONS = 128
_HASHES_AT_ONCE = 4096  # so that a document of a million words needs no gigabytes


class Duplicates(Protocol):
    """Remembers documents."""

    def is_known(self, document: list[str]) -> bool:
        """Whether a document like this one was given before; if not, it is remembered."""


class ExactDuplicates:
    """Documents of the same sentences: 16 bytes of hash for each."""

    def __init__(self) -> None:
        self._seen: set[bytes] = set()

    def is_known(self, document: list[str]) -> bool:
        """Whether the same sentences were given before."""
        digest = hashlib.blake2b("\n".join(document).encode(), digest_size=16).digest()
        if digest in self._seen:
            return True
        self._seen.add(digest)
        return False


class NearDuplicates:
    """Documents that share most of their runs of five words, as MinHash estimates it.

    A document's signature is, for each of 128 random orders of all shingles, the hash that comes first in it: two
    documents agree in a place with a chance equal to the Jaccard similarity of their shingles. Bands of the signature
    are looked up among those of all documents kept so far, and who shares one is compared in all 128 places.
    The signatures are datasketch's; its index of them returns what shares a band without comparing the rest, so the
    table of bands is our own.

    Args:
        similarity: From which estimated Jaccard similarity on (0 to 1) documents count as duplicates.

    Raises:
        DeviceError: The library datasketch is not installed.

    Paper:
        Broder 1997 (MinHash); Lee et al. 2022, section 4.2, arXiv 2107.06499 (5-grams, similarity 0.8). Differs: they
        keep 9,000 hashes a document and check the edit distance of what is found; we make 128 and store the lowest byte
        of each (Li and Koenig 2010, b-bit minwise hashing). Of a group, the first document stays.
    """

    def __init__(self, similarity: float) -> None:
        self._similarity = similarity
        self._new_sketch = _minhash()
        self._rows = _rows_per_band(similarity)
        self._first_with: dict[int, int] = {}  # the hash of a band: the number of the first document that has it
        self._signatures = np.zeros((1024, _PERMUTATIONS), np.uint8)
        self._count = 0

    def is_known(self, document: list[str]) -> bool:
        """Whether a similar document was given before; one without words is never known."""
        words = words_of(" ".join(document))
        if not words:
            return False
        signature = self._signature(words)
        bands = self._bands(signature)
        low = signature.astype(np.uint8)
        candidates = {self._first_with[band] for band in bands if band in self._first_with}
        if any((self._signatures[number] == low).mean() >= self._similarity for number in candidates):
            return True
        if self._count == len(self._signatures):
            self._signatures = np.concatenate((self._signatures, np.zeros_like(self._signatures)))
        self._signatures[self._count] = low
        for band in bands:
            self._first_with.setdefault(band, self._count)
        self._count += 1
        return False

    def _signature(self, words: list[str]) -> Hashes:
        *_, (_, shingles) = ngram_hashes(words, _SHINGLE_WORDS)  # a shorter document is one shingle
        sketch = self._new_sketch()
        for start in range(0, len(shingles), _HASHES_AT_ONCE):
            sketch.update_batch(shingles[start : start + _HASHES_AT_ONCE])
        hashes: Hashes = sketch.hashvalues
        return hashes

    def _bands(self, signature: Hashes) -> list[int]:
        rows = signature[: len(signature) // self._rows * self._rows].reshape(-1, self._rows)
        hashes: list[int] = rng.bits(np.arange(len(rows)), *rows.T).tolist()
        return hashes


def _minhash() -> Callable[[], Any]:
    try:
        from datasketch import MinHash
    except ImportError:
        raise DeviceError(
            "corpus.duplicates=near needs the library 'datasketch', which is not installed; pip install datasketch, or "
            "use corpus.duplicates=exact"
        ) from None
    settings = {"scheme": "affine64", "hashfunc": int}  # what it is given are hashes already
    permutations = MinHash(_PERMUTATIONS, seed=1, **settings).permutations
    return lambda: MinHash(_PERMUTATIONS, permutations=permutations, **settings)


def _rows_per_band(similarity: float) -> int:
    """Most rows a band may have so that documents of just this similarity share one with a chance of 0.95."""
    chance = [1 - (1 - similarity**rows) ** (_PERMUTATIONS // rows) for rows in range(1, _PERMUTATIONS + 1)]
    return max(rows for rows, found in enumerate(chance, 1) if found >= 0.95 or rows == 1)
