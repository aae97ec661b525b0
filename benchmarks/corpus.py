"""Corpora: splitting, duplicates, decontamination, the memory of reading; compiling: speed, memory, starts, kills.

Run: python benchmarks/corpus.py --data DIR [--quick] [--only PART]

DIR holds corpora/{en-10m,ko}/{train,valid,test}.txt.gz and tasks/NAME/test.jsonl.gz. Sentence ends are compared with
the lines of the corpora, which their makers cut by rules too: it is agreement, not truth. What is planted is drawn from
DIR with a fixed seed. The quick form looks for near duplicates among a twentieth of the documents and compiles less
text. What is measured of compiling, beside what, stands in compiling.py.
"""

import random
import tempfile
import tracemalloc
from argparse import Namespace
from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from compiling import compile_memory, compile_speed, killed, second_start
from measure import Table, arguments

from ptft.corpus.cleaning import Report
from ptft.corpus.duplicates import Duplicates, ExactDuplicates, NearDuplicates
from ptft.corpus.filters import FILTERS
from ptft.corpus.ngrams import ngram_hashes, words_of
from ptft.corpus.sources import CorpusSettings, Document, documents
from ptft.corpus.splitting import split_line
from ptft.steps.evaluation_texts import evaluation_texts

PLANTED_DUPLICATES, PLANTED_TEXTS = 200, 100
# 20 newsgroups is not among them: its posts and the corpus both quote the American constitution, which is found.
TASKS = {"en-10m": ("ag_news", "sst2", "mrpc", "imdb"), "ko": ("nsmc", "klue_nli", "kor_sts", "kor_xnli")}


def corpus(options: Namespace, name: str, *splits: str) -> list[Document]:
    """The documents of some splits of a corpus."""
    paths = [str(options.data / "corpora" / name / f"{split}.txt.gz") for split in splits]
    return [document for path in paths for document in documents(CorpusSettings(path=path, valid_ratio=0), "train", 0)]


# Sentences


def sentences(options: Namespace, table: Table) -> None:
    """Join the lines of each document, split again, and compare where sentences end."""
    for name, language in (("en-10m", "en"), ("ko", "ko")):
        held_out = corpus(options, name, "valid")
        stopped = [
            [line for line in document if line.rstrip("\"'”’」』)")[-1:] in list(".!?…")] for document in held_out
        ]
        for what, texts, bar in (("all_lines", held_out, None), ("lines_with_stop", stopped, 0.95)):
            right, found, wanted = ends_compared(texts, language)
            precision, recall = right / found, right / wanted
            table.add(f"sentences_{language}_{what}_precision", precision)
            table.add(f"sentences_{language}_{what}_recall", recall)
            f1 = 2 * precision * recall / (precision + recall)
            table.add(f"sentences_{language}_{what}_f1", f1, at_least=bar)
    polite = [
        [line[:-1] for line in document if line.endswith(("니다.", "니까.", "요.", "죠."))]
        for document in corpus(options, "ko", "valid")
    ]
    right, found, wanted = ends_compared(polite, "ko")
    table.add("sentences_ko_stops_left_out_precision", right / found)
    table.add("sentences_ko_stops_left_out_recall", right / wanted)


def ends_compared(texts: Iterable[Document], language: str) -> tuple[int, int, int]:
    """Number of sentence ends inside documents: found where a line ends, found, and lines that end."""
    right = found = wanted = 0
    for document in texts:
        lines, parts = ends(document), ends(split_line(" ".join(document), language))
        right, found, wanted = right + len(lines & parts), found + len(parts), wanted + len(lines)
    return right, found, wanted


def ends(texts: Iterable[str]) -> set[int]:
    """Where texts end, in characters that are no space, without the last end."""
    lengths = [len("".join(text.split())) for text in texts]
    return set(np.cumsum(lengths)[:-1].tolist())


# Filters


def filters(options: Namespace, table: Table) -> None:
    """Share of documents that pass each filter with its default settings."""
    for name in TASKS:
        held_out = corpus(options, name, "valid", "test")
        for rule in FILTERS:
            if rule != "script":
                table.add(f"{name}_kept_by_{rule}", sum(map(FILTERS[rule]().keeps, held_out)) / len(held_out))


# Near duplicates


def near_duplicates(options: Namespace, table: Table) -> None:
    """Plant changed copies, and documents that begin alike and are none, and see what is left out.

    A document that was not planted is rightly left out if an earlier one has a Jaccard similarity of 0.8 or more with
    it, counted exactly.
    """
    draw = random.Random(0)
    base = corpus(options, "en-10m", *(("valid", "test") if options.quick else ("train",)))
    long = [number for number, document in enumerate(base) if 200 <= len(" ".join(document).split()) <= 5000]
    chosen = draw.sample(long, 3 * PLANTED_DUPLICATES if len(long) >= 3 * PLANTED_DUPLICATES else len(long))
    originals, rest = chosen[:PLANTED_DUPLICATES], chosen[PLANTED_DUPLICATES:]
    copies = [(changed(base[number], draw), number) for number in originals]
    alike = [
        base[a][: len(base[a]) * 3 // 4] + base[b][len(base[b]) * 3 // 4 :]
        for a, b in zip(rest[::2], rest[1::2], strict=False)
    ]
    later = [(copy, "copy") for copy, _ in copies] + [(other, "alike") for other in alike]
    draw.shuffle(later)
    known = NearDuplicates(0.8)
    stream = [*((document, "own") for document in base), *later]
    left_out = [number for number, (document, _) in enumerate(stream) if known.is_known(document)]
    planted = sum(stream[number][1] == "copy" for number in left_out)
    sets = [shingles(document) for document, _ in stream]
    right = planted + sum(
        stream[number][1] != "copy" and any(jaccard(sets[number], earlier) >= 0.8 for earlier in sets[:number])
        for number in left_out
    )
    similarities = [jaccard(shingles(copy), sets[number]) for copy, number in copies]
    table.add("near_duplicates_planted", len(copies))
    table.add("near_duplicates_planted_lowest_similarity", min(similarities))
    table.add("near_duplicates_not_planted", sum(stream[number][1] == "own" for number in left_out))
    table.add("near_duplicates_that_share_three_quarters", sum(stream[number][1] == "alike" for number in left_out))
    table.add("near_duplicate_recall", planted / len(copies), at_least=0.95)
    table.add("near_duplicate_precision", right / len(left_out), at_least=0.95)


def changed(document: Document, draw: random.Random) -> Document:
    """A copy as they occur: other letters and signs, a word in a hundred replaced, a line before it, or the end cut."""
    kind = draw.randrange(4)
    if kind == 0:
        return [sentence.upper().replace(",", " ,").replace(".", " .") for sentence in document]
    if kind == 1:
        return [
            " ".join("changed" if draw.random() < 0.01 else word for word in sentence.split()) for sentence in document
        ]
    if kind == 2:
        return [
            f"Posted by user{draw.randrange(1000)} on day {draw.randrange(1000)}, read {draw.random()} times",
            *document,
        ]
    words, cut = len(" ".join(document).split()), list(document)
    while len(cut) > 1 and len(" ".join(cut[:-1]).split()) > 0.9 * words:
        cut.pop()
    return cut


def shingles(document: Document) -> np.ndarray:
    """The runs of five words of a document, each once."""
    *_, (_, hashes) = ngram_hashes(words_of(" ".join(document)), 5)
    return np.unique(hashes)


def jaccard(one: np.ndarray, other: np.ndarray) -> float:
    """Share of common ones among all shingles of two documents."""
    if min(len(one), len(other)) < 0.5 * max(len(one), len(other)):
        return 0.0  # it cannot reach a half
    common = len(np.intersect1d(one, other, assume_unique=True))
    return common / (len(one) + len(other) - common)


# Decontamination


def contamination(options: Namespace, table: Table) -> None:
    """Plant evaluation texts into documents, half of them edited with 13 words in a row kept, and look for them."""
    draw = random.Random(0)
    names = tuple(str(options.data / "tasks" / task) for tasks in TASKS.values() for task in tasks)
    found_clean = found_planted = 0
    for name, tasks in TASKS.items():
        hosts = corpus(options, name, "valid", "test")
        found_clean += sum(left_out(hosts, names))
        own = tuple(str(options.data / "tasks" / task) for task in tasks)
        texts = planted_texts(own, draw)
        places = draw.sample(range(len(hosts)), len(texts))
        for place, text in zip(places, texts, strict=True):
            at = draw.randint(0, len(hosts[place]))
            hosts[place] = [*hosts[place][:at], text, *hosts[place][at:]]
        verdicts = left_out(hosts, names)
        found_planted += sum(verdicts[place] for place in places)
        found_clean += sum(verdicts) - sum(verdicts[place] for place in places)
    table.add("planted_contamination_found", found_planted, at_least=PLANTED_TEXTS)
    table.add("clean_contamination_found", found_clean, at_most=0)


def planted_texts(names: tuple[str, ...], draw: random.Random) -> list[str]:
    """For half of all that are planted: texts of tasks, every other one edited."""
    read = evaluation_texts(CorpusSettings(decontaminate=names), 0)
    texts = sorted({text for of_task in read.values() for _, text in of_task if len(text.encode()) >= 80})
    edited = [text for text in texts if 16 <= len(words_of(text)) <= 60]
    half = PLANTED_TEXTS // 4
    return [*draw.sample(texts, half), *(with_edits(text, draw) for text in draw.sample(edited, half))]


def with_edits(text: str, draw: random.Random) -> str:
    """A text with other words at its ends, other case and signs, and 13 words in a row as they were."""
    words = words_of(text)
    start = draw.randint(1, len(words) - 14)
    kept = [word.capitalize() if draw.random() < 0.2 else word for word in words[start : start + 13]]
    others = [*("however" if draw.random() < 0.5 else word for word in words[:start]), "so", *kept, "etc"]
    return ", ".join(others) + "!"


def left_out(hosts: list[Document], names: tuple[str, ...]) -> list[bool]:
    """Which documents a corpus with ``contaminated=drop`` leaves out."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "corpus.txt"
        path.write_text("\n\n".join("\n".join([*document, f"number {i}"]) for i, document in enumerate(hosts)))
        settings = CorpusSettings(path=str(path), valid_ratio=0, decontaminate=names, contaminated="drop")
        kept = {document[-1] for document in documents(settings, "train", 0, evaluation_texts(settings, 0), Report())}
    return [f"number {i}" not in kept for i in range(len(hosts))]


# Memory


def memory(options: Namespace, table: Table) -> None:
    """Peak while a corpus and the same twice are read, and what duplicates remember of a document."""
    path = options.data / "corpora" / "en-10m" / ("valid.txt.gz" if options.quick else "train.txt.gz")
    once = peak_of_reading(path, 1)
    table.add("reading_peak_megabytes", once / 1e6)
    table.add("reading_peak_of_twice_the_corpus", peak_of_reading(path, 2) / once, at_most=1.1)
    texts = corpus(options, "en-10m", "train")[:8192]
    table.add("exact_duplicates_bytes_per_document", bytes_per_document(ExactDuplicates, texts), at_most=200)
    table.add(
        "near_duplicates_bytes_per_document", bytes_per_document(partial(NearDuplicates, 0.8), texts), at_most=3000
    )


def peak_of_reading(path: Path, times: int) -> int:
    """Most bytes held at once while a folder with a file so many times is read."""
    with tempfile.TemporaryDirectory() as folder:
        for number in range(times):
            (Path(folder) / f"{number}.txt.gz").symlink_to(path.absolute())
        tracemalloc.start()
        for _ in documents(CorpusSettings(path=folder, valid_ratio=0), "train", 0):
            pass
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return peak


def bytes_per_document(make: Callable[[], Duplicates], texts: list[Document]) -> float:
    """Growth from the first half of the documents to all of them, once the cache of words is full."""
    half = len(texts) // 2
    tracemalloc.start()
    known = make()
    for document in texts:
        known.is_known(document)
    known, stream, held = make(), iter(texts), []
    for _ in range(2):
        for document in islice(stream, half):
            known.is_known(document)
        held.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    return (held[1] - held[0]) / half


PARTS: dict[str, Callable[[Namespace, Table], None]] = {
    "sentences": sentences,
    "filters": filters,
    "near_duplicates": near_duplicates,
    "contamination": contamination,
    "memory": memory,
    "compile": compile_speed,
    "compile_memory": compile_memory,
    "second_start": second_start,
    "killed": killed,
}


def main() -> None:
    """The parts one after the other, or one of them."""
    options = arguments(__doc__ or "", only=tuple(PARTS))
    if options.data is None:
        raise SystemExit("give --data DIR, a folder with corpora/ and tasks/")
    options.work = options.work / ("corpus-quick" if options.quick else "corpus")
    table = Table("corpus", options.quick)
    names = [options.only] if options.only else list(PARTS)
    for name in names:
        with table.part(name):
            PARTS[name](options, table)
    if options.only:
        table.keep_others(PARTS)
    table.finish()


if __name__ == "__main__":
    main()
