"""Files that must stay what they are for as long as they are read."""

import hashlib
from collections.abc import Mapping
from pathlib import Path


class Watch:
    """Remembers files as they are now, to tell later whether they are still the same.

    Looking costs a system call a file: only one whose size, time of last change or place on the disk is another is read
    and compared with its checksum.

    Args:
        checksums: The SHA-256 of each file.
    """

    def __init__(self, checksums: Mapping[Path, str]) -> None:
        self._checksums = checksums
        self._seen = {path: _signature(path) for path in checksums}

    def problem(self) -> str:
        """Which file is not what it was, and how, as a part of a sentence; empty if all are."""
        for path, checksum in self._checksums.items():
            try:
                signature = _signature(path)
                if signature == self._seen[path]:
                    continue
                if sha256(path) != checksum:
                    return f"{path} was changed while it was read"
            except OSError as error:
                return f"{path} was taken away while it was read ({error.strerror})"
            self._seen[path] = signature
        return ""


def sha256(path: Path) -> str:
    """The SHA-256 of a file in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _signature(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ino
