"""Transactions on one open mailbox file: a snapshot to read from, or one write, all or nothing.

Each write that changes a folder raises the folder's modseq once; that number is how sessions
learn of it. A write that is sent again with the same id has no second effect and gets the same
answer.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import NamedTuple, TypeVar

import apsw
import msgspec

from mailsrv.errors import InvalidInput, NeedsWriter, NoSuchFolder
from mailsrv.mailbox import durability, failed_syncs, sql
from mailsrv.mailbox.connection import translated
from mailsrv.mailbox.wal.keeper import Keeper, Unkept

T = TypeVar("T")

APPLIED_DAYS = 35
"""How long the id of a write is remembered: longer than any sender, queue or link repeats."""

MAX_ID_OCTETS = 255

_ISO = "%Y-%m-%dT%H:%M:%SZ"


def iso(moment: datetime) -> str:
    """A moment in UTC as the text that the file has everywhere."""
    return moment.strftime(_ISO)


class Raised(NamedTuple):
    """A folder's highestmodseq before and after a write."""

    base: int
    modseq: int


class Writer:
    """A write transaction under way."""

    def __init__(self, connection: apsw.Connection, moment: datetime, *, durable: bool) -> None:
        self.connection = connection
        self.moment = moment
        self.durable = durable

    @property
    def now(self) -> str:
        """The time of this transaction, ISO 8601 UTC."""
        return iso(self.moment)

    def raise_modseq(self, folder_id: int) -> Raised:
        """Give the folder its next modseq. NoSuchFolder when it has gone."""
        return self._raise(folder_id)[0]

    def raise_modseq_lazily(self, folder_id: int) -> Raised:
        """The same for a write that need not be durable. CeilingPassed when it must be."""
        raised, reserved = self._raise(folder_id)
        if self.durable and durability.is_due(raised.modseq, reserved):
            durability.reserve(self.connection, folder_id, raised.modseq)
        elif not self.durable and raised.modseq > reserved:
            raise durability.CeilingPassed
        return raised

    def _raise(self, folder_id: int) -> tuple[Raised, int]:
        found = sql.row(
            self.connection,
            "UPDATE folder SET highestmodseq = highestmodseq + 1 WHERE id = ? "
            "RETURNING highestmodseq, reserved",
            (folder_id,),
        )
        if found is None:
            raise NoSuchFolder("the folder has gone")
        return Raised(found[0] - 1, found[0]), found[1]

    def once(self, write_id: str | None, kind: type[T], work: Callable[[], T]) -> T:
        """The result of ``work``, or of the earlier write with this id."""
        if write_id is None:
            return work()
        name = f"write {write_id}"
        known = self.applied(name)
        if known is not None:
            try:
                return msgspec.msgpack.decode(known, type=kind)
            except msgspec.ValidationError:
                raise InvalidInput("this write id was used for another command") from None
        result = work()
        self.remember(name, msgspec.msgpack.encode(result))
        return result

    def is_repeated(self, write_id: str | None) -> bool:
        """Whether a write with this id was done before."""
        return write_id is not None and self.applied(f"write {write_id}") is not None

    def applied(self, name: str) -> bytes | None:
        """What ``remember`` kept under this name."""
        if len(name.encode("utf-8", "surrogatepass")) > MAX_ID_OCTETS:
            raise InvalidInput(f"the id of a write has at most {MAX_ID_OCTETS} octets")
        result: bytes | None = sql.value(
            self.connection, "SELECT result FROM applied WHERE id = ?", (name,)
        )
        return result

    def remember(self, name: str, result: bytes) -> None:
        """Keep what a write answered, with the write; forget those that nobody repeats now."""
        self.connection.execute("INSERT INTO applied VALUES (?, ?, ?)", (name, result, self.now))
        self.connection.execute(
            "DELETE FROM applied WHERE id IN (SELECT id FROM applied WHERE at < ? LIMIT 100)",
            (iso(self.moment - timedelta(days=APPLIED_DAYS)),),
        )


class Database:
    """One open connection. One thread at a time."""

    def __init__(
        self, connection: apsw.Connection, now: Callable[[], datetime], *, readonly: bool = False
    ) -> None:
        self.connection = connection
        self.now = now
        self.readonly = readonly
        self.fence: Callable[[], None] = _no_fence
        self.keeper: Keeper = Unkept()
        self._durable = False

    @contextmanager
    def reading(self) -> Iterator[apsw.Connection]:
        """A snapshot: what others commit meanwhile is not seen."""
        connection = self.connection
        with translated(connection):
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                if connection.in_transaction:
                    connection.execute("COMMIT")

    @contextmanager
    def writing(self, *, durable: bool) -> Iterator[Writer]:
        """One write, all or nothing; ``durable`` waits until it is on disk.

        ``fence`` is called when the write lock is held, and may refuse by raising. NeedsWriter.
        """
        self.require_writer()
        connection = self.connection
        writer = Writer(connection, self.now(), durable=durable)
        with translated(connection), self.keeper.turn(connection):
            self._synchronise(durable=durable)
            with failed_syncs.writing(connection), self.keeper.transaction(connection):
                self.fence()
                yield writer

    def changing_flags(self, folder_id: int, work: Callable[[Writer], T]) -> T:
        """Do a write that need not be on disk when it is answered, as long as its modseq is."""
        with translated(self.connection):
            durable = durability.must_reserve(self.connection, folder_id)
        try:
            with self.writing(durable=durable) as writer:
                return work(writer)
        except durability.CeilingPassed:
            with self.writing(durable=True) as writer:
                return work(writer)

    def require_writer(self) -> None:
        """NeedsWriter when this connection only reads: no answer as if the write was not due."""
        if self.readonly:
            raise NeedsWriter("the mailbox is open to be read only")

    def _synchronise(self, *, durable: bool) -> None:
        """Choose whether the next commit waits for the disk; this cannot change within one."""
        if durable != self._durable:
            self.connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            self._durable = durable


def _no_fence() -> None:
    pass
