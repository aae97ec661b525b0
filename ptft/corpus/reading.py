"""Where text is read from: files, folders, data sets of the ``datasets`` library, and the embedded corpus."""

import hashlib
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic import Field

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
_EMBEDDED = ("embedded", "embedded:lists")
_STREAMS_ANYWAY = "only data sets of the Hub would be stored first"


class SourceSettings(Settings):
    """Where text is, and how it is read."""

    path: str = "embedded"
    """A file, a folder, a `datasets` name (user/name:config), a saved data set, `embedded` or `embedded:lists`."""
    text: str = "text"
    """The column that holds the text, for tables and data sets."""
    split: str = "train"
    """The split to train on, for data sets of the `datasets` library."""
    streaming: bool = False
    """Read a data set of the Hub from the network as it goes, without storing it on disk first."""
    limit: int = Field(default=0, ge=0)
    """Read at most so many documents; 0 for all."""


@dataclass(frozen=True)
class Source:
    """A corpus that was found.

    Attributes:
        summary: What it is, in a line.
        held_out: What its validation part is, if it has one of its own.
        documents: Yields the documents of a split by split and seed.
        key: What decides those, by split and seed, without the names of files.
        text_bytes: Size of what is trained on, where that is known without reading it (plain text files); else None.
    """

    summary: str
    held_out: str | None
    documents: Callable[[Split, int], Iterator[Document]]
    key: Callable[[Split, int], object]
    text_bytes: int | None = None


def find_source(settings: SourceSettings, key: str = "corpus") -> Source:
    """Find a corpus without reading it.

    In a .txt file a line is a sentence and a blank line ends the document; in a table the text cell of a row is a
    document and its lines are sentences. A folder with one ``train`` file is read as its train, valid and test files
    say; any other folder is one corpus of all its text files, sorted by name.

    Args:
        settings: Where it is.
        key: Where the settings stand in a recipe, for messages.

    Raises:
        DataError: It cannot be found.
        RecipeError: A setting is given that this kind of corpus does not use.
    """
    source, unused = _found(settings)
    for name, reason in unused.items():
        value, default = getattr(settings, name), SourceSettings.model_fields[name].default
        if value != default:
            raise RecipeError(
                f"{key}.{name} is {value!r} but has no effect on {settings.path!r}: {reason}; leave {key}.{name} out"
            )
    return _limited(source, settings.limit) if settings.limit else source


def _limited(source: Source, limit: int) -> Source:
    return replace(
        source,
        summary=f"{source.summary}, at most {limit:,} documents",
        documents=lambda split, seed: itertools.islice(source.documents(split, seed), limit),
        key=lambda split, seed: [source.key(split, seed), limit],
        text_bytes=None,
    )


_Found = tuple[Source, dict[str, str]]
"""A corpus, and the settings that have no effect on it, each with the reason."""


def _found(settings: SourceSettings) -> _Found:
    family, _, kind = settings.path.partition(":")
    if family == "embedded":
        return _embedded(kind or "prose", settings)
    path, there = Path(settings.path), exists(settings.path)
    if not there and hub.looks_like_name(settings.path) and file_format(path) not in TEXT_FORMATS:
        return _dataset(settings)
    if there and path.is_dir():
        return _dataset(settings) if hub.is_saved(path) else _folder(path, settings)
    return _files(settings.path, [check_file(settings.path)], [], settings)


def _embedded(kind: str, settings: SourceSettings) -> _Found:
    def key(split: Split, seed: int) -> object:
        # It is made in half a second, so its hash needs no version number that someone could forget to raise.
        digest = hashlib.sha256()
        for document in embedded.documents(kind, split, seed):
            digest.update("\n".join([*document, "\n"]).encode())
        return digest.hexdigest()

    embedded.documents(kind, "train", 0)  # refuses an unknown kind
    source = Source(
        f"the embedded corpus ({kind})",
        "documents of its own",
        lambda split, seed: embedded.documents(kind, split, seed),
        key,
    )
    reason = "the embedded corpus has columns and splits of its own"
    return source, {"text": reason, "split": reason, "streaming": _STREAMS_ANYWAY}


def _folder(folder: Path, settings: SourceSettings) -> _Found:
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


def _files(summary: str, train: Sequence[Path], valid: Sequence[Path], settings: SourceSettings) -> _Found:
    parts = {"train": train, "valid": valid}

    def read(split: Split, seed: int) -> Iterator[Document]:
        return itertools.chain.from_iterable(_file_documents(path, settings.text) for path in parts[split])

    def key(split: Split, seed: int) -> object:
        formats = [file_format(path) for path in parts[split]]
        return [content_hash(parts[split]), formats, settings.text if set(formats) != {".txt"} else ""]

    unused = {"split": "only data sets of the datasets library have named splits", "streaming": _STREAMS_ANYWAY}
    if all(file_format(path) == ".txt" for path in [*train, *valid]):
        unused["text"] = "text files have no columns"
    size = sum(path.stat().st_size for path in train)
    text_bytes = size if all(path.suffix.lower() == ".txt" for path in train) else None
    held_out = ", ".join(map(str, valid)) or None
    return Source(f"{summary} ({size / 1e6:,.1f} MB)", held_out, read, key, text_bytes), unused


def _dataset(settings: SourceSettings) -> _Found:
    try:
        known = hub.split_names(settings.path)
    except DataError as error:
        hint = nearest(settings.path, _EMBEDDED)
        raise DataError(f"{error}{hint if 'did you mean' in hint else ''}") from None
    held_out = next((name for name in hub.HELD_OUT if name in known), None)
    splits = {"train": settings.split, "valid": held_out or ""}

    def read(split: Split, seed: int) -> Iterator[Document]:
        dataset = hub.load(settings.path, splits[split], streaming=settings.streaming)
        rows = hub.rows(dataset, f"{settings.path}[{splits[split]}]", [settings.text])
        return filter(None, (_sentences(row.values[settings.text]) for row in rows))

    def key(split: Split, seed: int) -> object:
        if settings.streaming:
            return [hub.version(settings.path), splits[split], settings.text]
        return [hub.load(settings.path, splits[split])._fingerprint, settings.text]

    source = Source(f"data set {settings.path}, split {settings.split}", held_out, read, key)
    return source, {"streaming": _STREAMS_ANYWAY} if exists(settings.path) else {}


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
