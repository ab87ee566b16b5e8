"""What moves leave to be done later: see that a copy opens, let the old one go, tidy up.

A mailbox that came with a move is opened with its owner's key, which only a session brings, and
checked whole. Until then the old copy stays where it was. Which ones, the directory knows.
"""

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from mailsrv.directory.values import Unverified
from mailsrv.errors import MailboxDamaged, MailsrvError, SchemaMismatch, WrongKey
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.store.authentication import Opened
from mailsrv.store.moving import Place
from mailsrv.store.sessions import Session, Sessions
from mailsrv.store.workers import Workers

_DAMAGED = (MailboxDamaged, SchemaMismatch, WrongKey)

log = Logger()


class Verifying:
    """Runs from time to time; reactor's thread. ``work`` does something in a session's mailbox,
    ``open_`` opens that of who has just logged in."""

    def __init__(
        self,
        reactor: IReactorTime,
        workers: Workers,
        place: Place,
        sessions: Sessions,
        work: Callable[[Session, Callable[[Mailbox], None]], Awaitable[None]],
        open_: Callable[[Opened], AbstractContextManager[Mailbox]],
    ) -> None:
        self._workers = workers
        self._place = place
        self._sessions = sessions
        self._work = work
        self._open = open_
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

    def entered(self, opened: Opened) -> None:
        """A login has brought a key: perhaps that is waited for, and the visit may be short."""
        awaited = self._awaited.get(opened.alias)
        if awaited is not None and awaited.mailbox == opened.mailbox:
            self._workers.begin(
                lambda: self._once(awaited, lambda: self._visit(awaited, opened))
            ).addErrback(lambda _: None)

    def _turn(self) -> Deferred[Any]:
        return self._workers.begin(self._look).addErrback(lambda _: None)

    async def _look(self) -> None:
        place = self._place
        await self._workers.run(place.tidy)
        found = await self._workers.run(place.directory.unverified_mailboxes, place.name)
        self._awaited = {one.alias: one for one in found if one.mailbox not in self._damaged}
        for one in list(self._awaited.values()):
            await self._once(one, partial(self._with_sessions, one))

    async def _once(self, moved: Unverified, verify: Callable[[], Awaitable[None]]) -> None:
        if moved.mailbox in self._checking:
            return
        self._checking.add(moved.mailbox)
        try:
            await verify()
        finally:
            self._checking.discard(moved.mailbox)

    async def _visit(self, moved: Unverified, opened: Opened) -> None:
        """With the key of who has this moment logged in, and may be gone before the end."""

        def check() -> None:
            with self._open(opened) as mailbox:
                mailbox.check()

        await self._settle(moved, self._workers.run_for(moved.alias, check))

    async def _with_sessions(self, moved: Unverified) -> None:
        for session in reversed(self._sessions.of_alias(moved.alias)):
            if session.access.mailbox != moved.mailbox:
                continue
            checking = self._work(session, lambda mailbox: mailbox.check())
            if await self._settle(moved, checking):
                return

    async def _settle(self, moved: Unverified, checking: Awaitable[None]) -> bool:
        """Whether it is decided; else the key is not here now: another session, another time."""
        try:
            await checking
        except _DAMAGED as error:
            self._damaged.add(moved.mailbox)
            log.error(
                "Mailbox {mailbox} is not whole since it was moved ({kind}): the old copy is kept",
                mailbox=moved.mailbox,
                kind=type(error).__name__,
            )
            return True
        except MailsrvError:
            return False
        await self._workers.run(self._place.directory.settle_move, moved.alias, moved.mailbox)
        self._awaited.pop(moved.alias, None)
        return True
