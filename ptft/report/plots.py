"""Pictures of a run: loss over tokens, accuracy over labels and over shots; each function returns a figure."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import TYPE_CHECKING, Any

from ptft.errors import DataError
from ptft.report.curves import Point, grouped, measured, ordered_methods, points
from ptft.report.drawing import (
    COLOURS,
    FEW_LINES,
    LEVEL_LOOK,
    VALID_LOOK,
    count_axis,
    curve_look,
    draw_curves,
    draw_level,
    draw_losses,
    grid,
    legend,
    look,
    save,
    style,
    title,
)
from ptft.report.tables import is_number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["emergence", "label_efficiency", "loss_curve", "save", "shot_curve"]

_Record = Mapping[str, Any]
_Series = list[tuple[float, float]]
# Evaluations write the short names of the figures, training the names of the objectives.
_OBJECTIVES = {"mlm": "masked_lm", "nsp": "next_sentence", "clm": "causal_lm"}
_SHORT_NAMES = {objective: name for name, objective in _OBJECTIVES.items()}
_PROMPTED = re.compile(r"prompt\.(.+)\.k(\d+)")
_LEVEL_NAME = "always the most frequent answer"


def loss_curve(runs: Mapping[str, Sequence[_Record]]) -> "Figure":
    """Draw training and validation loss over the tokens seen.

    An objective of several parts, such as masked LM and next sentence, gets a panel for the total and one for each
    part; runs with the same parts share the panels. A training loss is drawn thin as logged and thick as its running
    mean.

    Args:
        runs: The lines of each run's ``metrics.jsonl``, by the name of the run.

    Raises:
        DataError: No line holds a loss.
    """
    has_tokens = any("tokens" in line for lines in runs.values() for line in lines)
    panels: dict[str, dict[str, tuple[_Series, _Series]]] = {}
    for name, lines in runs.items():
        for measure, series in _losses(lines, "tokens" if has_tokens else "step").items():
            panels.setdefault(measure, {})[name] = series
    if not panels:
        raise DataError("nothing to draw: no line of metrics.jsonl holds 'loss' or 'valid.loss'; train a step first")
    names = [name for name in runs if any(name in panel for panel in panels.values())]
    every = [series for panel in panels.values() for pair in panel.values() for series in pair]
    with style():
        figure, axes = grid(len(panels))
        for panel_axes, (measure, panel) in zip(axes, panels.items(), strict=True):
            for name, (train, valid) in panel.items():
                draw_losses(panel_axes, train, valid, names.index(name), len(names) == 1)
            title(panel_axes, measure)
            panel_axes.set_ylabel("loss (nats)")
            most = max(x for series in every for x, _ in series)
            count_axis(panel_axes, most, "tokens seen" if has_tokens else "optimizer steps")
        legend(figure, _loss_entries(names, has_valid=any(every[1::2])))
    return figure


def label_efficiency(records: Iterable[_Record], majority: Mapping[str, Any] | None = None) -> "Figure":
    """Draw accuracy over the number of labelled rows: a line a method, a panel a task and test set.

    Args:
        records: Records with ``task``, ``test``, ``method``, ``labels``, ``seed``, ``value``, ``low`` and ``high``; a
            ``majority`` in them is drawn as a level, unless a method of that name is.
        majority: Flat figures that hold the accuracy of the most frequent label for records that do not, under
            ``task.test.majority`` or ``test.majority``.

    Raises:
        DataError: No record holds ``labels`` and ``value``.
    """
    kept = _measured(records, "labels")
    panels = grouped(kept, "task", "test")
    methods = ordered_methods(kept)
    has_level = False
    with style():
        figure, axes = grid(len(panels), _num_columns([(task, test) for task, test in panels], len(methods)))
        for panel_axes, ((task, test), rows) in zip(axes, panels.items(), strict=True):
            by_method = {method: own for (method,), own in grouped(rows, "method").items()}
            curves = {method: points(by_method[method], "labels") for method in methods if method in by_method}
            draw_curves(panel_axes, curves, {method: methods.index(method) for method in curves})
            level = _majority(rows, majority or {}, (f"{task}.{test}.majority", f"{test}.majority"))
            if level is not None and "majority" not in methods:
                draw_level(panel_axes, level)
                has_level = True
            title(panel_axes, task if test == "test" else f"{task}, test set {test}".removeprefix(", "))
            panel_axes.set_xlabel("labelled rows (log scale)")
            panel_axes.set_ylabel(_metric(rows))
        legend(figure, _curve_entries(methods, has_level))
    return figure


def shot_curve(records: Iterable[_Record]) -> "Figure":
    """Draw accuracy over the number of examples in the prompt.

    Up to seven tasks scored with one method share a panel, a line a task; otherwise each task has its panel, a line a
    method.

    Args:
        records: Records with ``task``, ``k``, ``seed``, ``method``, ``value``, ``low``, ``high`` and ``majority``. The
            table has those with ``is_figure`` false, the picture does not.

    Raises:
        DataError: No record holds ``k`` and ``value``.
    """
    kept = _measured((record for record in records if record.get("is_figure", True)), "k")
    by_task = {task: own for (task,), own in grouped(kept, "task").items()}
    methods = ordered_methods(kept)
    is_shared = len(methods) == 1 and len(by_task) <= len(COLOURS)
    names = list(by_task) if is_shared else methods
    has_level = False
    with style():
        panels = {"": kept} if is_shared else by_task
        figure, axes = grid(len(panels), _num_columns([(task, "") for task in panels], len(names)))
        for panel_axes, (task, rows) in zip(axes, panels.items(), strict=True):
            lines = {name: own for (name,), own in grouped(rows, "task" if is_shared else "method").items()}
            curves = {name: points(lines[name], "k") for name in names if name in lines}
            draw_curves(panel_axes, curves, {name: names.index(name) for name in curves})
            levels = {_majority(line, {}, ()) for line in lines.values()}
            for level in sorted({round(level, 2) for level in levels if level is not None}):
                draw_level(panel_axes, level)
                has_level = True
            title(panel_axes, task)
            panel_axes.set_xlabel("examples in the prompt, k")
            panel_axes.set_ylabel(_metric(rows))
        legend(figure, _curve_entries(names, has_level))
    return figure


def emergence(groups: Mapping[str, Sequence[Sequence[_Record]]]) -> "Figure":
    """Draw accuracy over the tokens seen in pretraining: a panel a group of runs and task, a line a number of shots.

    Args:
        groups: The lines of the ``metrics.jsonl`` of runs that differ in their seed alone, by a name for them; a point
            is the mean over those that asked after the same step.

    Raises:
        DataError: No line holds a figure of a prompted task.
    """
    panels: dict[tuple[str, str], dict[str, list[_Record]]] = {}
    levels: dict[tuple[str, str], list[float]] = {}
    for name, runs in groups.items():
        for seed, line in ((seed, line) for seed, lines in enumerate(runs) for line in lines):
            for key in line:
                if found := _PROMPTED.fullmatch(key):
                    task, k = found.groups()
                    record = {"value": line[key], "low": line[f"{key}.low"], "high": line[f"{key}.high"], "seed": seed}
                    record |= {"step": line["step"], "tokens": line["tokens"]}
                    panels.setdefault((name, task), {}).setdefault(f"k = {k}", []).append(record)
                    levels.setdefault((name, task), []).append(line[f"prompt.{task}.majority"])
    if not panels:
        raise DataError("nothing to draw: no line of metrics.jsonl holds 'prompt.TASK.kK'; set prompting.tasks")
    names = list(dict.fromkeys(k for curves in panels.values() for k in curves))
    with style():
        figure, axes = grid(len(panels), _num_columns([(task, name) for name, task in panels], len(names)))
        for panel_axes, ((name, task), curves) in zip(axes, panels.items(), strict=True):
            drawn = {k: _over_tokens(records) for k, records in curves.items()}
            draw_curves(panel_axes, drawn, {k: names.index(k) for k in drawn})
            draw_level(panel_axes, fmean(levels[name, task]))
            title(panel_axes, task if len(groups) == 1 else f"{task}, {name}")
            panel_axes.set_xlabel("tokens seen (log scale)")
            panel_axes.set_ylabel("accuracy")
        legend(figure, _curve_entries(names, True))
    return figure


def _over_tokens(records: Sequence[_Record]) -> list[Point]:
    """Means over seeds at each step, which runs of other seeds reach with nearly as many tokens."""
    tokens: dict[float, list[float]] = {}
    for record in records:
        tokens.setdefault(record["step"], []).append(record["tokens"])
    return [replace(point, x=fmean(tokens[point.x])) for point in points(records, "step")]


def _measured(records: Iterable[_Record], x: str) -> list[_Record]:
    kept = measured(records, x)
    if not kept:
        raise DataError(f"nothing to draw: no record holds numbers under {x!r} and 'value'; look at result.json")
    return kept


def _losses(lines: Sequence[_Record], x: str) -> dict[str, tuple[_Series, _Series]]:
    """Training and validation losses by what they measure; a single part is the total, so it is drawn once."""
    keys = dict.fromkeys(key for line in lines for key in line)
    # "valid.loss" is the validation total, not the loss of a part called valid.
    written = [key.removeprefix("valid.")[:-5] for key in keys if key.endswith(".loss") and key != "valid.loss"]
    parts = list(dict.fromkeys(_OBJECTIVES.get(part, part) for part in written))
    keys_of = {part: [f"{name}.loss" for name in (part, _SHORT_NAMES.get(part, part))] for part in parts}
    if len(parts) > 1:
        measures = {"total loss": ["loss"]} | {f"{part} loss": keys_of[part] for part in parts}
    else:
        measures = {f"{part} loss": ["loss", *keys_of[part]] for part in parts} or {"loss": ["loss"]}
    found = {
        title: (_series(lines, x, own), _series(lines, x, [f"valid.{key}" for key in own]))
        for title, own in measures.items()
    }
    return {title: pair for title, pair in found.items() if any(pair)}


def _series(lines: Sequence[_Record], x: str, keys: Sequence[str]) -> _Series:
    """The numbers under the first of the keys a line has, over ``x``; of a step logged twice the later counts."""
    found: dict[float, float] = {}
    for line in lines:
        value = next((line[key] for key in keys if is_number(line.get(key))), None)
        if value is not None and is_number(line.get(x)):
            found[line[x]] = value
    return sorted(found.items())


def _majority(rows: Sequence[_Record], figures: Mapping[str, Any], keys: Sequence[str]) -> float | None:
    levels = [row["majority"] for row in rows if is_number(row.get("majority"))]
    if levels:
        return fmean(levels)
    return next((float(figures[key]) for key in keys if is_number(figures.get(key))), None)


def _metric(rows: Sequence[_Record]) -> str:
    metrics = {str(row.get("metric", "accuracy")) for row in rows}
    return metrics.pop() if len(metrics) == 1 else "score"


def _num_columns(panels: Sequence[tuple[str, str]], num_lines: int) -> int:
    """One for many lines; a row a task where each has the same two or three test sets; else 0: whatever looks well."""
    if num_lines > FEW_LINES:
        return 1
    tests = {task: [test for other, test in panels if other == task] for task, _ in panels}
    first = next(iter(tests.values()))
    if len(first) in (2, 3) and all(row == first for row in tests.values()):
        return len(first)
    # More than three lines need a wider panel.
    return min(2, len(panels)) if num_lines > 3 else 0


def _curve_entries(names: Sequence[str], has_level: bool) -> dict[str, Mapping[str, Any]]:
    entries: dict[str, Mapping[str, Any]] = {name or "result": curve_look(index) for index, name in enumerate(names)}
    return entries | ({_LEVEL_NAME: LEVEL_LOOK} if has_level else {})


def _loss_entries(names: Sequence[str], has_valid: bool) -> dict[str, Mapping[str, Any]]:
    if len(names) == 1:
        entries: dict[str, Mapping[str, Any]] = {"training": {"color": COLOURS[0]}}
        return entries | ({"validation": VALID_LOOK | {"color": COLOURS[1]}} if has_valid else {})
    entries = {name: look(index) | {"marker": ""} for index, name in enumerate(names)}
    return entries | ({"validation": VALID_LOOK} if has_valid else {})
