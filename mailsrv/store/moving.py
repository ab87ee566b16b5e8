"""A mailbox moves to another primary: the half of the one that has it.

A mover (``link.moving``) carries blocks of the file, which stays encrypted, from a ``Source`` to a
``Target``: while the owner works, then once more what changed, with the mailbox frozen. The
directory switches in one transaction. Everybody may die or lose the link at any instant:

====================================== ===========================================================
dies or is cut off                     what is left, and who mends it
====================================== ===========================================================
before the incoming row                nothing
row, file, blocks, waiting rows at the the old file is current; the target lets the row go, then
target; frozen or not; sealed or not   file and waiting rows (at once, or when it is back), then
                                       forgets the row: repeated until it has happened
frozen                                 the hold ends with the link or process of its source, or
                                       after its time; no switch is possible from then on
abort beside switch                    both need the incoming row: one happens
in the switch                          whole or not at all; who did not hear asks the directory
                                       and waits there for what is under way
switched, not thawed                   the new file is current; the source's hold ends as above,
                                       and what waited hears Elsewhere
switched, old waiting file still there the source has a row *moved*: it removes what was copied
switched, target not told              its abort finds no incoming row: nothing
new file never opened yet              the old copy stays (row *moved*)
checked, old file still there          row *left*: the source removes the file, then the row
====================================== ===========================================================

What is acknowledged is in the current file or its waiting rows: before the switch the source has
it and nothing changes while it is copied for good; after it only the target is written to. Each
file has a name of its own, and a row from before it is made until after it is gone.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, Literal, Protocol

import attrs
import msgspec
from msgspec import Meta
from twisted.internet.defer import Deferred

from mailsrv.directory.directory import Directory, MailboxRecord
from mailsrv.errors import Elsewhere, MailboxMoved, MailboxNotReady, MailsrvError, Unavailable
from mailsrv.mailbox.blocks import FileReader, LogReader, blocks_in, digest, whole
from mailsrv.mailbox.waiting import WaitingEntry, WaitingMail, WaitingRow
from mailsrv.store.interfaces import IFrozen
from mailsrv.store.volume import Volume
from mailsrv.store.waiting import WaitingFiles
from mailsrv.store.workers import log_unexpected

Part = Literal["file", "log"]
PARTS: tuple[Part, ...] = ("file", "log")


Octets = Annotated[int, Meta(ge=0, le=2**44)]


class Sizes(msgspec.Struct, frozen=True):
    """Octets of a mailbox file and of the log beside it (0: there is none)."""

    file: Octets
    log: Octets

    def of(self, part: Part) -> int:
        return self.file if part == "file" else self.log


class Arriving(Protocol):
    """A target that is at work."""

    alias: str

    def evict(self) -> None:
        """Another move of the alias began here: take nothing more."""


@attrs.define(eq=False)
class Place:
    """One primary's volume, as moves see it. Blocking, any thread."""

    directory: Directory
    volume: Volume
    files: WaitingFiles
    name: str
    _lock: threading.Lock = attrs.field(init=False, factory=threading.Lock)
    _arriving: dict[str, Arriving] = attrs.field(init=False, factory=dict)

    def begin(self, target: Arriving, begin_move: Callable[[], MailboxRecord]) -> MailboxRecord:
        """Name an incoming file that ``tidy`` leaves alone until ``end``."""
        with self._lock:
            record = begin_move()
            rivals = [one for one in self._arriving.values() if one.alias == target.alias]
            self._arriving[record.id] = target
        for rival in rivals:
            rival.evict()
        return record

    def end(self, file_id: str) -> None:
        """Nobody is at work on this incoming file any more."""
        with self._lock:
            self._arriving.pop(file_id, None)

    def clean(self, public_key: bytes) -> None:
        """Remove waiting mail that belongs to no file here, since it was copied elsewhere."""
        files = self.files
        with files.locked(public_key):
            paths = (self.volume.waiting(public_key), self.volume.set_aside(public_key))
            if not any(path.exists() for path in paths):
                return
            if not self.directory.needs_waiting_mail(public_key, self.name):
                files.remove(public_key)

    def tidy(self) -> None:
        """Finish what a crash interrupted. Safe at any time, while everything else runs."""
        directory = self.directory
        with self._lock:
            directory.abort_moves(self.name, list(self._arriving))
            left = [
                record
                for record in directory.left_mailboxes(self.name)
                if record.id not in self._arriving
            ]
        for record in left:
            self.volume.remove_mailbox(record.id)
            self.clean(record.public_key)
            directory.forget_left(record.id)
        for record in directory.moved_mailboxes(self.name):
            self.clean(record.public_key)

    def listing(self, public_key: bytes, after: str, limit: int, aside: bool) -> list[WaitingEntry]:
        """What waits, or was set aside, by delivery id from behind ``after`` on."""
        with self._waiting(public_key, aside=aside) as waiting:
            return [] if waiting is None else waiting.listing(after, limit)

    def rows(self, public_key: bytes, ids: Sequence[str], aside: bool) -> list[WaitingRow]:
        """Sealed messages; those that are gone are left out."""
        with self._waiting(public_key, aside=aside) as waiting:
            return [] if waiting is None else waiting.rows(ids)

    @contextmanager
    def to_write(self, public_key: bytes, aside: bool) -> Iterator[WaitingMail]:
        """The waiting file, or what was set aside, made when missing; nobody adds meanwhile."""
        opened = self.files.open_aside if aside else self.files.open
        with self.files.locked(public_key), opened(public_key) as waiting:
            yield waiting

    @contextmanager
    def _waiting(self, public_key: bytes, aside: bool) -> Iterator[WaitingMail | None]:
        path = (self.volume.set_aside if aside else self.volume.waiting)(public_key)
        opened = self.files.open_aside if aside else self.files.open
        with self.files.locked(public_key):
            if path.exists():
                with opened(public_key) as waiting:
                    yield waiting
            else:
                yield None


class Source:
    """The mailbox of an alias, to be read as octets, and the switch. Blocking, any thread.

    Up to ``hold_still`` what is read may change at any moment; from then on the caller sees to
    it that nothing does (``IPrimary.freeze``) and calls the methods inside that hold.
    """

    def __init__(self, place: Place, alias: str) -> None:
        """NoSuchAlias, MailboxNotReady, Elsewhere, MailboxMissing."""
        record = place.directory.mailbox(alias)
        if record is None:
            place.directory.alias_by_id(alias)
            raise MailboxNotReady("the address has no mailbox yet")
        if record.primary != place.name:
            raise Elsewhere(record.primary)
        self._place = place
        self.alias = alias
        self.record = record
        path = place.volume.mailbox(record.id)
        self._readers: dict[Part, FileReader | LogReader] = {
            "file": FileReader(path),
            "log": LogReader(path),
        }
        self._lock = threading.Lock()
        self._still: Sizes | None = None
        self._digests: dict[tuple[Part, int], bytes] = {}
        self._sealed = False

    def sizes(self) -> Sizes:
        """Octets at this moment."""
        with self._lock:
            return Sizes(self._readers["file"].size(), self._readers["log"].size())

    def read(self, part: Part, number: int) -> bytes:
        """One block."""
        with self._lock:
            return self._readers[part].read(number)

    def digests(self, part: Part, first: int, count: int) -> list[bytes]:
        """SHA-256 of so many blocks."""
        found = [digest(self.read(part, number)) for number in range(first, first + count)]
        if self._still is not None:
            with self._lock:
                blocks = blocks_in(self._still.of(part))
                self._digests.update(
                    ((part, first + number), one)
                    for number, one in enumerate(found)
                    if first + number < blocks
                )
        return found

    def waiting(self, after: str, limit: int, aside: bool) -> list[WaitingEntry]:
        """What waits, by delivery id, from behind ``after`` on."""
        return self._place.listing(self.record.public_key, after, limit, aside=aside)

    def rows(self, ids: Sequence[str], aside: bool) -> list[WaitingRow]:
        """Sealed messages; those that are gone are left out."""
        return self._place.rows(self.record.public_key, ids, aside=aside)

    def hold_still(self) -> Sizes:
        """From here on nothing changes. MailboxMoved when something did in the directory."""
        self._require(self._place.directory.settled_mailbox(self.alias), self.record.id)
        self._still = self.sizes()
        return self._still

    def seal(self) -> bytes:
        """The digest over all that was read while it held still: what the copy must have."""
        sizes = self.sizes()
        numbers = [(part, n) for part in PARTS for n in range(blocks_in(sizes.of(part)))]
        if self._still != sizes or any(number not in self._digests for number in numbers):
            raise Unavailable("the mailbox did not hold still")
        self._sealed = True
        return whole(
            (sizes.file, sizes.log),
            (self._digests[number] for number in numbers),
        )

    def switch(self, incoming: str) -> None:
        """Make the copy the mailbox, after the target said that it is whole. MailboxMoved.

        May be repeated by who lost the answer. Unavailable when the directory does not tell
        whether it happened.
        """
        if not self._sealed:
            raise Unavailable("the mailbox was not copied while it held still")
        directory = self._place.directory
        try:
            directory.finish_move(self.alias, self.record.id, incoming)
        except MailsrvError as error:
            self._require(directory.settled_mailbox(self.alias), incoming, error)
        try:
            self._place.clean(self.record.public_key)
        except Exception as error:  # noqa: BLE001 - it has moved; ``tidy`` tries again
            log_unexpected(error)

    def close(self) -> None:
        """Let go of the file. May be called twice."""
        with self._lock:
            for reader in self._readers.values():
                reader.close()

    @staticmethod
    def _require(
        record: MailboxRecord | None, wanted: str, error: MailsrvError | None = None
    ) -> None:
        if record is None or record.id != wanted:
            raise error or MailboxMoved("the mailbox was changed by another process meanwhile")


@attrs.frozen
class Moves:
    """What a store gives to who moves its mailboxes; reactor's thread."""

    place: Place
    run: Callable[..., Deferred[Any]]
    """One trip to a worker thread: function, arguments."""

    freeze: Callable[[str, float], Deferred[IFrozen]]
    """``IPrimary.freeze``."""
