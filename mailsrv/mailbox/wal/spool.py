"""What is on the volume of the shipping of one mailbox's log: how far it came, and what waits.

A folder for each mailbox file: ``state`` (how far the log was captured, replaced as a whole),
``marks`` (when which commits of the present log were, appended to) and segments that wait to be
uploaded. Nothing here is in clear but numbers: frames are encrypted as they lie in the log.
Errors are those of the operating system.
"""

import os
import re
import struct
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from mailsrv.mailbox.wal import segments
from mailsrv.mailbox.wal.frames import HEADER

_MARK = struct.Struct(">IQ")
_SEGMENT = re.compile(r"([0-9TZ]{16}-[0-9a-f]{8})-([0-9]{10})\.frames")


class Waiting(NamedTuple):
    """A segment on the volume."""

    chain: str
    number: int
    path: Path


class State(msgspec.Struct, frozen=True, kw_only=True):
    """How far the log of a mailbox was captured."""

    boot: str = ""
    """Of the operating system, when this was written."""

    alias: str = ""
    """Whose mailbox it is (ObjectID), since its chain began."""

    chain: str = ""
    """Empty while there is none: nothing is captured."""

    number: int = 1
    """Of the next segment."""

    shipped: int = 1
    """Segments of a lower number are where backups are kept."""

    captured: int = 0
    """Frames of the chain that are in segments."""

    moment: int = 0
    """When the last commit among them was, in milliseconds."""

    first: int = 1
    """Number of the segment that begins with the first frame of the present log."""

    log: bytes = b""
    """Header of the present log."""

    frame: int = 0
    """Frames of it that are captured."""

    last: bytes = b""
    """Header of the last of them."""

    closed: tuple[int, int] | None = None
    """Size and time of the main file when all of the log was in it, until frames are captured."""

    writing: bool = False
    """Whether it may have been written to since then."""

    base: int = 0
    """Number of the first segment that belongs to the newest base; 0: the chain has none."""

    base_octets: int = 0
    base_frame: int = 0
    """Frames that were captured when it was made."""

    base_moment: int = 0
    """When that was, in milliseconds."""

    prune: int = 0
    """When what is too old has to be looked for, in milliseconds; 0: not before the next base."""


class Spool:
    """The folder; one thread at a time. It is made with the first thing that is put there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._marks: int | None = None

    def load(self) -> State:
        """What ``save`` wrote; an empty state when there is none that can be read."""
        try:
            return msgspec.msgpack.decode((self.folder / "state").read_bytes(), type=State)
        except (OSError, msgspec.MsgspecError):
            return State()

    def save(self, state: State, *, durable: bool = False) -> None:
        """Replace the state; a killed process leaves the old one or the new one.

        ``durable`` waits until a power cut leaves the new one as well.
        """
        self._make()
        draft = self.folder / "state.new"
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, msgspec.msgpack.encode(state))
            if durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(draft, self.folder / "state")
        if durable:
            _sync(self.folder)
            _sync(self.folder.parent)

    def forget_state(self) -> None:
        """For when it cannot be replaced: none says the least."""
        with suppress(OSError):
            (self.folder / "state").unlink(missing_ok=True)

    def note(self, log: bytes, frame: int, milliseconds: int, *, anew: bool) -> None:
        """Append a mark of the log with this header; ``anew`` when it is the first of it."""
        record = _MARK.pack(frame, milliseconds)
        marks = self._marks
        if marks is None:
            marks = self._marks = self._open_marks()
            anew = anew or os.fstat(marks).st_size == 0
        if anew:
            os.ftruncate(marks, 0)
            record = log + record
        os.write(marks, record)

    def marks(self) -> tuple[bytes, list[tuple[int, int]]]:
        """The header of the log that they are of, and (frame, milliseconds) of each."""
        try:
            data = (self.folder / "marks").read_bytes()
        except OSError:
            return b"", []
        log, rest = data[:HEADER], data[HEADER:]
        whole = len(rest) - len(rest) % _MARK.size
        return log, [(one[0], one[1]) for one in _MARK.iter_unpack(rest[:whole])]

    def forget_marks(self) -> None:
        """They are of a log that is no more."""
        self.let_go()
        with suppress(OSError):
            (self.folder / "marks").unlink(missing_ok=True)

    def let_go(self) -> None:
        """Close what is open."""
        marks, self._marks = self._marks, None
        if marks is not None:
            os.close(marks)

    def put(self, segment: segments.Segment, frames: Iterable[bytes]) -> Path:
        """Write a segment under a name that ``waiting`` does not find before ``accept``."""
        self._make()
        draft = self.folder / "segment.new"
        segments.write(draft, segment, frames)
        return draft

    def accept(self, draft: Path, segment: segments.Segment) -> None:
        """Give it its name."""
        os.replace(draft, self.folder / f"{segment.chain}-{segment.number:010}.frames")

    def waiting(self) -> list[Waiting]:
        """Segments that are here, in the order in which they were made."""
        try:
            names = os.listdir(self.folder)
        except FileNotFoundError:
            return []
        found = [_SEGMENT.fullmatch(name) for name in names]
        return sorted(
            Waiting(one[1], int(one[2]), self.folder / one[0]) for one in found if one is not None
        )

    def octets(self) -> int:
        """Of all segments."""
        total = 0
        for one in self.waiting():
            with suppress(FileNotFoundError):
                total += one.path.stat().st_size
        return total

    def remove(self) -> None:
        """Remove the folder with all that is in it."""
        self.let_go()
        with suppress(FileNotFoundError):
            for name in os.listdir(self.folder):
                (self.folder / name).unlink(missing_ok=True)
            self.folder.rmdir()

    def _make(self) -> None:
        self.folder.parent.mkdir(mode=0o700, exist_ok=True)
        self.folder.mkdir(mode=0o700, exist_ok=True)

    def _open_marks(self) -> int:
        self._make()
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        return os.open(self.folder / "marks", flags, 0o600)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
