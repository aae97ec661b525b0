"""The log of a run: one JSON line a logged step, continued without doubles after an interruption."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ptft.errors import CheckpointError
from ptft.training.aside import write_text


class Logbook:
    """Appends lines to ``metrics.jsonl``.

    Where a line cannot be written, on a full disk say, it waits for the next one, and no half line stays.

    Args:
        path: The file.
        step: Updates made before: lines of later steps, which an interrupted run left, are dropped.
        say: Is told when lines begin to wait.

    Raises:
        CheckpointError: The file cannot be written at all.
    """

    def __init__(self, path: Path, step: int, say: Callable[[str], None] | None = None) -> None:
        kept = [line for line in read_log(path) if line.get("step", 0) <= step]
        try:
            write_text(path, "".join(json.dumps(line) + "\n" for line in kept))
            self._size = path.stat().st_size
        except OSError as error:
            raise CheckpointError(
                f"cannot write {path}: {error.strerror}; make room and give the same command again"
            ) from error
        self._path = path
        self._say = say
        self._waiting: list[str] = []

    def write(self, line: Mapping[str, Any]) -> None:
        """Append one line."""
        self._waiting.append(json.dumps(line) + "\n")
        try:
            with self._path.open("a") as file:
                if file.tell() > self._size:
                    file.truncate(self._size)  # half a line
                file.write("".join(self._waiting))
                file.flush()
                self._size = file.tell()
        except OSError as error:
            if self._say is not None and not self._waiting[1:]:
                self._say(f"cannot write {self._path}: {error.strerror}; training goes on, and its lines wait")
        else:
            self._waiting.clear()


def read_log(path: Path) -> list[dict[str, Any]]:
    """All whole lines of a log; a torn last line, which a killed run can leave, is dropped."""
    lines = []
    for line in path.read_text(errors="replace").splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(line))
        except ValueError:
            break
    return lines
