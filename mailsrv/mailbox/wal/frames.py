"""The write-ahead log of a mailbox as octets: frames that hold pages as the main file holds them.

A page is encrypted in the log just as it is in the main file, and page number and size of the file
stand beside it in clear. So who has an old copy of the main file and all frames since can bring it
up to any commit without the key. What he cannot do is to verify the checksums of frames, which
are over the plain page: how far a log is committed has to be learnt from SQLite.

The format is SQLite's own (sqlite.org/fileformat2.html, "The WAL File Format").
"""

import os
from collections.abc import Iterable
from typing import BinaryIO, NamedTuple

from mailsrv.errors import BackupDamaged

PAGE = 4096
HEADER = 32
"""Octets before the first frame. They differ whenever the log begins anew."""

FRAME_HEADER = 24
FRAME = FRAME_HEADER + PAGE

_SALTS_IN_HEADER = slice(16, 24)
_SALTS = slice(8, 16)
_MOST_PAGES = 2**32 - 2


class FrameHeader(NamedTuple):
    """Of one frame. ``pages`` is the size of the file after a commit, and 0 within one."""

    page: int
    pages: int


def offset(frame: int) -> int:
    """Where a frame begins; the first has the number 1."""
    return HEADER + (frame - 1) * FRAME


def parse(header: bytes) -> FrameHeader:
    """The first octets of a frame."""
    return FrameHeader(int.from_bytes(header[:4], "big"), int.from_bytes(header[4:8], "big"))


def belongs(frame: bytes, log: bytes) -> bool:
    """Whether a frame was written since the log has its present header."""
    return len(frame) >= FRAME_HEADER and frame[_SALTS] == log[_SALTS_IN_HEADER]


def all_belong(frames: bytes, log: bytes) -> bool:
    """The same for whole frames, one behind the other."""
    salts = log[_SALTS_IN_HEADER]
    return len(frames) % FRAME == 0 and all(
        frames[at + 8 : at + 16] == salts for at in range(0, len(frames), FRAME)
    )


class Replay:
    """Brings a copy of a main file up to a commit. ``file`` is open for reading and writing."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._pages = 0
        self._committed = True

    def apply(self, frames: Iterable[bytes]) -> None:
        """Write whole frames, in the order of the log, to their places. BackupDamaged."""
        for frame in frames:
            header = parse(frame)
            if len(frame) != FRAME or not 0 < header.page <= _MOST_PAGES:
                raise BackupDamaged("a page of the log is not one: expected a whole frame")
            self._file.seek((header.page - 1) * PAGE)
            self._file.write(memoryview(frame)[FRAME_HEADER:])
            self._pages = header.pages or self._pages
            self._committed = header.pages > 0

    def finish(self) -> None:
        """Give the file its size, and have it on disk. BackupDamaged within a transaction."""
        if not self._committed:
            raise BackupDamaged("the log ends within a transaction")
        self._file.flush()
        if self._pages:
            self._file.truncate(self._pages * PAGE)
        os.fsync(self._file.fileno())
