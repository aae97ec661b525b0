"""Folders and files that appear whole or not at all: written aside, flushed, renamed.

What a killed process leaves of them lies beside them, as ``.NAME.partial`` or ``.NAME.former``.
"""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from ptft.errors import CheckpointError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""Of an ``OSError`` that says that a disk, a share of it or a file is full, or that it may only be read."""


@contextmanager
def written_aside(target: Path) -> Iterator[Path]:
    """A folder to write into that becomes ``target``, flushed, when all is written; nothing is left if that fails.

    A folder that is there already is replaced only then.
    """
    partial, former = target.with_name(f".{target.name}.partial"), target.with_name(f".{target.name}.former")
    is_first = not target.parent.exists()
    try:
        _remove(partial)
        partial.mkdir(parents=True)
        yield partial
        for path in [*partial.rglob("*"), partial]:
            flush(path)
        if target.exists():
            _remove(former)
            target.rename(former)
        partial.rename(target)
        flush(target.parent)
        if is_first:
            flush(target.parent.parent)
        _remove(former)
    finally:
        _remove(partial)


def write_aside(target: Path, what: str, write: Callable[[Path], object]) -> None:
    """Write a folder whole or not at all.

    Args:
        target: The folder.
        what: Its name in a sentence.
        write: Writes what it shall hold into another folder.

    Raises:
        CheckpointError: The disk is full or the folder cannot be written; what was there before is left alone.
    """
    try:
        with written_aside(target) as partial:
            write(partial)
    except Exception as error:
        if not is_unwritable(error):
            raise
        raise CheckpointError(
            f"cannot write the {what} {target}: {error}; make room and give the same command again, which goes on from "
            "the last checkpoint"
        ) from error


@contextmanager
def file_written_aside(target: Path) -> Iterator[Path]:
    """A file to write that becomes ``target``, flushed, when all is written; nothing is left if that fails."""
    partial = target.with_name(f".{target.name}.partial")
    try:
        yield partial
        flush(partial)
        partial.replace(target)
        flush(target.parent)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a small file whole or not at all."""
    with file_written_aside(path) as partial:
        partial.write_text(text, encoding="utf-8")


def is_unwritable(error: Exception) -> bool:
    """Whether an error says that something cannot be written; the libraries in Rust have no class for it."""
    return isinstance(error, OSError | SafetensorError) or "(os error " in str(error)


def discard(folder: Path) -> None:
    """Delete a folder that must never be found half-deleted."""
    aside = folder.with_name(f".{folder.name}.partial")
    _remove(aside)
    folder.rename(aside)
    _remove(aside)


def remove_leftovers(folder: Path) -> None:
    """Remove from a folder what a process left that was killed while it wrote there, or bring back what it replaced."""
    for path in folder.glob(".*.former"):
        target = folder / path.name[1:].removesuffix(".former")
        if target.exists():
            _remove(path)
        else:
            path.rename(target)
    for path in folder.glob(".*.partial"):
        _remove(path)


def flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
