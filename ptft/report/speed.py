"""How fast each run went, side by side."""

from collections.abc import Sequence
from statistics import median

from ptft.report.folder import RunFolder
from ptft.report.tables import format_value, is_number

_COLUMNS = {
    "tokens_per_second": "tokens a second",
    "mfu": "mfu",
    "padding_ratio": "padding",
    "data_wait_ratio": "waiting for data",
    "head_share": "vocabulary head",
    "memory_gb": "memory, GB",
}


def speed_rows(runs: Sequence[RunFolder]) -> list[list[str]]:
    """Lay the meters of the runs that have some out as a table, titles first; nothing if none has.

    A meter is that of the whole run, or else the median of the lines of its log.
    """
    found = [{name: value for name in _COLUMNS if (value := _meter(run, name))} for run in runs]
    names = [name for name in _COLUMNS if any(name in meters for meters in found)]
    pairs = zip(runs, found, strict=True)
    rows = [[run.name, *(meters.get(name, "") for name in names)] for run, meters in pairs if meters]
    return [["run", *(_COLUMNS[name] for name in names)], *rows] if rows else []


def _meter(run: RunFolder, name: str) -> str:
    whole = [run.figures[name]] if is_number(run.figures.get(name)) else []
    values = whole or [line[name] for line in run.metrics if is_number(line.get(name))]
    return format_value(median(values)) if values else ""
