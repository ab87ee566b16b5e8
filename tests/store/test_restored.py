"""Files that came from a backup get new UIDVALIDITYs when their owner first opens them."""

import shutil
from unittest import mock

import msgspec
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread

from mailsrv.errors import MailboxMoved, Unavailable
from mailsrv.keys.objectid import object_id
from mailsrv.store.revocation import PASSWORD_CHANGED
from mailsrv.store.values import Access
from tests.store.cases import ADDRESS, StoreCase
from tests.store.conformance import message, new
from tests.store.leased import LeasedCase
from tests.store.world import World, now


def put_back(world: World, alias: str) -> None:
    """The file was lost, and has come back from a backup under another name."""
    record = world.directory.mailbox(alias)
    assert record is not None
    file_id = object_id(now())
    shutil.copy(world.volume.mailbox(record.id), world.volume.mailbox(file_id))
    made = msgspec.structs.replace(record, id=file_id, restored="2026-11-23T10:00:00Z")
    world.directory.put_back(alias, made, replaces=record.id)


def unsettled(world: World, alias: str) -> str | None:
    record = world.directory.mailbox(alias)
    assert record is not None
    return record.restored


class TestFirstOpening(StoreCase):
    async def filled(self) -> dict[str, int]:
        """UIDVALIDITYs by folder; the owner has logged out."""
        access = await self.enter()
        await self.store.append(access, "INBOX", [new("one")], None)
        found = await self.uidvalidities(access)
        await self.leave(access)
        return found

    async def leave(self, access: Access) -> None:
        self.store.logout(access)
        await self.store.close()
        self.store = self.world.store()

    async def uidvalidities(self, access: Access) -> dict[str, int]:
        return {one.name: one.uidvalidity for one in await self.store.folders(access)}

    async def test_new_numbers_and_the_same_mail(self) -> None:
        before = await self.filled()
        put_back(self.world, self.alias)
        access = await self.enter()
        after = await self.uidvalidities(access)
        self.assertEqual(before.keys(), after.keys())
        self.assertGreater(min(after.values()), max(before.values()))
        self.assertEqual(await self.stored(access), [message("one")])
        self.assertIsNone(unsettled(self.world, self.alias))

    async def test_only_once(self) -> None:
        await self.filled()
        put_back(self.world, self.alias)
        accesses = await gatherResults([Deferred.fromCoroutine(self.enter()) for _ in range(4)])
        first = await self.uidvalidities(accesses[0])
        for access in (*accesses, await self.enter()):
            self.assertEqual(await self.uidvalidities(access), first)

    async def test_interrupted_between_its_two_steps(self) -> None:
        before = await self.filled()
        put_back(self.world, self.alias)
        with mock.patch.object(
            type(self.world.directory), "settle_restore", side_effect=Unavailable("away")
        ):
            await self.fails(Unavailable, self.store.login(ADDRESS, self.password, "imap", None))
        self.assertIsNotNone(unsettled(self.world, self.alias))
        access = await self.enter()
        after = await self.uidvalidities(access)
        self.assertGreater(min(after.values()), max(before.values()))
        self.assertLess(max(after.values()), max(before.values()) + 1000)
        self.assertIsNone(unsettled(self.world, self.alias))

    async def test_a_password_change_opens_it_too(self) -> None:
        before = await self.filled()
        put_back(self.world, self.alias)
        changed = await deferToThread(self.world.lifecycle.change_password, ADDRESS, self.password)
        self.password = changed.password
        after = await self.uidvalidities(await self.enter())
        self.assertGreater(min(after.values()), max(before.values()))
        self.assertIsNone(unsettled(self.world, self.alias))

    async def test_a_move_carries_the_mark(self) -> None:
        await self.filled()
        put_back(self.world, self.alias)
        directory = self.world.directory
        record = directory.mailbox(self.alias)
        assert record is not None
        incoming = directory.begin_move(self.alias, record.id, "b")
        moved = directory.finish_move(self.alias, record.id, incoming.id)
        self.assertEqual(moved.restored, record.restored)
        self.assertEqual(directory.mailbox(self.alias), moved)

    async def test_only_in_the_place_of_the_current_file(self) -> None:
        record = self.world.directory.mailbox(self.alias)
        assert record is not None
        made = msgspec.structs.replace(record, id="f" * 24)
        self.assertRaises(
            MailboxMoved, self.world.directory.put_back, self.alias, made, replaces="0" * 24
        )
        self.assertEqual(self.world.directory.mailbox(self.alias), record)


class TestKeptSessions(LeasedCase):
    async def test_they_do_not_go_on_with_what_came_from_a_backup(self) -> None:
        access = await self.far.enter(self.password)
        await self.store.close()
        put_back(self.world, self.alias)
        self.store = self.world.store(self.hours)
        self.assertEqual(await self.store.resume([access], [None]), [PASSWORD_CHANGED])
