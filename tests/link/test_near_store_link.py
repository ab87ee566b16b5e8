"""Reading beside a primary that is reached over a real link, also when the link breaks."""

from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.python.threadpool import ThreadPool
from twisted.trial.unittest import TestCase

from mailsrv.errors import KeyGone
from mailsrv.link.secondary.near_store import NearStore, served_by
from mailsrv.store.interfaces import IStore
from tests.link.cases import RemoteCase
from tests.link.world import FrontEnd, LinkWorld
from tests.store.conformance import ADDRESS, Listener, StoreConformance, delivery, new
from tests.store.world import now
from tests.waiting import until


def near(world: LinkWorld, front: FrontEnd) -> NearStore:
    store = NearStore(
        front.store,
        world.world.volume,
        front.vault,
        reactor,
        ThreadPool(0, 4, name="near"),
        now,
        served_by(front.store, front.links["primary"]),
        world.world.limits,
    )
    store.start()
    return store


class TestNearStoreOverALink(StoreConformance, TestCase):
    async def make_store(self) -> IStore:
        self.world = LinkWorld(Path(self.mktemp()))
        self.addCleanup(self.world.end)
        store = near(self.world, await self.world.frontend())
        self.addCleanup(store.close)
        return store

    async def new_alias(self, address: str, quota: int | None = None) -> tuple[str, str]:
        return self.world.world.mailbox(address, quota)


class TestLink(RemoteCase):
    async def setUp(self) -> None:
        await super().setUp()
        self.near = near(self.world, self.front)
        self.addCleanup(self.near.close)
        self.listener = Listener()
        self.access = await self.near.login(ADDRESS, self.password, "imap", self.listener)
        await self.near.append(self.access, "INBOX", [new("a")], None)
        self.inbox = (await self.near.select(self.access, "INBOX", True)).folder

    async def test_reads_stay_here(self) -> None:
        front = self.front
        front.cut = lambda _way, _data: self.fail("something went over the link")
        for _ in range(3):
            self.assertEqual((await self.near.folders(self.access))[0].messages, 1)
            self.assertEqual(await self.near.poll(self.access), 0)
        front.cut = None

    async def test_mail_is_read_when_it_was_announced(self) -> None:
        for number in range(5):
            before = self.near.passed
            await self.world.primary.store.deliver(self.alias, delivery(f"d{number}"))
            await until(lambda: self.listener.highest(self.inbox.id) > self.inbox.highestmodseq)
            changes = await self.near.changes(
                self.access, self.inbox.id, self.inbox.highestmodseq, False
            )
            self.assertEqual(len(changes.changed), number + 1)
            self.assertEqual(self.near.passed, before)

    async def test_nothing_is_read_here_while_the_link_is_away(self) -> None:
        await self.world.primary.deaf()
        await until(lambda: not self.front.links["primary"].up)
        answered, asked = self.near.answered, self.near.folders(self.access)
        await deferLater(reactor, 0.1)
        self.assertFalse(asked.called)
        self.world.primary.listen()
        self.assertEqual((await asked)[0].messages, 1)
        self.assertEqual(self.near.answered, answered)
        await self.near.folders(self.access)
        self.assertEqual(self.near.answered, answered + 1)

    async def test_only_what_this_primary_serves_is_read_here(self) -> None:
        here = served_by(self.front.store, self.front.links["primary"])
        held = self.front.store.session(self.access)
        self.assertIs(here(self.access), held)
        held.moving = []
        self.assertIsNone(here(self.access))
        held.moving, held.home = None, "other"
        self.assertIsNone(here(self.access))
        held.home = "primary"
        self.near.logout(self.access)
        self.assertIsNone(here(self.access))

    async def test_what_was_missed_is_looked_for(self) -> None:
        """In the folders that the session asked about, though it asked here."""
        self.listener.heard.clear()
        await self.world.primary.deaf()
        await self.world.primary.store.deliver(self.alias, delivery("missed"))
        other = await self.world.primary.store.login(ADDRESS, self.password, "imap", None)
        self.world.primary.listen()
        await until(lambda: self.listener.highest(self.inbox.id) > self.inbox.highestmodseq)
        self.world.primary.store.logout(other)

    async def test_a_password_changed_while_the_link_was_away(self) -> None:
        await self.world.primary.deaf()
        lifecycle = self.world.world.lifecycle
        await deferToThread(lifecycle.change_password, ADDRESS, self.password)
        asked: Deferred[object] = self.near.folders(self.access)
        self.world.primary.listen()
        await self.assertFailure(asked, KeyGone)
        self.assertEqual(len(self.listener.reasons), 1)
        await until(lambda: not len(self.near._connections))

    async def test_the_primary_starts_anew(self) -> None:
        await self.world.primary.stop()
        asked = self.near.append(self.access, "INBOX", [new("b")], None)
        self.world.primary.start()
        await asked
        self.assertEqual((await self.near.folders(self.access))[0].messages, 2)
        await self.near.folders(self.access)
        self.assertGreater(self.near.answered, 0)
