"""The step ``curve``: what methods make of each number of labels: fine-tuning, baselines and prompting side by side."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np

from ptft.compute import is_main, limit_threads, num_cores, resolve_precision
from ptft.config import load, plain
from ptft.display import Display, Once
from ptft.steps.curve_cells import Cell, Record, Workbench
from ptft.steps.curve_settings import CurveSettings
from ptft.steps.folder import parent
from ptft.steps.seeds import seed_list
from ptft.steps.step import Place, Result
from ptft.tasks.metrics import interval_over_seeds, paired_interval
from ptft.tokenization import tokenizer_hash
from ptft.training.interruption import Interrupted
from ptft.training.logbook import Logbook, read_log
from ptft.training.side_by_side import Processes, serve

_Measured = Iterator[tuple[Cell, list[Record]]]
_WORKER = "from ptft.steps.curve import answer_from_pipe; answer_from_pipe()"


class Curve(CurveSettings):
    """Compare fine-tuning, baselines and prompting at several numbers of labels, with several seeds each.

    With several learning rates a method takes, at each number of labels, the one that is best on the validation rows
    with the first seed. An interrupted curve goes on behind the cells (a method, number of labels and seed) that it has
    measured.
    """

    name: ClassVar[str] = "curve"

    def work(self, place: Place) -> Result:
        """Every cell that is not done yet; figures are means over seeds."""
        place = replace(place, display=Once(place.display))
        data, notes = self.read_data()
        for note in notes:
            place.display.say(note)
        seeds = seed_list(self.seeds, self.seed)
        cells = _Cells(self, place, len(self.labels) * len(self.methods) * len(seeds))
        counts = sorted(self.labels, key=lambda count: -len(data.train) if count == "all" else -count)
        trained = self.trained()
        pairs = [(method, count) for count in counts for method in self.methods]
        rates = {pair: self.lr if pair[0] in trained else () for pair in pairs}
        # The longest cells come first, so that no process is left alone with one at the end.
        rounds = [seeds] if len(self.lr) == 1 else [seeds[:1], seeds[1:]]
        with cells:
            for some in rounds:
                cells.measure([Cell(*pair, seed, rates[pair]) for pair in pairs for seed in some])
                for pair in [pair for pair in pairs if rates[pair]]:
                    rates[pair] = (cells.found[(*pair, seeds[0])][0]["lr"],)
        records = [
            record for count in self.labels for method in self.methods for seed in seeds
            for record in cells.found[method, count, seed]
        ]  # fmt: skip
        _say_failed(records, place.display)
        lineage: dict[str, Any] = {
            "step": self.name,
            "task": {"name": data.name, "labels": list(data.labels), "train_rows": len(data.train)},
            "parents": [parent(name) for name in (self.model if trained else "", self.prompt_model) if name],
            "seeds": seeds,
            "precision": cells.precision,
            "jobs": cells.jobs,
        }
        if trained:
            lineage["tokenizer"] = {"hash": tokenizer_hash(self.open_tokenizer(data))}
        return Result(_figures(records, self.methods), records, lineage)


class _Cells:
    """The cells of a curve; each is written down when it is measured, and an interrupted curve goes on behind it.

    Args:
        settings: The curve's.
        place: Where it works.
        total: How many cells there are.
    """

    def __init__(self, settings: Curve, place: Place, total: int) -> None:
        self._settings = settings
        self._place = place
        self._total = total
        path = place.folder / "cells.jsonl"
        lines = read_log(path)
        self.found: dict[Any, list[Record]] = {tuple(line["cell"]): line["records"] for line in lines}
        """The records of measured cells, by method, number of labels and seed."""
        self._log = Logbook(path, sys.maxsize) if is_main() else None
        self.jobs = settings.jobs_now(total)
        """How many cells are measured side by side."""
        self._threads = settings.threads or (max(1, num_cores() // self.jobs) if self.jobs > 1 else 0)
        limit_threads(self._threads)
        self.precision = resolve_precision(settings.precision, lines[0]["precision"] if lines else "")
        """Of all cells: a curve that goes on keeps what it began with."""
        self._bench: Workbench | None = None
        self._processes: Processes | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._processes is not None:
            self._processes.__exit__()

    def measure(self, cells: Sequence[Cell]) -> None:
        """Measure those that are not found.

        Raises:
            Interrupted: A signal asked to stop; what is measured is written down.
        """
        left = [cell for cell in cells if cell.place not in self.found]
        try:
            for cell, records in self._side_by_side(left) if self.jobs > 1 else self._in_turn(left):
                self.found[cell.place] = records
                if self._log is not None:
                    self._log.write({"cell": cell.place, "precision": self.precision, "records": records})
                figures = {records[0]["metric"]: records[0]["value"]}
                self._place.display.progress("cells", len(self.found), self._total, figures)
        except Interrupted as stop:
            sentence = f"stopped after {len(self.found)} of {self._total} cells"
            raise Interrupted(sentence, stop.signal_number) from None

    def _in_turn(self, cells: Sequence[Cell]) -> _Measured:
        for cell in cells:
            if self._bench is None:
                self._bench = Workbench(self._settings, self.precision, self._threads, self._place.display)
            yield cell, self._bench.records(cell)

    def _side_by_side(self, cells: Sequence[Cell]) -> _Measured:
        if cells and self._processes is None:
            number = min(self.jobs, self._total - len(self.found))
            greeting = {"settings": plain(self._settings), "precision": self.precision, "threads": self._threads}
            self._processes = Processes(_WORKER, greeting, number, self._place.display)
        if self._processes is not None:
            yield from ((cells[number], records) for number, records in self._processes.answers(cells))


def answer_from_pipe() -> None:
    """Measure the cells that the parent process asks for; what a process of :func:`_Cells` runs."""

    def prepare(greeting: Mapping[str, Any], display: Display) -> Any:
        settings = load(Curve, base=greeting["settings"], base_origin="the parent process").settings
        bench = Workbench(settings, greeting["precision"], greeting["threads"], display)
        return lambda cell: bench.records(Cell(*cell))

    serve(prepare)


def _say_failed(records: Sequence[Record], display: Display) -> None:
    failed = [record["method"] for record in records if record["failed"]]
    if failed:
        counts = ", ".join(f"{method} {failed.count(method)}" for method in dict.fromkeys(failed))
        display.say(
            f"failed: {len(failed)} of {len(records)} results, where every test row got the same answer ({counts})"
        )


def _figures(records: Sequence[Record], methods: Sequence[str]) -> dict[str, float]:
    """Means over seeds with their interval, their standard deviation, and paired differences from the first method.

    ``difference`` is the first method minus the second, ``difference.METHOD`` the first minus a further one.
    """
    figures: dict[str, float] = {}
    for test in dict.fromkeys(record["test"] for record in records):
        for labels in dict.fromkeys(record["labels"] for record in records):
            here = [record for record in records if (record["test"], record["labels"]) == (test, labels)]
            values = {method: [r["value"] for r in here if r["method"] == method] for method in methods}
            for method, own in values.items():
                lows, highs = ([r[end] for r in here if r["method"] == method] for end in ("low", "high"))
                _put(figures, f"{test}.{labels}.{method}", interval_over_seeds(own, lows, highs))
                figures[f"{test}.{labels}.{method}.sd"] = float(np.std(own, ddof=1)) if len(own) > 1 else 0.0
            for number, method in enumerate(methods[1:]):
                name = "difference" if number == 0 else f"difference.{method}"
                _put(figures, f"{test}.{labels}.{name}", paired_interval(values[methods[0]], values[method]))
    figures["seeds"] = float(len({record["seed"] for record in records}))
    figures["failed"] = float(sum(record["failed"] for record in records))
    return figures


def _put(figures: dict[str, float], name: str, interval: tuple[float, float, float]) -> None:
    figures[name], figures[f"{name}.low"], figures[f"{name}.high"] = interval
