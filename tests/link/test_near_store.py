"""Reading beside the primary: the same answers, nothing stale, and the primary for the rest."""

import os
from pathlib import Path
from typing import Any
from unittest import mock

from msgspec.structs import replace
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import deferToThread
from twisted.python.threadpool import ThreadPool
from twisted.trial.unittest import TestCase

from mailsrv.errors import KeyGone, NoSuchFolder
from mailsrv.keys.vault import Vault
from mailsrv.link.secondary.near_store import NearStore
from mailsrv.link.secondary.passing_store import PassingStore
from mailsrv.link.secondary.sessions import Held
from mailsrv.mailbox.criteria import Subject
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.store.interfaces import IStore
from mailsrv.store.local import LocalStore
from mailsrv.store.values import (
    ALL_UIDS,
    SEEN,
    Access,
    FetchRequest,
    Flags,
    Section,
)
from mailsrv.store.volume import Volume
from tests.store.conformance import ADDRESS, Listener, StoreConformance, delivery, new
from tests.store.world import World, now
from tests.waiting import until

READS = ("poll", "folders", "subscriptions", "select", "fetch", "read", "changes", "search")


def held(access: Access) -> Held:
    return Held(access, None, "primary")


class NearWorld(World):
    """The local store stands for the link: its vault is the one that the keys lie in."""

    def near(self, remote: IStore, vault: Vault, here: Any = None) -> NearStore:
        pool = ThreadPool(0, 4, name="near")
        store = NearStore(
            remote, self.volume, vault, reactor, pool, now, here or held, limits=self.limits
        )
        store.start()
        return store

    def local(self) -> tuple[LocalStore, Vault]:
        vault = Vault()
        pool = ThreadPool(1, 8, name="mailboxes")
        store = LocalStore(
            self.directory, self.volume, vault, reactor, pool, now, limits=self.limits
        )
        store.start()
        self.stores.append(store)
        return store, vault


class TestNearStore(StoreConformance, TestCase):
    async def make_store(self) -> IStore:
        self.world = NearWorld(Path(self.mktemp()))
        self.addCleanup(self.world.end)
        near = self.world.near(*self.world.local())
        self.addCleanup(near.close)
        return near

    async def new_alias(self, address: str, quota: int | None = None) -> tuple[str, str]:
        return self.world.mailbox(address, quota)


class Counting(PassingStore):
    """Counts the reads that reach the primary."""

    def __init__(self, remote: IStore) -> None:
        super().__init__(remote)
        self.asked: list[str] = []


def _counted(name: str) -> Any:
    def method(self: Counting, *args: Any) -> Deferred[Any]:
        self.asked.append(name)
        return getattr(self.remote, name)(*args)

    return method


for _name in READS:
    setattr(Counting, _name, _counted(_name))


class NearCase(TestCase):
    """A mailbox with two messages, seen and not recent, and a session that may read near."""

    async def setUp(self) -> None:
        self.world = NearWorld(Path(self.mktemp()))
        self.addCleanup(self.world.end)
        self.alias, self.password = self.world.mailbox(ADDRESS)
        self.local, self.vault = self.world.local()
        self.remote = Counting(self.local)
        self.hidden = False
        self.known: dict[str, Held] = {}
        self.replaced: str | None = None
        self.store = self.world.near(self.remote, self.vault, here=self.here)
        self.addCleanup(self.store.close)
        self.listener = Listener()
        self.access = await self.enter(self.listener)
        appended = await self.local.append(
            self.access, "INBOX", [new(name, Flags(SEEN)) for name in ("a", "b")], None
        )
        self.inbox = appended.folder_id
        await self.local.select(self.access, "INBOX", True)

    def here(self, access: Access) -> Held | None:
        if self.hidden:
            return None
        found = self.known.setdefault(access.session, held(access))
        if self.replaced:
            found.access = replace(access, mailbox=self.replaced)
        return found

    async def enter(self, listener: Listener | None = None) -> Access:
        return await self.store.login(ADDRESS, self.password, "imap", listener)

    async def bodies(self) -> list[bytes]:
        request = FetchRequest(ALL_UIDS, sections=(Section(),), mark_seen=True)
        page = await self.store.fetch(self.access, self.inbox, request)
        return [row[1] for row in page.rows]

    async def fails(self, error: type[Exception], asked: Deferred[Any]) -> None:
        await self.assertFailure(asked, error)

    @property
    def open_files(self) -> int:
        """How many connections are open to be read only."""
        return len(self.store._connections)


class TestReadingHere(NearCase):
    async def test_every_read_is_answered_here(self) -> None:
        store, access = self.store, self.access
        self.assertEqual(await store.poll(access), 0)
        self.assertEqual((await store.folders(access))[0].messages, 2)
        self.assertIn("Trash", await store.subscriptions(access))
        self.assertEqual((await store.select(access, "INBOX", True)).folder.messages, 2)
        self.assertEqual(len(await self.bodies()), 2)
        self.assertTrue(await store.read(access, self.inbox, 1, Section()))
        self.assertEqual(len((await store.changes(access, self.inbox, 0, True)).changed), 2)
        self.assertTrue(await store.search(access, self.inbox, Subject("a")))
        self.assertEqual(self.remote.asked, [])
        self.assertEqual((store.answered, store.passed), (len(READS), 0))

    async def test_what_a_session_knows_is_noted(self) -> None:
        """The link's store looks there for what was missed while the link was away."""
        await self.store.folders(self.access)
        known = self.known[self.access.session]
        self.assertEqual(known.folders, {})
        selected = (await self.store.select(self.access, "INBOX", True)).folder
        self.assertEqual(known.folders, {self.inbox: selected.highestmodseq})
        appended = await self.local.append(self.access, "Trash", [new("c")], None)
        request = FetchRequest(ALL_UIDS, columns=("flags",))
        await self.store.fetch(self.access, appended.folder_id, request)
        self.assertEqual(known.folders[appended.folder_id], 0)
        await self.store.changes(self.access, appended.folder_id, 0, False)
        self.assertEqual(known.folders[appended.folder_id], appended.modseq)
        self.assertEqual(self.remote.asked, [])

    async def test_errors_that_are_answers_are_answered_here(self) -> None:
        await self.fails(NoSuchFolder, self.store.select(self.access, "Nowhere", True))
        await self.fails(NoSuchFolder, self.store.changes(self.access, 999, 0, True))
        await self.fails(NoSuchFolder, self.store.search(self.access, 999, Subject("a")))
        self.assertEqual(self.remote.asked, [])
        self.assertEqual(self.open_files, 1)

    async def test_what_was_acknowledged_is_there(self) -> None:
        for count in range(3, 33):
            appended = await self.store.append(self.access, "INBOX", [new(f"n{count}")], None)
            inbox = (await self.store.folders(self.access))[0]
            self.assertEqual((inbox.messages, inbox.highestmodseq), (count, appended.modseq))
        await self.store.delete_folder(self.access, "Trash", None)
        await self.fails(NoSuchFolder, self.store.select(self.access, "Trash", False))
        self.assertEqual(self.remote.asked, [])

    async def test_what_is_announced_is_there(self) -> None:
        before = (await self.store.folders(self.access))[0].highestmodseq
        for number in range(10):
            await self.local.deliver(self.alias, delivery(f"d{number}"))
            await until(lambda now=before: self.listener.highest(self.inbox) > now)
            changes = await self.store.changes(self.access, self.inbox, before, False)
            self.assertEqual(len(changes.changed), 1)
            before = changes.modseq
        self.assertEqual(self.remote.asked, [])

    async def test_files_are_closed_when_nobody_reads(self) -> None:
        self.store._connections._idle_seconds = 0.1
        await self.store.folders(self.access)
        self.assertEqual(self.open_files, 1)
        await until(lambda: not self.open_files)
        self.assertEqual((await self.store.folders(self.access))[0].messages, 2)


class TestAskingThePrimary(NearCase):
    async def test_recent_messages_are_claimed(self) -> None:
        await self.local.append(self.access, "INBOX", [new("c")], None)
        self.assertEqual((await self.store.select(self.access, "INBOX", True)).recent, ((3, 3),))
        self.assertEqual((await self.store.select(self.access, "INBOX", True)).recent, ())
        self.assertEqual(self.remote.asked, ["select"])
        appended = await self.local.append(self.access, "INBOX", [new("d")], None)
        changes = await self.store.changes(self.access, self.inbox, appended.modseq - 1, True)
        self.assertEqual(changes.recent, ((4, 4),))
        self.assertEqual(self.remote.asked, ["select", "changes"])

    async def test_unseen_messages_are_marked(self) -> None:
        await self.local.append(self.access, "INBOX", [new("c")], None)
        for _ in range(2):
            self.assertEqual(len(await self.bodies()), 3)
        self.assertEqual(self.remote.asked, ["fetch"])
        self.assertEqual((await self.store.folders(self.access))[0].unseen, 0)

    async def test_mail_that_waits_is_brought_in(self) -> None:
        self.assertEqual(await self.store.poll(self.access), 0)
        with self.store._open(self.access) as mailbox:
            waiting = self.world.volume.waiting(mailbox.keys()[1])
        self.assertEqual(self.remote.asked, [])
        waiting.touch()
        self.assertEqual(await self.store.poll(self.access), 0)
        self.assertEqual(self.remote.asked, ["poll"])
        await self.store.poll(self.access)
        self.assertEqual(self.remote.asked, ["poll"])

    async def test_a_mailbox_that_nobody_has_opened(self) -> None:
        self.local._connections._idle_seconds = 0.1
        await until(lambda: not self.world.files("*-wal"))
        self.assertEqual((await self.store.folders(self.access))[0].messages, 2)
        self.assertEqual(self.remote.asked, ["folders"])
        self.local._connections._idle_seconds = 10.0
        await self.local.folders(self.access)
        await self.store.folders(self.access)
        self.assertEqual(self.remote.asked, ["folders"])

    async def test_while_the_primary_cannot_be_heard(self) -> None:
        self.hidden = True
        self.assertEqual(len(await self.bodies()), 2)
        self.assertEqual(self.remote.asked, ["fetch"])
        self.hidden = False
        self.assertEqual(len(await self.bodies()), 2)
        self.assertEqual(self.remote.asked, ["fetch"])

    async def test_a_damaged_file(self) -> None:
        """As far as this process can tell: its folder is another one."""
        self.world.volume, volume = Volume(Path(self.mktemp())), self.world.volume
        self.world.volume.mailboxes.mkdir(parents=True)
        for name in volume.mailboxes.glob("*.sqlite"):
            copy = self.world.volume.mailboxes / name.name
            copy.write_bytes(os.urandom(8192))
            for suffix in ("-wal", "-shm"):
                copy.with_name(copy.name + suffix).touch()
        store = self.world.near(self.remote, self.vault)
        self.world.volume = volume
        self.addCleanup(store.close)
        access = await store.login(ADDRESS, self.password, "imap", None)
        self.assertEqual((await store.folders(access))[0].messages, 2)
        self.assertEqual(self.remote.asked, ["folders"])

    async def test_what_nobody_expected(self) -> None:
        with mock.patch.object(Mailbox, "folders", side_effect=[ZeroDivisionError, []]):
            self.assertEqual(await self.store.folders(self.access), [])
        self.assertEqual(self.remote.asked, ["folders"])
        (logged,) = self.flushLoggedErrors() or [None]
        self.assertIsNone(logged)
        self.assertEqual(self.open_files, 0)

    async def test_after_close(self) -> None:
        await self.store.folders(self.access)
        await self.store.close()
        await self.store.close()
        self.assertEqual(self.open_files, 0)
        self.assertEqual((await self.store.folders(self.access))[0].messages, 2)
        self.assertEqual(self.remote.asked, ["folders"])


class TestSessions(NearCase):
    async def test_logout_closes_the_file_of_the_last_session(self) -> None:
        other = await self.enter()
        await self.store.folders(self.access)
        self.store.logout(self.access)
        await self.fails(KeyGone, self.store.folders(self.access))
        self.assertEqual(self.open_files, 1)
        self.store.logout(other)
        self.store.logout(other)
        await until(lambda: not self.open_files)
        await self.fails(KeyGone, self.store.folders(other))

    async def test_the_access_must_be_that_of_the_session(self) -> None:
        await self.fails(KeyGone, self.store.folders(replace(self.access, mailbox="0" * 24)))
        self.assertEqual((await self.store.folders(self.access))[0].messages, 2)

    async def test_a_replaced_mailbox_is_read_no_more(self) -> None:
        await self.store.folders(self.access)
        await deferToThread(self.world.lifecycle.change_password, ADDRESS, self.password)
        await until(lambda: self.listener.reasons != [])
        await until(lambda: not self.open_files)
        self.assertEqual(len(self.listener.reasons), 1)
        asked = len(self.remote.asked)
        await self.fails(KeyGone, self.store.folders(self.access))
        self.assertEqual(len(self.remote.asked), asked + 1)

    async def test_a_mailbox_that_was_moved_is_read_where_it_is(self) -> None:
        await self.store.folders(self.access)
        there = self.world.volume.mailbox(self.access.mailbox)
        self.replaced = "0" * 24
        self.assertEqual((await self.store.folders(self.access))[0].messages, 2)
        self.assertEqual(self.remote.asked, ["folders"])
        await until(lambda: not self.open_files)
        for suffix in ("", "-wal", "-shm"):
            os.link(f"{there}{suffix}", f"{self.world.volume.mailbox(self.replaced)}{suffix}")
        self.assertEqual((await self.store.folders(self.access))[0].messages, 2)
        self.assertEqual(self.remote.asked, ["folders"])

    async def test_a_session_that_ended_before_its_login_did(self) -> None:
        remote = Hasty(self.local)
        store = self.world.near(remote, self.vault)
        self.addCleanup(store.close)
        listener = Listener()
        access = await store.login(ADDRESS, self.password, "imap", listener)
        self.assertEqual(listener.reasons, ["gone"])
        self.assertEqual((await store.folders(access))[0].messages, 2)
        self.assertEqual((store.answered, store.passed), (0, 1))

    async def test_a_login_that_is_given_up(self) -> None:
        asked = self.store.login(ADDRESS, self.password, "imap", None)
        asked.cancel()
        await self.fails(CancelledError, asked)

    async def test_who_wants_to_hear_nothing(self) -> None:
        access = await self.enter()
        await self.store.append(access, "INBOX", [new("c")], None)
        await deferToThread(self.world.lifecycle.change_password, ADDRESS, self.password)
        await until(lambda: self.listener.reasons != [])
        await self.fails(KeyGone, self.store.folders(access))


class Hasty(PassingStore):
    """Ends each session before its login is answered."""

    def login(self, address: str, password: str, scope: Any, listener: Any) -> Deferred[Access]:
        def end(access: Access) -> Access:
            listener.revoked("gone")
            return access

        return self.remote.login(address, password, scope, listener).addCallback(end)
