"""A mailbox as it is at one moment, to be taken away: folders, and messages with their octets.

One read transaction serves for all of it, so what is moved meanwhile is neither missed nor there
twice. Messages come in ascending order of UID, some at a time: memory holds a few of them, however
many there are. The octets of each are compared with the SHA-256 that was taken when it came.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import apsw
import msgspec

from mailsrv.errors import MailboxDamaged
from mailsrv.keys.filekey import FileKey
from mailsrv.mailbox import connection as connections
from mailsrv.mailbox import contents, folders, schema, sql
from mailsrv.mailbox.contents import Stored
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.mailbox.values import Flags, Folder

_AT_ONCE = 32
"""Messages whose rows are read ahead; their large parts are not."""

_MESSAGES = (
    "SELECT m.uid, m.flags, m.keywords, m.internal_date, c.sha256, b.header_codec, b.header, "
    "b.skeleton_codec, b.skeleton, b.layout FROM message AS m JOIN content AS c "
    "ON c.id = m.content_id JOIN body AS b ON b.content_id = m.content_id "
    "WHERE m.folder_id = ? AND m.uid > ? ORDER BY m.uid LIMIT ?"
)


class Outgoing(msgspec.Struct, frozen=True):
    """One message. ``internal_date`` is ISO 8601 UTC text."""

    uid: int
    content: bytes
    sha256: bytes
    flags: Flags
    internal_date: str


class View:
    """What one snapshot shows."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    def folders(self) -> list[Folder]:
        """All folders by name, INBOX first."""
        return folders.listing(self._connection)

    def subscriptions(self) -> list[str]:
        """Subscribed names in order, also of folders that are gone."""
        return folders.subscriptions(self._connection)

    def messages(self, folder_id: int, after: int = 0) -> Iterator[Outgoing]:
        """Messages whose UIDs are above ``after``, in order. MailboxDamaged."""
        while True:
            found = sql.rows(self._connection, _MESSAGES, (folder_id, after, _AT_ONCE))
            for row in found:
                yield self._message(row)
            if len(found) < _AT_ONCE:
                return
            after = found[-1][0]

    def _message(self, row: sql.Row) -> Outgoing:
        uid, flags, keywords, internal_date, sha256 = row[:5]
        content = contents.whole(self._connection, Stored(*row[5:]))
        if hashlib.sha256(content).digest() != sha256:
            raise MailboxDamaged(f"the octets of the message with UID {uid} are not what they were")
        return Outgoing(uid, content, sha256, Flags(flags, keywords), internal_date)


@contextmanager
def snapshot(mailbox: Mailbox) -> Iterator[View]:
    """The mailbox as it is now, whatever others write meanwhile. For the calling thread."""
    with mailbox.reading() as connection:
        yield View(connection)


def open_copy(path: Path, key: FileKey, now: Callable[[], datetime]) -> Mailbox:
    """Open a mailbox file that nobody uses: a backup, which stays as it is, octet by octet.

    One of an older version, or with a log beside it, is opened as the server does, which brings it
    up to date. WrongKey, MailboxDamaged, MailboxMissing, SchemaMismatch.
    """
    if not os.path.exists(f"{path}-wal"):
        connection = connections.connect_immutable(path, key)
        if schema.is_current(connection):
            return Mailbox(path, connection, now, readonly=True)
        connection.close()
    return Mailbox.open(path, key, now)
