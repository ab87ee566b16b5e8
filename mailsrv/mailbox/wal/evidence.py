"""What shows whether a mailbox is as it was left: header and frames of its log, time of its file.

SQLite has no locks on the log, so that a descriptor of our own does no harm. The main file is not
opened here: closing it would give back the locks that connections of this process have on it.
"""

import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

from mailsrv.mailbox.wal import frames

_CHUNK_FRAMES = 256
_RANDOM_BITS = 20

Stamp = tuple[int, int]
"""Size of a file in octets, and its time in nanoseconds."""


class LogFile:
    """The log beside the file at ``path``. OSError; what is missing reads as empty."""

    def __init__(self, path: Path) -> None:
        self._name = f"{path}-wal"
        self._descriptor: int | None = None

    def octets(self) -> int:
        """Its length."""
        try:
            return os.stat(self._name).st_size
        except FileNotFoundError:
            return 0

    def header(self) -> bytes:
        """Changes whenever the log begins anew; empty when there is none."""
        found = self._read(0, frames.HEADER)
        return found if len(found) == frames.HEADER else b""

    def frame_header(self, frame: int) -> bytes:
        """Of one frame, committed or not; empty behind the end."""
        return self._read(frames.offset(frame), frames.FRAME_HEADER)

    def frames(self, first: int, count: int, header: bytes) -> Iterator[bytes]:
        """So many frames in chunks. OSError when they are not of the log with this header."""
        while count:
            some = min(count, _CHUNK_FRAMES)
            data = self._read(frames.offset(first), some * frames.FRAME)
            if len(data) != some * frames.FRAME or not frames.all_belong(data, header):
                raise OSError("the log is shorter than what was committed")
            yield data
            first, count = first + some, count - some

    def close(self) -> None:
        """It is opened again when it is needed. While a connection is open it is not removed."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _read(self, at: int, octets: int) -> bytes:
        if self._descriptor is None:
            try:
                self._descriptor = os.open(self._name, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return b""
        return os.pread(self._descriptor, octets, at)


def stamp(path: Path) -> Stamp:
    """Of the file as it is."""
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns


def set_stamp(path: Path) -> Stamp | None:
    """Give the file a time that no write gives it by chance; None where times are coarser."""
    moment = (time.time_ns() >> _RANDOM_BITS << _RANDOM_BITS) | secrets.randbits(_RANDOM_BITS)
    os.utime(path, ns=(moment, moment))
    found = stamp(path)
    return found if found[1] == moment else None
