"""Tokenizer training: memory on a corpus larger than what is trained on, and our Unigram beside its library's.

Run: python benchmarks/tokenizer_training.py --data DIR [--quick]

DIR holds corpora/en-10m/{train,valid}.txt.gz, which is repeated ten times (about 570 MB of text; once with --quick).
"""

import gzip
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path

from measure import Table, arguments
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from ptft.tokenization import TokenizerSettings, train_tokenizer
from ptft.tokenization.quality import Quality

KINDS = ("wordpiece", "bpe", "unigram")
PIECES = 4096


def corpus(options: Namespace) -> Path:
    """A folder with the training file several times over; packed files may be joined as they are."""
    source, folder = options.data / "corpora" / "en-10m", options.work / "corpus"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "train.txt.gz").open("wb") as file:
        for _ in range(1 if options.quick else 10):
            file.write((source / "train.txt.gz").read_bytes())
    shutil.copy(source / "valid.txt.gz", folder)
    return folder


def memory(table: Table, options: Namespace) -> None:
    """Peak resident memory of ``ptft tokenizer`` for each kind, in a process of its own."""
    path, peaks = corpus(options), []
    for kind in KINDS:
        out = options.work / kind
        shutil.rmtree(out, ignore_errors=True)
        settings = [f"corpus.path={path}", f"kind={kind}", f"out={out}", "threads=1"]
        short = ["train_bytes=5000000"] if options.quick else []
        started = time.monotonic()
        process = subprocess.Popen([sys.executable, "-m", "ptft", "tokenizer", *settings, *short])
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"ptft tokenizer kind={kind} failed")
        peaks.append(usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9)
        table.add(f"{kind}.gigabytes", peaks[-1])
        table.add(f"{kind}.seconds", time.monotonic() - started)
        result = json.loads((out / "result.json").read_text())
        for name in ("bytes_per_token", "fertility", "unknown_ratio", "split_ratio"):
            table.add(f"{kind}.{name}", result[name])
    if options.quick:
        table.leave_out("tokenizer_training_gigabytes: ten times the corpus takes longer than --quick may")
    else:
        table.add("tokenizer_training_gigabytes", max(peaks), at_most=2.0)


def unigram(table: Table, options: Namespace) -> None:
    """Our trainer and that of the tokenizers library on the same lines, measured on held-out text."""
    folder, lines = options.data / "corpora" / "en-10m", 10_000 if options.quick else 40_000
    with gzip.open(folder / "train.txt.gz", "rt", encoding="utf-8") as file:
        train = [line.strip() for line in itertools.islice(file, lines)]
    with gzip.open(folder / "valid.txt.gz", "rt", encoding="utf-8") as file:
        held_out = [line.strip() for line in file]
    started = time.monotonic()
    ours = train_tokenizer(train, TokenizerSettings(kind="unigram", vocab_size=PIECES), model_max_length=512)
    table.add("unigram.trainer.seconds", time.monotonic() - started)
    started = time.monotonic()
    theirs = library_unigram(train)
    table.add("unigram.library.seconds", time.monotonic() - started)
    bytes_per_token = [Quality(tokenizer, held_out).figures()["bytes_per_token"] for tokenizer in (ours, theirs)]
    table.add("unigram.trainer.bytes_per_token", bytes_per_token[0])
    table.add("unigram.library.bytes_per_token", bytes_per_token[1])
    table.add("unigram.bytes_per_token_ratio", bytes_per_token[0] / bytes_per_token[1], at_least=0.99)


def library_unigram(lines: list[str]) -> PreTrainedTokenizerFast:
    """A vocabulary of the same size by the library's trainer, from the same words."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.UnigramTrainer(
        vocab_size=PIECES, special_tokens=specials, unk_token="[UNK]", show_progress=False
    )
    tokenizer.train_from_iterator(lines, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]")


def main() -> None:
    """Both parts."""
    options = arguments(__doc__ or "")
    if options.data is None:
        raise SystemExit("give --data DIR, a folder with corpora/")
    options.work = options.work / ("tokenizers-quick" if options.quick else "tokenizers")
    table = Table("tokenizer_training", options.quick)
    memory(table, options)
    unigram(table, options)
    table.finish()


if __name__ == "__main__":
    main()
