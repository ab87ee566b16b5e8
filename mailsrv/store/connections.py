"""Open mailbox connections, kept for a burst of work and no longer.

A connection is opened with the raw key when a request needs it and closed after a few idle
seconds, so ten thousand idle clients cost no open files. Two threads never share one. Only who
has the key gets one, also where one is open. What a failed request leaves behind is closed, not
kept: after a failed sync SQLite may believe what the disk does not have.
"""

import hashlib
import os
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import attrs

from mailsrv.errors import (
    AlreadyExists,
    InvalidInput,
    MailboxBusy,
    MailboxMissing,
    MailsrvError,
    MessageTooLarge,
    NeedsWriter,
    NoSuchFolder,
    OverQuota,
    TooManyResults,
)
from mailsrv.keys.filekey import FileKey
from mailsrv.keys.wiping import wiped
from mailsrv.mailbox import log
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.mailbox.wal.keeper import LogKeepers
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
    mailbox: Mailbox = attrs.field(init=False)
    opened: bool = False
    inode: tuple[int, int] | None = None
    lock: bytes = b""
    """What the key comes to that it was opened with."""
    last_used: float = 0.0
    stale: bool = False
    long: bool = False
    """Kept from use, until the log of its file was shortened."""


class Connections:
    """The cache: blocking, for worker threads. ``seconds`` is a clock that never goes back.

    ``readonly`` ones are for who reads beside the process that owns the files. Others keep
    expunged messages as ``Mailbox.open`` says, and set one aside for ``shorten`` when they leave a
    log of more than ``log_octets``. ``logs`` keep what is written for who ships it.
    """

    def __init__(
        self,
        seconds: Callable[[], float],
        now: Callable[[], datetime],
        *,
        most: int,
        idle_seconds: float,
        readonly: bool = False,
        keep_expunged: timedelta | None = None,
        log_octets: int | None = None,
        log_patience: float = 0.0,
        logs: LogKeepers | None = None,
    ) -> None:
        self._seconds = seconds
        self._now = now
        self._most = most
        self._idle_seconds = idle_seconds
        self._readonly = readonly
        self._keep_expunged = keep_expunged
        self._log_octets = log_octets
        self._log_milliseconds = int(log_patience * 1000)
        self._logs = logs
        self._secret = secrets.token_bytes(32)
        self._lock = threading.Lock()
        self._closed = threading.Condition(self._lock)
        self._idle: OrderedDict[int, _Connection] = OrderedDict()  # oldest use first
        self._busy: set[_Connection] = set()
        self._closing: set[_Connection] = set()

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

        ``key`` is asked each time, and may refuse. ``fence`` runs in each write transaction.
        Raises what ``Mailbox.open`` raises; MailboxMissing when the file was taken away.
        """
        connection = _Connection(path.name)
        with self._lock:
            # before the key is asked: who drops the key, then the connections, misses none
            self._busy.add(connection)
        try:
            connection = self._provide(connection, path, key())
            connection.mailbox.fence = fence
            yield connection.mailbox
        except HARMLESS:
            raise
        except BaseException:
            connection.stale = True
            raise
        finally:
            self._give_back(connection)

    def drop(self, path: Path) -> None:
        """Close what is open of this file: idle ones now, busy ones when their work ends."""
        with self._lock:
            for connection in self._busy:
                if connection.name == path.name:
                    connection.stale = True
            gone = self._take_out([one for one in self._idle.values() if one.name == path.name])
        self._close(gone)

    def settle(self, path: Path, patience: float) -> None:
        """Close what is open of this file, and wait until the last connection has closed.

        For who sees to it that nobody begins to use it meanwhile. MailboxBusy after ``patience``
        seconds.
        """
        self.drop(path)
        with self._closed:
            if not self._closed.wait_for(
                lambda: all(one.name != path.name for one in self._busy | self._closing), patience
            ):
                raise MailboxBusy("requests of this mailbox take too long to end")

    def expire(self) -> None:
        """Close what was not used for a while."""
        limit = self._seconds() - self._idle_seconds
        with self._lock:
            gone = self._take_out([one for one in self._idle.values() if one.last_used <= limit])
        self._close(gone)

    def shorten(self) -> None:
        """Empty the logs that have grown long; those that are in use too long wait for next time.

        Apart from requests, none of which should wait for it.
        """
        with self._lock:
            found = [one for one in self._idle.values() if one.long]
            for connection in found:
                del self._idle[id(connection)]
            self._busy.update(found)
        for connection in found:
            try:
                connection.mailbox.shorten_log(self._log_milliseconds)
            except Exception as error:  # noqa: BLE001 - others have long logs as well
                connection.stale = True
                if not isinstance(error, MailsrvError):
                    log_unexpected(error)
            finally:
                connection.long = False
                self._keep(connection)

    def close(self) -> None:
        """Close all that are idle; those in use close at the end of their work."""
        with self._lock:
            gone = self._take_out(list(self._idle.values()))
            for connection in self._busy:
                connection.stale = True
        self._close(gone)

    def _provide(self, wanted: _Connection, path: Path, key: FileKey) -> _Connection:
        """The connection that takes the place of ``wanted``, or that itself, opened."""
        lock = self._lock_of(key)
        found = self._take(wanted, _identity(path), lock)
        if found is not None:
            return found
        self._make_room()
        wanted.mailbox = Mailbox.open(
            path,
            key,
            self._now,
            readonly=self._readonly,
            keep_expunged=self._keep_expunged,
            logs=self._logs,
        )
        wanted.opened, wanted.inode, wanted.lock = True, _identity(path), lock
        if wanted.inode is None:
            raise MailboxMissing("the mailbox file was taken away")
        return wanted

    def _lock_of(self, key: FileKey) -> bytes:
        with wiped(key.pack()) as packed:
            return hashlib.blake2b(packed, key=self._secret, digest_size=32).digest()

    def _take(
        self, wanted: _Connection, identity: tuple[int, int] | None, lock: bytes
    ) -> _Connection | None:
        with self._lock:
            found = [one for one in self._idle.values() if one.name == wanted.name]
            bad = self._take_out([one for one in found if one.inode != identity])
            good = [
                one for one in found if one.inode == identity and one.lock == lock and not one.long
            ]
            taken = good[-1] if good else None
            if taken is not None:
                del self._idle[id(taken)]
                taken.stale = wanted.stale
                self._busy.discard(wanted)
                self._busy.add(taken)
        self._close(bad)
        return taken

    def _make_room(self) -> None:
        with self._lock:
            over = len(self._idle) + len(self._busy) - self._most
            gone = self._take_out(list(self._idle.values())[: max(0, over)])
        self._close(gone)

    def _give_back(self, connection: _Connection) -> None:
        long = self._left_a_long_log(connection)
        with self._lock:
            others = (one for one in self._idle.values() if one.name == connection.name)
            connection.long = long and not any(one.long for one in others)
        self._keep(connection)

    def _left_a_long_log(self, connection: _Connection) -> bool:
        if self._log_octets is None or connection.stale or not connection.opened:
            return False
        return log.octets(connection.mailbox.path) > self._log_octets

    def _keep(self, connection: _Connection) -> None:
        with self._lock:
            self._busy.discard(connection)
            if connection.stale or not connection.opened:
                self._closing.add(connection)
            else:
                connection.last_used = self._seconds()
                self._idle[id(connection)] = connection
                return
        self._close([connection])

    def _take_out(self, connections: list[_Connection]) -> list[_Connection]:
        """Out of the idle ones, to be closed without the lock."""
        for connection in connections:
            del self._idle[id(connection)]
        self._closing.update(connections)
        return connections

    def _close(self, connections: list[_Connection]) -> None:
        for connection in connections:
            try:
                if connection.opened:
                    connection.mailbox.close()
            except Exception as error:  # noqa: BLE001 - one that fails must not keep others open
                log_unexpected(error)
            finally:
                with self._closed:
                    self._closing.discard(connection)
                    self._closed.notify_all()


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino
