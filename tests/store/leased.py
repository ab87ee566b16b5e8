"""A store whose time stands still until a test lets it pass, and secondaries that lend it keys."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from zope.interface import implementer

from mailsrv.store.interfaces import IKeeper, IPrimary
from mailsrv.store.values import Access
from tests.store.cases import ADDRESS, StoreCase
from tests.store.conformance import Listener
from tests.store.world import World
from tests.waiting import until


class Hours(Clock):
    """Delayed calls happen when the test says so, work on threads comes back by itself."""

    def callFromThread(self, call: Callable[..., Any], *given: Any) -> None:
        reactor.callFromThread(call, *given)  # type: ignore[attr-defined]


@implementer(IKeeper)
@attrs.define(eq=False)
class Secondary:
    """Holds the keys of its sessions, as a far front end does. ``silent``, it does not answer."""

    store: IPrimary
    sessions: dict[str, tuple[Access, bytes]] = attrs.Factory(dict)
    asked: list[tuple[str, str]] = attrs.Factory(list)
    silent: bool = False
    held_back: list[Callable[[], None]] = attrs.Factory(list)

    async def enter(
        self, password: str, session: str = "one", listener: Listener | None = None
    ) -> Access:
        access, key = await self.store.login_leased(ADDRESS, password, "imap", listener, session)
        self.sessions[session] = (access, key)
        return access

    def lend(self, session: str = "one") -> None:
        self.store.lend(*self.sessions[session])

    def ask(self, alias: str, mailbox: str) -> Deferred[Access | None]:
        self.asked.append((alias, mailbox))
        if not self.silent:
            return succeed(self._answer(alias, mailbox))
        late: Deferred[Access | None] = Deferred()
        self.held_back.append(lambda: late.callback(self._answer(alias, mailbox)))
        return late

    def answer(self) -> None:
        """Answer what was asked in silence."""
        while self.held_back:
            self.held_back.pop(0)()

    def _answer(self, alias: str, mailbox: str) -> Access | None:
        for access, key in self.sessions.values():
            if (access.alias, access.mailbox) == (alias, mailbox):
                self.store.lend(access, key)
                return access
        return None


class LeasedCase(StoreCase):
    """Time passes by ``self.hours.advance``; a lease lasts 5 s, an ask 1 s."""

    def setUp(self) -> None:
        self.hours = Hours()
        self.world = World(Path(self.mktemp()))
        self.world.limits = attrs.evolve(self.world.limits, idle_seconds=10**6, **self.limits)
        self.addCleanup(self.world.end)
        self.alias, self.password = self.world.mailbox(ADDRESS)
        self.store = self.world.store(self.hours)
        self.far = Secondary(self.store)

    async def until(self, holds: Callable[[], Any]) -> None:
        """Wait for threads, and let what is due now happen."""

        def holds_now() -> Any:
            self.hours.advance(0)
            return holds()

        await until(holds_now)

    async def at_rest(self) -> None:
        """Wait until nothing is under way, without time passing."""
        await self.until(lambda: not self.store._workers.busy)

    async def pass_time(self, seconds: int) -> None:
        """Let time pass, and what it sets going come to its end."""
        await self.at_rest()
        for _ in range(seconds):
            self.hours.advance(1.0)
            await self.at_rest()

    def keys(self) -> int:
        """How many keys lie in the vault."""
        return len(self.store._vault)

    def open(self) -> int:
        """How many connections are open."""
        return len(self.store._connections)
