"""Corpora as documents: text files, tables, folders, data sets of the ``datasets`` library, and the embedded corpus."""

import hashlib
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import Field

from ptft import rng
from ptft.config import Settings
from ptft.corpus import embedded, hub
from ptft.corpus.files import TEXT_FORMATS, check_file, content_hash, exists, file_format, read_lines, split_files
from ptft.corpus.tables import Cell, read_rows
from ptft.errors import DataError, RecipeError
from ptft.family import nearest

Document = list[str]
Split = Literal["train", "valid"]
FOLDER_FORMATS = (".txt", ".jsonl", ".csv", ".tsv", ".parquet")
"""Endings that are read from a folder, each also with ``.gz``; a .json file there is mostly no corpus."""
_LOOKED_AT_BYTES = 1 << 22
_EMBEDDED = ("embedded", "embedded:lists")


class CorpusSettings(Settings):
    """Which text to read."""

    path: str = "embedded"
    """A file, a folder, a `datasets` name (user/name:config), a saved data set, `embedded` or `embedded:lists`."""
    text: str = "text"
    """The column that holds the text, for tables and data sets."""
    split: str = "train"
    """The split to train on, for data sets of the `datasets` library."""
    valid_ratio: float = Field(default=0.01, ge=0, lt=1)
    """Share of the documents held out (0 to below 1) where the corpus brings no validation file of its own."""


def documents(settings: CorpusSettings, split: Split, seed: int) -> Iterator[Document]:
    """Yield the documents of a corpus, each a list of its sentences.

    In a .txt file a line is a sentence and a blank line ends the document; in a table the text cell of a row is a
    document and its lines are sentences. A folder with one ``train`` file is read as its train, valid and test files
    say; any other folder is one corpus of all its text files, sorted by name. Without a validation file, documents are
    held out by random numbers of their own: each with ``valid_ratio``, and one of the first two for certain.

    Args:
        settings: What to read.
        split: ``train``, or ``valid`` for what is held out; ``valid`` is empty if nothing is held out.
        seed: Key of what is held out, and of the embedded corpus; >= 0.

    Raises:
        DataError: The corpus cannot be found (on the call) or read, or has no sentence at all (when it is read).
        RecipeError: A setting is given that this kind of corpus does not use.
    """
    source = _source(settings)
    if source.held_out is None:
        return _part(_not_empty(source.documents("train", seed), source.summary), split, settings.valid_ratio, seed)
    return _not_empty(source.documents(split, seed), f"{source.summary}, {split} part")


class Beginning(NamedTuple):
    """What the first documents of a corpus hold: their number, their sentences and bytes, and whether they are all."""

    documents: int
    sentences: int
    text_bytes: int
    is_all: bool


def beginning(settings: CorpusSettings, seed: int) -> Beginning:
    """Read the first 4 MB of what is trained on, so that a wrong corpus is refused before anything is made of it.

    To read a large corpus twice is too dear: what is broken further behind is found when it is compiled.

    Raises:
        DataError: As :func:`documents`.
        RecipeError: As :func:`documents`.
    """
    num_documents = sentences = text_bytes = 0
    for document in documents(settings, "train", seed):
        if text_bytes > _LOOKED_AT_BYTES:
            return Beginning(num_documents, sentences, text_bytes, is_all=False)
        num_documents += 1
        sentences += len(document)
        text_bytes += sum(len(sentence.encode()) for sentence in document)
    return Beginning(num_documents, sentences, text_bytes, is_all=True)


def fingerprint(settings: CorpusSettings, split: Split, seed: int) -> str:
    """A hash of everything that decides what :func:`documents` yields: names of files have no part in it.

    Raises:
        DataError: The corpus cannot be found or read.
    """
    source = _source(settings)
    if source.held_out is None:
        held_out = [split, settings.valid_ratio, seed] if settings.valid_ratio else [split]
        parts = [source.key("train", seed), held_out]
    else:
        parts = [source.key(split, seed)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def describe(settings: CorpusSettings) -> str:
    """Say in one line, for people, what is read and what is held out.

    Raises:
        DataError: The corpus cannot be found.
    """
    source = _source(settings)
    return f"{source.summary}; held out: {source.held_out or f'{settings.valid_ratio:.2%} of the documents'}"


@dataclass(frozen=True)
class _Source:
    """A corpus that was found; ``held_out`` names its validation part, if it has one of its own."""

    summary: str
    held_out: str | None
    documents: Callable[[Split, int], Iterator[Document]]
    key: Callable[[Split, int], object]


def _source(settings: CorpusSettings) -> _Source:
    family, _, kind = settings.path.partition(":")
    if family == "embedded":
        return _embedded(kind or "prose", settings)
    path, there = Path(settings.path), exists(settings.path)
    if not there and hub.looks_like_name(settings.path) and file_format(path) not in TEXT_FORMATS:
        return _dataset(settings)
    if there and path.is_dir():
        return _dataset(settings) if hub.is_saved(path) else _folder(path, settings)
    return _files(settings.path, [check_file(settings.path)], [], settings)


def _embedded(kind: str, settings: CorpusSettings) -> _Source:
    def key(split: Split, seed: int) -> object:
        # It is made in half a second, so its hash needs no version number that someone could forget to raise.
        digest = hashlib.sha256()
        for document in embedded.documents(kind, split, seed):
            digest.update("\n".join([*document, "\n"]).encode())
        return digest.hexdigest()

    embedded.documents(kind, "train", 0)  # refuses an unknown kind
    _refuse_unused(settings, "the embedded corpus has columns and splits of its own", "text", "split", "valid_ratio")
    return _Source(
        f"the embedded corpus ({kind})",
        "documents of its own",
        lambda split, seed: embedded.documents(kind, split, seed),
        key,
    )


def _folder(folder: Path, settings: CorpusSettings) -> _Source:
    below = [path for path in folder.rglob("*") if path.is_file() and file_format(path) in FOLDER_FORMATS]
    names = {path.relative_to(folder).as_posix(): path for path in below}
    files = [names[name] for name in sorted(names) if not any(part.startswith(".") for part in name.split("/"))]
    if not files:
        raise DataError(
            f"{folder}: the folder holds no text file; allowed: {', '.join(FOLDER_FORMATS)}, each also with .gz; name "
            "the folder where they lie"
        )
    splits = split_files(folder, files)
    if "train" not in splits:
        return _files(f"{len(files)} files below {folder}", files, [], settings)
    held_out = [splits["valid"]] if "valid" in splits else []
    return _files(str(splits["train"]), [splits["train"]], held_out, settings)


def _files(summary: str, train: Sequence[Path], valid: Sequence[Path], settings: CorpusSettings) -> _Source:
    parts = {"train": train, "valid": valid}

    def read(split: Split, seed: int) -> Iterator[Document]:
        return itertools.chain.from_iterable(_file_documents(path, settings.text) for path in parts[split])

    def key(split: Split, seed: int) -> object:
        formats = [file_format(path) for path in parts[split]]
        return [content_hash(parts[split]), formats, settings.text if set(formats) != {".txt"} else ""]

    _refuse_unused(settings, "only data sets of the datasets library have named splits", "split")
    if all(file_format(path) == ".txt" for path in [*train, *valid]):
        _refuse_unused(settings, "text files have no columns", "text")
    if valid:
        _refuse_unused(settings, f"{valid[0]} is what is held out", "valid_ratio")
    megabytes = sum(path.stat().st_size for path in train) / 1e6
    return _Source(f"{summary} ({megabytes:,.1f} MB)", ", ".join(map(str, valid)) or None, read, key)


def _dataset(settings: CorpusSettings) -> _Source:
    try:
        known = hub.split_names(settings.path)
    except DataError as error:
        hint = nearest(settings.path, _EMBEDDED)
        raise DataError(f"{error}{hint if 'did you mean' in hint else ''}") from None
    held_out = next((name for name in hub.HELD_OUT if name in known), None)
    if held_out:
        _refuse_unused(settings, f"the data set's split {held_out!r} is what is held out", "valid_ratio")
    splits = {"train": settings.split, "valid": held_out or ""}

    def read(split: Split, seed: int) -> Iterator[Document]:
        rows = hub.rows(hub.load(settings.path, splits[split]), f"{settings.path}[{splits[split]}]", [settings.text])
        return filter(None, (_sentences(row.values[settings.text]) for row in rows))

    def key(split: Split, seed: int) -> object:
        return [hub.load(settings.path, splits[split])._fingerprint, settings.text]

    return _Source(f"data set {settings.path}, split {settings.split}", held_out, read, key)


def _refuse_unused(settings: CorpusSettings, reason: str, *names: str) -> None:
    for name in names:
        value, default = getattr(settings, name), CorpusSettings.model_fields[name].default
        if value != default and (name, value) != ("valid_ratio", 0):  # to hold nothing out of the rest is always true
            raise RecipeError(
                f"corpus.{name} is {value!r} but has no effect on {settings.path!r}: {reason}; leave corpus.{name} out"
            )


def _file_documents(path: Path, column: str) -> Iterator[Document]:
    if file_format(path) != ".txt":
        yield from filter(None, (_sentences(row.values[column]) for row in read_rows(path, [column])))
        return
    document: Document = []
    for _, line in read_lines(path):
        if sentence := line.strip():
            document.append(sentence)
        elif document:
            yield document
            document = []
    if document:
        yield document


def _sentences(cell: Cell) -> Document:
    lines = re.split(r"[\r\n]+", "" if cell is None else str(cell))
    return [sentence for line in lines if (sentence := line.strip())]


def _not_empty(stream: Iterable[Document], summary: str) -> Iterator[Document]:
    empty = True
    for document in stream:
        empty = False
        yield document
    if empty:
        raise DataError(f"{summary}: the corpus holds no sentence; allowed: text; name another file or column")


def _part(stream: Iterator[Document], split: Split, ratio: float, seed: int) -> Iterator[Document]:
    # One of the first two documents is held out and the other is not, so that no part of two documents or more is
    # empty, although their number is not known before all are read.
    draws = rng.Stream(rng.key_of("held-out documents"), seed)
    certain = draws.randint(0, 1)
    first = list(itertools.islice(stream, 2))
    for number, document in enumerate(itertools.chain(first, stream)):
        held_out = draws.random() < ratio
        if number < 2:
            held_out = ratio > 0 and len(first) == 2 and number == certain
        if held_out == (split == "valid"):
            yield document
