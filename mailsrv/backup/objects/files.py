"""Files that are there whole or not at all, and reading in pieces."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from mailsrv.store.volume import naming, sync_folder

PIECE = 1024 * 1024
"""Octets that are in memory at a time."""


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A file at ``path`` that only this user may read; on disk at the end, gone on failure.

    DiskFull, ReadOnlyVolume, StorageFailed name the path; the last one too when it exists already.
    """
    with naming(path):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with naming(path), os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            sync_folder(path.parent)
    except BaseException:
        with suppress(OSError):
            path.unlink()
        raise


def pieces(file: BinaryIO) -> Iterator[bytes]:
    """What is left of a file, in pieces."""
    while piece := file.read(PIECE):
        yield piece


def digest_of(file: BinaryIO) -> bytes:
    """SHA-256 of what is left of a file."""
    digest = hashlib.sha256()
    for piece in pieces(file):
        digest.update(piece)
    return digest.digest()
