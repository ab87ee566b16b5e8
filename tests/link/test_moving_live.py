"""Moves between two running primaries, over real links, while owners work and mail arrives."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

import attrs
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from mailsrv.errors import Elsewhere, MailsrvError
from mailsrv.link.moving.mover import Moved
from mailsrv.link.moving.operator import carry, open_link
from mailsrv.link.moving.serving import MoveFreeze, MoveOpen, Operator
from mailsrv.link.primary.front_end import LinkPrimary
from mailsrv.link.sealed import LinkKeys
from mailsrv.link.transport.tokens import OPERATOR
from mailsrv.link.transport.websocket import LinkServerFactory
from mailsrv.mailbox.values import ALL_UIDS, FetchRequest, NewMessage, Section
from mailsrv.settings import Primary as Address
from mailsrv.store.lifecycle import Lifecycle
from mailsrv.store.local import LocalStore
from mailsrv.store.values import Access, Delivery
from tests.link.world import LINK_LIMITS, TOKENS, FrontEnd, Primary
from tests.store.world import World, now
from tests.waiting import until

ADDRESS = "hello@example.com"
MESSAGES = 40


class NamedPrimary(Primary):
    """One of several: the store knows its name, and operators are served."""

    def start(self) -> LocalStore:
        self.keys = LinkKeys.generate()
        self.store = self.world.store(name=self.name)
        self.listen()
        return self.store

    def listen(self) -> None:
        store = self.store
        assert store is not None
        primary = LinkPrimary(
            store,  # type: ignore[arg-type]
            self.keys,
            self.lease_seconds,
            {OPERATOR: lambda connection: Operator(store.moves, connection)},
        )
        self.factory = LinkServerFactory(
            TOKENS, None, primary.handler, primary.welcome, reactor, LINK_LIMITS
        )
        self.port = reactor.listenUNIX(self.path, self.factory)  # type: ignore[attr-defined]


class LiveMoveTests(TestCase):
    timeout = 60

    def setUp(self) -> Any:
        base = Path(self.mktemp())
        base.mkdir()
        worlds = [World(base / name) for name in "ab"]
        worlds[1].directory.close()
        worlds[1].directory = worlds[0].directory
        self.directory = worlds[0].directory
        self.worlds = worlds
        for world in worlds:
            world.limits = attrs.evolve(world.limits, moves_seconds=0.1)
        self.directory.add_domain("example.com")
        self.alias = self.directory.add_alias(ADDRESS, primary="a").id
        self.password = Lifecycle(self.directory, worlds[0].volume, now, "a").set_first_password(
            ADDRESS
        )
        self.tokens = base / "tokens"
        self.tokens.write_text(f"operator {'0' * 64}\n")
        self.tokens.chmod(0o600)
        self.a, self.b = (
            NamedPrimary(world, name) for world, name in zip(worlds, "ab", strict=True)
        )
        for primary in (self.a, self.b):
            primary.start()
        self.front = FrontEnd([self.a, self.b])
        self.addCleanup(self.end)
        return Deferred.fromCoroutine(self.front.up())

    async def end(self) -> None:
        await self.front.store.stop()
        await gatherResults(
            [Deferred.fromCoroutine(primary.stop()) for primary in (self.a, self.b)]
        )
        self.directory.close()

    def address(self, primary: Primary) -> tuple[str, Address]:
        return primary.name, Address(endpoint=f"unix:{primary.path}", token_file=self.tokens)

    def move(self, source: Primary, target: Primary) -> Deferred[Moved]:
        return Deferred.fromCoroutine(
            carry(
                self.alias,
                self.address(source),
                self.address(target),
                LINK_LIMITS,
                reactor,
                lambda _: None,
            )
        )

    async def contents(self, access: Access) -> Counter[bytes]:
        store = self.front.store
        inbox = (await store.folders(access))[0]
        page = await store.fetch(
            access,
            inbox.id,
            FetchRequest(uids=ALL_UIDS, sections=(Section(),), max_rows=10**6, max_bytes=10**8),
        )
        return Counter(row[1] for row in page.rows)

    async def write(self, access: Access, done: list[bytes]) -> None:
        for number in range(MESSAGES):
            content = b"written %d" % number
            await self.front.store.append(access, "INBOX", [NewMessage(content)], None)
            done.append(content)
            await deferLater(reactor, 0.005)

    async def deliver(self, done: list[bytes]) -> None:
        for number in range(MESSAGES):
            content = b"delivered %d" % number
            delivery = Delivery(content, content.decode(), "2026-11-23T10:00:00Z")
            await self.front.store.deliver(self.alias, delivery)
            done.append(content)
            await deferLater(reactor, 0.005)

    async def test_under_load_there_and_back(self) -> None:
        access = await self.front.store.login(ADDRESS, self.password, "imap", None)
        done: list[bytes] = []
        load = gatherResults(
            [
                Deferred.fromCoroutine(self.write(access, done)),
                Deferred.fromCoroutine(self.deliver(done)),
            ]
        )
        await until(lambda: len(done) > 5)
        first = await self.move(self.a, self.b)
        self.assertEqual(self.directory.alias(ADDRESS).primary, "b")
        await until(lambda: len(done) > 30)
        second = await self.move(self.b, self.a)
        await load
        self.assertEqual(len(done), 2 * MESSAGES)
        self.assertNotEqual(first.mailbox, second.mailbox)
        await self.front.store.poll(access)
        self.assertEqual(await self.contents(access), Counter(done))
        again = await self.front.store.login(ADDRESS, self.password, "imap", None)
        self.assertEqual(again.mailbox, second.mailbox)
        self.assertEqual(await self.contents(again), Counter(done))
        usage = self.directory.usage(self.alias)
        await until(lambda: self.directory.usage(self.alias).messages == 2 * MESSAGES)
        self.assertLessEqual(usage.messages, 2 * MESSAGES)

    async def test_the_old_copy_goes_when_the_owner_comes(self) -> None:
        old = self.directory.mailbox(self.alias)
        assert old is not None
        moved = await self.move(self.a, self.b)
        await deferLater(reactor, 0.3)
        self.assertTrue(self.a.world.volume.mailbox(old.id).exists())
        access = await self.front.store.login(ADDRESS, self.password, "imap", None)
        self.assertEqual(access.mailbox, moved.mailbox)
        await until(lambda: len(self.directory.mailbox_files(self.alias)) == 1)
        self.assertEqual(self.a.world.files("*.sqlite"), [])
        self.assertEqual(self.b.world.files("*.sqlite"), [f"{moved.mailbox}.sqlite"])

    async def test_a_short_visit_is_enough(self) -> None:
        await self.move(self.a, self.b)
        await deferLater(reactor, 0.3)
        access = await self.front.store.login(ADDRESS, self.password, "imap", None)
        self.front.store.logout(access)
        await until(lambda: len(self.directory.mailbox_files(self.alias)) == 1)

    async def test_a_damaged_copy_keeps_the_old_one(self) -> None:
        old = self.directory.mailbox(self.alias)
        assert old is not None
        access = await self.front.store.login(ADDRESS, self.password, "imap", None)
        message = NewMessage(b"\r\n" + os.urandom(200_000).hex().encode())
        await self.front.store.append(access, "INBOX", [message], None)
        self.front.store.logout(access)
        moved = await self.move(self.a, self.b)
        path = self.b.world.volume.mailbox(moved.mailbox)
        octets = bytearray(path.read_bytes())
        octets[-100_000] ^= 1
        path.write_bytes(octets)
        await self.front.store.login(ADDRESS, self.password, "imap", None)
        await deferLater(reactor, 0.5)
        self.assertTrue(self.a.world.volume.mailbox(old.id).exists())
        self.assertEqual(len(self.directory.moved_mailboxes("a")), 1)

    async def test_the_operator_goes_away_in_the_middle(self) -> None:
        access = await self.front.store.login(ADDRESS, self.password, "imap", None)
        link = await open_link(*self.address(self.a), LINK_LIMITS, reactor)
        await link.peer.call(MoveOpen(self.alias))
        await link.peer.call(MoveFreeze(5.0))
        waiting = self.front.store.append(access, "INBOX", [NewMessage(b"waits")], None)
        await deferLater(reactor, 0.2)
        self.assertFalse(waiting.called)
        link.abort("gone")
        await waiting
        self.assertEqual(await self.contents(access), Counter([b"waits"]))
        moved = await self.move(self.a, self.b)
        self.assertEqual(self.directory.mailbox(self.alias).id, moved.mailbox)  # type: ignore[union-attr]
        self.assertEqual(await self.contents(access), Counter([b"waits"]))

    async def test_the_target_stops_in_the_middle(self) -> None:
        moving = self.move(self.a, self.b)
        await until(lambda: len(self.directory.mailbox_files(self.alias)) == 2)
        await self.b.deaf()
        await self.assertFailure(moving, MailsrvError)
        self.b.listen()
        await until(lambda: len(self.directory.mailbox_files(self.alias)) == 1)
        self.assertEqual(self.b.world.files("*.sqlite"), [])
        await self.front.store.login(ADDRESS, self.password, "imap", None)

    async def test_one_primary_for_another(self) -> None:
        name, address = self.address(self.a)
        error = await self.assertFailure(
            Deferred.fromCoroutine(open_link("c", address, LINK_LIMITS, reactor)), MailsrvError
        )
        self.assertIn(f"calls itself {name}, expected c", str(error))

    async def test_front_ends_may_not(self) -> None:
        link = next(iter(self.front.connections))
        with self.assertRaises(MailsrvError) as caught:
            await link.peer.call(MoveOpen(self.alias))
        self.assertIn("unknown operation", str(caught.exception))
        self.assertNotIsInstance(caught.exception, Elsewhere)
