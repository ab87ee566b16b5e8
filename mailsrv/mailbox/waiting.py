"""Mail that waits for its owner: sealed messages in a file of their own.

The file's key is one that the server derives, so that sizes and ids are not plain on the volume;
the messages are sealed to the mailbox's own key, which the server does not have. What ``add``
returned from is on disk.
"""

from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import apsw

from mailsrv.keys.filekey import FileKey
from mailsrv.mailbox import connection as connections
from mailsrv.mailbox import failed_syncs, sql
from mailsrv.mailbox.connection import translated

_TABLE = (
    "CREATE TABLE IF NOT EXISTS waiting(number INTEGER PRIMARY KEY, delivery_id TEXT NOT NULL "
    "UNIQUE, received TEXT NOT NULL, size INTEGER NOT NULL, sealed BLOB NOT NULL)"
)


class WaitingRow(NamedTuple):
    """One sealed message. ``size`` is that of the message before sealing, in octets."""

    delivery_id: str
    sealed: bytes
    received: str
    size: int


class WaitingEntry(NamedTuple):
    """What is listed of a sealed message. ``octets`` are those of the sealed form."""

    delivery_id: str
    number: int
    octets: int


class WaitingMail:
    """The open file. Blocking; one thread at a time."""

    def __init__(self, path: Path, connection: apsw.Connection) -> None:
        self._path = path
        self._connection = connection

    @classmethod
    def open_or_create(cls, path: Path, key: FileKey) -> Self:
        """Open the file, which is made if it is missing. Errors are those of a mailbox."""
        connection = connections.open_or_create(path, key)
        try:
            with translated(connection):
                connection.execute("PRAGMA synchronous=FULL")
                if connection.pragma("user_version") != 1:
                    connection.execute(f"BEGIN IMMEDIATE; {_TABLE}; PRAGMA user_version=1; COMMIT")
        except BaseException:
            connection.close()
            raise
        return cls(path, connection)

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def add(self, messages: Iterable[tuple[str, bytes, str, int]]) -> None:
        """Store (delivery id, sealed, received, size), all or none, on disk when this returns.

        An id that is there already is passed over.
        """
        with translated(self._connection), failed_syncs.writing(self._connection):
            self._connection.executemany(
                "INSERT INTO waiting (delivery_id, sealed, received, size) VALUES (?, ?, ?, ?) "
                "ON CONFLICT DO NOTHING",
                list(messages),
            )

    def batch(self, limit: int) -> list[WaitingRow]:
        """Up to ``limit`` messages, in the order in which they came."""
        with translated(self._connection):
            found = sql.rows(
                self._connection,
                "SELECT delivery_id, sealed, received, size FROM waiting ORDER BY number LIMIT ?",
                (limit,),
            )
        return [WaitingRow(*row) for row in found]

    def listing(self, after: str, limit: int) -> list[WaitingEntry]:
        """Up to ``limit`` messages whose delivery ids come after ``after``, ordered by them."""
        with translated(self._connection):
            found = sql.rows(
                self._connection,
                "SELECT delivery_id, number, length(sealed) FROM waiting WHERE delivery_id > ? "
                "ORDER BY delivery_id LIMIT ?",
                (after, limit),
            )
        return [WaitingEntry(*row) for row in found]

    def rows(self, ids: Iterable[str]) -> list[WaitingRow]:
        """The messages of these delivery ids that are there, in the order of the ids."""
        query = "SELECT delivery_id, sealed, received, size FROM waiting WHERE delivery_id = ?"
        with translated(self._connection):
            found = [row for one in ids for row in sql.rows(self._connection, query, (one,))]
        return [WaitingRow(*row) for row in found]

    def remove(self, ids: Iterable[str]) -> None:
        """Remove messages that are in the mailbox by now; on disk when this returns."""
        with translated(self._connection), failed_syncs.writing(self._connection):
            self._connection.executemany(
                "DELETE FROM waiting WHERE delivery_id = ?", [(one,) for one in ids]
            )

    def count(self) -> int:
        """How many messages wait."""
        with translated(self._connection):
            found: int = sql.value(self._connection, "SELECT count(*) FROM waiting")
        return found

    def octets(self) -> int:
        """Octets of the messages that wait, before sealing."""
        with translated(self._connection):
            found: int = sql.value(self._connection, "SELECT coalesce(sum(size), 0) FROM waiting")
        return found

    def delete_if_empty(self) -> bool:
        """Delete the file when nothing waits; it is closed then. Tells whether it did.

        The caller sees to it that nobody else opens or uses the file meanwhile: who had it open
        would write into the void.
        """
        with translated(self._connection):
            # With the write lock nobody can add; the file goes while it is held.
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                if sql.value(self._connection, "SELECT count(*) FROM waiting"):
                    return False
                connections.remove(self._path)
            finally:
                self._connection.execute("ROLLBACK")
        self.close()
        connections.sync_file(self._path.parent)
        return True
