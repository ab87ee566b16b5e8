"""The same storm over real stores: threads, keys on short leases, holds, connections that break."""

import random
from typing import Any, ClassVar

import attrs
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater

from mailsrv.errors import MailsrvError
from mailsrv.link.wire.frames import Hello, Welcome, decode_frame
from mailsrv.link.wire.limits import MIB, LinkLimits
from mailsrv.store.values import ALL_UIDS, Access, FetchRequest, NewMessage, Section
from tests.link import world
from tests.link.cases import RemoteCase
from tests.link.operations import TIMES
from tests.link.storm import at_rest
from tests.store.conformance import Listener, delivery, message
from tests.waiting import until

TIGHT = LinkLimits(in_flight=3, unsent_octets=MIB, body_octets=MIB, message_octets=2 * MIB)
CLIENT = attrs.evolve(world.QUICK, sent_at_once=2, requests=30)
ROUNDS = 60 * min(TIMES, 10)
SETTLED = 30.0
"""Seconds in which what was asked must have an end, when nothing breaks any more."""


class TestStorm(RemoteCase):
    timeout = 60 * TIMES
    lease_seconds: ClassVar[float] = 0.2

    async def setUp(self) -> None:
        self.dice = random.Random(7)
        self.patch(world, "LINK_LIMITS", TIGHT)
        await super().setUp()
        self.fronts = [self.front, await self.world.frontend(CLIENT)]
        self.asked: list[Deferred[Any]] = []
        self.errors: set[str] = set()

    def cut(self, _way: str, data: bytes) -> bool:
        greeting = isinstance(decode_frame(data), Hello | Welcome)
        return not greeting and self.dice.random() < 0.01

    def ask(self, front: world.FrontEnd, access: Access) -> Deferred[Any]:
        dice, store = self.dice, front.store
        name = f"m{len(self.asked)}"
        long = message(name, "x" * dice.choice((10, 70_000, 400_000)))
        asks = [
            lambda: store.append(access, "INBOX", [NewMessage(long)], None),
            lambda: store.append(access, "INBOX", [NewMessage(message(name))], None),
            lambda: store.fetch(access, 1, FetchRequest(uids=ALL_UIDS, sections=(Section(),))),
            lambda: store.select(access, "INBOX", True),
            lambda: store.changes(access, 1, 1, True),
            lambda: store.deliver(self.alias, delivery(name)),
            lambda: self.visit(front),
            self.hold,
        ]
        return dice.choice(asks)()

    def visit(self, front: world.FrontEnd) -> Deferred[Any]:
        """In and out again, which ends whatever is under way."""

        async def visit() -> None:
            front.store.logout(await self.enter(Listener(), front))

        return Deferred.fromCoroutine(visit())

    def hold(self) -> Deferred[Any]:
        """The mailbox lies still for a moment, as it does when it is moved."""

        async def hold() -> None:
            frozen = await self.primary_store.freeze(self.alias, 5.0)
            try:
                await deferLater(reactor, 0.02)
            finally:
                await frozen.thaw()

        return Deferred.fromCoroutine(hold())

    @property
    def primary_store(self) -> Any:
        return self.world.primary.store

    async def test_every_request_settles_and_nothing_is_left(self) -> None:
        accesses = [await self.enter(Listener(), front) for front in self.fronts]
        for front in self.fronts:
            front.cut = self.cut
        for _ in range(ROUNDS):
            for front, access in zip(self.fronts, accesses, strict=True):
                asked = self.ask(front, access)
                self.asked.append(asked.addErrback(self.expected))
                if self.dice.random() < 0.2:
                    reactor.callLater(self.dice.random() / 20, asked.cancel)  # type: ignore[attr-defined]
            await deferLater(reactor, self.dice.choice((0.0, 0.002, 0.05)))
        for front in self.fronts:
            front.cut = None
        await deferLater(reactor, 0.06)  # the last of those who cancel
        await until(lambda: all(one.called for one in self.asked), SETTLED)
        self.assertNotIn("AssertionError", self.errors)
        await self.at_rest()

    def expected(self, failure: Any) -> None:
        self.errors.add(failure.type.__name__)
        failure.trap(MailsrvError, CancelledError)

    async def at_rest(self) -> None:
        workers, gate = self.primary_store._workers, self.primary_store._gate
        await until(lambda: not workers._turns and not gate._inside and not gate._shut)
        for front in self.fronts:
            await front.up()
            link = front.links["primary"]
            await until(lambda link=link: not link.unanswered and not link._octets)  # type: ignore[misc]
        ends = [one for front in self.fronts for one in front.connections]
        ends += self.world.primary.connections
        for one in ends:
            await until(lambda one=one: not one.peer.serving and not one.peer.in_flight)  # type: ignore[misc]
            at_rest(one.peer)
            self.assertEqual((one._budget.used, one._budget._let_in), (0, 0))
