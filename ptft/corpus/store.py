"""The token store: a compiled corpus as memory-mapped token ids with document and sentence ends."""

import hashlib
import json
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from jaxtyping import Bool, Int
from numpy import ndarray
from numpy.typing import NDArray

from ptft.corpus.aside import clean, locked_aside
from ptft.corpus.watch import Watch, sha256
from ptft.errors import DataError

_CHARACTERS_PER_BATCH = 1 << 20
_CHARACTERS_PER_SENTENCE = 64  # added for what is kept of a sentence besides its text
_THREADS = 2  # encoding uses all cores by itself, but handing over its result holds the interpreter
_CHECKED_BYTES = 1 << 28  # a store up to this size is checked whenever it is opened


class Encoded(NamedTuple):
    """Texts as token ids, without special tokens.

    Attributes:
        ids: Those of each text.
        starts: For each token, one text after the other, whether it begins a word; None where nobody asks.
    """

    ids: list[list[int]]
    starts: Bool[ndarray, " tokens"] | None = None


Encode = Callable[[list[str]], Encoded]


@dataclass(frozen=True)
class StoreInfo:
    """What a store holds, as written in its ``store.json``."""

    key: str
    dtype: str
    documents: int
    sentences: int
    tokens: int
    words: int
    text_bytes: int
    checksums: dict[str, str]
    cleaning: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TokenStore:
    """A compiled corpus.

    Attributes:
        tokens: All token ids, one document after the other.
        document_ends: For each document, the index in ``tokens`` behind its last token.
        end_bits: For each token one bit, whether it is the last of a sentence, eight to a byte from the highest.
        info: Counts and checksums.
        start_bits: The same for whether it begins a word; None where the store was compiled without them.
        watch: Tells whether the files are what they were when they were opened; None where there are none.
    """

    tokens: NDArray[np.unsignedinteger]
    document_ends: NDArray[np.int64]
    end_bits: NDArray[np.uint8]
    info: StoreInfo
    start_bits: NDArray[np.uint8] | None = None
    watch: Watch | None = None

    @property
    def num_documents(self) -> int:
        """Number of documents."""
        return len(self.document_ends)

    def document_of(self, token: Int[ndarray, " tokens"]) -> list[int]:
        """The document in which each of some token indices lies."""
        return np.searchsorted(self.document_ends, token, side="right").tolist()  # type: ignore[no-any-return]

    def sentence_bounds(self, document: int) -> list[int]:
        """Token indices at which the sentences of a document begin, and its end."""
        begin, end = int(self.document_ends[document - 1]) if document else 0, int(self.document_ends[document])
        first = begin >> 3
        bits = np.unpackbits(self.end_bits[first : -(-end >> 3)])[begin & 7 : end - 8 * first]
        return [begin, *(bits.nonzero()[0] + (begin + 1)).tolist()]

    def starts(self, index: Int[ndarray, "*shape"]) -> Bool[ndarray, "*shape"] | None:
        """Whether the tokens at ``index`` begin a word, or None where the store does not know."""
        if self.start_bits is None:
            return None
        bits: NDArray[np.bool_] = (self.start_bits[index >> 3] >> (7 - (index & 7)).astype(np.uint8) & 1).astype(bool)
        return bits


def compile_store(
    documents: Iterable[list[str]],
    encode: Encode,
    cache: Path,
    key: str,
    *,
    vocab_size: int,
    end_token: int | None,
    cleaning: Callable[[], dict[str, Any]] = dict,
) -> TokenStore:
    """Open the store named ``key`` below ``cache``, compiling it first if it is not there.

    A store is written aside and renamed, so that a half-written one is never opened; what killed processes left below
    ``cache`` is deleted.

    Args:
        documents: Each a list of sentences; read only if the store must be made.
        encode: Turns texts into token ids, without special tokens; called from several threads at once.
        cache: Folder of all stores.
        key: Hash of everything that decides the content.
        vocab_size: Number of ids the tokenizer can give; decides the width of a stored id.
        end_token: Id that closes each document, or None for none.
        cleaning: Called when all documents are read: what was done to them, to be kept with the store.

    Raises:
        DataError: The corpus cannot be read or gives no token, or the cache folder cannot be written.
    """
    folder = cache / key
    clean(cache)
    if not (folder / "store.json").exists():
        try:
            with locked_aside(folder) as partial:
                _write(_read(documents), encode, partial, key, vocab_size, end_token, cleaning)
        except OSError as error:
            if not (folder / "store.json").exists():  # another process was faster: theirs holds the same bytes
                raise DataError(f"cannot write the token store below {str(cache)!r}: {error.strerror}") from error
    return open_store(folder)


def _read(documents: Iterable[list[str]]) -> Iterator[list[str]]:
    """The documents; an error of the system is one of reading, which is not to be taken for one of writing."""
    try:
        yield from documents
    except OSError as error:
        raise DataError(f"cannot read the corpus: {error}; make it readable, and begin again") from error


def store_in_memory(
    documents: Iterable[list[str]], encode: Encode, *, vocab_size: int, end_token: int | None
) -> TokenStore:
    """The store that :func:`compile_store` would make of a few documents, without writing it."""
    batch, counts, dtype = list(documents), _Counts(), _dtype(vocab_size)
    parts = _arrays(batch, encode(list(chain.from_iterable(batch))), counts, dtype, end_token)
    starts = np.packbits(parts["start_bits"]) if parts["start_bits"].size else None
    info = StoreInfo(key="", dtype=dtype, checksums={}, **asdict(counts))
    return TokenStore(parts["tokens"], parts["document_ends"], np.packbits(parts["end_bits"]), info, starts)


def _dtype(vocab_size: int) -> str:
    return "uint16" if vocab_size <= 1 << 16 else "uint32"


def open_store(folder: Path) -> TokenStore:
    """Map a compiled store into memory.

    A store of up to 256 MB is compared with its checksums, which takes a fraction of a second; a larger one if a file
    is not the one that was last compared, which its size and the time of its last change tell.

    Raises:
        DataError: A file is missing or holds something else than when it was written.
    """
    try:
        info = StoreInfo(**json.loads((folder / "store.json").read_text()))
    except (OSError, ValueError, TypeError):
        path = folder / "store.json"
        raise DataError(f"{path} is missing or damaged; delete {folder} to compile it again") from None
    num_bytes = -(-info.tokens // 8)
    files = {
        "tokens": (folder / "tokens.bin", info.dtype, info.tokens),
        "document_ends": (folder / "document_ends.bin", "int64", info.documents),
        "end_bits": (folder / "end_bits.bin", "uint8", num_bytes),
    }
    if "start_bits" in info.checksums:
        files["start_bits"] = (folder / "start_bits.bin", "uint8", num_bytes)
    for path, kind, length in files.values():
        expected = length * np.dtype(kind).itemsize
        if not path.exists() or path.stat().st_size != expected:
            raise DataError(f"{path} is damaged: it should have {expected} bytes; delete {folder} to compile it again")
    watch = Watch({path: info.checksums[path.stem] for path, _, _ in files.values()})
    _compare(folder, info, [path for path, _, _ in files.values()])
    maps = {name: np.memmap(path, kind, "r", shape=(n,)) for name, (path, kind, n) in files.items()}
    arrays = {name: np.asarray(array) for name, array in maps.items()}  # whose parts are made twice as fast
    return TokenStore(info=info, watch=watch, **arrays)


def _compare(folder: Path, info: StoreInfo, paths: Sequence[Path]) -> None:
    """Compare the files with their checksums, unless they are large and the same as last time."""
    seen = {path.stem: [path.stat().st_size, path.stat().st_mtime_ns] for path in paths}
    compared = folder / "compared.json"
    if sum(size for size, _ in seen.values()) > _CHECKED_BYTES:
        try:
            if json.loads(compared.read_text()) == seen:
                return
        except (OSError, ValueError):
            pass
    for path in paths:
        found = sha256(path)
        if found != info.checksums[path.stem]:
            raise DataError(
                f"{path} is damaged: its SHA-256 is {found[:12]}... but {info.checksums[path.stem][:12]}... was "
                f"written; delete {folder} to compile it again"
            )
    with suppress(OSError):  # a folder that may only be read
        compared.write_text(json.dumps(seen))


def _write(
    documents: Iterable[list[str]],
    encode: Encode,
    folder: Path,
    key: str,
    vocab_size: int,
    end_token: int | None,
    cleaning: Callable[[], dict[str, Any]],
) -> None:
    dtype = _dtype(vocab_size)
    counts = _Counts()
    with ExitStack() as stack:
        kinds = {"tokens": _Summed, "document_ends": _Summed, "end_bits": _SummedBits, "start_bits": _SummedBits}
        files = {name: stack.enter_context(kind(folder / f"{name}.bin")) for name, kind in kinds.items()}
        for batch, encoded in _encoded(documents, encode, stack.enter_context(ThreadPoolExecutor(_THREADS))):
            parts = _arrays(batch, encoded, counts, dtype, end_token)
            for name, file in files.items():
                file.write(parts[name])
    if not counts.tokens:
        raise DataError("the corpus is empty: no document gives a token; check the path and the text column")
    if not files["start_bits"].size:
        del files["start_bits"]
        (folder / "start_bits.bin").unlink()
    checksums = {name: file.digest.hexdigest() for name, file in files.items()}
    info = StoreInfo(key=key, dtype=dtype, checksums=checksums, cleaning=cleaning(), **asdict(counts))
    with (folder / "store.json").open("w") as info_file:
        json.dump(asdict(info), info_file, indent=1)
        info_file.flush()
        os.fsync(info_file.fileno())


@dataclass
class _Counts:
    """What is written so far."""

    documents: int = 0
    sentences: int = 0
    tokens: int = 0
    words: int = 0
    text_bytes: int = 0


class _Summed:
    """A file of numbers that keeps the SHA-256 of what is written to it, and is on the disk when it is closed."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self.digest = hashlib.sha256()
        self.size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def write(self, numbers: NDArray[Any]) -> None:
        """Append."""
        data = numbers.tobytes()
        self._file.write(data)
        self.digest.update(data)
        self.size += len(data)


class _SummedBits(_Summed):
    """Booleans as bits, eight to a byte across the seams of batches; the last byte is filled up with zeros."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._rest = np.zeros(0, bool)

    def __exit__(self, *_: object) -> None:
        super().write(np.packbits(self._rest))
        super().__exit__()

    def write(self, numbers: NDArray[Any]) -> None:
        """Append."""
        flags = np.concatenate((self._rest, numbers))
        whole = len(flags) // 8 * 8
        super().write(np.packbits(flags[:whole]))
        self._rest = flags[whole:]


def _encoded(
    documents: Iterable[list[str]], encode: Encode, pool: ThreadPoolExecutor
) -> Iterator[tuple[list[list[str]], Encoded]]:
    """Batches in order; a few are encoded in threads while the next one is read and the last one written."""
    waiting: deque[tuple[list[list[str]], Future[Encoded]]] = deque()
    for batch in _batches(documents):
        waiting.append((batch, pool.submit(encode, list(chain.from_iterable(batch)))))
        if len(waiting) > _THREADS:
            first, result = waiting.popleft()
            yield first, result.result()
    for first, result in waiting:
        yield first, result.result()


def _arrays(
    batch: list[list[str]], encoded: Encoded, counts: _Counts, dtype: str, end_token: int | None
) -> dict[str, NDArray[Any]]:
    """A batch of documents as the parts of the store's files; a sentence or document without a token leaves none."""
    lengths = np.array([len(ids) for ids in encoded.ids], np.int64)
    tokens = np.fromiter(chain.from_iterable(encoded.ids), dtype, int(lengths.sum()))
    starts = np.zeros(0, bool) if encoded.starts is None else encoded.starts
    document = np.repeat(np.arange(len(batch)), [len(sentences) for sentences in batch])
    used = np.flatnonzero(lengths)  # a sentence of characters that the normaliser drops has no token
    is_last = np.append(document[used][1:] != document[used][:-1], True)[: len(used)]
    if end_token is not None:
        behind = np.cumsum(lengths)[used[is_last]]
        tokens = np.insert(tokens, behind, end_token)
        starts = starts if encoded.starts is None else np.insert(starts, behind, True)
        lengths[used[is_last]] += 1
    ends = np.cumsum(lengths[used])
    closes = np.zeros(len(tokens), bool)
    closes[ends - 1] = True
    parts = {
        "tokens": tokens,
        "document_ends": ends[is_last] + counts.tokens,
        "end_bits": closes,
        "start_bits": starts,
    }
    counts.documents += int(is_last.sum())
    counts.sentences += len(used)
    counts.tokens += len(tokens)
    for sentence in chain.from_iterable(batch):
        counts.words += len(sentence.split())
        counts.text_bytes += len(sentence.encode())
    return parts


def _batches(documents: Iterable[list[str]]) -> Iterator[list[list[str]]]:
    batch: list[list[str]] = []
    waiting = 0
    for document in documents:
        batch.append(document)
        waiting += sum(map(len, document)) + _CHARACTERS_PER_SENTENCE * len(document)
        if waiting >= _CHARACTERS_PER_BATCH:
            yield batch
            batch, waiting = [], 0
    if batch:
        yield batch
