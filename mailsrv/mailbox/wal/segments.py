"""A piece of a mailbox's log as it is kept: committed frames, and when each commit was.

A chain of segments has every frame that was written since its beginning, also across the log's
own beginnings. Frames are counted through the chain from 1; each segment ends with a commit::

    magic of 8 octets, length of the head (4, big-endian), head (msgpack), frames, SHA-256 of all
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, BinaryIO

import msgspec
from msgspec import Meta

from mailsrv.errors import BackupDamaged
from mailsrv.mailbox.wal.frames import FRAME

_MAGIC = b"mailsrv\x01"
_LONGEST_HEAD = 16 * 1024 * 1024
_CHUNK = 256 * FRAME
_DIGEST = 32

Count = Annotated[int, Meta(ge=0, le=2**62)]


class Mark(msgspec.Struct, frozen=True, array_like=True):
    """One commit: its last frame, and when it was, in milliseconds since 1970 UTC."""

    frame: Count
    milliseconds: Count


class Segment(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """The head of a segment. ``marks`` are those of its commits, in order; the last is its end."""

    chain: str
    number: Count
    first: Count
    """Of its frames, counted through the chain."""

    marks: Annotated[tuple[Mark, ...], Meta(min_length=1)]

    @property
    def last(self) -> int:
        """The number of its last frame."""
        return self.marks[-1].frame


def write(path: Path, segment: Segment, frames: Iterable[bytes]) -> None:
    """Write a segment to a new file, readable by its owner alone. OSError leaves no file."""
    head = msgspec.msgpack.encode(segment)
    digest = hashlib.sha256()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            for part in (_MAGIC, len(head).to_bytes(4, "big"), head):
                digest.update(part)
            file.write(_MAGIC + len(head).to_bytes(4, "big") + head)
            for chunk in frames:
                digest.update(chunk)
                _write_all(file, chunk)
            _write_all(file, digest.digest())
    except BaseException:
        with suppress(OSError):
            path.unlink()
        raise


def read(path: Path) -> Segment:
    """The head of a segment that is whole. BackupDamaged when it is not what was written."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        digest = hashlib.sha256()
        left = size - _DIGEST
        while left > 0 and (chunk := file.read(min(left, _CHUNK))):
            digest.update(chunk)
            left -= len(chunk)
        if left or file.read(_DIGEST) != digest.digest():
            raise BackupDamaged("a segment of the log is not what was stored: its SHA-256 differs")
        file.seek(0)
        segment, start = _head(file)
    if segment.last < segment.first or size != start + _octets(segment) + _DIGEST:
        raise BackupDamaged("a segment of the log has another length than it says")
    return segment


def sha256(path: Path) -> bytes:
    """Of a whole file, in bounded memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def frames(path: Path, count: int) -> Iterator[bytes]:
    """The first ``count`` frames of a segment that was found whole."""
    with path.open("rb") as file:
        _head(file)
        for _ in range(count):
            yield file.read(FRAME)


def _octets(segment: Segment) -> int:
    return (segment.last - segment.first + 1) * FRAME


def _head(file: BinaryIO) -> tuple[Segment, int]:
    magic, length = file.read(8), int.from_bytes(file.read(4), "big")
    if magic != _MAGIC or length > _LONGEST_HEAD:
        raise BackupDamaged("a segment of the log does not begin as one")
    try:
        return msgspec.msgpack.decode(file.read(length), type=Segment), 12 + length
    except msgspec.MsgspecError:
        raise BackupDamaged("the head of a segment of the log cannot be read") from None


def _write_all(file: BinaryIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]
