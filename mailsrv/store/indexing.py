"""Full-text indexing behind the sessions' backs, and what else can wait, while a key is at hand.

Indexing a message costs more than storing it, and a search looks at what is not indexed yet, so
it may come later: a few messages at a time, one mailbox at a time, with pauses.
"""

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from mailsrv.errors import MailsrvError
from mailsrv.store.leases import Leases
from mailsrv.store.limits import Limits
from mailsrv.store.sessions import Session, Sessions
from mailsrv.store.workers import Workers, log_unexpected

Turn = Callable[[Session], Coroutine[Any, Any, int]]
"""Does some of what is to be done and answers how much is left."""

_PUT_OFF_AT_MOST = 20
"""Turns in a row that requests under way may take from indexing."""


class Indexing:
    """Takes turns among the aliases that have something to index; reactor's thread."""

    def __init__(
        self,
        reactor: IReactorTime,
        workers: Workers,
        sessions: Sessions,
        leases: Leases,
        limits: Limits,
        turn: Turn,
    ) -> None:
        self._reactor = reactor
        self._workers = workers
        self._sessions = sessions
        self._leases = leases
        self._limits = limits
        self._turn = turn
        self._wanted: dict[str, None] = {}
        self._next: IDelayedCall | None = None
        self._under_way = False
        self._put_off = 0

    def want(self, alias: str) -> None:
        """Messages came to this alias, or its owner."""
        if self._workers.closing:
            return  # what was under way when the stop began still says that it is done
        self._wanted[alias] = None
        self._schedule()

    def stop(self) -> None:
        """Begin no other turn."""
        self._wanted.clear()
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _schedule(self) -> None:
        if self._wanted and self._next is None and not self._under_way:
            self._next = self._reactor.callLater(self._limits.index_delay, self._start)

    def _start(self) -> None:
        self._next = None
        if self._workers.busy and self._put_off < _PUT_OFF_AT_MOST:
            self._put_off += 1
            self._schedule()
            return
        self._put_off = 0
        alias = next(iter(self._wanted))
        del self._wanted[alias]
        session = self._sessions.holder(alias)
        if session is not None:
            self._under_way = True
            self._workers.begin(lambda: self._take_turn(session)).addErrback(lambda _: None)
        else:
            self._leases.postpone(alias, self.want)
            self._schedule()

    async def _take_turn(self, session: Session) -> None:
        try:
            if await self._turn(session) > 0:
                self._wanted[session.access.alias] = None
        except MailsrvError:
            pass  # busy, moved or gone: the next arrival or login asks again
        except Exception as error:  # noqa: BLE001
            log_unexpected(error)
        finally:
            self._under_way = False
            if not self._workers.closing:
                self._schedule()
