"""The parts of benchmarks/corpus.py about compiling a corpus: speed beside the peers, memory, second start, kills.

By itself it is the process whose memory, start or death is measured:
python benchmarks/compiling.py load|compile|start|killed CORPUS TOKENIZER CACHE [KILLS]
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from functools import partial
from itertools import chain
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from measure import Table, median
from transformers import PreTrainedTokenizerBase

from ptft.corpus.sources import CorpusSettings, Document, documents
from ptft.corpus.store import TokenStore
from ptft.steps.compiled import How, compiled
from ptft.tokenization import TokenizerSettings, load_tokenizer
from ptft.tokenization.training import train_on_documents

LANGUAGES = ("en-10m", "ko")
QUICK_DOCUMENTS, QUICK_TURNS, TURNS = 1000, 3, 5
VOCABULARY, TRAINED_BYTES = 8192, 5_000_000
PEER_SENTENCES = 16384  # in a call of the peer, which would otherwise hold the offsets of the whole corpus
ROW = 512
KILLS, QUICK_KILLS = 20, 5
T = TypeVar("T")


class Case(NamedTuple):
    """A tokenizer and what is asked of the store.

    Attributes:
        name: For figures.
        kind: Of tokenizer.
        is_causal: Whether the text is joined for causal LM, where nobody asks where words begin.
        stores_bits: Whether word starts do not follow from the vocabulary, so that their bits are stored.
    """

    name: str
    kind: str
    is_causal: bool
    stores_bits: bool

    def how(self, cache: Path) -> How:
        """What decides the store besides corpus and tokenizer."""
        return How(self.is_causal, "space", 0, str(cache), needs_words=not self.is_causal)


WORDPIECE = Case("wordpiece", "wordpiece", is_causal=False, stores_bits=False)
BPE = Case("bpe", "bpe", is_causal=False, stores_bits=True)
CASES = (
    WORDPIECE,
    Case("bpe_causal", "bpe", is_causal=True, stores_bits=False),
    BPE,
    Case("unigram", "unigram", is_causal=False, stores_bits=True),
)


def tokenizer_for(options: Namespace, language: str, case: Case) -> Path:
    """The folder of a tokenizer trained on 5 MB of the corpus, drawn evenly; kept between runs."""
    folder = options.work / "tokenizers" / f"{language}-{case.name}"
    if not folder.exists():
        kind = "decoder" if case.is_causal else "encoder"
        settings = TokenizerSettings(
            kind=case.kind, vocab_size=VOCABULARY, specials=kind, lowercase=False, train_bytes=TRAINED_BYTES
        )
        texts = documents(corpus_of(options, language, "train", limited=False), "train", 0)
        train_on_documents(texts, settings, model_max_length=ROW, seed=0).save_pretrained(folder)
    return folder


def corpus_of(options: Namespace, language: str, split: str, *, limited: bool) -> CorpusSettings:
    """A file of DIR, all of it used as training text; ``limited``: its first documents with ``--quick``."""
    path = options.data / "corpora" / language / f"{split}.txt.gz"
    limit = QUICK_DOCUMENTS if limited and options.quick else 0
    return CorpusSettings(path=str(path), valid_ratio=0, limit=limit)


# Speed


def compile_speed(options: Namespace, table: Table) -> None:
    """Compiling beside three peers, in one process, in turns, on the same cores: medians of ratios of seconds.

    Ours is all that a first start does: hash the corpus file, read and unpack it, encode, write, flush to the disk, and
    open the store with its checksums compared. The peers get the sentences in memory, so reading counts against us:

    - ``compile_over_encode_batch``, where no word bits are stored: ``Tokenizer.encode_batch(sentences,
      add_special_tokens=False)`` and ``.ids`` of each, 16,384 sentences a call, nothing kept. The lowest of WordPiece
      (the store of masked LM, any policy) and byte-level BPE (that of causal LM), English and Korean.
    - ``compile_over_encode_batch_fast``, where they are stored: the same with ``encode_batch_fast``, which finds
      neither offsets nor words. The lowest of byte-level BPE and Unigram for encoders, English and Korean.
    - ``compile_over_map_group``: ``datasets.Dataset.map`` with the tokenizer (special tokens, attention mask, token
      types, special-tokens mask), then with the concatenation and cutting to rows of 512 tokens, as run_mlm of
      transformers does by default, one process, Arrow files written, the data set made beforehand. WordPiece; the lower
      of English and Korean.

    Both sides use the thread pool of the tokenizers library, as many threads as there are cores.
    """
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    ratios: dict[str, list[float]] = {}
    sizes = []
    for language in LANGUAGES:
        settings = corpus_of(options, language, "train", limited=True)
        texts = list(documents(settings, "train", 0))
        for case in CASES:
            tokenizer = load_tokenizer(tokenizer_for(options, language, case))
            found, bytes_per_token = compared(options, case, settings, texts, tokenizer)
            sizes.append(bytes_per_token)
            table.add(f"bytes_per_token.{language}.{case.name}", bytes_per_token)
            for name, ratio in found.items():
                table.add(f"{name}.{language}.{case.name}", ratio)
                ratios.setdefault(name, []).append(ratio)
    table.add("compile_over_encode_batch", min(ratios["compile_over_encode_batch"]), at_least=0.85)
    table.add("compile_over_encode_batch_fast", min(ratios["compile_over_encode_batch_fast"]), at_least=0.60)
    table.add("compile_over_map_group", min(ratios["compile_over_map_group"]), at_least=1.8)
    table.add("bytes_per_token", max(sizes), at_most=2.3)


def compared(
    options: Namespace, case: Case, settings: CorpusSettings, texts: list[Document], tokenizer: PreTrainedTokenizerBase
) -> tuple[dict[str, float], float]:
    """Ratios of a case by name, and the bytes that a token takes in the store."""
    name = "compile_over_encode_batch_fast" if case.stores_bits else "compile_over_encode_batch"
    joiner = " " if case.is_causal else ""
    sentences = [sentence if place == 0 else joiner + sentence for text in texts for place, sentence in enumerate(text)]
    work = options.work / "speed"
    ours = partial(freshly_compiled, settings, tokenizer, case.how(work))
    peers: dict[str, Callable[[], int]] = {name: partial(encoded, tokenizer, sentences, fast=case.stores_bits)}
    if case.kind == "wordpiece":
        from datasets import Dataset, disable_progress_bars

        disable_progress_bars()
        dataset = Dataset.from_dict({"text": sentences})
        peers["compile_over_map_group"] = partial(mapped_and_grouped, dataset, tokenizer, work)
    ratios: dict[str, list[float]] = {peer: [] for peer in peers}
    store, tokens = ours(), peers[name]()  # warms up, too
    if tokens + case.is_causal * store.num_documents != store.info.tokens:
        raise SystemExit(f"{case.name}: the store has {store.info.tokens} tokens, the peer {tokens}")
    for _ in range(QUICK_TURNS if options.quick else TURNS):
        seconds, store = timed(ours)
        for peer, call in peers.items():
            ratios[peer].append(timed(call)[0] / seconds)
    if case.stores_bits != (store.start_bits is not None):
        raise SystemExit(f"{case.name}: word bits should be stored: {case.stores_bits}")
    size = sum(path.stat().st_size for path in (work / "stores").glob("*/*.bin"))
    shutil.rmtree(work)
    return {peer: median(values) for peer, values in ratios.items()}, size / store.info.tokens


def timed(call: Callable[[], T]) -> tuple[float, T]:
    """Seconds of the wall clock, and what it returns."""
    started = time.perf_counter()
    result = call()
    return time.perf_counter() - started, result


def freshly_compiled(settings: CorpusSettings, tokenizer: PreTrainedTokenizerBase, how: How) -> TokenStore:
    """Compile into an empty cache."""
    shutil.rmtree(how.cache, ignore_errors=True)
    return compiled(settings, "train", tokenizer, how)[0]


def encoded(tokenizer: PreTrainedTokenizerBase, sentences: list[str], *, fast: bool) -> int:
    """Number of tokens that plain encoding gives."""
    backend, tokens = tokenizer.backend_tokenizer, 0
    encode = backend.encode_batch_fast if fast else backend.encode_batch
    for start in range(0, len(sentences), PEER_SENTENCES):
        encodings = encode(sentences[start : start + PEER_SENTENCES], add_special_tokens=False)
        tokens += sum(map(len, [encoding.ids for encoding in encodings]))
    return tokens


def mapped_and_grouped(dataset: Any, tokenizer: PreTrainedTokenizerBase, work: Path) -> int:
    """Number of rows that two maps over a data set give."""

    def encode(rows: Any) -> Any:
        return tokenizer(rows["text"], return_special_tokens_mask=True)

    def group(rows: Any) -> dict[str, list[list[int]]]:
        columns = {name: list(chain.from_iterable(rows[name])) for name in rows}
        stop = len(columns["input_ids"]) // ROW * ROW
        return {name: [all_[i : i + ROW] for i in range(0, stop, ROW)] for name, all_ in columns.items()}

    shutil.rmtree(work / "arrow", ignore_errors=True)
    (work / "arrow").mkdir(parents=True)
    names = [str(work / "arrow" / f"{name}.arrow") for name in ("encoded", "grouped")]
    settings = {"batched": True, "load_from_cache_file": False}
    rows = dataset.map(encode, remove_columns=["text"], cache_file_name=names[0], **settings)
    return len(rows.map(group, cache_file_name=names[1], **settings))


# Memory, second start


def child(what: str, *arguments: object) -> dict[str, float]:
    """What a process of its own says."""
    command = [sys.executable, __file__, what, *map(str, arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def compile_memory(options: Namespace, table: Table) -> None:
    """Peak resident memory of a process that compiles, less that of one that only opens the tokenizer.

    The corpus is a folder that holds the English training file (the validation file with ``--quick``) once or ten
    times; nothing is deduplicated, so the store of the latter has ten times the tokens. The tokenizer is the byte-level
    BPE for encoders, for which offsets are found and word bits stored, which takes the most.
    """
    folder = options.work / "memory"
    shutil.rmtree(folder, ignore_errors=True)
    tokenizer = tokenizer_for(options, "en-10m", BPE)
    file = options.data / "corpora" / "en-10m" / ("valid.txt.gz" if options.quick else "train.txt.gz")
    tokens = []
    for times in (1, 10):
        corpus = folder / f"{times} times"
        corpus.mkdir(parents=True)
        for number in range(times):
            (corpus / f"{number}.txt.gz").symlink_to(file.absolute())
        alone = child("load", corpus, tokenizer, folder / "stores")["gigabytes"]
        found = child("compile", corpus, tokenizer, folder / "stores")
        tokens.append(found["tokens"])
        name = "compile_memory_gb" + ("_1x" if times == 1 else "")
        table.add(name, found["gigabytes"] - alone, at_most=None if times == 1 else 1.0)
    if tokens[1] != 10 * tokens[0]:
        raise SystemExit(f"ten times the corpus gave {tokens[1]:.0f} tokens, once {tokens[0]:.0f}")
    shutil.rmtree(folder)


def second_start(options: Namespace, table: Table) -> None:
    """Seconds from settings to the first batch of a pretraining that finds its stores compiled.

    English with its validation file (validation and test file with ``--quick``), WordPiece, masked LM and next
    sentence. All that ``ptft pretrain`` does to its data is in it: the settings are checked, the beginning of the
    corpus read, the tokenizer opened, the corpus hashed, both stores opened and compared with their checksums, pairs
    planned and a batch made; the imports of torch and transformers before and the building of the model are not.
    """
    folder = options.work / "start"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "corpus").mkdir(parents=True)
    for name, quick in (("train", "valid"), ("valid", "test")):
        file = options.data / "corpora" / "en-10m" / f"{quick if options.quick else name}.txt.gz"
        (folder / "corpus" / f"{name}.txt.gz").symlink_to(file.absolute())
    tokenizer = tokenizer_for(options, "en-10m", WORDPIECE)
    for name, bar in (("first", None), ("second", 3.0)):
        seconds, found = timed(partial(child, "start", folder / "corpus", tokenizer, folder))
        table.add(f"{name}_start_seconds", found["seconds"], at_most=bar)
        table.add(f"{name}_start_seconds_with_imports", seconds)
    shutil.rmtree(folder)


def start(corpus: Path, tokenizer: Path, cache: Path) -> dict[str, float]:
    """Do what a pretraining does before its first step can be made."""
    from ptft.objectives.masked_lm import MaskedLM
    from ptft.objectives.next_sentence import NextSentence
    from ptft.steps.pretrain import Pretrain
    from ptft.steps.pretraining_data import RowSettings, held_out, training_data

    started = time.perf_counter()
    settings = Pretrain(
        preset="bert-tiny",
        objective=(MaskedLM(), NextSentence()),
        tokenizer=str(tokenizer),
        corpus=CorpusSettings(path=str(corpus)),
    )
    settings.check()
    loaded = load_tokenizer(tokenizer)
    rows = RowSettings(
        settings.objective, settings.length, settings.rows_per_step, settings.seed, 0, settings.batch_ramp
    )
    how = How(is_causal=False, joiner="space", seed=0, cache=str(cache))
    data = training_data(settings.corpus, loaded, how, rows)
    held_out(settings.corpus, "valid", loaded, how, rows, settings.evaluation_rows)
    data.batches.batch(0, 0, settings.rows_per_step)
    return {"seconds": time.perf_counter() - started}


def peak() -> float:
    """Most resident memory of this process in GB; ``ru_maxrss`` would count that of the process that started it."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024 / 1e9


# Kills


def killed(options: Namespace, table: Table) -> None:
    """Kill compiling with SIGKILL at random moments (seeded), start it again, compare with the uninterrupted store.

    Every file of the store is compared but ``compared.json``, in which the opening, not the compiling, notes times of
    change of the others. A store counts as different as well if anything else is left in the cache folder.
    """
    folder, num_kills = options.work / "killed", QUICK_KILLS if options.quick else KILLS
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "corpus").mkdir(parents=True)
    for number in range(1 if options.quick else 8):
        file = options.data / "corpora" / "en-10m" / "valid.txt.gz"
        (folder / "corpus" / f"{number}.txt.gz").symlink_to(file.absolute())
    found = child("killed", folder / "corpus", tokenizer_for(options, "en-10m", BPE), folder, num_kills)
    table.add("kills", found["kills"], at_least=num_kills)
    table.add("kills_that_left_a_partial_store", found["partial"])
    table.add("killed_compile_seconds", found["seconds"])
    table.add("killed_stores_different", found["different"], at_most=0)
    shutil.rmtree(folder)


def kill_often(corpus: Path, tokenizer: Path, cache: Path, num_kills: int) -> dict[str, float]:
    """Kill processes forked from this one, which has imported all and never encodes itself, so they start at once."""
    settings, loaded = CorpusSettings(path=str(corpus), valid_ratio=0), load_tokenizer(tokenizer)
    stores, draw = cache / "stores", random.Random(0)

    def begun() -> BaseProcess:
        process = get_context("fork").Process(target=compiled, args=(settings, "train", loaded, BPE.how(cache)))
        process.start()
        return process

    def completed() -> dict[str, bytes | None]:
        process = begun()
        process.join()
        if process.exitcode:
            raise SystemExit(f"compiling failed with code {process.exitcode}")
        content = {str(path): path.read_bytes() if path.is_file() else None for path in sorted(stores.rglob("*"))}
        shutil.rmtree(stores)
        return {path: data for path, data in content.items() if not path.endswith("/compared.json")}

    seconds, expected = timed(completed)
    found = {"seconds": seconds, "kills": 0.0, "partial": 0.0, "different": 0.0}
    for _ in range(5 * num_kills):  # some are done before they are killed
        process = begun()
        time.sleep(draw.uniform(0, seconds))
        process.kill()
        process.join()
        if process.exitcode == -signal.SIGKILL:
            found["kills"] += 1
            found["partial"] += any(stores.glob(".*.partial"))
            found["different"] += completed() != expected
        if found["kills"] == num_kills:
            break
        shutil.rmtree(stores, ignore_errors=True)
    return found


def main() -> None:
    """Do what a child does."""
    what, corpus, tokenizer, cache = sys.argv[1], *map(Path, sys.argv[2:5])
    if what == "killed":
        found = kill_often(corpus, tokenizer, cache, int(sys.argv[5]))
    elif what == "start":
        found = start(corpus, tokenizer, cache)
    else:
        loaded = load_tokenizer(tokenizer)
        found = {}
        if what == "compile":
            settings = CorpusSettings(path=str(corpus), valid_ratio=0)
            found["tokens"] = compiled(settings, "train", loaded, BPE.how(cache))[0].info.tokens
        found["gigabytes"] = peak()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
