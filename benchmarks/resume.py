"""How long a training on ten billion tokens takes from its built model to its first batch, fresh and resumed.

python benchmarks/resume.py [--quick] [--work DIR]

The store is made up: the tokens are a file of 20 GB without any content on the disk, the ends of documents a real file,
the sentences have eight tokens each. Nothing is read but what the first batch needs. The figures are the medians of new
processes' seconds: the sampler of an open store is made, and all rows of the step with their targets. ``--quick`` takes
a tenth of the store.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from measure import Table, arguments, median

from ptft import rng
from ptft.corpus.store import StoreInfo, TokenStore
from ptft.objectives import OBJECTIVES
from ptft.objectives.rows import Vocabulary
from ptft.steps.pretraining_data import RowSettings
from ptft.training.ramp import BatchRamp
from ptft.training.work import PretrainingBatches

TOKENS, QUICK_TOKENS = 10_000_000_000, 1_000_000_000
STEP, QUICK_STEP = 1_000_000, 100_000
LENGTH, ROWS, SENTENCE = 128, 64, 8
LONGEST = 300  # sentences of a document, which has half as many on average
VOCABULARY = 30_000
KINDS = {"windows": ["causal_lm"], "texts": ["masked_lm"], "pairs": ["masked_lm", "next_sentence"]}
REPEATS = 3


def make_store(folder: Path, tokens: int) -> None:
    """Write the files, unless they are there."""
    if (folder / "store.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    sizes = 1 + rng.integers(LONGEST, rng.key_of("documents"), np.arange(2 * tokens // SENTENCE // LONGEST))
    ends = np.cumsum(sizes * SENTENCE)
    ends = ends[ends <= tokens]
    ends.tofile(folder / "document_ends.bin")
    with (folder / "tokens.bin").open("wb") as file:
        file.truncate(int(ends[-1]) * 2)
    (folder / "store.json").write_text(json.dumps({"documents": len(ends), "tokens": int(ends[-1])}))


def open_store(folder: Path) -> TokenStore:
    """As :func:`ptft.corpus.store.open_store` does, without checksums; the ends of sentences take no memory."""
    facts = json.loads((folder / "store.json").read_text())
    size = facts["tokens"]
    info = StoreInfo("made up", "uint16", facts["documents"], size // SENTENCE, size, size, size, {})
    tokens = np.asarray(np.memmap(folder / "tokens.bin", "uint16", "r", shape=(size,)))
    ends = np.asarray(np.memmap(folder / "document_ends.bin", "int64", "r", shape=(facts["documents"],)))
    return TokenStore(tokens, ends, np.broadcast_to(np.uint8(1), (size // 8,)), info)


def first_batch(folder: Path, kind: str, step: int) -> float:
    """Seconds until the rows of a step are there."""
    store = open_store(folder)
    is_decoder = kind == "windows"
    special = np.arange(VOCABULARY) < 5
    vocabulary = Vocabulary(
        VOCABULARY,
        cls=2,
        sep=3,
        pad=0,
        mask=4,
        eos=1 if is_decoder else -1,
        unknown=-1,
        special=special,
        starts=~special,
    )
    objectives = [OBJECTIVES[name]() for name in KINDS[kind]]
    begin = time.perf_counter()
    rows = RowSettings(objectives, LENGTH, ROWS, 0, 0, BatchRamp())
    sampler = rows.decides.sampler(store, vocabulary, LENGTH, ROWS, 0)
    batch = PretrainingBatches(sampler, objectives, vocabulary, ROWS).micro_batches(step, 0, ROWS)[0]
    seconds = time.perf_counter() - begin
    assert len(batch.tensors["input_ids"]) == ROWS
    return seconds


def main() -> None:
    """Measure each kind of rows."""
    options = arguments(__doc__ or "")
    table = Table("resume", options.quick)
    tokens, step = (QUICK_TOKENS, QUICK_STEP) if options.quick else (TOKENS, STEP)
    folder = options.work / f"made-up-{tokens}"
    make_store(folder, tokens)
    for kind in KINDS:
        for name, at in (("first_batch_seconds", step), ("first_batch_of_all_seconds", 0)):
            command = [sys.executable, __file__, str(folder), kind, str(at)]
            found = [subprocess.run(command, check=True, capture_output=True, text=True) for _ in range(REPEATS)]
            table.add(f"{name}.{kind}", median([float(done.stdout) for done in found]), at_most=2)
    table.finish()


if __name__ == "__main__":
    if len(sys.argv) == 4 and sys.argv[3].isdigit():
        print(first_batch(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
    else:
        main()
