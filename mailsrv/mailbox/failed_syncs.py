"""After a sync that failed: write the log again before anything else relies on it.

The operating system forgets what it could not write, and says of the next sync of the same file
that all is well. Commits that waited for no sync (``synchronous=NORMAL``) would so leave a hole in
the log on the disk: recovery stops there, and loses what was committed after it with a sync of its
own; and where a checkpoint has copied that to its place already, it ruins the file with older
pages. What is read from the log is still right, so writing the same octets again, with the write
lock held, closes the hole.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import apsw

from mailsrv.errors import StorageFailed

_CHUNK = 1024 * 1024

_suspects: set[str] = set()
_lock = threading.Lock()


@contextmanager
def writing(connection: apsw.Connection) -> Iterator[None]:
    """One write transaction, all or nothing, on a log that is whole on the disk."""
    try:
        connection.execute("BEGIN IMMEDIATE")
        _make_good(connection)
        yield
        connection.execute("COMMIT")
    except apsw.Error as error:
        _roll_back(connection)
        _note_failed_sync(error, connection)
        raise
    finally:
        _roll_back(connection)


def is_suspect(connection: apsw.Connection) -> bool:
    """Whether the log may have a hole on the disk, which the next write closes first."""
    return connection.filename in _suspects


def checkpoint(connection: apsw.Connection) -> bool:
    """Copy the whole log, empty it; False when others are in the way or the log is suspect."""
    return _checkpoint(connection, "TRUNCATE")


def copy(connection: apsw.Connection) -> bool:
    """Copy as much of the log as nobody needs there; False when that was not all of it."""
    return _checkpoint(connection, "PASSIVE")


def _checkpoint(connection: apsw.Connection, mode: str) -> bool:
    if is_suspect(connection):
        return False
    try:
        busy, _, _ = connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchall()[0]
    except apsw.IOError as error:
        _note_failed_sync(error, connection)
        raise
    return not busy


def _roll_back(connection: apsw.Connection) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def _note_failed_sync(error: apsw.Error, connection: apsw.Connection) -> None:
    if getattr(error, "extendedresult", 0) == apsw.SQLITE_IOERR_FSYNC:
        _note(connection)


def _note(connection: apsw.Connection) -> None:
    """A sync of the file failed; its log is written again now, or else before the next write.

    No transaction is open.
    """
    with _lock:
        _suspects.add(connection.filename)
    # Closing would copy the log to the main file while the log itself may have its hole.
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    try:
        connection.execute("BEGIN IMMEDIATE")
        _make_good(connection)
    except (apsw.Error, StorageFailed):
        pass  # the next writer tries again, and stores nothing before it has succeeded
    finally:
        _roll_back(connection)


def _make_good(connection: apsw.Connection) -> None:
    """Write the log again if a sync failed; the caller has the write lock. StorageFailed."""
    name = connection.filename
    if name not in _suspects:
        return
    try:
        # SQLite has no locks on this file that closing it could give back.
        with open(f"{name}-wal", "r+b") as log:
            while chunk := log.read(_CHUNK):
                log.seek(-len(chunk), os.SEEK_CUR)
                log.write(chunk)
            log.flush()
            os.fsync(log.fileno())
    except FileNotFoundError:
        pass  # everything is in the main file
    except OSError as error:
        raise StorageFailed("the log of the mailbox cannot be written") from error
    with _lock:
        _suspects.discard(name)
