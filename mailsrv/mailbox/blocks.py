"""A mailbox file as octets, in blocks: to copy it as it lies on the disk, without its key.

The file is read through SQLite's own file layer. To close a descriptor of our own would give back
the locks that connections of this process have on the file (POSIX locks belong to the process).
A copy that was made while somebody wrote is nothing yet: it becomes one by comparing digests when
nobody does. What is committed may lie in the log (``-wal``) beside the file, which is copied too.
"""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

import apsw

from mailsrv.errors import MailboxMissing, StorageFailed
from mailsrv.mailbox.connection import translated

BLOCK = 512 * 1024
"""Octets; the last block of a file may be shorter."""


def log_of(path: Path) -> Path:
    """The write-ahead log that goes with a file."""
    return path.with_name(f"{path.name}-wal")


def blocks_in(size: int) -> int:
    """How many blocks so many octets are."""
    return -(-size // BLOCK)


def digest(block: bytes) -> bytes:
    """SHA-256 of one block."""
    return hashlib.sha256(block).digest()


def whole(sizes: Iterable[int], digests: Iterable[bytes]) -> bytes:
    """One digest for files of these sizes and all their blocks in order."""
    total = hashlib.sha256()
    for size in sizes:
        total.update(size.to_bytes(8, "big"))
    for one in digests:
        total.update(one)
    return total.digest()


class FileReader:
    """Reads one file, which others may have open. Blocking, any thread, one at a time."""

    def __init__(self, path: Path) -> None:
        """MailboxMissing, StorageFailed."""
        flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_MAIN_DB
        try:
            with translated():
                self._file = apsw.VFSFile("unix", str(path), [flags, 0])
        except StorageFailed:
            if path.exists():
                raise
            raise MailboxMissing("the mailbox file is not on the volume") from None

    def size(self) -> int:
        """Octets at this moment."""
        with translated():
            found: int = self._file.xFileSize()
        return found

    def read(self, number: int) -> bytes:
        """One block; empty behind the end."""
        with translated():
            # of a read across the end apsw takes the zeros behind for no part of the file
            octets = min(BLOCK, self._file.xFileSize() - number * BLOCK)
            found: bytes = self._file.xRead(octets, number * BLOCK) if octets > 0 else b""
        return found

    def close(self) -> None:
        """May be called twice."""
        self._file.xClose()


class LogReader:
    """The log beside a file, if there is one; SQLite has no locks on it."""

    def __init__(self, path: Path) -> None:
        self._path = log_of(path)

    def size(self) -> int:
        """Octets; 0 when there is no log."""
        try:
            return self._path.stat().st_size
        except FileNotFoundError:
            return 0

    def read(self, number: int) -> bytes:
        """One block; empty behind the end."""
        try:
            with self._path.open("rb", buffering=0) as file:
                return os.pread(file.fileno(), BLOCK, number * BLOCK)
        except FileNotFoundError:
            return b""

    def close(self) -> None:
        """Nothing stays open."""
