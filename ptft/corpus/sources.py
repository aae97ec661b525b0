"""Corpora as documents: one source or a mixture of several, cleaned, and divided into train and valid."""

import hashlib
import json
from collections.abc import Iterator
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field

from ptft.config import Choice, plain
from ptft.corpus.cleaning import Cleaner, Report
from ptft.corpus.contamination import Contamination, Evaluation, evaluation_hash
from ptft.corpus.duplicates import ExactDuplicates, Kind, NearDuplicates
from ptft.corpus.filters import FILTERS
from ptft.corpus.filters.filter import Filter
from ptft.corpus.mixture import FoundPart, stream
from ptft.corpus.reading import FOLDER_FORMATS, Document, SourceSettings, Split, find_source
from ptft.corpus.splitting import Language
from ptft.errors import RecipeError

__all__ = [
    "FOLDER_FORMATS",
    "Beginning",
    "CorpusSettings",
    "Document",
    "Split",
    "beginning",
    "describe",
    "documents",
    "epoch_bytes",
    "fingerprint",
    "title",
]

_LOOKED_AT_BYTES = 1 << 22
_CLEANING_VERSION = 1  # raise it when the rules of cleaning change, so that stored corpora are made anew


class Part(SourceSettings):
    """One part of a mixture."""

    weight: float = Field(1.0, gt=0)
    """How often each of its documents comes in an epoch: 3 thrice, 0.5 a half of them once, the same in each epoch."""


class CorpusSettings(SourceSettings):
    """Which text to read, and what of it to keep."""

    parts: dict[str, Part] = {}
    """Several sources in place of one, by any name: corpus.parts.NAME.path=... corpus.parts.NAME.weight=2."""
    valid_ratio: float = Field(default=0.01, ge=0, lt=1)
    """Share of the documents held out (0 to below 1) where the corpus brings no validation file of its own."""
    split_sentences: Language = "none"
    """Rules that cut lines into sentences: en, ko, zh, ja, auto (by script), or none where a line is a sentence."""
    filters: tuple[Annotated[Filter, Choice(FILTERS)], ...] = ()
    """Rules by which documents are left out (see `ptft list filters`), such as words,repeated_lines."""
    duplicates: Kind = "keep"
    """Documents like an earlier one: keep them, or leave out exact ones, or near ones too."""
    similarity: float = Field(0.8, gt=0, le=1)
    """From which share of common runs of five words on documents are near duplicates (Jaccard, 0 to 1)."""
    decontaminate: tuple[str, ...] = ()
    """Evaluation tasks, tables or data sets whose texts are looked for in the corpus by runs of 13 words."""
    contaminated: Literal["report", "drop"] = "report"
    """Whether documents that hold such a text are only reported or left out."""


def documents(
    settings: CorpusSettings,
    split: Split,
    seed: int,
    evaluation: Evaluation | None = None,
    report: Report | None = None,
) -> Iterator[Document]:
    """Yield the documents of a corpus, each a list of its sentences; the corpus is never held in memory.

    Documents are split into sentences, filtered, freed of duplicates and decontaminated in the order in which they are
    read, over all parts, before they are divided: what is held out is no duplicate of what is trained on. Without a
    validation file, documents are held out by random numbers of their own: each with ``valid_ratio``, and one of the
    first two for certain. A validation file is cleaned by itself. Weights are for training; held-out documents come
    once.

    Args:
        settings: What to read.
        split: ``train``, or ``valid`` for what is held out; ``valid`` is empty if nothing is held out.
        seed: Key of what is held out, of weights, and of the embedded corpus; >= 0.
        evaluation: The texts of ``settings.decontaminate``, which are read above this layer.
        report: Filled while the documents are read.

    Raises:
        DataError: The corpus cannot be found (on the call) or read, has no sentence at all, or all its documents are
            left out (when it is read).
        DeviceError: A library for near duplicates is missing (when it is read).
        RecipeError: A setting is given that this kind of corpus does not use.
    """
    parts = _parts(settings)
    texts = _given(settings, evaluation) if settings.decontaminate else None

    def read() -> Iterator[Document]:  # what cleans is made only now: a compiled corpus is not read at all
        cleaner = _cleaner(settings, texts, report or Report())
        yield from stream(parts, settings.valid_ratio, split, seed, cleaner)

    return read()


def _cleaner(settings: CorpusSettings, evaluation: Evaluation | None, report: Report) -> Cleaner:
    duplicates = None
    if settings.duplicates != "keep":
        duplicates = ExactDuplicates() if settings.duplicates == "exact" else NearDuplicates(settings.similarity)
    return Cleaner(
        settings.split_sentences,
        settings.filters,
        duplicates,
        Contamination(evaluation) if evaluation is not None else None,
        settings.contaminated == "drop",
        report,
    )


def _given(settings: CorpusSettings, evaluation: Evaluation | None) -> Evaluation:
    if evaluation is None or evaluation.keys() != set(settings.decontaminate):
        raise RuntimeError(f"the texts of {settings.decontaminate} must be read and handed down")
    return evaluation


def _parts(settings: CorpusSettings) -> list[FoundPart]:
    """Find all parts, and refuse settings without effect.

    Raises:
        DataError: One cannot be found.
        RecipeError: A setting has no effect.
    """
    for name, is_used, reason in (
        ("similarity", settings.duplicates == "near", "only corpus.duplicates=near compares documents"),
        ("contaminated", settings.decontaminate, "corpus.decontaminate names nothing to look for"),
        *((name, not settings.parts, "corpus.parts say what is read") for name in SourceSettings.model_fields),
    ):
        value = getattr(settings, name)
        if not is_used and value != CorpusSettings.model_fields[name].default:
            raise RecipeError(f"corpus.{name} is {value!r} but has no effect: {reason}; leave corpus.{name} out")
    if settings.parts:
        found = (
            (name, find_source(part, f"corpus.parts.{name}"), part.weight) for name, part in settings.parts.items()
        )
        return [FoundPart(*part) for part in found]
    source = find_source(settings)
    if source.held_out and settings.valid_ratio not in (0, CorpusSettings.model_fields["valid_ratio"].default):
        raise RecipeError(
            f"corpus.valid_ratio is {settings.valid_ratio!r} but has no effect on {settings.path!r}: it brings what is "
            f"held out ({source.held_out}); leave corpus.valid_ratio out"
        )
    return [FoundPart("", source, 1.0)]


class Beginning(NamedTuple):
    """What the first documents of a corpus hold: their number, their sentences and bytes, and whether they are all."""

    documents: int
    sentences: int
    text_bytes: int
    is_all: bool


def beginning(settings: CorpusSettings, seed: int) -> Beginning:
    """Read the first 4 MB of what is trained on, so that a wrong corpus is refused before anything is made of it.

    To read a large corpus twice is too dear: what is broken further behind is found when it is compiled. Sentences are
    split and filters asked; neither duplicates nor evaluation texts are looked for.

    Raises:
        DataError: As :func:`documents`.
        DeviceError: As :func:`documents`.
        RecipeError: As :func:`documents`.
    """
    parts = _parts(settings)
    if settings.duplicates == "near":
        NearDuplicates(settings.similarity)  # needs a library
    cleaner = Cleaner(settings.split_sentences, settings.filters, None, None, False, Report())
    num_documents = sentences = text_bytes = 0
    for document in stream(parts, settings.valid_ratio, "train", seed, cleaner):
        if text_bytes > _LOOKED_AT_BYTES:
            return Beginning(num_documents, sentences, text_bytes, is_all=False)
        num_documents += 1
        sentences += len(document)
        text_bytes += sum(len(sentence.encode()) for sentence in document)
    return Beginning(num_documents, sentences, text_bytes, is_all=True)


def epoch_bytes(settings: CorpusSettings) -> float | None:
    """About how many bytes of text an epoch has, where the sizes of its files say so; None if only reading would.

    Raises:
        DataError: The corpus cannot be found.
        RecipeError: As :func:`documents`.
    """
    if settings.filters or settings.duplicates != "keep" or settings.contaminated == "drop":
        return None
    total = 0.0
    for part in _parts(settings):
        if part.source.text_bytes is None:
            return None
        total += part.source.text_bytes * part.weight * (1 if part.source.held_out else 1 - settings.valid_ratio)
    return total


def fingerprint(settings: CorpusSettings, split: Split, seed: int, evaluation: Evaluation | None = None) -> str:
    """A hash of everything that decides what :func:`documents` yields and reports: names of files have no part in it.

    Raises:
        DataError: The corpus cannot be found or read.
        RecipeError: As :func:`documents`.
    """
    keys: list[Any] = []
    for part in _parts(settings):
        if part.source.held_out:
            keys.append(part.source.key(split, seed))
        else:
            held_out = [split, settings.valid_ratio, seed] if settings.valid_ratio else [split]
            keys += [part.source.key("train", seed), held_out]
        if settings.parts:
            keys.append([part.name, part.weight, 0 if part.weight.is_integer() else seed])
    names = ("split_sentences", "filters", "duplicates", "similarity", "decontaminate", "contaminated")
    cleaning = {name: value for name, value in plain(settings).items() if name in names}
    if cleaning != {name: value for name, value in plain(CorpusSettings()).items() if name in names}:
        texts = evaluation_hash(_given(settings, evaluation)) if settings.decontaminate else ""
        keys.append([_CLEANING_VERSION, cleaning, texts])
    return hashlib.sha256(json.dumps(keys).encode()).hexdigest()


def title(settings: CorpusSettings) -> str:
    """What a corpus is called in a lineage: its path, or the paths of its parts with their weights."""
    parts = [f"{name}: {part.path} x {part.weight:g}" for name, part in settings.parts.items()]
    return ", ".join(parts) or settings.path


def describe(settings: CorpusSettings) -> str:
    """Say in one line, for people, what is read and what is held out.

    Raises:
        DataError: The corpus cannot be found.
        RecipeError: As :func:`documents`.
    """
    share = f"{settings.valid_ratio:.2%} of the documents"
    lines = [
        (f"{part.name} x {part.weight:g}: " if part.name else "")
        + f"{part.source.summary}; held out: {part.source.held_out or share}"
        for part in _parts(settings)
    ]
    return "; ".join(lines)
