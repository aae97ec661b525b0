"""Read what a run folder holds: its figures, its log, its lineage and its recipe."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptft.errors import CheckpointError

_FILES = ("result.json", "metrics.jsonl", "manifest.json", "recipe.yaml")


@dataclass(frozen=True, slots=True)
class RunFolder:
    """What one run left on disk; a file that is missing is empty here."""

    path: Path
    name: str
    figures: dict[str, Any]
    """The flat keys of ``result.json``."""
    records: list[dict[str, Any]]
    """The list under ``records`` of ``result.json``."""
    metrics: list[dict[str, Any]]
    """The readable lines of ``metrics.jsonl``, in order."""
    num_unreadable_lines: int
    """Lines of ``metrics.jsonl`` that are no JSON object; a run that was killed leaves at most one."""
    manifest: dict[str, Any]
    recipe: str


def read_metrics(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Read a log of JSON lines and count the lines that cannot be read, such as one torn by a kill.

    Returns:
        The lines in order, and how many were left out.
    """
    lines: list[dict[str, Any]] = []
    num_unreadable = 0
    # A torn line may end inside a character, so decoding must not fail either.
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if not text.strip():
            continue
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            line = None
        if isinstance(line, dict):
            lines.append(line)
        else:
            num_unreadable += 1
    return lines, num_unreadable


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object; a missing file is an empty one.

    Raises:
        CheckpointError: The file is not a JSON object.
    """
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(
            f"{path}: not readable as JSON: {error}; a run writes this file whole; run the step again"
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(
            f"{path}: holds a JSON {type(content).__name__}; an object is allowed; run the step again"
        )
    return content


def read_run(path: Path) -> RunFolder:
    """Read one run folder, tolerant of missing files and of unknown keys.

    Raises:
        CheckpointError: A file that is there cannot be read.
    """
    figures = read_object(path / "result.json")
    records = figures.pop("records", [])
    log = path / "metrics.jsonl"
    metrics, num_unreadable = read_metrics(log) if log.is_file() else ([], 0)
    recipe = path / "recipe.yaml"
    return RunFolder(
        path=path,
        name=path.resolve().name,
        figures=figures,
        records=[record for record in records if isinstance(record, dict)] if isinstance(records, list) else [],
        metrics=metrics,
        num_unreadable_lines=num_unreadable,
        manifest=read_object(path / "manifest.json"),
        recipe=recipe.read_text(encoding="utf-8", errors="replace") if recipe.is_file() else "",
    )


def read_runs(path: Path) -> list[RunFolder]:
    """Read a run folder and, for a run of several steps, its sub-folders that hold a ``result.json``.

    Returns:
        The folder itself first, then its steps by name.

    Raises:
        CheckpointError: The folder is missing or holds no run, or a file in it cannot be read.
    """
    steps = sorted(file.parent for file in path.glob("*/result.json")) if path.is_dir() else []
    if not steps and not any((path / name).is_file() for name in _FILES):
        raise CheckpointError(
            f"no run in folder {str(path)!r}; a run folder or one of its sub-folders holds {', '.join(_FILES)}; "
            "give the folder that a step wrote to, its out="
        )
    return [read_run(folder) for folder in (path, *steps)]


def flat(content: Any, name: str = "") -> list[tuple[str, str]]:
    """Lay a nested dictionary out as dotted names and text, a short list on one line.

    Example:
        >>> flat({"versions": {"torch": "2.13"}, "seeds": [1, 2]})
        [('versions.torch', '2.13'), ('seeds', '1, 2')]
    """
    if isinstance(content, dict):
        return [pair for key, value in content.items() for pair in flat(value, f"{name}.{key}" if name else str(key))]
    if isinstance(content, list) and any(isinstance(value, dict | list) for value in content):
        return [pair for index, value in enumerate(content) for pair in flat(value, f"{name}.{index}")]
    if isinstance(content, list):
        return [(name, ", ".join(str(value) for value in content) or "none")]
    return [(name, "none" if content is None else str(content))]


def lineage_rows(manifest: dict[str, Any]) -> list[tuple[str, str]]:
    """A manifest as rows, without the recipe, which has its own file."""
    return [(name, text) for name, text in flat(manifest) if "recipe" not in name.split(".")[:1]]
