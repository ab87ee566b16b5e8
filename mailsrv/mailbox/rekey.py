"""A mailbox under a new key: a new file beside the old one, which is never touched.

``VACUUM INTO`` writes the copy encrypted from its first octet. ``PRAGMA rekey`` is not used: in
WAL mode it has left files that no key opens. Writes to the source have to be held meanwhile, or
the copy lacks them; reads go on.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import apsw

from mailsrv.errors import AlreadyExists, MailboxDamaged
from mailsrv.keys.filekey import FileKey
from mailsrv.mailbox import connection as connections
from mailsrv.mailbox import sql
from mailsrv.mailbox.connection import translated

if TYPE_CHECKING:
    from mailsrv.mailbox.mailbox import Mailbox


def copy_under_new_key(source: "Mailbox", target: Path, new_key: FileKey) -> None:
    """Write the mailbox to a new file that ``new_key`` opens; it is on disk and was verified.

    Writes must be held by the caller. AlreadyExists; DiskFull and others leave no file behind.
    """
    if target.exists():
        raise AlreadyExists("a file of that name is already there")
    try:
        with source.reading() as connection:
            expected = _summary(connection)
        options = f"cipher=chacha20&key={new_key.pragma()}"
        connections.vacuum_into(source.connection, target, options)
        _verify(target, new_key, expected)
        connections.sync_file(target)
        connections.sync_file(target.parent)
    except BaseException:
        connections.remove(target)
        raise


def _verify(target: Path, key: FileKey, expected: dict[str, int]) -> None:
    if connections.first_octets(target, len(key.salt)) != key.salt:
        raise MailboxDamaged("the copy does not begin as an encrypted file")
    copy = connections.connect(target, key)
    try:
        with translated(copy):
            if sql.value(copy, "PRAGMA integrity_check(1)") != "ok" or _summary(copy) != expected:
                raise MailboxDamaged("the copy differs from the mailbox")
    finally:
        copy.close()


def _summary(connection: apsw.Connection) -> dict[str, int]:
    """The number of rows of every table."""
    tables = sql.rows(
        connection,
        "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' "
        "AND name NOT LIKE 'sqlite_%'",
    )
    return {
        name: sql.value(connection, f'SELECT count(*) FROM "{name}"')  # noqa: S608
        for (name,) in tables
    }
