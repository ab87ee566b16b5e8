"""Open mailbox connections, kept for a burst of work and no longer.

A connection is opened with the raw key when a request needs it and closed after a few idle
seconds, so ten thousand idle clients cost no open files. Two threads never share one. What a
failed request leaves behind is closed, not kept: after a failed sync SQLite may believe what
the disk does not have.
"""

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import attrs

from mailsrv.errors import (
    AlreadyExists,
    InvalidInput,
    MailboxMissing,
    MessageTooLarge,
    NeedsWriter,
    NoSuchFolder,
    OverQuota,
    TooManyResults,
)
from mailsrv.keys.filekey import FileKey
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.store.workers import log_unexpected

HARMLESS = (
    AlreadyExists,
    InvalidInput,
    MessageTooLarge,
    NeedsWriter,
    NoSuchFolder,
    OverQuota,
    TooManyResults,
)
"""Errors after which a connection is as good as before."""


@attrs.define(eq=False)
class _Connection:
    name: str
    mailbox: Mailbox
    inode: tuple[int, int]
    last_used: float = 0.0
    stale: bool = False


class Connections:
    """The cache: blocking, for worker threads. ``seconds`` is a clock that never goes back.

    ``readonly`` ones are for who reads beside the process that owns the files.
    """

    def __init__(
        self,
        seconds: Callable[[], float],
        now: Callable[[], datetime],
        *,
        most: int,
        idle_seconds: float,
        readonly: bool = False,
    ) -> None:
        self._seconds = seconds
        self._now = now
        self._most = most
        self._idle_seconds = idle_seconds
        self._readonly = readonly
        self._lock = threading.Lock()
        self._idle: OrderedDict[int, _Connection] = OrderedDict()  # oldest use first
        self._busy: set[_Connection] = set()

    def __len__(self) -> int:
        with self._lock:
            return len(self._idle) + len(self._busy)

    @property
    def idle(self) -> int:
        """How many are open and unused."""
        return len(self._idle)

    @contextmanager
    def use(
        self, path: Path, key: Callable[[], FileKey], fence: Callable[[], None]
    ) -> Iterator[Mailbox]:
        """A connection to the file at ``path``, for this thread alone.

        ``key`` is asked only when one must be opened. ``fence`` runs in each write transaction.
        Raises what ``Mailbox.open`` raises; MailboxMissing when the file was taken away.
        """
        connection = self._take(path.name, _identity(path))
        if connection is None:
            connection = self._open(path, key())
        connection.mailbox.fence = fence
        try:
            yield connection.mailbox
        except HARMLESS:
            self._give_back(connection)
            raise
        except BaseException:
            connection.stale = True
            self._give_back(connection)
            raise
        else:
            self._give_back(connection)

    def drop(self, path: Path) -> None:
        """Close what is open of this file: idle ones now, busy ones when their work ends."""
        with self._lock:
            for connection in self._busy:
                if connection.name == path.name:
                    connection.stale = True
            gone = [one for one in self._idle.values() if one.name == path.name]
            for connection in gone:
                del self._idle[id(connection)]
        _close(gone)

    def expire(self) -> None:
        """Close what was not used for a while."""
        limit = self._seconds() - self._idle_seconds
        with self._lock:
            gone = [one for one in self._idle.values() if one.last_used <= limit]
            for connection in gone:
                del self._idle[id(connection)]
        _close(gone)

    def close(self) -> None:
        """Close all that are idle; those in use close at the end of their work."""
        with self._lock:
            gone = list(self._idle.values())
            self._idle.clear()
            for connection in self._busy:
                connection.stale = True
        _close(gone)

    def _take(self, name: str, identity: tuple[int, int] | None) -> _Connection | None:
        with self._lock:
            found = [one for one in self._idle.values() if one.name == name]
            for connection in found:
                del self._idle[id(connection)]
            good = [one for one in found if one.inode == identity]
            bad = [one for one in found if one.inode != identity]
            taken = good.pop() if good else None
            if taken is not None:
                self._busy.add(taken)
            for connection in good:
                self._idle[id(connection)] = connection
        _close(bad)
        return taken

    def _open(self, path: Path, key: FileKey) -> _Connection:
        self._make_room()
        mailbox = Mailbox.open(path, key, self._now, readonly=self._readonly)
        identity = _identity(path)
        if identity is None:
            mailbox.close()
            raise MailboxMissing("the mailbox file was taken away")
        connection = _Connection(path.name, mailbox, identity)
        with self._lock:
            self._busy.add(connection)
        return connection

    def _make_room(self) -> None:
        gone: list[_Connection] = []
        with self._lock:
            while self._idle and len(self._idle) + len(self._busy) >= self._most:
                gone.append(self._idle.popitem(last=False)[1])
        _close(gone)

    def _give_back(self, connection: _Connection) -> None:
        with self._lock:
            self._busy.discard(connection)
            if not connection.stale:
                connection.last_used = self._seconds()
                self._idle[id(connection)] = connection
        if connection.stale:
            _close([connection])


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _close(connections: list[_Connection]) -> None:
    for connection in connections:
        try:
            connection.mailbox.close()
        except Exception as error:  # noqa: BLE001 - one that fails must not keep others open
            log_unexpected(error)
