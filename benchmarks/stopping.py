"""From SIGTERM to the end of the process: at most the rest of the step, one checkpoint, and the end of Python.

python benchmarks/stopping.py [--quick] [--work DIR]

A pretraining with long steps is stopped at random moments after its first steps, and goes on from there the next time.
The step beside it is the median of the log's, the checkpoint is the very one that the signal led to; what is left is
Python's own end. ``stop_over_step_and_checkpoint`` is the longest of all stops.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from measure import Table, arguments, median

from ptft import rng
from ptft.training import saving
from ptft.training.logbook import read_log

STOPS, QUICK_STOPS = 12, 3
SETTINGS = [
    "preset=bert-mini", "objective=masked_lm,next_sentence", "corpus.path=embedded", "vocab_size=2048", "length=128",
    "rows_per_step=256", "budget=100000steps", "threads=1", "log_every_steps=1", "checkpoint_every_steps=0",
]  # fmt: skip


def train(out: Path) -> None:
    """Train until a signal comes; the seconds that a checkpoint took are written beside the run."""
    save = saving.save_checkpoint

    def timed(*given: object, **named: object) -> Path:
        begin = time.perf_counter()
        path = save(*given, **named)
        out.with_suffix(".seconds").write_text(str(time.perf_counter() - begin))
        return path

    saving.save_checkpoint = timed
    from ptft.cli import main

    sys.argv = ["ptft", "pretrain", *SETTINGS, f"cache={out.parent / 'cache'}", f"out={out}"]
    main()


def steps_of(out: Path) -> list[float]:
    """Seconds of each step logged so far."""
    path = out / "metrics.jsonl"
    lines = read_log(path) if path.exists() else []
    tokens = [0, *[line["tokens"] for line in lines]]
    return [(line["tokens"] - before) / line["tokens_per_second"] for line, before in zip(lines, tokens, strict=False)]


def stop(out: Path, case: int) -> dict[str, float]:
    """Start or go on, stop somewhere in the third step or the one after it; gives seconds."""
    before = len(steps_of(out))
    process = subprocess.Popen([sys.executable, __file__, str(out)], stdout=subprocess.DEVNULL)
    while len(steps_of(out)) < before + 2:
        if process.poll() is not None:
            raise RuntimeError(f"the training ended by itself with code {process.returncode}")
        time.sleep(0.01)
    step = median(steps_of(out)[before:])
    time.sleep(float(rng.uniform(0, case)) * step)
    begin = time.perf_counter()
    process.send_signal(signal.SIGTERM)
    process.wait()
    seconds = time.perf_counter() - begin
    if process.returncode != 128 + signal.SIGTERM:
        raise RuntimeError(f"ended with code {process.returncode}")
    return {"stop": seconds, "step": step, "checkpoint": float(out.with_suffix(".seconds").read_text())}


def main() -> None:
    """Stop so often, and compare."""
    options = arguments(__doc__ or "")
    table = Table("stopping", options.quick)
    out = options.work / f"stopping-{os.getpid()}" / "run"
    out.parent.mkdir(parents=True)
    stops = [stop(out, case) for case in range(QUICK_STOPS if options.quick else STOPS)]
    for name in ("stop", "step", "checkpoint"):
        table.add(f"{name}_seconds", median([each[name] for each in stops]))
    ratios = [each["stop"] / (each["step"] + each["checkpoint"]) for each in stops]
    table.add("stop_over_step_and_checkpoint", max(ratios), at_most=1)
    table.details["stops"] = stops
    table.finish()


if __name__ == "__main__":
    if len(sys.argv) == 2 and not sys.argv[1].startswith("-"):
        train(Path(sys.argv[1]))
    else:
        main()
