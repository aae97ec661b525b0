"""Text files read strictly: UTF-8 or a sentence that names file and line, never a guess or a replacement sign."""

import difflib
import gzip
import hashlib
import io
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, cast

from ptft.corpus.watch import sha256
from ptft.errors import DataError

TEXT_FORMATS = (".txt", ".jsonl", ".csv", ".tsv", ".json", ".parquet")
"""Endings that can be read, each also with ``.gz`` behind it."""
_HEAD_BYTES = 8192  # a binary file mostly shows itself in its first bytes
_SPLIT_OF_STEM = {"train": "train", "valid": "valid", "validation": "valid", "dev": "valid", "test": "test"}


def file_format(path: Path) -> str:
    """The ending that says how to read a file, in lower case and without ``.gz``: ``.csv`` for ``A.CSV.gz``."""
    name = path.name.lower().removesuffix(".gz")
    return Path(name).suffix


def exists(path: str | Path) -> bool:
    """Whether there is a file or folder; a text that can be no path (empty, too long, a NUL) is simply not there."""
    try:
        return path != "" and Path(path).exists()
    except (OSError, ValueError):
        return False


def check_file(path: str | Path) -> Path:
    """Return the path of an existing file.

    Raises:
        DataError: There is no such file (the nearest name beside it is told), or it is a folder.
    """
    if not exists(path):
        raise DataError(f"there is no file {str(path)!r}{neighbours(Path(path))}")
    path = Path(path)
    if path.is_dir():
        raise DataError(f"{str(path)!r} is a folder; allowed: a file; name a file in it{_some_names(path)}")
    return path


def neighbours(path: Path) -> str:
    """Say what a mistyped path may have meant: the nearest name in its folder, or that the folder is not there."""
    folder = path.parent
    if not exists(folder) or not folder.is_dir():
        return f"; there is no folder {str(folder)!r} either"
    return near_name(path) or _some_names(folder)


def near_name(path: Path) -> str:
    """Say which name beside a mistyped path may have been meant, if one is near."""
    near = difflib.get_close_matches(path.name, _names(path.parent), n=1, cutoff=0.6)
    return f"; did you mean {str(path.parent / near[0])!r}?" if near else ""


def _names(folder: Path) -> list[str]:
    try:
        return sorted(child.name for child in folder.iterdir() if not child.name.startswith("."))
    except OSError:
        return []


def _some_names(folder: Path) -> str:
    names = _names(folder)
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"; the folder holds {', '.join(names[:5])}{more}" if names else "; the folder is empty"


def split_files(folder: Path, files: Sequence[Path]) -> dict[str, Path]:
    """Which of the files in a folder is its train, valid and test file, by name: ``train.csv``, ``dev.jsonl.gz``.

    Args:
        folder: Where they lie; files in folders below it have no part in this.
        files: Those that can be read.

    Raises:
        DataError: Two files claim one part.
    """
    found: dict[str, Path] = {}
    for path in files:
        name = path.name.lower().removesuffix(".gz")
        split = _SPLIT_OF_STEM.get(Path(name).stem)
        if split is None or path.parent != folder:
            continue
        if split in found:
            raise DataError(
                f"{folder}: {found[split].name} and {path.name} both claim to be the {split} part; allowed: one file a "
                "part; move one away, or name the file itself"
            )
        found[split] = path
    return found


def read_bytes(path: str | Path) -> bytes:
    """The whole content of a file, unpacked if its name ends in ``.gz``.

    Raises:
        DataError: The file is missing, unreadable or a damaged gzip.
    """
    path = check_file(path)
    with _open(path) as file:
        try:
            return file.read()
        except (EOFError, zlib.error, OSError) as error:
            raise _unreadable(path, error) from None


def text_lines(path: str | Path, *, keep_ends: bool = False) -> Iterator[str]:
    r"""Yield the lines of a UTF-8 file, each with its line end.

    A byte order mark at the start is dropped. Lines end in ``\n``, ``\r\n`` or ``\r`` and in nothing else.

    Args:
        path: A text file, or a gzip of one if its name ends in ``.gz``.
        keep_ends: Leave line ends as they stand in the file instead of turning each into ``\n``.

    Raises:
        DataError: The file is missing, unreadable, binary, not UTF-8, or a damaged gzip.
    """
    path = check_file(path)
    with _text(path, "strict", newline="" if keep_ends else None) as lines:
        try:
            for number, line in enumerate(lines, 1):
                if "\0" in line:
                    raise _binary(path, number)
                yield line
        except UnicodeDecodeError:
            raise _not_utf8(path) from None
        except (EOFError, zlib.error, OSError) as error:
            raise _unreadable(path, error) from None


def read_lines(path: str | Path) -> Iterator[tuple[int, str]]:
    """Yield (line number, counted from 1, and text without its line end) of a UTF-8 file.

    Raises:
        DataError: As for :func:`text_lines`.
    """
    for number, line in enumerate(text_lines(path), 1):
        yield number, line.removesuffix("\n")


def content_hash(paths: Sequence[Path]) -> str:
    """SHA-256 of what the files hold, in the order given, as hexadecimal digits.

    For one file it is what ``sha256sum`` says; for several it is the hash of their hashes, so that a text cut in
    two files differs from the same text in one.

    Raises:
        DataError: A file is missing or unreadable.
    """
    digests = []
    for path in map(check_file, paths):
        try:
            digests.append(sha256(path))
        except OSError as error:
            raise _unreadable(path, error) from None
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def _open(path: Path) -> BinaryIO:
    try:
        return cast("BinaryIO", gzip.open(path, "rb")) if path.suffix.lower() == ".gz" else path.open("rb")
    except OSError as error:
        raise _unreadable(path, error) from None


def _text(path: Path, errors: str, newline: str | None) -> io.TextIOWrapper:
    return io.TextIOWrapper(_open(path), encoding="utf-8-sig", errors=errors, newline=newline)


def _binary(path: Path, number: int) -> DataError:
    return DataError(
        f"{path}:{number}: looks like a binary file (it holds a NUL byte); allowed: text in UTF-8; name a text file, "
        "or save this one as UTF-8 text"
    )


def _not_utf8(path: Path) -> DataError:
    with _open(path) as file:
        head, nul, _ = file.read(_HEAD_BYTES).partition(b"\0")
        if nul:
            return _binary(path, head.count(b"\n") + 1)
    # The strict decoder knows the place in its block, not the line, so the file is read once more, leniently.
    with _text(path, "surrogateescape", newline=None) as lines:
        for number, line in enumerate(lines, 1):
            foreign = [place for place, character in enumerate(line) if "\udc80" <= character <= "\udcff"]
            if "\0" in line:
                return _binary(path, number)
            if foreign:
                return DataError(
                    f"{path}:{number}: the text is not UTF-8 (byte 0x{ord(line[foreign[0]]) - 0xDC00:02x} at character "
                    f"{foreign[0] + 1}); allowed: UTF-8; save the file as UTF-8 (in Excel: 'CSV UTF-8'; from Korean "
                    "Windows: iconv -f CP949 -t UTF-8)"
                )
    raise RuntimeError(f"{path}: the file changed while it was read")


def _unreadable(path: Path, error: Exception) -> DataError:
    if isinstance(error, gzip.BadGzipFile) and str(error).startswith("Not a gzipped file"):
        return DataError(f"{path}: not a gzip file though its name ends in .gz; rename it or pack it again")
    if isinstance(error, EOFError | zlib.error | gzip.BadGzipFile):
        return DataError(f"{path}: the gzip file is damaged or cut short ({error}); copy or download it again")
    if isinstance(error, PermissionError):
        return DataError(f"{path}: may not be read (permission denied); give yourself the right to read it")
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return DataError(f"{path}: cannot be read ({reason}); check the file and the disk")
