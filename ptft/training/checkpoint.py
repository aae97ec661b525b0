"""Resumable state on disk: written aside, flushed, renamed; tensors in safetensors, scalars in JSON."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from ptft.errors import CheckpointError
from ptft.optim.optimizer import Optimizers
from ptft.sharding import load_state, whole_state

_STATE = "state.json"


def save_checkpoint(
    folder: Path,
    module: nn.Module,
    optimizers: Optimizers,
    state: Mapping[str, Any],
    keep: int,
    *,
    writes: bool = True,
) -> Path:
    """Write ``step-XXXXXXXX`` below ``folder`` and delete all but the newest ``keep``.

    Args:
        folder: The run's ``checkpoints``.
        module: Its parameters and buffers are kept.
        optimizers: Their whole state is kept.
        state: Scalars that JSON holds; ``step`` among them.
        keep: How many checkpoints stay.
        writes: Whether this process is the one that writes; the others only give their share of spread weights.

    Returns:
        The folder written.

    Raises:
        CheckpointError: The disk is full or the folder cannot be written; older checkpoints are left alone.
    """
    target = folder / f"step-{state['step']:08d}"
    weights, (tensors, scalars) = whole_state(module), optimizers.state()
    if not writes:
        return target
    try:
        with written_aside(target) as partial:
            save_file(weights, partial / "weights.safetensors")
            save_file(tensors, partial / "optimizer.safetensors")
            sums = {name: _sha256(partial / name) for name in ("weights.safetensors", "optimizer.safetensors")}
            content = {**state, "optimizer": scalars, "checksums": sums}
            (partial / _STATE).write_text(json.dumps(content, indent=1))
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"cannot write the checkpoint {target}: {error}; older checkpoints are intact") from error
    complete = complete_checkpoints(folder)
    later = [path for path in complete if path > target]  # damaged, or the run would have gone on from it
    for old in [*later, *[path for path in complete if path <= target][:-keep]]:
        shutil.rmtree(old)
    return target


@contextmanager
def written_aside(target: Path) -> Iterator[Path]:
    """A folder to write into that becomes ``target``, flushed, when all is written; nothing is left if that fails."""
    partial = target.with_name(f".{target.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
        for path in [*partial.iterdir(), partial]:
            _flush(path)
        if target.exists():
            shutil.rmtree(target)
        partial.rename(target)
        _flush(target.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def complete_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints below ``folder`` that were finished, oldest first."""
    return sorted(path for path in folder.glob("step-*") if (path / _STATE).exists())


def load_newest(folder: Path, module: nn.Module, optimizers: Optimizers) -> dict[str, Any] | None:
    """Take over the newest checkpoint whose checksums hold, and return its scalars; None where there is none."""
    for path in reversed(complete_checkpoints(folder)):
        try:
            state: dict[str, Any] = json.loads((path / _STATE).read_text())
            if any(_sha256(path / name) != digest for name, digest in state["checksums"].items()):
                continue
            weights = load_file(path / "weights.safetensors")
            tensors = load_file(path / "optimizer.safetensors")
        except (OSError, ValueError, KeyError, SafetensorError):
            continue
        load_state(module, weights)
        optimizers.load(tensors, state.pop("optimizer"))
        return state
    return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
