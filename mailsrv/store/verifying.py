"""What moves leave to be done later: see that a copy opens, let the old one go, tidy up.

A mailbox that came with a move is opened with its owner's key, which only a session brings, and
checked whole. Until then the old copy stays where it was. Which ones, the directory knows.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from mailsrv.directory.values import Unverified
from mailsrv.errors import MailboxDamaged, MailsrvError, SchemaMismatch, WrongKey
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.store.moving import Place
from mailsrv.store.sessions import Session, Sessions
from mailsrv.store.workers import Workers

_DAMAGED = (MailboxDamaged, SchemaMismatch, WrongKey)

log = Logger()


class Verifying:
    """Runs from time to time; reactor's thread. ``work`` does something in a session's mailbox."""

    def __init__(
        self,
        reactor: IReactorTime,
        workers: Workers,
        place: Place,
        sessions: Sessions,
        work: Callable[[Session, Callable[[Mailbox], None]], Awaitable[None]],
    ) -> None:
        self._workers = workers
        self._place = place
        self._sessions = sessions
        self._work = work
        self._awaited: dict[str, Unverified] = {}
        self._checking: set[str] = set()
        self._damaged: set[str] = set()
        self._loop = LoopingCall(self._turn)
        self._loop.clock = reactor

    def start(self, seconds: float) -> None:
        """Begin now, and again every so many seconds."""
        self._loop.start(seconds, now=True)

    def stop(self) -> None:
        """Begin no more turns."""
        if self._loop.running:
            self._loop.stop()

    def entered(self, session: Session) -> None:
        """A session has brought its key: it may be waited for, and the session may end soon."""
        awaited = self._awaited.get(session.access.alias)
        if awaited is not None:
            self._workers.begin(lambda: self._verify(awaited)).addErrback(lambda _: None)

    def _turn(self) -> Deferred[Any]:
        return self._workers.begin(self._look).addErrback(lambda _: None)

    async def _look(self) -> None:
        place = self._place
        await self._workers.run(place.tidy)
        found = await self._workers.run(place.directory.unverified_mailboxes, place.name)
        self._awaited = {one.alias: one for one in found if one.mailbox not in self._damaged}
        for one in list(self._awaited.values()):
            await self._verify(one)

    async def _verify(self, moved: Unverified) -> None:
        if moved.mailbox in self._checking:
            return
        self._checking.add(moved.mailbox)
        try:
            await self._check(moved)
        finally:
            self._checking.discard(moved.mailbox)

    async def _check(self, moved: Unverified) -> None:
        for session in reversed(self._sessions.of_alias(moved.alias)):
            if session.access.mailbox != moved.mailbox:
                continue
            try:
                await self._work(session, lambda mailbox: mailbox.check())
            except _DAMAGED as error:
                self._damaged.add(moved.mailbox)
                log.error(
                    "Mailbox {mailbox} is not whole since it was moved ({kind}): "
                    "the old copy is kept",
                    mailbox=moved.mailbox,
                    kind=type(error).__name__,
                )
                return
            except MailsrvError:  # its key is not here now: another session, or another time
                continue
            directory = self._place.directory
            await self._workers.run(directory.settle_move, moved.alias, moved.mailbox)
            self._awaited.pop(moved.alias, None)
            return
