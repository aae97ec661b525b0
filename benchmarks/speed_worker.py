"""One side of a speed benchmark: a process that trains when it is told to; ``speed_work.py`` starts it.

It warms up, says so, and waits; each line of its input asks for one turn: ``{"seconds": 4, "steps": 2}``. What is
measured lies between the ends of two steps and has everything in it that a step needs, its data included. Our side is
``ptft pretrain`` or ``ptft finetune`` from Python and is read at the lines of its own log (each ten steps); the peer is
a Trainer, read by a callback.
"""

import json
import os
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from peers import Options, new_trainer
from speed_profile import summary
from speed_work import Case, Data, answer
from transformers import PreTrainedModel, TrainerCallback

from ptft.run import perform

_OF_THE_LOG = ("mfu", "data_wait_ratio", "padding_ratio")


class Turns:
    """Counts what is trained, and stops the training between turns.

    Args:
        warm_up: Steps of the first turn, which begins at once.
    """

    def __init__(self, warm_up: int) -> None:
        self._at = (time.perf_counter(), 0, 0, 0)
        self._wanted = {"seconds": 0.0, "steps": warm_up, "profile": False}
        self._profiler: Any = None
        self._log: list[dict[str, float]] = []

    def reached(self, step: int, rows: int, tokens: int, line: Mapping[str, float] | None = None) -> None:
        """So many steps, rows and tokens are done; ends a turn where it is over, and waits for the next."""
        begin, *before = self._at
        if line:
            self._log.append({name: line[name] for name in _OF_THE_LOG if name in line})
        if time.perf_counter() - begin < self._wanted["seconds"] or step - before[0] < self._wanted["steps"]:
            return
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds = time.perf_counter() - begin
        counts = {
            name: now - then
            for name, now, then in zip(("steps", "rows", "tokens"), (step, rows, tokens), before, strict=True)
        }
        said: dict[str, Any] = {"seconds": seconds, **counts, "peak_gb": peak_gb(), **self._means()}
        if self._profiler is not None:
            self._profiler.__exit__(None, None, None)
            said["profile"] = summary(self._profiler, counts["steps"])
            self._profiler = None
        answer(said)
        asked = sys.stdin.readline()
        if not asked:
            os._exit(0)
        self._wanted = json.loads(asked)
        if self._wanted["profile"]:
            kinds = [torch.profiler.ProfilerActivity.CPU]
            if torch.cuda.is_available():
                kinds.append(torch.profiler.ProfilerActivity.CUDA)
            self._profiler = torch.profiler.profile(activities=kinds).__enter__()
        self._at = (time.perf_counter(), step, rows, tokens)

    def _means(self) -> dict[str, float]:
        """Of the figures of the log in this turn."""
        lines, self._log = self._log, []
        return {name: sum(line[name] for line in lines) / len(lines) for name in lines[-1]} if lines else {}


class OurTurns:
    """Our display: it is told each line of the log."""

    def __init__(self, turns: Turns, rows: int) -> None:
        self._turns, self._rows = turns, rows

    def say(self, sentence: str) -> None:
        """Keep it beside the errors."""
        print(sentence, file=sys.stderr)

    def progress(self, what: str, done: int, total: int, figures: Mapping[str, float] | None = None) -> None:
        """A line of the log has the tokens so far."""
        if figures is not None and "step" in figures:
            step = int(figures["step"])
            self._turns.reached(step, step * self._rows, int(figures["tokens"]), figures)


class PeerTurns(TrainerCallback):
    """The Trainer's callback."""

    def __init__(self, turns: Turns, case: Case) -> None:
        self._turns, self._case = turns, case

    def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """All positions of the peer's rows of text are real tokens; of padded texts only the rows count."""
        rows = state.global_step * self._case.rows
        self._turns.reached(state.global_step, rows, rows * self._case.length)


_BASE: list[float] = []


def note_memory_before_the_model() -> None:
    """Let the memory of this process be measured from where its first model is made."""
    make = PreTrainedModel.__init__

    def noted(self: PreTrainedModel, *given: Any, **named: Any) -> None:
        if not _BASE and torch.get_default_device().type != "meta":  # shapes alone take no memory
            with suppress(OSError):
                Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
            _BASE.append(_status("VmRSS"))
        make(self, *given, **named)

    PreTrainedModel.__init__ = noted  # type: ignore[method-assign]


def peak_gb() -> float:
    """The most memory since then: resident on a CPU beyond what there was, allocated on a GPU."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    return _status("VmHWM") - (_BASE[0] if _BASE else 0.0)


def _status(name: str) -> float:
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name)]
    return int(line.split()[1]) * 1024 / 1e9


def work(job: Mapping[str, Any]) -> None:
    """Train until the benchmark has had its last turn."""
    case = Case(**job["case"])
    paths = {name: path and Path(path) for name, path in job["data"].items()}
    folder, turns = Path(job["folder"]), Turns(job["warm_up"])
    note_memory_before_the_model()
    if job["side"] == "ours":
        settings = {**job["settings"], "out": str(folder / "run")}
        perform(settings.pop("verb"), display=OurTurns(turns, case.rows), **settings)
        return
    trainer = new_trainer(
        case, Data(**paths), Options(**job["options"]), folder, use_cpu=not torch.cuda.is_available(),
        callbacks=[PeerTurns(turns, case)], max_steps=job["budget"],
    )  # fmt: skip
    trainer.train()


if __name__ == "__main__":
    work(json.loads(sys.argv[1]))
