"""The log of a run: one JSON line a logged step, continued without doubles after an interruption."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Logbook:
    """Appends lines to ``metrics.jsonl``.

    Args:
        path: The file.
        step: Updates made before: lines of later steps, which an interrupted run left, are dropped.
    """

    def __init__(self, path: Path, step: int) -> None:
        kept = [line for line in read_log(path) if line["step"] <= step]
        partial = path.with_name(f".{path.name}.partial")
        partial.write_text("".join(json.dumps(line) + "\n" for line in kept))
        partial.replace(path)
        self._path = path

    def write(self, line: Mapping[str, float]) -> None:
        """Append one line."""
        with self._path.open("a") as file:
            file.write(json.dumps(line) + "\n")


def read_log(path: Path) -> list[dict[str, Any]]:
    """All whole lines of a log; a torn last line, which a killed run can leave, is dropped."""
    lines = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(line))
        except ValueError:
            break
    return lines
