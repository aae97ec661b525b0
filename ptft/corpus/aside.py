"""Folders that are written aside and renamed when they are complete, and what killed processes left of such."""

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def locked_aside(folder: Path) -> Iterator[Path]:
    """Give an empty folder to be written, which is renamed to ``folder`` when the block ends, or deleted if it fails.

    Meanwhile a lock is held on a file beside it. The system lifts a lock however its process ends, so that
    :func:`clean` can tell what is still being written, also by processes of other containers and machines.

    Raises:
        OSError: It cannot be written, or ``folder`` is there and not empty when the block ends.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    name = f".{folder.name}.{uuid.uuid4().hex[:12]}"
    partial, lock = folder.with_name(f"{name}.partial"), folder.with_name(f"{name}.lock")
    try:
        with FileLock(lock):
            partial.mkdir()
            yield partial
            partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        lock.unlink(missing_ok=True)


def clean(parent: Path) -> None:
    """Delete the folders below ``parent`` that processes were writing when they were killed."""
    for lock in parent.glob(".*.lock"):
        with suppress(Timeout, OSError), FileLock(lock, timeout=0):  # else it is held, or not ours to touch
            shutil.rmtree(lock.with_suffix(".partial"), ignore_errors=True)
            lock.unlink(missing_ok=True)
