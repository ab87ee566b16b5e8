"""Asking the primary that serves an address or a session, wherever that is by now.

A primary that does not serve an alias says which one does. A login or a delivery then goes there;
a session is entered there with the key that it has here, and goes on: its client sees a pause.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from mailsrv.errors import Elsewhere, KeyGone, LeaseEnded, MailsrvError, StaleKey, Unavailable
from mailsrv.keys.vault import Vault
from mailsrv.link.mailbox_operations import (
    SessionOperation,
)
from mailsrv.link.operations import (
    Logout,
    Resume,
    Resumed,
)
from mailsrv.link.secondary.line import Ask, Line
from mailsrv.link.secondary.primary_link import PrimaryLink
from mailsrv.link.secondary.routes import Routes
from mailsrv.link.secondary.sessions import Held, HeldSessions, tell_revoked
from mailsrv.link.wire.limits import CHUNK
from mailsrv.store.values import Access
from mailsrv.store.workers import log_unexpected

HOPS = 4
"""How often one request is sent on by primaries that do not serve it."""

TRIES = 8
"""How often one request of a session begins again: hops, keys to be lent anew."""

NOWHERE = "no primary serves this mailbox now"


class IRequest(Protocol):
    """Something asked of whichever primary serves an address."""

    def __call__(self, line: Line) -> Ask:
        """Compose it for a line."""


class _SessionRequest:
    """One request of a session. The key goes with it where the primary may not have it."""

    def __init__(
        self, held: Held, operation: SessionOperation, size: int, vault: Vault, clock: IReactorTime
    ) -> None:
        self._held = held
        self._operation = operation
        self._size = size
        self._vault = vault
        self._clock = clock
        self._line: Line | None = None
        self.sent = 0.0

    def __call__(self, line: Line) -> Ask:
        held, now = self._held, self._clock.seconds()
        if line.connection.welcome.primary != held.home:
            raise Elsewhere(held.home)  # it has gone from there meanwhile, and so has its key
        self._line, self.sent = line, now
        lent = None
        if self._operation.keyed and not held.lease.holds(line, now):
            with self._vault.use(held.access.key) as key:
                lent = line.sealer.lend(key, held.access.alias, held.id)
            if self._size < CHUNK // 2:  # what is longer arrives later than what is sent after it
                held.lease.renew(line, now)
        return Ask(self._operation, held.id, lent)

    def answered(self) -> None:
        """It was done: the lease began anew."""
        if self._operation.keyed and self._line is not None:
            self._held.lease.begin(self._line, self.sent)


class Asking:
    """The ways to the primaries that a front end knows, and which of them is whose."""

    def __init__(
        self,
        links: Mapping[str, PrimaryLink],
        vault: Vault,
        clock: IReactorTime,
        home: str,
    ) -> None:
        self.links = links
        self.sessions = HeldSessions()
        self.routes = Routes()
        self._vault = vault
        self._clock = clock
        self._home = home
        self.missed: Callable[[Held], None] = lambda _: None
        """Called with a session that may have missed something."""

    # Whoever serves it

    def link(self, name: str) -> PrimaryLink:
        """The link to a primary. Unavailable for one that is not configured."""
        link = self.links.get(name)
        if link is None:
            raise Unavailable(f"this front end has no link to primary {name}")
        return link

    async def routed(self, key: str, request: IRequest, size: int = 0) -> tuple[str, Any]:
        """Ask whoever serves an address or alias. Its name and the answer.

        A primary that is away is not remembered as the one to ask: another may know better.
        """
        name = self.routes.of(key) or self._first()
        for _ in range(HOPS):
            link = self.link(name)
            try:
                return name, await _again_if_stale(link, request, size)
            except Elsewhere as error:
                name = error.primary
                self.routes.learn(key, name)
            except Unavailable:
                if not link.up:
                    self.routes.forget(key)
                raise
        raise Unavailable(NOWHERE)

    def _first(self) -> str:
        """Whom to ask about what nobody knows: the own primary, or any that answers."""
        if self.links[self._home].up:
            return self._home
        return next((name for name, link in self.links.items() if link.up), self._home)

    # A session's own

    async def ask(self, access: Access, operation: SessionOperation, size: int = 0) -> Any:
        """Ask for something in the mailbox of a session. KeyGone when it has ended."""
        held = self.sessions.check(access)
        request = _SessionRequest(held, operation, size, self._vault, self._clock)
        entered = False
        for _ in range(TRIES):
            try:
                answer = await self.link(held.home).ask(request, size)
            except (LeaseEnded, StaleKey):
                held.lease.end(request.sent)
            except KeyGone:
                # where it is unknown and here it is not, it may be entered again, once
                if entered or not self.sessions.holds(held):
                    raise
                entered = True
                await self.follow(held, held.home)
            except Elsewhere as error:
                await self.follow(held, error.primary)
            else:
                request.answered()
                return answer
        raise Unavailable(NOWHERE)

    # Sessions that move

    def follow(self, held: Held, primary: str) -> Deferred[None]:
        """Deferred of None when the session is entered at a primary, which others may wait for too.

        KeyGone when it no longer holds; it has ended then and its listener knows.
        """
        waiter: Deferred[None] = Deferred()
        if held.moving is not None:
            held.moving.append(waiter)
            return waiter
        held.moving = [waiter]
        Deferred.fromCoroutine(self._move(held, primary)).addBoth(lambda end: _moved(held, end))
        return waiter

    async def _move(self, held: Held, primary: str) -> None:
        for _ in range(HOPS):
            link = self.link(primary)
            held.toward = primary
            answer = await link.ask(lambda _: Ask(Resume((resumed(held),))))
            other = self._entered(held, primary, answer[0])
            if other is None:
                return
            primary = other
        raise Unavailable(NOWHERE)

    def _entered(self, held: Held, primary: str, answer: Access | str) -> str | None:
        """Take in what Resume answered. The name of the primary to ask instead, or None."""
        if not self.sessions.holds(held):
            self.links[primary].hint(Logout(), held.id)
            raise KeyGone("this session has ended")
        if isinstance(answer, str):
            elsewhere = Elsewhere.said(answer)
            if elsewhere is not None:
                return elsewhere.primary
            self.end(held, answer)
            raise KeyGone(answer)
        before, held.home, held.toward = held.home, primary, None
        self.adopt(held, answer)
        if before != primary:
            self.links[before].hint(Logout(), held.id)
            for key in (held.access.alias, held.access.address):
                self.routes.learn(key, primary)
        self.missed(held)
        return None

    def adopt(self, held: Held, access: Access) -> None:
        """The primary has entered a session: perhaps its mailbox has another name by now."""
        held.access = msgspec.structs.replace(held.access, mailbox=access.mailbox)

    def end(self, held: Held, reason: str) -> None:
        """A session holds no longer: forget it and its key, and tell its listener once."""
        if self.sessions.remove(held):
            self._vault.drop(held.access.key)
            tell_revoked(held.listener, reason)


def resumed(held: Held) -> Resumed:
    """A session as Resume names it."""
    access = msgspec.structs.replace(held.access, key="")
    return Resumed(access, listens=held.listener is not None)


async def _again_if_stale(link: PrimaryLink, request: IRequest, size: int) -> Any:
    try:
        return await link.ask(request, size)
    except StaleKey:
        return await link.ask(request, size)


def _moved(held: Held, end: Any) -> None:
    waiters, held.moving = held.moving or [], None
    for waiter in waiters:
        if not waiter.called:
            waiter.callback(end)


def expected(failure: Failure) -> None:
    """Pass over an error that is nobody's concern; another one is logged."""
    error = failure.value
    if not isinstance(error, MailsrvError | CancelledError | None):
        log_unexpected(error)
