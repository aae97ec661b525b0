"""What the speed benchmarks train, on which data, and the turns in which both sides train it.

A *case* is a model's shape with its rows; *ours* and the *peers* get the same text, tokenizer, shape and rows a step.
Each side is a process of its own with its own threads and cores, started once, warmed up, and then stopped between
turns: only one of them trains at a time, they train in turns, and each turn is one repetition.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from measure import median

HERE = Path(__file__).parent
TASK = "sst2"
_STEPS = 50_000  # of the budget and schedule of both sides, of which only the first are made
_MARK = "TURN "  # begins the lines that a worker answers with


@dataclass(frozen=True)
class Case:
    """What both sides train.

    Attributes:
        name: Of the case.
        kind: masked_lm, causal_lm or classify.
        preset: Name of the model's shape.
        vocabulary: Tokens of the tokenizer.
        length: Tokens of a row.
        rows: Rows of a step.
        num_documents: Of the corpus, from its beginning; 0 for all.
        model: A checkpoint's folder, whose weights and tokenizer are taken in place of a preset's; of classification.
    """

    name: str
    kind: Literal["masked_lm", "causal_lm", "classify"]
    preset: str
    vocabulary: int
    length: int
    rows: int = 32
    num_documents: int = 4000
    model: str = ""

    @property
    def unit(self) -> str:
        """What its speed is counted in."""
        return "rows" if self.kind == "classify" else "tokens"


@dataclass(frozen=True)
class Data:
    """Files of a case.

    Attributes:
        text: One sentence a line, an empty line between documents.
        tokenizer: A folder.
        task: A folder of labelled texts; None where the case needs none.
        rows: The peer's tokenised rows, as ``datasets`` saves them; a second folder holds them unpadded.
        work: For everything else.
    """

    text: Path
    tokenizer: Path
    task: Path | None
    rows: Path
    work: Path


def prepared(case: Case, data: Path, work: Path) -> Data:
    """Text, tokenizer and the peer's rows, made where they are not there from an earlier run.

    The tokenizer is trained by ptft on the whole English corpus (English text of the case, for one without it), or it
    is the checkpoint's, without the padding that its file may fix; then no text is needed.
    """
    from peers import save_rows

    if case.model:
        return _prepared_checkpoint(case, data, work)
    text = work / f"text-{case.num_documents}.txt"
    corpus = data / "corpora" / "en-10m" / "train.txt.gz"
    if not text.exists():
        _write_text(corpus, text, case.num_documents)
    kind = "decoder" if case.kind == "causal_lm" else "encoder"
    tokenizer = work / f"tokenizer-{kind}-{case.vocabulary}"
    if not tokenizer.exists():
        _train_tokenizer(corpus, tokenizer, kind, case.vocabulary)
    found = Data(text, tokenizer, data / "tasks" / TASK if case.kind == "classify" else None, work / case.name, work)
    if not found.rows.exists():
        save_rows(case, found)
    return found


def _prepared_checkpoint(case: Case, data: Path, work: Path) -> Data:
    from peers import save_rows

    from ptft.tokenization import load_tokenizer, tokenizer_folder

    tokenizer = work / f"tokenizer-{case.name}"
    load_tokenizer(tokenizer_folder(case.model)).save_pretrained(tokenizer)
    found = Data(work / "no-text", tokenizer, data / "tasks" / TASK, work / case.name, work)
    if not found.rows.exists():
        save_rows(case, found)
    return found


def _write_text(corpus: Path, file: Path, num_documents: int) -> None:
    from ptft.corpus.sources import CorpusSettings, documents

    texts = documents(CorpusSettings(path=str(corpus), valid_ratio=0), "train", 0)
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_suffix(".part")
    with aside.open("w") as out:
        for text in islice(texts, num_documents or None):
            out.write("\n".join(text) + "\n\n")
    aside.rename(file)


def _train_tokenizer(corpus: Path, folder: Path, kind: str, vocabulary: int) -> None:
    from ptft.corpus.sources import CorpusSettings, documents
    from ptft.tokenization import TokenizerSettings
    from ptft.tokenization.training import train_on_documents

    settings = TokenizerSettings.model_validate(
        {"kind": "bpe" if kind == "decoder" else "wordpiece", "vocab_size": vocabulary, "specials": kind}
    )
    texts = documents(CorpusSettings(path=str(corpus), valid_ratio=0), "train", 0)
    tokenizer = train_on_documents(texts, settings, model_max_length=1024 if kind == "decoder" else 512, seed=0)
    if len(tokenizer) != vocabulary:
        raise SystemExit(f"{corpus}: is too small for {vocabulary} tokens; it gave {len(tokenizer)}")
    tokenizer.save_pretrained(folder)


def our_settings(case: Case, data: Data, objective: Sequence[str] = ()) -> dict[str, Any]:
    """What a user types for a case; all else has its default. Nothing is saved in the middle, at either side."""
    same = {
        "rows_per_step": case.rows, "length": case.length, "tokenizer": str(data.tokenizer),
        "budget": f"{_STEPS}steps", "checkpoint_every_steps": 0, "cache": str(data.work / "stores"),
    }  # fmt: skip
    if case.model:  # with the head that the peer has
        return {**same, "verb": "finetune", "model": case.model, "pooling": "cls", "data": str(data.task)}
    same["preset"] = case.preset
    if case.kind == "classify":
        return {**same, "verb": "finetune", "init": "scratch", "data": str(data.task)}
    return {**same, "verb": "pretrain", "objective": [*objective] or [case.kind], "corpus": {"path": str(data.text)}}


class Side:
    """A process that trains when it is its turn.

    Args:
        name: For messages.
        job: What it does: see ``speed_worker.py``.
        threads: Of torch, and cores; 0 leaves both.
        warm_up: Steps before its first turn, which are over when this returns.
    """

    def __init__(self, name: str, job: Mapping[str, Any], threads: int, warm_up: int) -> None:
        self.name = name
        self._folder = Path(tempfile.mkdtemp(prefix=f"speed-{name}-"))
        environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false", "PYTHONPATH": str(HERE.parent)}
        environment |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}
        command = [sys.executable, str(HERE / "speed_worker.py")]
        if threads:
            cores = sorted(os.sched_getaffinity(0))[:threads]
            environment |= {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
            command = ["taskset", "-c", ",".join(map(str, cores)), *command]
        self._errors = (self._folder / "stderr").open("w+")
        given = json.dumps({**job, "folder": str(self._folder), "warm_up": warm_up})
        self._process = subprocess.Popen(
            [*command, given], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
            text=True,
        )  # fmt: skip
        self.warm = self._answer()

    def turn(self, seconds: float, steps: int = 1, *, profile: bool = False) -> dict[str, Any]:
        """Train for at least so long and so many steps; gives seconds, steps, rows, tokens and ``peak_gb``."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"seconds": seconds, "steps": steps, "profile": profile}) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(_MARK):
                answer: dict[str, Any] = json.loads(line.removeprefix(_MARK))
                return answer
        self._process.wait()
        self._errors.seek(0)
        said = self._errors.read()[-3000:]
        self.end()
        raise RuntimeError(f"{self.name} ended with code {self._process.returncode}\n{said}")

    def end(self) -> None:
        """Stop it."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def answer(content: Mapping[str, Any]) -> None:
    """Of a worker: tell the benchmark."""
    print(_MARK + json.dumps(content), flush=True)


@dataclass
class Speeds:
    """The speeds of several sides in the same turns.

    Attributes:
        by_side: Units a second, one for each turn.
        peak_gb: The most memory of a side, beyond what it took before its model was made.
        answers: What each side said of its last turn.
    """

    by_side: dict[str, list[float]] = field(default_factory=dict)
    peak_gb: dict[str, float] = field(default_factory=dict)
    answers: dict[str, dict[str, Any]] = field(default_factory=dict)

    def ratio(self, one: str, other: str) -> float:
        """The median over turns of the ratio of two sides' speeds."""
        return median([mine / yours for mine, yours in zip(self.by_side[one], self.by_side[other], strict=True)])

    def middle(self, side: str) -> float:
        """The median speed of a side."""
        return median(self.by_side[side])

    def details(self) -> dict[str, Any]:
        """For the result file."""
        return {"per_second": self.by_side, "peak_gb": self.peak_gb}


def in_turns(sides: Mapping[str, Side], unit: str, turns: int, seconds: float, steps: int = 1) -> Speeds:
    """Let sides train one after the other, the order turned round each time."""
    speeds = Speeds({name: [] for name in sides})
    for turn in range(turns):
        names = list(sides) if turn % 2 == 0 else list(sides)[::-1]
        for name in names:
            said = sides[name].turn(seconds, steps)
            speeds.by_side[name].append(said[unit] / said["seconds"])
            speeds.peak_gb[name] = said["peak_gb"]
            speeds.answers[name] = said
    return speeds


def job_of(case: Case, data: Data, **more: Any) -> dict[str, Any]:
    """The part of a worker's job that all have."""
    return {"case": asdict(case), "data": {k: v and str(v) for k, v in asdict(data).items()}, "budget": _STEPS, **more}


def ours(name: str, case: Case, data: Data, threads: int, warm_up: int, **settings: Any) -> Side:
    """Our side, with what a user types and some settings more."""
    given = {**our_settings(case, data), **settings}
    return Side(name, job_of(case, data, side="ours", settings=given), threads, warm_up)


def peer(name: str, case: Case, data: Data, threads: int, warm_up: int, options: Mapping[str, Any]) -> Side:
    """A peer, with its options (see :class:`peers.Options`)."""
    return Side(name, job_of(case, data, side="peer", options=dict(options)), threads, warm_up)
