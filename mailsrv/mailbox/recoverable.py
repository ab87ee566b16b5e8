"""Expunged messages that can be had back: rows that keep a content after its last message went.

The rows are written where messages are removed for good, by EXPUNGE and with a deleted folder, and
go after a time or where room is needed. Their octets are counted in ``meta``, beside what the
folders count. These functions run inside a write transaction of the caller.
"""

from collections.abc import Sequence
from typing import NamedTuple

import apsw

from mailsrv.mailbox import contents, sql
from mailsrv.mailbox.transaction import Writer
from mailsrv.mailbox.values import UidSet

_COUNT = "SELECT value FROM meta WHERE name = 'recoverable'"
_KEEP = (
    "INSERT INTO recoverable (folder_id, folder, uid, content_id, flags, keywords, internal_date, "
    "saved, size, expunged) SELECT m.folder_id, f.name, m.uid, m.content_id, m.flags, m.keywords, "
    "m.internal_date, m.saved, m.size, ? FROM message AS m JOIN folder AS f ON f.id = m.folder_id "
    "WHERE m.folder_id = ? AND m.uid BETWEEN ? AND ? ORDER BY m.uid RETURNING size"
)


class Row(NamedTuple):
    """What it takes to remove one."""

    id: int
    size: int
    content_id: int


def octets(connection: apsw.Connection) -> int:
    """Octets of all of them."""
    return sql.value(connection, _COUNT) or 0


def keep(writer: Writer, folder_id: int, uids: UidSet) -> None:
    """Keep all messages in these ranges, which the caller is about to delete."""
    connection = writer.connection
    sizes = sql.rows_of_each(
        connection, _KEEP, [(writer.now, folder_id, first, last) for first, last in uids]
    )
    _count(connection, sum(size for (size,) in sizes))


def folder_goes(connection: apsw.Connection, folder_id: int, name: str) -> None:
    """Note under which name the folder of earlier ones is deleted."""
    connection.execute("UPDATE recoverable SET folder = ? WHERE folder_id = ?", (name, folder_id))


def oldest(connection: apsw.Connection, limit: int, before: str | None = None) -> list[Row]:
    """Up to ``limit`` rows, the oldest first; with ``before`` those expunged before that time."""
    if before is None:
        found = sql.rows(
            connection, "SELECT id, size, content_id FROM recoverable ORDER BY id LIMIT ?", (limit,)
        )
    else:
        found = sql.rows(
            connection,
            "SELECT id, size, content_id FROM recoverable WHERE expunged < ? "
            "ORDER BY expunged LIMIT ?",
            (before, limit),
        )
    return [Row(*row) for row in found]


def forget(connection: apsw.Connection, rows: Sequence[Row]) -> None:
    """Delete rows whose messages are back in a folder."""
    connection.executemany("DELETE FROM recoverable WHERE id = ?", [(row.id,) for row in rows])
    _count(connection, -sum(row.size for row in rows))


def purge(connection: apsw.Connection, rows: Sequence[Row]) -> None:
    """Delete rows, with the contents that nothing else has."""
    forget(connection, rows)
    contents.release(connection, {row.content_id for row in rows})


def _count(connection: apsw.Connection, more: int) -> None:
    if more:
        connection.execute(
            "INSERT INTO meta VALUES ('recoverable', ?1) "
            "ON CONFLICT DO UPDATE SET value = value + ?1",
            (more,),
        )
