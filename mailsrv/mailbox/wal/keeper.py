"""Keeps the log of mailboxes until it has been captured, whoever in this process writes to them.

SQLite copies a log to the main file by itself when a commit leaves it long, and when the last
connection closes. Of a mailbox whose log is shipped both are done here, after all of it has been
captured (``capture``), and no write of this process comes between: they all take turns.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

import apsw

from mailsrv.errors import MailboxBusy, MailsrvError
from mailsrv.mailbox import failed_syncs, sql
from mailsrv.mailbox.connection import BUSY_MILLISECONDS
from mailsrv.mailbox.wal.capture import Capture
from mailsrv.mailbox.wal.spool import Spool, State

CHECKPOINT_FRAMES = 1000
"""Of new frames in the log, after which they are copied to the main file, as SQLite does."""


class Keeper(Protocol):
    """What a connection that writes does besides."""

    @contextmanager
    def turn(self, connection: apsw.Connection) -> Iterator[None]:
        """Around a write transaction. MailboxBusy."""

    @contextmanager
    def transaction(self, connection: apsw.Connection) -> Iterator[None]:
        """Inside it, before it is committed or rolled back."""

    def empty(self, connection: apsw.Connection) -> bool:
        """Copy the whole log, empty it; False when others are in the way."""

    def close(self, connection: apsw.Connection) -> None:
        """Close a connection; may be called twice."""


class Unkept:
    """For mailboxes whose log nobody ships: SQLite does everything."""

    @contextmanager
    def turn(self, connection: apsw.Connection) -> Iterator[None]:  # noqa: ARG002
        yield

    @contextmanager
    def transaction(self, connection: apsw.Connection) -> Iterator[None]:  # noqa: ARG002
        yield

    def empty(self, connection: apsw.Connection) -> bool:
        return failed_syncs.checkpoint(connection)

    def close(self, connection: apsw.Connection) -> None:
        connection.close(force=True)


class LogKeeper:
    """One mailbox file, all its writing connections in this process. Any thread."""

    def __init__(self, capture: Capture) -> None:
        self._capture = capture
        self._turns = threading.RLock()
        self._members = threading.Lock()
        self._connections: set[apsw.Connection] = set()
        self._checkpointed = 0
        self._counted = 0
        self._over = False
        self.uploading = threading.Lock()
        """For who uploads segments, which go in their order."""

    @property
    def path(self) -> Path:
        """Of the mailbox."""
        return self._capture.path

    @property
    def spool(self) -> Spool:
        """Where its segments wait."""
        return self._capture.spool

    @property
    def state(self) -> State:
        """How far it was captured."""
        return self._capture.state

    @property
    def problem(self) -> str:
        """Why the last chain ended."""
        return self._capture.problem

    @property
    def is_open(self) -> bool:
        """Whether connections are open."""
        return bool(self._connections)

    @property
    def behind(self) -> bool:
        """Whether there is something to capture, as far as is known without a look at the log."""
        return self._capture.behind

    def attach(self, connection: apsw.Connection) -> bool:
        """Before the connection writes. False when this keeper was given up. What SQLite raises."""
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        # takes the place of SQLite's own, which copies a long log to the main file
        connection.set_wal_hook(self._committed)
        if self._join(connection):
            return True
        with self._turns:
            if self._over:
                return False
            if not self._connections:
                self._capture.resume(_frames(connection)[0])
            with self._members:
                self._connections.add(connection)
        return True

    def _join(self, connection: apsw.Connection) -> bool:
        """Waits for no writer, as nobody does who only reads. False when nothing is open."""
        with self._members:
            if self._connections:
                self._connections.add(connection)
            return connection in self._connections

    def give_up(self) -> bool:
        """Whether nothing is open, captured or waits to be shipped, so that another may begin."""
        # others wait for who forgets it, so nobody is waited for
        if not self._turns.acquire(blocking=False):
            return False
        try:
            with self._members:
                self._over = not self._connections and not self._capture.spool.waiting()
            return self._over
        finally:
            self._turns.release()

    @contextmanager
    def turn(self, connection: apsw.Connection) -> Iterator[None]:
        if not self._turns.acquire(timeout=BUSY_MILLISECONDS / 1000):
            raise MailboxBusy("another writer holds the mailbox")
        try:
            self._look(connection)
            yield
            self._checkpoint_if_long(connection)
        finally:
            self._turns.release()

    @contextmanager
    def transaction(self, connection: apsw.Connection) -> Iterator[None]:
        self._capture.begun(counted=_version(connection) == self._counted)
        try:
            yield
        except BaseException:
            self._capture.undone()
            raise

    def empty(self, connection: apsw.Connection) -> bool:
        with self._turns:
            capture = self._capture
            if not capture.active:
                return failed_syncs.checkpoint(connection)
            version = _version(connection)
            capture.emptying()
            capture.reach(_frames(connection)[0])
            capture.capture()
            failed_syncs.copy(connection)
            capture.copied(lambda: self._is_copied(connection, version), writing=False)
            done = failed_syncs.checkpoint(connection)
            if capture.active and _version(connection) != version:
                capture.break_off("another process wrote while the log was emptied")
            elif done:
                self._checkpointed = 0
                capture.emptied()
            return done

    def close(self, connection: apsw.Connection) -> None:
        with self._turns:
            with self._members:
                if connection not in self._connections:
                    return
                self._connections.remove(connection)
                last = not self._connections
            try:
                # where it fails the log stays, and is looked at when the file is opened again
                with suppress(apsw.Error, MailsrvError):
                    if last:
                        self._finish(connection)
            finally:
                connection.close(force=True)
                if last:
                    self._capture.let_go()

    @contextmanager
    def held(self, seconds: float = BUSY_MILLISECONDS / 1000) -> Iterator[Capture]:
        """What is captured, while nobody of this process writes. MailboxBusy."""
        if not self._turns.acquire(timeout=seconds):
            raise MailboxBusy("another writer holds the mailbox")
        try:
            if self._over:
                raise MailboxBusy("the mailbox has another keeper now")
            yield self._capture
        finally:
            if not self._connections:
                self._capture.let_go()
            self._turns.release()

    def begin(self, chain: str, alias: str) -> bool:
        """Begin a chain; False when this is no moment for it. MailboxBusy."""
        with self.held() as capture:
            return capture.begin(chain, alias, opened=bool(self._connections))

    def _look(self, connection: apsw.Connection) -> None:
        """What others have done since the last turn, in time for the next commit."""
        self._counted = _version(connection)
        committed, copied = _frames(connection)
        capture = self._capture
        capture.reach(committed)
        if committed == copied:
            # the next write begins the log anew
            capture.capture()
            if capture.state.closed is None:
                version = self._counted
                capture.copied(lambda: self._is_copied(connection, version), writing=True)

    def _is_copied(self, connection: apsw.Connection, version: int) -> bool:
        """Whether nobody else has committed, and the log that is known is in the main file."""
        end = self._capture.end
        return _version(connection) == version and _frames(connection) == (end, end)

    def _committed(self, connection: apsw.Connection, _name: str, frames: int) -> int:
        self._capture.committed(frames, lambda: _version(connection) == self._counted)
        return apsw.SQLITE_OK

    def _checkpoint_if_long(self, connection: apsw.Connection) -> None:
        end = self._capture.end
        self._checkpointed = min(self._checkpointed, end)
        if end - self._checkpointed < CHECKPOINT_FRAMES:
            return
        self._checkpointed = end
        self._capture.capture()
        with suppress(apsw.Error):  # what was written is in the log
            failed_syncs.copy(connection)

    def _finish(self, connection: apsw.Connection) -> None:
        """Leave no log behind, as SQLite would not."""
        connection.set_busy_timeout(0)
        capture = self._capture
        full = capture.active and (_frames(connection)[0] or capture.state.closed is None)
        if full and not self.empty(connection):
            return
        if not failed_syncs.is_suspect(connection):
            connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0)


class LogKeepers:
    """Those of a volume. ``folder`` is where captured frames wait; ``boot`` as in ``Mailbox``."""

    def __init__(self, folder: Path, milliseconds: Callable[[], int], boot: str) -> None:
        self._folder = folder
        self._milliseconds = milliseconds
        self._boot = boot
        self._lock = threading.Lock()
        self._keepers: dict[str, LogKeeper] = {}

    def attach(self, path: Path, connection: apsw.Connection) -> LogKeeper:
        """The keeper of the file at ``path``, which ``connection`` has open to write."""
        while not (keeper := self.of(path)).attach(connection):
            pass
        return keeper

    def of(self, path: Path) -> LogKeeper:
        """The keeper of a file."""
        with self._lock:
            keeper = self._keepers.get(path.stem)
            if keeper is None:
                spool = Spool(self._folder / path.stem)
                capture = Capture(path, spool, self._milliseconds, self._boot)
                keeper = self._keepers[path.stem] = LogKeeper(capture)
            return keeper

    def spools(self) -> list[tuple[str, Spool]]:
        """What is on the volume, by the names (without suffix) of the mailbox files."""
        try:
            names = sorted(path.name for path in self._folder.iterdir() if path.is_dir())
        except FileNotFoundError:
            names = []
        return [(name, Spool(self._folder / name)) for name in names]

    def forget(self, keeper: LogKeeper, *, remove: bool = False) -> None:
        """Keep no more of a mailbox that is closed than what is on the volume, or not even that."""
        with self._lock:
            if keeper.give_up():
                self._keepers.pop(keeper.path.stem, None)
                if remove:
                    keeper.spool.remove()

    def all(self) -> list[LogKeeper]:
        """Those that are known."""
        with self._lock:
            return list(self._keepers.values())


def _frames(connection: apsw.Connection) -> tuple[int, int]:
    """Committed frames in the log, and how many of them are in the main file."""
    found: tuple[int, int] = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)
    return max(found[0], 0), max(found[1], 0)


def _version(connection: apsw.Connection) -> int:
    """Changes with each commit of another connection."""
    return int(sql.value(connection, "PRAGMA data_version"))
