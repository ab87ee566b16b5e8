"""A mailbox moves to another primary: the half of the one that it comes to (see ``moving``).

The copy is written under a new name, compared block by block as it lies on the disk, and nobody
opens it before the directory names it. Waiting mail comes as rows, sealed as it is: the key of the
file around them is each volume's own.
"""

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from mailsrv.directory.directory import MailboxRecord
from mailsrv.errors import (
    DiskFull,
    InvalidInput,
    MailboxDamaged,
    MailboxMoved,
    MailboxNotReady,
)
from mailsrv.mailbox.blocks import BLOCK, blocks_in, digest, log_of, whole
from mailsrv.mailbox.waiting import WaitingEntry, WaitingRow
from mailsrv.store.moving import PARTS, Part, Place, Sizes
from mailsrv.store.volume import naming, sync_folder

_LARGEST = 2**44


class Target:
    """One incoming file. Blocking, any thread; ``close`` it whatever happens."""

    def __init__(self, place: Place, alias: str, replaces: str, size: int) -> None:
        """MailboxMoved unless ``replaces`` is the current file; InvalidInput when it is here.

        DiskFull when ``size`` octets do not fit.
        """
        if place.directory.mailbox(alias) is None:
            place.directory.alias_by_id(alias)
            raise MailboxNotReady("the address has no mailbox yet")
        self._require_room(place, size)
        self._place = place
        self._lock = threading.Lock()
        self._over = False
        self._digests: dict[tuple[Part, int], bytes] = {}
        self._files: dict[Part, int] = {}
        self.alias = alias
        self.record: MailboxRecord = place.begin(
            self, lambda: place.directory.begin_move(alias, replaces, place.name)
        )
        self._path = place.volume.mailbox(self.record.id)
        try:
            with naming(self._path):
                self._files["file"] = _create(self._path)
                sync_folder(place.volume.mailboxes)
        except BaseException:
            self.close()
            raise

    def fit(self, sizes: Sizes) -> None:
        """Give the copy the size of the original. DiskFull when that does not fit."""
        with self._working():
            self._require_growth(sizes)
            for part in PARTS:
                self._resize(part, sizes.of(part))

    def write(self, part: Part, number: int, data: bytes) -> None:
        """Put one block, which may be short, where it belongs. InvalidInput, DiskFull."""
        if not 0 < len(data) <= BLOCK or not 0 <= number < _LARGEST // BLOCK:
            raise InvalidInput(f"expected blocks of 1 to {BLOCK} octets")
        with self._working():
            self._digests.pop((part, number), None)
            with naming(self._path):
                _write_all(self._opened(part), data, number * BLOCK)

    def differing(self, part: Part, first: int, digests: Sequence[bytes]) -> list[int]:
        """Which of these blocks are not the same here, by what lies on the disk."""
        with self._working():
            return [
                first + number
                for number, one in enumerate(digests)
                if self._digest(part, first + number) != one
            ]

    def sync(self) -> None:
        """Have what came so far on the disk, so that little is left to wait for later."""
        with self._working(), naming(self._path):
            for file in self._files.values():
                os.fsync(file)

    def waiting(self, after: str, limit: int, aside: bool) -> list[WaitingEntry]:
        """What waits here by now, by delivery id, from behind ``after`` on."""
        with self._working():
            return self._place.listing(self.record.public_key, after, limit, aside=aside)

    def add(self, rows: Sequence[WaitingRow], aside: bool) -> None:
        """Take waiting mail; on disk when this returns."""
        with (
            self._working(),
            self._place.to_write(self.record.public_key, aside=aside) as waiting,
        ):
            waiting.add(rows)

    def remove(self, ids: Sequence[str], aside: bool) -> None:
        """Remove rows that were merged at the source since they were copied."""
        with (
            self._working(),
            self._place.to_write(self.record.public_key, aside=aside) as waiting,
        ):
            waiting.remove(ids)

    def seal(self, sizes: Sizes, expected: bytes) -> None:
        """The copy is complete: it is on disk when this returns. MailboxDamaged if it differs."""
        with self._working(), naming(self._path):
            self._require_growth(sizes)
            for part in PARTS:
                self._resize(part, sizes.of(part))
            for file in self._files.values():
                os.fsync(file)
            digests = [
                self._digest(part, number)
                for part in PARTS
                for number in range(blocks_in(sizes.of(part)))
            ]
            if whole((sizes.file, sizes.log), digests) != expected:
                raise MailboxDamaged("the copy differs from the mailbox")
            # before SQLite opens the file: to close it later would give its locks back
            self._close_files()
            sync_folder(self._place.volume.mailboxes)
            self._over = True

    def arrived(self) -> bool:
        """Whether the copy is the mailbox by now, after all that is under way has ended."""
        record = self._place.directory.settled_mailbox(self.alias)
        return record is not None and record.id == self.record.id

    def close(self) -> None:
        """Give up, unless the switch has happened; remove what would be left. Repeatable."""
        self.evict()
        try:
            self._place.directory.abort_move(self.record.id)
        finally:
            self._place.end(self.record.id)
        self._place.tidy()

    def evict(self) -> None:
        """Take nothing more."""
        with self._lock:
            self._over = True
            self._close_files()

    @contextmanager
    def _working(self) -> Iterator[None]:
        with self._lock:
            if self._over:
                raise MailboxMoved("the copy takes nothing more: it is complete or was given up")
            yield

    def _opened(self, part: Part) -> int:
        if part not in self._files:
            self._files[part] = _create(log_of(self._path))
        return self._files[part]

    def _resize(self, part: Part, size: int) -> None:
        if part not in self._files and not size:
            return
        file = self._opened(part)
        old = os.fstat(file).st_size
        if old != size:
            os.ftruncate(file, size)
            first = min(old, size) // BLOCK
            for known in [one for one in self._digests if one[0] == part and one[1] >= first]:
                del self._digests[known]
        if not size:
            # SQLite takes an empty log for none, and nobody has to wonder about it
            os.close(self._files.pop(part))
            log_of(self._path).unlink()

    def _digest(self, part: Part, number: int) -> bytes:
        known = self._digests.get((part, number))
        if known is None:
            with naming(self._path):
                known = digest(os.pread(self._opened(part), BLOCK, number * BLOCK))
            if number < blocks_in(os.fstat(self._opened(part)).st_size):
                self._digests[part, number] = known
        return known

    def _close_files(self) -> None:
        while self._files:
            os.close(self._files.popitem()[1])

    def _require_growth(self, sizes: Sizes) -> None:
        """Room for what is not there yet; what was only announced takes none."""
        here = sum(os.fstat(file).st_blocks * 512 for file in self._files.values())
        self._require_room(self._place, sizes.file + sizes.log - here)

    @staticmethod
    def _require_room(place: Place, size: int) -> None:
        with naming(place.volume.mailboxes):
            found = os.statvfs(place.volume.mailboxes)
        if found.f_bavail * found.f_frsize < size:
            raise DiskFull(f"primary {place.name} has no room for {size} octets")


def _create(path: "os.PathLike[str]") -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)


def _write_all(file: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, offset)
        view, offset = view[written:], offset + written
