"""What every benchmark shares: its arguments, its table of figures and bars, and its result file."""

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
_LIBRARIES = ("torch", "transformers", "tokenizers", "datasets", "accelerate", "numpy")


def arguments(description: str, *, only: Sequence[str] = (), model: bool = False) -> argparse.Namespace:
    """``--quick`` (at most five minutes, into ``results/quick``), ``--data DIR``, ``--work DIR``, ``--only PART``."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="a short measurement that leaves out what takes long")
    parser.add_argument("--data", type=Path, default=None, help="folder with corpora/ and tasks/")
    parser.add_argument("--work", type=Path, default=Path("runs/benchmarks"), help="folder for the runs")
    if only:
        parser.add_argument("--only", choices=only, default=None, help="one part; the others keep their figures")
    if model:
        parser.add_argument("--model", type=Path, default=None, help="a checkpoint folder")
    return parser.parse_args()


@dataclass
class Table:
    """Figures with their bars.

    Attributes:
        name: Of the benchmark.
        quick: Whether this is the short form.
        figures: Measured values by name.
        left_out: What was not measured, and why; what is of a part begins with its name and a colon.
        missed: Names of figures that do not reach their bar.
        parts: The machine and the commit that each part was measured with.
        begun: The parts of this run.
    """

    name: str
    quick: bool
    figures: dict[str, float] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    parts: dict[str, Any] = field(default_factory=dict)
    begun: list[str] = field(default_factory=list)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """What is measured inside is of this part."""
        self.begun.append(name)
        others = len(self.figures)
        yield
        if len(self.figures) > others:
            self.parts[name] = machine()

    def add(self, name: str, value: float, at_least: float | None = None, at_most: float | None = None) -> None:
        """Record a figure and print it beside its bar."""
        self.figures[name] = value
        bars = [f"{sign}{bar:g}" for sign, bar in ((">=", at_least), ("<=", at_most)) if bar is not None]
        is_met = (at_least is None or value >= at_least) and (at_most is None or value <= at_most)
        if not is_met:
            self.missed.append(name)
        shown = f"{value:.1e}" if 0 < abs(value) < 1e-3 else f"{value:.4f}"
        print(f"{name} {shown} {','.join(bars) or '-'} {'ok' if is_met else 'MISSED'}", flush=True)

    def former(self) -> dict[str, Any]:
        """What the result file holds from the last time; empty where there is none."""
        return json.loads(self.path.read_text()) if self.path.exists() else {}

    def keep_others(self, parts: Iterable[str]) -> None:
        """Take over what the result file holds and this run, of one of the parts, did not measure."""
        former = self.former()
        known = {*self.figures, *self.details, "missed", "left_out", "parts", *machine()}
        others = {key: value for key, value in former.items() if key not in known}
        self.missed += [name for name in former.get("missed", []) if name in others]
        self.figures |= others
        self.parts = former.get("parts", {}) | self.parts
        self.left_out += [what for what in former.get("left_out", []) if what.partition(":")[0] not in self.begun]
        told = {*self.parts, *(what.partition(":")[0] for what in self.left_out)}
        for name in parts:
            if name not in told:
                self.leave_out(f"{name}: not measured, or at a commit that was not kept")

    @property
    def path(self) -> Path:
        """The result file."""
        return HERE / "results" / ("quick" if self.quick else "") / f"{self.name}.json"

    def leave_out(self, what: str) -> None:
        """Say what is not measured."""
        self.left_out.append(what)
        print(f"left out: {what}", flush=True)

    def finish(self) -> None:
        """Write the result file and end the process, with code 1 where a bar is missed."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        content = {**self.figures, "missed": self.missed, "left_out": self.left_out, **self.details}
        content |= ({"parts": self.parts} if self.parts else {}) | machine()
        self.path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
        sys.exit(1 if self.missed else 0)


def machine() -> dict[str, object]:
    """Processor, cores, versions and commit."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=HERE, capture_output=True, text=True, check=False)
    changed = subprocess.run(
        ["git", "status", "--porcelain", "ptft", "recipes"],
        cwd=HERE.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    info = Path("/proc/cpuinfo")
    names = (
        [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        if info.exists()
        else []
    )
    return {
        "machine": {"processor": names[0] if names else platform.processor(), "cores": os.cpu_count()},
        "versions": {"python": platform.python_version(), **{library: version(library) for library in _LIBRARIES}},
        "commit": commit.stdout.strip() + ("+changes" if changed.stdout.strip() else ""),
    }


def quiet() -> None:
    """Let transformers say nothing about checkpoints without a head, here and in processes that this one starts."""
    from transformers.utils import logging

    os.environ |= {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    logging.set_verbosity_error()
    logging.disable_progress_bar()


def ptft(*arguments: str) -> None:
    """Run the command line; its errors end the benchmark."""
    subprocess.run([sys.executable, "-m", "ptft", *arguments], check=True)


def median(values: Sequence[float]) -> float:
    """The middle value, or the mean of the two middle ones."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
