"""Killed at random moments, resumed, and compared with the run that nothing stopped: no bit may differ.

Run: python benchmarks/kill_campaign.py [--quick] [--kills N]

Pretraining (masked LM with next-sentence prediction, and causal LM) and fine-tuning, with the batches built in the
process or by two workers, with one micro-batch and with four, in the middle of an epoch and where epochs end. The
kills of a case fall, in turns, anywhere between the start and the end of a run, after so many steps of training, and
into the writing of a checkpoint or a model. Each process is a fork of this one, which has imported the libraries; it is
killed by SIGKILL with all of its own. Every tensor of ``model/`` and ``best/`` is compared, every line of the log but
its times, and the names of all files.
"""

import argparse
import itertools
import math
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from measure import Table
from safetensors.torch import load_file

from ptft import rng
from ptft.cli import command
from ptft.corpus.embedded import documents
from ptft.steps import STEPS
from ptft.training.checkpoint import complete_checkpoints, examine
from ptft.training.logbook import read_log
from ptft.training.meters import TIMES

KINDS = ("masked_lm+next_sentence", "causal_lm", "finetune")
STEPS_OF_A_RUN, FULL, QUICK = 36, 120, 9
SHAPE = {
    "masked_lm+next_sentence": ["preset=bert-tiny", "objective=masked_lm,next_sentence"],
    "causal_lm": ["preset=gpt2-tiny", "objective=causal_lm"],
}
COMMON = [
    f"budget={STEPS_OF_A_RUN}steps", "rows_per_step=8", "length=32", "threads=1", "precision=fp32",
    "checkpoint_every_steps=3", "log_every_steps=1",
]  # fmt: skip


class Case(NamedTuple):
    """What is trained and how; ``ends`` says whether epochs end within the run."""

    kind: str
    workers: int
    accumulate: int
    ends: bool

    @property
    def name(self) -> str:
        """For a folder."""
        return f"{self.kind}-{self.workers}-{self.accumulate}-{'ends' if self.ends else 'middle'}"

    def arguments(self, out: Path, work: Path) -> list[str]:
        """The command line."""
        values = [*COMMON, f"accumulate={self.accumulate}", f"cache={work / 'cache'}", f"out={out}"]
        verb = "finetune" if self.kind == "finetune" else "pretrain"
        if "workers" in STEPS[verb].model_fields:
            values.append(f"workers={self.workers}")
        if torch.cuda.is_available() and "deterministic" in STEPS[verb].model_fields:
            values.append("deterministic=true")
        if self.kind == "finetune":
            rows = ["labels=32"] if self.ends else []
            return [verb, *values, *rows, f"model={work / 'base'}", "data=polarity"]
        few = [f"corpus.path={work / 'few.txt'}", "corpus.valid_ratio=0.1"]  # epochs of some steps
        return [
            verb, *values, *SHAPE[self.kind], *(few if self.ends else ["corpus.path=embedded"]), "vocab_size=512",
            "evaluate_every_steps=6", "evaluation_rows=16", "keep_best=true",
        ]  # fmt: skip


@dataclass
class Found:
    """What the kills of one case did."""

    kills: int = 0
    kills_while_writing: int = 0
    unreadable: int = 0
    leftovers: list[str] = field(default_factory=list)
    differences: list[float] = field(default_factory=list)
    different_lines: int = 0


def work_in_child(arguments: list[str], log: Path) -> None:
    """Carry out a command line with its output in a file."""
    os.setsid()
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    if torch.cuda.is_available():
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
        torch.use_deterministic_algorithms(True)
    os._exit(command(arguments))


class Process:
    """One start of a run.

    Args:
        arguments: The command line.
        log: Where its output goes.
    """

    def __init__(self, arguments: list[str], log: Path) -> None:
        self.began = time.time()
        self._process = multiprocessing.get_context("fork").Process(target=work_in_child, args=(arguments, log))
        self._process.start()

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.is_alive()

    @property
    def seconds(self) -> float:
        """Since its start."""
        return time.time() - self.began

    def kill(self) -> bool:
        """End it and its own by SIGKILL; says whether that was what ended it."""
        try:
            os.killpg(self._process.pid or 0, signal.SIGKILL)
        except ProcessLookupError:  # it has not called setsid, or is gone
            self._process.kill()
        self._process.join()
        return self._process.exitcode == -signal.SIGKILL

    def end(self) -> None:
        """Wait until it has done its work."""
        self._process.join()
        if self._process.exitcode:
            raise RuntimeError(f"a run ended with code {self._process.exitcode}")


def partials(folder: Path, since: float = 0.0) -> int:
    """Number of the folders that are being written just now, or were when their process ended."""
    found = 0
    for place in (folder, folder / "checkpoints"):
        with suppress(OSError):  # it is not there yet, or no longer
            found += sum(path.is_dir() and path.stat().st_mtime >= since for path in place.glob(".*.partial"))
    return found


def wait_for_moment(process: Process, folder: Path, kind: int, draw: Iterator[float], seconds: float) -> None:
    """Until the moment of a kill, or the end of the process: anywhere, in training, or in writing."""
    if kind == 0:
        moment = next(draw) * seconds
        while process.is_running and process.seconds < moment:
            time.sleep(0.001)
    elif kind == 1:
        lines = len(read_log(folder / "metrics.jsonl")) + 1 + int(next(draw) * 8)
        while process.is_running and len(read_log(folder / "metrics.jsonl")) < lines:
            time.sleep(0.002)
        time.sleep(next(draw) * 0.02)
    else:
        writes, is_writing = 1 + int(next(draw) * 4), True  # what is left of a killed process is removed first
        while process.is_running and writes:
            was_writing, is_writing = is_writing, partials(folder) > 0
            writes -= is_writing and not was_writing


def files(folder: Path) -> set[str]:
    """Names of all files and folders of a run."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def lines(folder: Path) -> list[dict[str, float]]:
    """The log without times."""
    return [{k: v for k, v in line.items() if k not in TIMES} for line in read_log(folder / "metrics.jsonl")]


def compare(folder: Path, whole: Path, found: Found) -> None:
    """Add what differs between a run that was killed and one that was not."""
    for path in sorted([*whole.glob("model/*.safetensors"), *whole.glob("best/*.safetensors")]):
        other = folder / path.relative_to(whole)
        ours, theirs = load_file(other), load_file(path)
        same = ours.keys() == theirs.keys()
        found.differences += [
            (ours[name].double() - theirs[name].double()).abs().max().item() if same else math.inf for name in theirs
        ]
    found.different_lines += sum(a != b for a, b in itertools.zip_longest(lines(folder), lines(whole)))
    found.leftovers += sorted(files(folder) ^ files(whole))


def campaign(case: Case, work: Path, kills: int) -> Found:
    """Runs of one case, killed so often in all, each compared with one that was not."""
    found = Found()
    log = work / f"{case.name}.log"
    whole = work / case.name / "whole"
    process = Process(case.arguments(whole, work), log)
    process.end()
    seconds = process.seconds
    draw = map(float, (rng.uniform(rng.key_of(case.name), count) for count in itertools.count()))
    number = 0
    while found.kills < kills:
        number += 1
        folder = work / case.name / f"killed-{number}"
        process = Process(case.arguments(folder, work), log)
        while found.kills < kills and process.is_running:
            wait_for_moment(process, folder, found.kills % 3, draw, seconds)
            if process.kill():
                found.kills += 1
                found.kills_while_writing += partials(folder, process.began) > 0
                paths = complete_checkpoints(folder / "checkpoints")
                found.unreadable += sum(examine(path)[1] != "" for path in paths)
                process = Process(case.arguments(folder, work), log)
        process.end()
        compare(folder, whole, found)
    return found


def main() -> None:
    """Two cases side by side until all are done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} kills over a few cases")
    parser.add_argument("--kills", type=int, default=0, help="so many kills in all")
    parser.add_argument("--work", type=Path, default=Path("runs/benchmarks"), help="folder for the runs")
    options = parser.parse_args()
    table = Table("kill_campaign", options.quick)
    work = options.work / ("kills-quick" if options.quick else "kills")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    some = islice(documents("prose", "train", seed=0), 60)
    (work / "few.txt").write_text("\n\n".join("\n".join(document) for document in some))
    cases = [Case(*values) for values in itertools.product(KINDS, (0, 2), (1, 4), (False, True))]
    if "workers" not in STEPS["pretrain"].model_fields:
        cases = [case for case in cases if not case.workers]
        table.leave_out("workers: this version builds batches in the process alone")
    if options.quick:
        cases = [cases[0], cases[len(cases) // 2], cases[-1]]
    kills = options.kills or (QUICK if options.quick else FULL)
    if options.quick:
        table.leave_out(f"all cases but {', '.join(case.name for case in cases)}")
    base = [*COMMON, *SHAPE[KINDS[0]], f"corpus.path={work / 'few.txt'}", "vocab_size=512", f"cache={work / 'cache'}"]
    Process(["pretrain", *base, f"out={work / 'base'}"], work / "base.log").end()

    with ThreadPoolExecutor(2) as pool:
        founds = list(pool.map(lambda case: campaign(case, work, math.ceil(kills / len(cases))), cases))
    table.details["cases"] = {case.name: {**vars(found)} for case, found in zip(cases, founds, strict=True)}
    for values in table.details["cases"].values():
        values["differences"] = float(np.max(values["differences"]))  # max() passes over what is no number
    table.add("kills", sum(found.kills for found in founds), at_least=None if options.kills or options.quick else 100)
    table.add("kills_while_writing", sum(found.kills_while_writing for found in founds), at_least=1)
    table.add("max_abs_weight_difference", float(np.max([np.max(found.differences) for found in founds])), at_most=0)
    table.add("different_log_lines", sum(found.different_lines for found in founds), at_most=0)
    table.add("unreadable_checkpoints", sum(found.unreadable for found in founds), at_most=0)
    table.add("leftover_files", sum(len(found.leftovers) for found in founds), at_most=0)
    table.finish()


if __name__ == "__main__":
    main()
