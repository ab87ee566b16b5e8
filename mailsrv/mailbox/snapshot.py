"""A copy of a whole mailbox as of one moment, checked before anybody relies on it.

``VACUUM INTO`` writes it under the mailbox's own key, encrypted from the first octet. Other
connections wait only until it has begun: with the write lock held the log is copied back as far as
readers allow, what the copy must hold is noted, and the lock goes as soon as SQLite has its
snapshot. ``VACUUM`` cannot run inside a transaction, so the lock is that of a second connection.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import apsw
import msgspec

from mailsrv.errors import AlreadyExists, MailboxDamaged
from mailsrv.keys.filekey import FileKey
from mailsrv.mailbox import check, contents, sql
from mailsrv.mailbox import connection as connections
from mailsrv.mailbox.connection import translated
from mailsrv.mailbox.digest import content_digest

if TYPE_CHECKING:
    from mailsrv.mailbox.mailbox import Mailbox

SAMPLE = 50
"""Messages of a copy that are compared with their hashes."""

_STEPS = 1000
"""SQLite's steps between two looks at whether the copy has begun."""

_CHUNK = 1024 * 1024


class Snapshot(msgspec.Struct, frozen=True):
    """A copy: octets and SHA-256 of the file, digest of the content, messages in all folders."""

    octets: int
    sha256: bytes
    digest: bytes
    messages: int


def take(mailbox: "Mailbox", key: FileKey, target: Path) -> Snapshot:
    """Write a copy of the mailbox to a new file; it was checked and is on disk at the end.

    AlreadyExists, MailboxBusy, DiskFull, MailboxDamaged; nothing is left at ``target`` then.
    """
    if target.exists():
        raise AlreadyExists("a file of that name is already there")
    try:
        found = _checked(target, key, _copy(mailbox, key, target))
        connections.sync_file(target.parent)
    except BaseException:
        connections.remove(target)
        raise
    return found


def verify(path: Path, key: FileKey) -> Snapshot:
    """Read all of a copy, count again, and compare a sample of its messages with their hashes.

    WrongKey, MailboxDamaged, MailboxMissing. The file is on disk when this returns.
    """
    copy = connections.connect(path, key)
    try:
        with translated(copy):
            copy.execute("BEGIN")
            check.check(copy)
            _check_sample(copy)
            digest = content_digest(copy)
            messages: int = sql.value(copy, "SELECT coalesce(sum(messages), 0) FROM folder")
            copy.execute("COMMIT")
    finally:
        copy.close()
    connections.sync_file(path)
    return Snapshot(path.stat().st_size, _sha256(path), digest, messages)


def digest_of(path: Path, key: FileKey) -> bytes:
    """The digest of the content of a copy, which opening it as a mailbox may change.

    WrongKey, MailboxDamaged, MailboxMissing.
    """
    copy = connections.connect(path, key)
    try:
        with translated(copy):
            return content_digest(copy)
    finally:
        copy.close()


def _copy(mailbox: "Mailbox", key: FileKey, target: Path) -> bytes:
    """The digest of what was in the mailbox at the moment of the copy."""
    connection = mailbox.connection
    with ExitStack() as stack, translated(connection):
        with mailbox.turn():
            release = stack.enter_context(hold_writes(mailbox.path, key))
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        with mailbox.reading():
            expected = content_digest(connection)
        with _told_of_beginning(connection, release):
            # of a bound value nothing is in the text of a statement, which errors quote
            connection.execute("VACUUM INTO ?", (f"file:{quote(str(target))}",))
    return expected


def _checked(target: Path, key: FileKey, expected: bytes) -> Snapshot:
    found = verify(target, key)
    if found.digest != expected:
        raise MailboxDamaged("the copy holds something else than the mailbox did")
    return found


@contextmanager
def hold_writes(path: Path, key: FileKey) -> Iterator[Callable[[], None]]:
    """Let nobody write to the file, in any process, until the end or a call of what is given.

    MailboxBusy when somebody does not stop.
    """
    holder = connections.connect(path, key)

    def release() -> None:
        if holder.in_transaction:
            holder.execute("ROLLBACK")

    try:
        with translated(holder):
            holder.execute("BEGIN IMMEDIATE")
        yield release
    finally:
        release()
        holder.close()


@contextmanager
def _told_of_beginning(connection: apsw.Connection, begun: Callable[[], None]) -> Iterator[None]:
    """Call ``begun`` once a statement of this connection reads from a snapshot of its own.

    A short one may end before; then it is not called.
    """

    def look() -> bool:
        if connection.txn_state("main") != apsw.SQLITE_TXN_NONE:
            connection.set_progress_handler(None)
            begun()
        return False

    connection.set_progress_handler(look, _STEPS)
    try:
        yield
    finally:
        connection.set_progress_handler(None)


def _check_sample(connection: apsw.Connection) -> None:
    sample = sql.rows(
        connection,
        "SELECT id, sha256 FROM content WHERE id IN "
        "(SELECT id FROM content ORDER BY random() LIMIT ?)",
        (SAMPLE,),
    )
    for content_id, sha256 in sample:
        octets = contents.whole(connection, contents.load(connection, content_id))
        if hashlib.sha256(octets).digest() != sha256:
            raise MailboxDamaged("a message of the copy differs from its hash")


def _sha256(path: Path) -> bytes:
    total = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_CHUNK):
            total.update(chunk)
        # of a copy that was just written nothing needs to stay in memory
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return total.digest()
