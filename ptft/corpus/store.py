"""The token store: a compiled corpus as memory-mapped token ids with document and sentence ends."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptft.errors import DataError

Encode = Callable[[list[str]], list[list[int]]]
_SENTENCES_PER_BATCH = 16384
_FILES = ("tokens", "sentence_ends", "document_ends")


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
        sentence_ends: For each sentence, the index in ``tokens`` behind its last token.
        document_ends: For each document, the index in ``sentence_ends`` behind its last sentence.
        info: Counts and checksums.
    """

    tokens: NDArray[np.unsignedinteger]
    sentence_ends: NDArray[np.int64]
    document_ends: NDArray[np.int64]
    info: StoreInfo

    @property
    def num_documents(self) -> int:
        """Number of documents."""
        return len(self.document_ends)

    def document_bounds(self) -> NDArray[np.int64]:
        """Token index at which each document begins, and the total at the end: ``num_documents + 1`` numbers."""
        return np.concatenate(([0], self.sentence_ends[self.document_ends - 1]))


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

    A store is written aside and renamed, so that a half-written one is never opened.

    Args:
        documents: Each a list of sentences; read only if the store must be made.
        encode: Turns texts into lists of token ids, without special tokens.
        cache: Folder of all stores.
        key: Hash of everything that decides the content.
        vocab_size: Number of ids the tokenizer can give; decides the width of a stored id.
        end_token: Id that closes each document, or None for none.
        cleaning: Called when all documents are read: what was done to them, to be kept with the store.

    Raises:
        DataError: The corpus gives no token, or the cache folder cannot be written.
    """
    folder = cache / key
    if not (folder / "store.json").exists():
        partial = cache / f".{key}.{os.getpid()}.partial"
        try:
            partial.mkdir(parents=True, exist_ok=True)
            _write(documents, encode, partial, key, vocab_size, end_token, cleaning)
            partial.replace(folder)
        except OSError as error:
            if not (folder / "store.json").exists():  # another process was faster: theirs holds the same bytes
                raise DataError(f"cannot write the token store below {str(cache)!r}: {error.strerror}") from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return open_store(folder)


def open_store(folder: Path) -> TokenStore:
    """Map a compiled store into memory.

    Raises:
        DataError: A file is missing or has another size than when it was written.
    """
    try:
        info = StoreInfo(**json.loads((folder / "store.json").read_text()))
    except (OSError, ValueError, TypeError):
        path = folder / "store.json"
        raise DataError(f"{path} is missing or damaged; delete {folder} to compile it again") from None
    dtypes = {"tokens": info.dtype, "sentence_ends": "int64", "document_ends": "int64"}
    lengths = {"tokens": info.tokens, "sentence_ends": info.sentences, "document_ends": info.documents}
    arrays = {}
    for name in _FILES:
        path = folder / f"{name}.bin"
        expected = lengths[name] * np.dtype(dtypes[name]).itemsize
        if not path.exists() or path.stat().st_size != expected:
            raise DataError(f"{path} is damaged: it should have {expected} bytes; delete {folder} to compile it again")
        arrays[name] = np.memmap(path, dtypes[name], "r")
    return TokenStore(info=info, **arrays)


def _write(
    documents: Iterable[list[str]],
    encode: Encode,
    folder: Path,
    key: str,
    vocab_size: int,
    end_token: int | None,
    cleaning: Callable[[], dict[str, Any]],
) -> None:
    dtype = "uint16" if vocab_size <= 1 << 16 else "uint32"
    tokens = words = text_bytes = sentences = num_documents = 0
    digests = {name: hashlib.sha256() for name in _FILES}
    with (
        (folder / "tokens.bin").open("wb") as token_file,
        (folder / "sentence_ends.bin").open("wb") as sentence_file,
        (folder / "document_ends.bin").open("wb") as document_file,
    ):
        for batch in _batches(documents):
            ids = iter(encode([sentence for document in batch for sentence in document]))
            flat: list[int] = []
            sentence_ends: list[int] = []
            document_ends: list[int] = []
            for document in batch:
                before = len(sentence_ends)
                for sentence in document:
                    piece = next(ids)
                    if piece:  # a sentence of characters that the normaliser drops has no token
                        flat += piece
                        sentence_ends.append(tokens + len(flat))
                    words += len(sentence.split())
                    text_bytes += len(sentence.encode())
                if len(sentence_ends) > before:
                    if end_token is not None:
                        flat.append(end_token)
                        sentence_ends[-1] += 1
                    document_ends.append(sentences + len(sentence_ends))
            parts = (np.array(flat, dtype), np.array(sentence_ends, "int64"), np.array(document_ends, "int64"))
            for name, file, part in zip(_FILES, (token_file, sentence_file, document_file), parts, strict=True):
                file.write(part.tobytes())
                digests[name].update(part.tobytes())
            tokens, sentences = tokens + len(flat), sentences + len(sentence_ends)
            num_documents += len(document_ends)
        for file in (token_file, sentence_file, document_file):
            file.flush()
            os.fsync(file.fileno())
    if not tokens:
        raise DataError("the corpus is empty: no document gives a token; check the path and the text column")
    checksums = {name: digest.hexdigest() for name, digest in digests.items()}
    info = StoreInfo(key, dtype, num_documents, sentences, tokens, words, text_bytes, checksums, cleaning())
    with (folder / "store.json").open("w") as info_file:
        json.dump(asdict(info), info_file, indent=1)
        info_file.flush()
        os.fsync(info_file.fileno())


def _batches(documents: Iterable[list[str]]) -> Iterator[list[list[str]]]:
    batch: list[list[str]] = []
    waiting = 0
    for document in documents:
        batch.append(document)
        waiting += len(document)
        if waiting >= _SENTENCES_PER_BATCH:
            yield batch
            batch, waiting = [], 0
    if batch:
        yield batch
