"""Hold a mailbox still, so that its files can be copied and another primary can take it over.

The gate of the alias is shut, what runs ends, everything open is closed, and a password change in
another process is locked out. The hold ends by itself: who took it may be gone for good.
"""

import threading
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from functools import partial
from typing import Any, ParamSpec, TypeVar

from twisted.internet import defer
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall
from zope.interface import implementer

from mailsrv.errors import Elsewhere, MailboxBusy, Unavailable
from mailsrv.store.connections import Connections
from mailsrv.store.gate import Gate
from mailsrv.store.home import Home
from mailsrv.store.interfaces import IFrozen
from mailsrv.store.usage import Usages
from mailsrv.store.volume import Volume
from mailsrv.store.waiting import WaitingFiles
from mailsrv.store.workers import Workers, log_failure, log_unexpected

P = ParamSpec("P")
T = TypeVar("T")


class _Lock:
    """A lock taken on a worker thread for somebody who may have given up meanwhile."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._stack: ExitStack | None = ExitStack()

    def take(self, stack: ExitStack) -> None:
        """Keep what was entered; leave it at once when nobody wants it any more."""
        with self._mutex:
            if self._stack is not None:
                self._stack.push(stack)
                return
        stack.close()

    def release(self) -> None:
        """Blocking, a little: a file is removed."""
        with self._mutex:
            stack, self._stack = self._stack, None
        if stack is not None:
            stack.close()


@implementer(IFrozen)
class Frozen:
    """One hold; the methods are those of ``IFrozen``. Reactor's thread.

    It lasts ``seconds``, and then as long as what it runs. ``undo`` ends it.
    """

    def __init__(
        self,
        reactor: Any,
        workers: Workers,
        seconds: float,
        undo: Callable[["Frozen"], Coroutine[Any, Any, None]],
    ) -> None:
        self._reactor = reactor
        self._workers = workers
        self._undo = undo
        self._running = 0
        self._ending = False
        self._over = False
        self._asked: list[Deferred[None]] = []
        self._late: IDelayedCall = reactor.callLater(seconds, self.thaw)

    @property
    def holds(self) -> bool:
        return not self._ending

    def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        if self._ending or self._workers.closing:
            return fail(Unavailable("the hold on this mailbox has ended"))
        self._running += 1

        def trip() -> T:
            try:
                return function(*args, **kwargs)
            finally:
                # here, since who cancels is answered before the work has ended
                self._reactor.callFromThread(self._ran)

        return self._workers.run(trip)

    def thaw(self) -> Deferred[None]:
        thawed: Deferred[None] = Deferred()
        if self._over:
            thawed.callback(None)
            return thawed
        self._asked.append(thawed)
        if not self._ending:
            self._ending = True
            if self._late.active():
                self._late.cancel()
            self._end_when_idle()
        return thawed

    def _ran(self) -> None:
        self._running -= 1
        self._end_when_idle()

    def _end_when_idle(self) -> None:
        if self._ending and not self._running:
            Deferred.fromCoroutine(self._end()).addErrback(log_failure)

    async def _end(self) -> None:
        try:
            await self._undo(self)
        finally:
            self._over = True
            asked, self._asked = self._asked, []
            for one in asked:
                if not one.called:
                    one.callback(None)


class Freezing:
    """Takes and ends holds; reactor's thread.

    ``departed`` hears of an alias that another primary serves when its hold ends, and of which.
    """

    def __init__(
        self,
        *,
        reactor: Any,
        workers: Workers,
        gate: Gate,
        home: Home,
        volume: Volume,
        connections: Connections,
        files: WaitingFiles,
        usages: Usages,
        seconds: float,
        departed: Callable[[str, str], None],
    ) -> None:
        self._reactor = reactor
        self._workers = workers
        self._gate = gate
        self._home = home
        self._volume = volume
        self._connections = connections
        self._files = files
        self._usages = usages
        self._seconds = seconds
        self._departed = departed
        self._held: set[Frozen] = set()

    async def freeze(self, alias: str, patience: float) -> Frozen:
        """As ``IPrimary.freeze``."""
        if self._gate.is_shut(alias):
            raise MailboxBusy("this mailbox is being moved already")
        lock = _Lock()
        empty = self._gate.shut(alias)
        try:
            await empty.addTimeout(patience, self._reactor)
            await self._workers.run(self._settle, alias, patience, lock)
        except BaseException as error:
            self._gate.open(alias)
            self._release(lock)
            if isinstance(error, defer.TimeoutError):
                raise MailboxBusy("requests of this mailbox take too long to end") from None
            raise
        frozen = Frozen(
            self._reactor, self._workers, self._seconds, partial(self._undo, alias, lock)
        )
        self._held.add(frozen)
        return frozen

    async def close(self) -> None:
        """End all holds, when nothing can come in any more."""
        for frozen in list(self._held):
            await frozen.thaw()

    def _settle(self, alias: str, patience: float, lock: _Lock) -> None:
        """On a worker thread: close everything, and have it on disk."""
        self._home.mailbox(alias)
        with ExitStack() as stack:
            stack.enter_context(self._volume.exclusive(alias, patience))
            record = self._home.mailbox(alias)
            self._connections.settle(self._volume.mailbox(record.id), patience)
            self._files.close(record.public_key)
            self._usages.flush()
            lock.take(stack.pop_all())

    async def _undo(self, alias: str, lock: _Lock, frozen: Frozen) -> None:
        self._held.discard(frozen)
        primary: str | None = None
        try:
            await self._workers.run(self._home.mailbox, alias)
        except Elsewhere as error:
            primary = error.primary
            self._departed(alias, primary)
        except Exception as error:  # noqa: BLE001 - the fence still guards what is written
            log_unexpected(error)
        finally:
            self._gate.open(alias, primary)
        await self._release(lock)

    def _release(self, lock: _Lock) -> Deferred[None]:
        return self._workers.run(lock.release).addErrback(log_failure)
