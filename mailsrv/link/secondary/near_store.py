"""The store of a front end on the primary's own machine: reads here, writes there.

SQLite lets any number of processes read a file beside its one writer, and a commit is seen by all
of them from the moment on that the writer knows of it. So a front end that can reach the files
opens them itself, with the key that its own vault has, and spares the primary the work of reading
for it. What writes goes to the primary; and so does every read that would have to write, or that
fails here in any way that is no answer: the primary knows better why.

A read here asks the primary nothing, not even whether the session still holds. So one is done here
only while the link is up, on which the primary would say so, and where the link's store has the
session at this primary now: after a move, an old copy of the file may still be here.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool

from mailsrv.errors import (
    InvalidInput,
    KeyGone,
    MailboxBusy,
    MailboxMissing,
    MailsrvError,
    NeedsWriter,
    NoSuchFolder,
    TooManyResults,
)
from mailsrv.keys.filekey import FileKey
from mailsrv.keys.vault import Vault
from mailsrv.link.secondary.passing_store import PassingStore
from mailsrv.link.secondary.primary_link import PrimaryLink
from mailsrv.link.secondary.readers import Listener, Readers
from mailsrv.link.secondary.sessions import Held
from mailsrv.link.secondary.store import RemoteStore
from mailsrv.mailbox.criteria import Criteria, Found
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.mailbox.values import Changes, FetchPage, FetchRequest, Folder, Section, Selected
from mailsrv.store.connections import Connections
from mailsrv.store.gate import Gate
from mailsrv.store.interfaces import IListener, IStore
from mailsrv.store.limits import Limits
from mailsrv.store.values import Access, Scope, ScramAccepted, ScramProof
from mailsrv.store.volume import Volume
from mailsrv.store.workers import Workers, log_unexpected

T = TypeVar("T")

_ANSWERS = (NoSuchFolder, InvalidInput, TooManyResults)
"""Errors that the primary would answer with as well."""

_ORDINARY = (NeedsWriter, MailboxMissing, MailboxBusy, KeyGone)
"""Errors that come up where nothing is wrong; others are worth a line in the log."""

log = Logger()


class NearStore(PassingStore):
    """Call ``start`` before the first request and ``close`` after the last, on the reactor.

    ``remote`` has the keys of its sessions in ``vault``. ``volume`` is that of the primary; only
    its mailbox files are touched. ``pool`` is this store's own: started and stopped with it.
    ``here`` answers what the link's store knows of a session, or None where it is not to be read
    here now; see ``served_by``.
    """

    def __init__(
        self,
        remote: IStore,
        volume: Volume,
        vault: Vault,
        reactor: Any,
        pool: ThreadPool,
        now: Callable[[], datetime],
        here: Callable[[Access], Held | None],
        limits: Limits | None = None,
    ) -> None:
        super().__init__(remote)
        self.answered = 0
        """Reads that were answered here."""
        self.passed = 0
        """Reads that went to the primary."""
        self._volume = volume
        self._vault = vault
        self._pool = pool
        self._limits = limits or Limits()
        self._here = here
        self._readers = Readers(self._unread)
        self._public_keys: dict[str, bytes] = {}  # by mailbox
        gate = Gate(reactor, 0.0)  # nobody shuts it: reading needs no file to lie still
        self._workers = Workers(reactor, pool, self._limits.work_per_alias, gate)
        self._connections = Connections(
            reactor.seconds,
            now,
            most=self._limits.open_connections,
            idle_seconds=self._limits.idle_seconds,
            readonly=True,
        )
        self._housekeeping = LoopingCall(self._keep_house)
        self._housekeeping.clock = reactor

    def start(self) -> None:
        """Begin; opens nothing yet."""
        self._pool.start()
        self._housekeeping.start(self._limits.poll_seconds, now=False)

    def close(self) -> Deferred[None]:
        """Deferred of None: pass on all that comes, let what is under way end, close all files.

        ``remote`` stays as it is.
        """
        return Deferred.fromCoroutine(self._close())

    async def _close(self) -> None:
        if self._workers.closing:
            return
        self._workers.closing = True
        if self._housekeeping.running:
            self._housekeeping.stop()
        self._readers.clear()
        await self._workers.drained()
        await self._workers.run(self._connections.close)
        self._pool.stop()

    # Logging in

    def login(
        self, address: str, password: str, scope: Scope, listener: IListener | None
    ) -> Deferred[Access]:
        async def login() -> Access:
            heard = Listener(listener, self._readers.remove)
            access = await self.remote.login(address, password, scope, heard)
            self._enter(access, heard)
            return access

        return Deferred.fromCoroutine(login())

    def login_scram(
        self, address: str, proof: ScramProof, scope: Scope, listener: IListener | None
    ) -> Deferred[ScramAccepted]:
        async def login() -> ScramAccepted:
            heard = Listener(listener, self._readers.remove)
            accepted = await self.remote.login_scram(address, proof, scope, heard)
            self._enter(accepted.access, heard)
            return accepted

        return Deferred.fromCoroutine(login())

    def logout(self, access: Access) -> None:
        reader = self._readers.of(access)
        if reader is not None:
            self._readers.remove(reader)
        self.remote.logout(access)

    # Reading

    def poll(self, access: Access) -> Deferred[int]:
        far = super().poll
        return self._try(access, self._nothing_waits, lambda: far(access))

    def folders(self, access: Access) -> Deferred[list[Folder]]:
        far = super().folders
        return self._read(access, lambda box: box.folders(), lambda: far(access))

    def subscriptions(self, access: Access) -> Deferred[list[str]]:
        far = super().subscriptions
        return self._read(access, lambda box: box.subscriptions(), lambda: far(access))

    def select(self, access: Access, name: str, writable: bool) -> Deferred[Selected]:
        far = super().select
        return self._read(
            access,
            lambda box: box.select(name, writable),
            lambda: far(access, name, writable),
            lambda held, found: held.asked(found.folder.id, found.folder.highestmodseq),
        )

    def fetch(self, access: Access, folder_id: int, request: FetchRequest) -> Deferred[FetchPage]:
        far = super().fetch
        return self._read(
            access,
            lambda box: box.fetch(folder_id, request),
            lambda: far(access, folder_id, request),
            lambda held, _: held.asked(folder_id),
        )

    def read(
        self, access: Access, folder_id: int, uid: int, section: Section
    ) -> Deferred[bytes | None]:
        far = super().read
        return self._read(
            access,
            lambda box: box.read(folder_id, uid, section),
            lambda: far(access, folder_id, uid, section),
        )

    def changes(
        self, access: Access, folder_id: int, since: int, claim_recent: bool
    ) -> Deferred[Changes]:
        far = super().changes
        return self._read(
            access,
            lambda box: box.changes(folder_id, since, claim_recent),
            lambda: far(access, folder_id, since, claim_recent),
            lambda held, found: held.asked(folder_id, found.modseq),
        )

    def search(self, access: Access, folder_id: int, criteria: Criteria) -> Deferred[Found]:
        far = super().search
        return self._read(
            access,
            lambda box: box.search(folder_id, criteria),
            lambda: far(access, folder_id, criteria),
        )

    # Behind the interface

    def _read(
        self,
        access: Access,
        near: Callable[[Mailbox], T],
        far: Callable[[], Deferred[T]],
        learn: Callable[[Held, T], None] = lambda _held, _answer: None,
    ) -> Deferred[T]:
        """``near`` with the session's mailbox on a worker thread, else ``far``."""

        def trip(access: Access) -> T:
            with self._open(access) as mailbox:
                return near(mailbox)

        return self._try(access, trip, far, learn)

    def _try(
        self,
        access: Access,
        near: Callable[[Access], T],
        far: Callable[[], Deferred[T]],
        learn: Callable[[Held, T], None] = lambda _held, _answer: None,
    ) -> Deferred[T]:
        """``near`` on a worker thread, else ``far``.

        ``learn`` tells the link's store what the session knows: it looks there for what was
        missed while the link was away.
        """
        held = self._held(access)
        if held is None:
            self.passed += 1
            return far()
        return Deferred.fromCoroutine(self._first_near(held, near, far, learn))

    async def _first_near(
        self,
        held: Held,
        near: Callable[[Access], T],
        far: Callable[[], Deferred[T]],
        learn: Callable[[Held, T], None],
    ) -> T:
        access = held.access
        try:
            answer = await self._workers.run_for(access.alias, near, access)
        except _ANSWERS:
            self.answered += 1
            raise
        except CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - the primary answers, whatever it was
            _note(error, access.mailbox)
        else:
            self.answered += 1
            learn(held, answer)
            return answer
        self.passed += 1
        return await far()

    # On worker threads

    @contextmanager
    def _open(self, access: Access) -> Iterator[Mailbox]:
        def key() -> FileKey:
            with self._vault.use(access.key) as packed:
                return FileKey.unpack(packed)

        path = self._volume.mailbox(access.mailbox)
        with self._connections.use(path, key, _no_fence) as mailbox:
            yield mailbox

    def _nothing_waits(self, access: Access) -> int:
        """NeedsWriter when mail waits, which takes a writer to bring in."""
        public_key = self._public_keys.get(access.mailbox)
        if public_key is None:
            with self._open(access) as mailbox:
                _, public_key = mailbox.keys()
            self._public_keys[access.mailbox] = public_key
        if self._volume.waiting(public_key).exists():
            raise NeedsWriter("mail waits")
        return 0

    # Sessions

    def _held(self, access: Access) -> Held | None:
        """The session as it is now, or None when it is not for us to read."""
        reader = self._readers.of(access)
        held = None if reader is None else self._here(access)
        if reader is not None and held is not None:
            self._readers.reads(reader, held.access.mailbox)
        return held

    def _enter(self, access: Access, listener: Listener) -> None:
        if not (listener.ended or self._workers.closing):
            listener.reader = self._readers.add(access)

    def _unread(self, mailbox: str) -> None:
        """Close a file and forget its key."""
        self._public_keys.pop(mailbox, None)
        if len(self._connections):
            path = self._volume.mailbox(mailbox)
            self._workers.run(self._connections.drop, path).addErrback(_unexpected)

    def _keep_house(self) -> Deferred[None] | None:
        if not self._connections.idle:
            return None
        return self._workers.run(self._connections.expire).addErrback(_unexpected)


def served_by(remote: RemoteStore, link: PrimaryLink) -> Callable[[Access], Held | None]:
    """What ``NearStore`` asks before it reads: ``link`` leads to the primary of this machine."""

    def here(access: Access) -> Held | None:
        held = remote.session(access)
        if held is None or held.home != link.name or held.moving is not None or not link.up:
            return None
        return held

    return here


def _no_fence() -> None:
    """Nothing is written through these connections."""


def _note(error: Exception, mailbox: str) -> None:
    if not isinstance(error, MailsrvError):
        log_unexpected(error)
    elif not isinstance(error, _ORDINARY):
        kind = type(error).__name__
        log.info("{mailbox} could not be read here: {kind}", mailbox=mailbox, kind=kind)


def _unexpected(failure: Any) -> None:
    log_unexpected(failure.value)
