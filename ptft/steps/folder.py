"""A run folder: begun after all checks, continued if interrupted, left alone if finished or another's."""

import json
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch
from filelock import FileLock, Timeout

from ptft.compute import num_processes
from ptft.config import Settings, differences, dump, load
from ptft.errors import CheckpointError, RecipeError
from ptft.steps.milestones import milestone
from ptft.steps.step import RUNTIME_KEYS, Step
from ptft.training.aside import remove_leftovers, write_text

_LOCK = ".lock"
_LEFT_AT_BEGIN = (".recipe.yaml.partial", _LOCK)  # all that a run leaves that is killed while it begins
_SIGNS_OF_WORK = ("metrics.jsonl", "cells.jsonl", "search.jsonl", "state.json", "result.json")
_LIBRARIES = ("ptft", "torch", "transformers", "tokenizers", "datasets", "accelerate", "numpy")


class Standing(NamedTuple):
    """How a run folder stands.

    Attributes:
        folder: The folder to work in.
        is_finished: Whether its result is already there.
        is_continued: Whether an interrupted run lies there.
    """

    folder: Path
    is_finished: bool
    is_continued: bool


def standing(step: Step) -> Standing:
    """Look at ``out`` without touching it.

    Raises:
        RecipeError: It belongs to another run, is no run folder, or cannot be written.
    """
    if not step.out:
        raise RecipeError("out: is required; name a folder for the run with out=...")
    folder = Path(step.out)
    if not step.resume:
        folder = _free_name(folder)
    recipe = folder / "recipe.yaml"
    if recipe.exists():
        _refuse_other_settings(step, recipe)
        return Standing(folder, (folder / "result.json").exists(), True)
    check_new(folder)
    return Standing(folder, False, False)


def check_new(folder: Path) -> None:
    """Refuse a folder that holds something, or that cannot be made.

    Raises:
        RecipeError: It is so.
    """
    if folder.is_file() or (folder.is_dir() and any(path.name not in _LEFT_AT_BEGIN for path in folder.iterdir())):
        raise RecipeError(f"out: {str(folder)!r} exists and is no run folder of ptft; name a new folder")
    parent = next(path for path in [folder, *folder.absolute().parents] if path.exists())
    if not parent.is_dir():
        raise RecipeError(f"out: {str(parent)!r} is a file, so {str(folder)!r} cannot be made; name another folder")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise RecipeError(f"out: no permission to write in {str(parent)!r}; name another folder")


def _free_name(folder: Path) -> Path:
    number, free = 2, folder
    while free.exists():
        free = folder.with_name(f"{folder.name}-{number}")
        number += 1
    return free


def _changes(step: Step, recipe: Path) -> list[str]:
    former = load(type(step), recipe).settings
    return [line for line in differences(former, step) if line.split(":")[0].split(".")[0] not in RUNTIME_KEYS]


def same_settings(step: Step, folder: Path) -> bool:
    """Whether a run folder is of a run with these settings."""
    try:
        return not _changes(step, folder / "recipe.yaml")
    except RecipeError:
        return False


def _refuse_other_settings(step: Step, recipe: Path) -> None:
    try:
        changes = _changes(step, recipe)
    except RecipeError:
        raise RecipeError(
            f"out: {str(recipe.parent)!r} holds the run of another step or version; name another folder"
        ) from None
    if changes:
        raise RecipeError(
            f"out: {str(recipe.parent)!r} holds a run with other settings ({'; '.join(changes)}); "
            "name another folder, or give resume=false to start over in a new one"
        )


@contextmanager
def begun(settings: Settings, folder: Path) -> Iterator[list[Path]]:
    """Make the folder, and write the resolved recipe; within the context no other process works there.

    Gives the folders that were made, the innermost first.

    Raises:
        RecipeError: The folder cannot be made or written, or another process works there.
    """
    made = [path for path in [folder, *folder.parents] if not path.exists()]
    lock = FileLock(folder / _LOCK, timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
        remove_leftovers(folder)
        write_text(folder / "recipe.yaml", dump(settings))
    except Timeout:
        raise RecipeError(
            f"out: another process is at work in {str(folder)!r}; wait for its end, or name another folder"
        ) from None
    except OSError as error:
        if made:
            undo(folder, made)
        raise RecipeError(f"out: {str(folder)!r} cannot be written ({error.strerror}); name another folder") from None
    try:
        yield made
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def clear_lock(folder: Path) -> None:
    """Remove what a process left that was killed when its run was finished, unless it is still at its end."""
    lock = folder / _LOCK
    with suppress(Timeout, OSError):
        if lock.exists():
            with FileLock(lock, timeout=0):
                lock.unlink()


def undo(folder: Path, made: list[Path]) -> None:
    """Take back what :func:`begun` made after a mistake that only the work could find, unless work would be lost."""
    if any(path.name in _SIGNS_OF_WORK and path.stat().st_size for path in folder.rglob("*.json*")):
        return
    for path in folder.glob("*"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    for path in made:
        with suppress(OSError):  # something else may have come into a folder above
            path.rmdir()


def finish(folder: Path, figures: Mapping[str, float], records: list[dict[str, Any]], lineage: dict[str, Any]) -> None:
    """Write ``manifest.json`` and, last of all, ``result.json``.

    Raises:
        CheckpointError: The disk is full or the folder cannot be written.
    """
    content = {**figures, "records": records} if records else dict(figures)
    files = {"manifest.json": {**environment(), **lineage}, "result.json": content}
    for name, values in files.items():
        try:
            write_text(folder / name, json.dumps(values, indent=1, ensure_ascii=False))
        except OSError as error:
            raise CheckpointError(
                f"cannot write {folder / name}: {error.strerror}; make room and give the same command again"
            ) from error


def environment() -> dict[str, Any]:
    """Versions of the libraries, the commit of the project around, if there is one, and what decides bits as well."""
    commit = subprocess.run(
        ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    return {
        "versions": {library: version(library) for library in _LIBRARIES},
        "commit": commit.stdout.strip() if commit.returncode == 0 else "",
        "processes": num_processes(),
        "threads": torch.get_num_threads(),
        "device": _device(),
    }


def _device() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{platform.machine()} CPU, {torch.backends.cpu.get_cpu_capability()}"


def parent(name: str) -> dict[str, Any]:
    """What a lineage says of a model or tokenizer that a result was made from: its path and its own manifest.

    ``hub`` says that the path is a name on the Hub.
    """
    folder = Path(name)
    if not folder.exists():
        return {"path": name, "hub": True}
    facts = milestone(folder)
    found: dict[str, Any] = {"path": name, **({"milestone": facts} if facts else {})}
    for candidate in (folder, folder.parent, *([folder.parent.parent] if facts else [])):
        if (candidate / "manifest.json").exists():
            return {**found, "manifest": json.loads((candidate / "manifest.json").read_text())}
    return found
