"""Records averaged over their seeds: points with intervals for the pictures, and the same as rows of text."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from ptft.report.tables import format_count, format_interval, is_number


@dataclass(frozen=True, slots=True)
class Point:
    """The mean over seeds at one number of labels or shots, with its 95 % interval."""

    x: float
    mean: float
    low: float
    high: float
    num_seeds: int


def points(records: Iterable[Mapping[str, Any]], x: str) -> list[Point]:
    """Average the ``value`` of records over everything but ``x``, seed by seed, then over the seeds.

    The interval is that of :func:`ptft.tasks.metrics.interval_over_seeds`.

    Args:
        records: Flat records; those without numbers under ``x`` and ``value`` are left out.
        x: Key of the number of labels or shots.
    """
    groups: dict[float, dict[str, list[Mapping[str, Any]]]] = {}
    for record in measured(records, x):
        groups.setdefault(record[x], {}).setdefault(str(record.get("seed")), []).append(record)
    return [_point(at, list(groups[at].values())) for at in sorted(groups)]


def _point(x: float, by_seed: list[list[Mapping[str, Any]]]) -> Point:
    from ptft.tasks.metrics import interval_over_seeds  # and with it numpy, which nothing else here needs

    values = [fmean(record["value"] for record in seed) for seed in by_seed]
    lows = [fmean(_end(record, "low") for record in seed) for seed in by_seed]
    highs = [fmean(_end(record, "high") for record in seed) for seed in by_seed]
    return Point(x, *interval_over_seeds(values, lows, highs), len(values))


def _end(record: Mapping[str, Any], end: str) -> float:
    return float(record[end] if is_number(record.get(end)) else record["value"])


def measured(records: Iterable[Mapping[str, Any]], x: str) -> list[Mapping[str, Any]]:
    """The records that hold numbers under ``x`` and ``value``."""
    return [record for record in records if is_number(record.get(x)) and is_number(record.get("value"))]


def ordered_methods(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """The methods of records as they first appear, but pretrained and scratch first: they keep their colours."""
    names = list(dict.fromkeys(field(record, "method") for record in records))
    first = ("pretrained", "scratch")
    return [name for name in first if name in names] + [name for name in names if name not in first]


def field(record: Mapping[str, Any], key: str) -> str:
    """A word of a record, empty where it is missing; a missing test set is the one named test."""
    return str(record.get(key, "test" if key == "test" else ""))


def grouped(records: Iterable[Mapping[str, Any]], *keys: str) -> dict[tuple[str, ...], list[Mapping[str, Any]]]:
    """Records by the words under some keys, in the order in which these first appear."""
    groups: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for record in records:
        groups.setdefault(tuple(field(record, key) for key in keys), []).append(record)
    return groups


def label_rows(records: Iterable[Mapping[str, Any]]) -> list[list[str]]:
    """Label efficiency in numbers: titles, then a row a task, test set and number of labels, a column a method.

    Where every test row got the same label in some of a cell's seeds, it says in how many.
    """
    kept = measured(records, "labels")
    methods = ordered_methods(kept)
    has_gain = {"pretrained", "scratch"} <= set(methods)
    gain_title = ["pretrained - scratch"] if has_gain else []
    table = [["task", "test set", "labels", *(method or "value" for method in methods), *gain_title]]
    for (task, test), rows in grouped(kept, "task", "test").items():
        curves = {method: {p.x: p for p in points(own, "labels")} for (method,), own in grouped(rows, "method").items()}
        failed = Counter((field(record, "method"), record["labels"]) for record in rows if record.get("failed"))
        for count in sorted({x for curve in curves.values() for x in curve}):
            at = {method: curve[count] for method, curve in curves.items() if count in curve}
            row = [task, test, format_count(count)]
            row += [_interval(at.get(method), failed[method, count]) for method in methods]
            if has_gain:
                is_pair = "pretrained" in at and "scratch" in at
                row.append(f"{at['pretrained'].mean - at['scratch'].mean:+.3f}" if is_pair else "")
            table.append(row)
    return table


def shot_rows(records: Iterable[Mapping[str, Any]]) -> list[list[str]]:
    """Few-shot accuracy in numbers: titles, then a row a task and method, a column a number of shots."""
    kept = measured(records, "k")
    counts = sorted({record["k"] for record in kept})
    table = [["task", "method", *(f"k = {format_count(count)}" for count in counts)]]
    for (task, method), rows in grouped(kept, "task", "method").items():
        curve = {point.x: point for point in points(rows, "k")}
        table.append([task, method, *(_interval(curve.get(count)) for count in counts)])
    return table


def _interval(point: Point | None, num_failed: int = 0) -> str:
    if point is None:
        return ""
    text = format_interval(point.mean, point.low, point.high)
    return f"{text}, {num_failed} of {point.num_seeds} failed" if num_failed else text
