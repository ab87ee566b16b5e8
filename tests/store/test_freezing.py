"""Mailboxes that are held still; aliases that other primaries serve."""

import shutil
import threading
import time
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.internet.defer import CancelledError, gatherResults
from zope.interface.verify import verifyObject

from mailsrv.errors import (
    AuthenticationFailed,
    Elsewhere,
    KeyGone,
    MailboxBusy,
    MailboxNotReady,
    NoSuchAlias,
    Unavailable,
)
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.store.interfaces import IFrozen
from mailsrv.store.values import Access
from mailsrv.store.volume import Volume
from tests.store.cases import ADDRESS
from tests.store.conformance import Client, Listener, delivery, message, new
from tests.store.leased import LeasedCase


class FreezingCase(LeasedCase):
    def files_of(self, access: Access) -> dict[str, bytes]:
        """What lies on the volume of a mailbox: names and contents."""
        path = self.world.volume.mailbox(access.mailbox)
        return {one.name: one.read_bytes() for one in path.parent.glob(f"{path.name}*")}

    def switch(self, mailbox: str) -> str:
        """Another primary has the mailbox from now on; answers the name of its file."""
        directory = self.world.directory
        incoming = directory.begin_move(self.alias, mailbox, "b")
        return directory.finish_move(self.alias, mailbox, incoming.id).id


class TestFreezing(FreezingCase):
    async def test_nothing_happens_while_it_is_held(self) -> None:
        access = await self.enter()
        await self.store.append(access, "INBOX", [new("before")], None)
        frozen = await self.store.freeze(self.alias, 5.0)
        verifyObject(IFrozen, frozen)
        self.assertEqual(self.open(), 0)
        before = self.files_of(access)
        self.assertEqual(list(before), [f"{access.mailbox}.sqlite"])  # no log is left beside it
        waits: list[Any] = [
            self.store.append(access, "INBOX", [new("during")], None),
            self.store.folders(access),
            self.store.deliver(self.alias, delivery("delivered")),
            self.store.deliver(self.alias, delivery("delivered too")),
            self.store.login(ADDRESS, self.password, "imap", None),
        ]
        self.hours.pump([1.0] * 20)
        await self.until(lambda: not self.store._workers._pool.working)
        self.assertFalse(any(one.called for one in waits))
        self.assertEqual(self.files_of(access), before)
        self.assertEqual(self.world.files("*.waiting.sqlite"), [])
        await frozen.thaw()
        await frozen.thaw()
        self.assertFalse(frozen.holds)
        await gatherResults(waits)
        self.assertEqual(len(await self.stored(access)), 4)

    async def test_other_aliases_go_on(self) -> None:
        other, password = self.world.mailbox("other@example.com")
        frozen = await self.store.freeze(self.alias, 5.0)
        await self.store.login("other@example.com", password, "imap", None)
        self.assertEqual((await self.store.deliver(other, delivery("x"))).where, "live")
        await frozen.thaw()

    async def test_what_runs_ends_first(self) -> None:
        access = await self.enter()
        gate, inside = threading.Event(), threading.Event()
        self.addCleanup(gate.set)
        real = Mailbox.append

        def slow(*given: Any) -> Any:
            inside.set()
            gate.wait(10)
            return real(*given)

        with mock.patch.object(Mailbox, "append", slow):
            asked = self.store.append(access, "INBOX", [new("x")], None)
            await self.until(inside.is_set)
            cancelled = self.store.append(access, "INBOX", [new("y")], None)
            cancelled.cancel()
            await self.fails(CancelledError, cancelled)
            freezing = self.store.freeze(self.alias, 5.0)
            self.hours.advance(4)
            self.assertFalse(freezing.called)
            gate.set()
            frozen = await freezing
            await asked
        self.assertEqual(self.open(), 0)
        await frozen.thaw()
        self.assertTrue(message("x") in await self.stored(access))

    async def test_work_whose_asker_left_is_waited_for_too(self) -> None:
        access = await self.enter()
        gate, inside = threading.Event(), threading.Event()
        self.addCleanup(gate.set)

        def slow(_mailbox: Mailbox) -> list[Any]:
            inside.set()
            gate.wait(10)
            return []

        with mock.patch.object(Mailbox, "folders", slow):
            asked = self.store.folders(access)
            await self.until(inside.is_set)
            asked.cancel()
            await self.fails(CancelledError, asked)
            freezing = self.store.freeze(self.alias, 5.0)
            self.hours.advance(4)
            await self.until(lambda: True)
            self.assertFalse(freezing.called)
            gate.set()
            await (await freezing).thaw()

    async def test_what_takes_too_long_keeps_it_from_being_held(self) -> None:
        access = await self.enter()
        gate, inside = threading.Event(), threading.Event()
        self.addCleanup(gate.set)
        real = Mailbox.folders

        def slow(mailbox: Mailbox) -> Any:
            inside.set()
            gate.wait(10)
            return real(mailbox)

        with mock.patch.object(Mailbox, "folders", slow):
            asked = self.store.folders(access)
            await self.until(inside.is_set)
            freezing = self.store.freeze(self.alias, 5.0)
            waits = self.store.deliver(self.alias, delivery("x"))
            self.hours.advance(5)
            await self.fails(MailboxBusy, freezing)
            gate.set()
            await asked
            await waits
        await (await self.store.freeze(self.alias, 5.0)).thaw()

    async def test_one_hold_at_a_time_and_none_beside_a_password_change(self) -> None:
        frozen = await self.store.freeze(self.alias, 5.0)
        await self.fails(MailboxBusy, self.store.freeze(self.alias, 5.0))
        with self.assertRaises(MailboxBusy), self.world.volume.exclusive(self.alias, 0.05):
            self.fail("the lock of a password change is free")
        await frozen.thaw()
        with self.world.volume.exclusive(self.alias, 0.05):
            await self.fails(MailboxBusy, self.store.freeze(self.alias, 0.05))
        await (await self.store.freeze(self.alias, 5.0)).thaw()

    async def test_a_hold_whose_holder_vanished_ends_by_itself(self) -> None:
        frozen = await self.store.freeze(self.alias, 5.0)
        waits = self.store.deliver(self.alias, delivery("x"))
        self.hours.advance(59)
        self.assertTrue(frozen.holds)
        self.hours.advance(1)
        self.assertFalse(frozen.holds)
        await self.fails(Unavailable, frozen.run(time.sleep, 0))
        await self.fails(Unavailable, waits)
        await self.until(lambda: not self.store._gate.is_shut(self.alias))
        self.assertEqual((await self.store.deliver(self.alias, delivery("x"))).where, "waiting")
        await self.until(lambda: not self.world.files("*.lock"))

    async def test_its_time_does_not_cut_short_what_it_runs(self) -> None:
        frozen = await self.store.freeze(self.alias, 5.0)
        gate, inside = threading.Event(), threading.Event()
        self.addCleanup(gate.set)

        def run() -> str:
            inside.set()
            gate.wait(10)
            return "done"

        running = frozen.run(run)
        cut = frozen.run(gate.wait, 10)
        cut.cancel()  # the link of who asked is gone; the work is not
        await self.fails(CancelledError, cut)
        await self.until(inside.is_set)
        self.hours.advance(30)
        late = self.store.deliver(self.alias, delivery("x"))
        self.hours.advance(30)
        thawed = frozen.thaw()
        await self.until(lambda: True)
        self.assertFalse(late.called or thawed.called or running.called)
        gate.set()
        self.assertEqual(await running, "done")
        await thawed
        await late

    async def test_cancelled_it_leaves_nothing_held(self) -> None:
        inside, gate = threading.Event(), threading.Event()
        self.addCleanup(gate.set)
        real = self.store._connections.settle

        def slow(path: Path, patience: float) -> None:
            inside.set()
            gate.wait(10)
            real(path, patience)

        with mock.patch.object(self.store._connections, "settle", slow):
            freezing = self.store.freeze(self.alias, 5.0)
            await self.until(inside.is_set)
            freezing.cancel()
            await self.fails(CancelledError, freezing)
            self.assertFalse(self.store._gate.is_shut(self.alias))
            gate.set()
            await self.at_rest()
        self.assertEqual(self.world.files("*.lock"), [])

    async def test_who_has_no_mailbox_here(self) -> None:
        await self.fails(NoSuchAlias, self.store.freeze("0" * 24, 5.0))
        await self.fails(NoSuchAlias, self.store.freeze("../../etc/x", 5.0))
        await self.fails(
            MailboxNotReady, self.store.freeze(self.world.alias("new@example.com"), 5.0)
        )
        self.switch(self.world.directory.mailbox(self.alias).id)
        await self.fails(Elsewhere, self.store.freeze(self.alias, 5.0))
        self.assertEqual(self.store._gate._shut, {})

    async def test_a_stop_does_not_wait_for_its_end(self) -> None:
        access = await self.enter()
        frozen = await self.store.freeze(self.alias, 5.0)
        waits: list[Any] = [
            self.store.append(access, "INBOX", [new("x")], None),
            self.store.deliver(self.alias, delivery("x")),
        ]
        await self.until(lambda: len(self.store._gate._shut[self.alias].waiting) == 2)
        closed = self.store.close()
        await self.fails(Unavailable, frozen.run(time.sleep, 0))
        for one in waits:
            await self.fails(Unavailable, one)
        await closed
        self.assertEqual(self.world.files("*.lock"), [])
        self.assertEqual(self.hours.getDelayedCalls(), [])

    async def test_waiting_mail_is_closed_too(self) -> None:
        await self.store.deliver(self.alias, delivery("x"))
        self.assertTrue(self.store._files.kept)
        frozen = await self.store.freeze(self.alias, 5.0)
        self.assertFalse(self.store._files.kept)
        self.assertEqual(self.world.files("*.waiting.sqlite-wal"), [])
        await frozen.thaw()

    async def test_usage_is_written_before(self) -> None:
        access = await self.enter()
        await self.store.append(access, "INBOX", [new("x")], None)
        frozen = await self.store.freeze(self.alias, 5.0)
        self.assertEqual(self.world.directory.usage(self.alias).messages, 1)
        self.assertEqual(self.store._usages._entries, {})
        await frozen.thaw()


class TestElsewhere(FreezingCase):
    async def moved(self, access: Access) -> list[Any]:
        """Move the mailbox while everybody wants something; answers what they asked."""
        frozen = await self.store.freeze(self.alias, 5.0)
        waits: list[Any] = [
            *(self.store.folders(access) for _ in range(8)),
            self.store.append(access, "INBOX", [new("x")], None),
            self.store.deliver(self.alias, delivery("x")),
            self.store.login(ADDRESS, self.password, "imap", None),
        ]
        await self.until(lambda: len(self.store._gate._shut[self.alias].waiting) == 5)
        await frozen.run(self.switch, access.mailbox)
        await frozen.thaw()
        return waits

    async def test_what_waited_for_a_move_is_sent_to_the_other(self) -> None:
        listener = Listener()
        access = await self.far.enter(self.password, listener=listener)
        await self.store.folders(access)
        for asked in await self.moved(access):
            error: Any = await self.fails(Elsewhere, asked)
            self.assertEqual(error.primary, "b")
        self.assertEqual(listener.reasons, [str(Elsewhere("b"))])
        await self.at_rest()
        self.assertEqual((self.keys(), self.open()), (0, 0))
        self.assertEqual(self.world.files("*.waiting.sqlite"), [])
        # until it logs out it is told where to go
        for asked in (
            self.store.folders(access),
            self.store.poll(access),
            self.store.quota(access),
            self.store.fetch(access, 1, mock.Mock()),
        ):
            await self.fails(Elsewhere, asked)
        self.assertRaises(Elsewhere, self.far.lend)
        self.hours.pump([1.0] * 3)
        await self.at_rest()
        self.assertEqual(len(listener.reasons), 1)
        self.store.logout(access)
        self.assertEqual(len(self.store._sessions), 0)

    async def test_sessions_of_this_process_end(self) -> None:
        listener = Listener()
        access = await self.enter(listener)
        for asked in await self.moved(access):
            await self.assertFailure(asked, Elsewhere, KeyGone)
        self.assertEqual(listener.reasons, [str(Elsewhere("b"))])
        self.assertEqual((self.keys(), len(self.store._sessions)), (0, 0))

    async def test_a_move_that_nobody_announced_is_noticed(self) -> None:
        listener = Listener()
        access = await self.far.enter(self.password, listener=listener)
        self.switch(access.mailbox)
        await self.fails(Elsewhere, self.store.append(access, "INBOX", [new("x")], None))
        await self.at_rest()
        self.hours.advance(1)
        await self.until(lambda: listener.reasons)
        await self.fails(Elsewhere, self.store.folders(access))

    async def test_everything_about_another_primarys_alias(self) -> None:
        access = await self.far.enter(self.password)
        self.switch(access.mailbox)
        client = Client(self.password, await self.store.scram_challenge(ADDRESS))
        for asked in (
            self.store.login(ADDRESS, self.password, "imap", None),
            self.store.login_leased(ADDRESS, self.password, "imap", None, "x"),
            self.store.login_scram(ADDRESS, client.proof(), "imap", None),
            self.store.resolve(ADDRESS),
            self.store.deliver(self.alias, delivery("x")),
        ):
            error: Any = await self.fails(Elsewhere, asked)
            self.assertEqual(error.primary, "b")
        wrong = self.store.login(ADDRESS, "wrong", "imap", None)
        await self.until(lambda: self.hours.getDelayedCalls() and not self.store._pool.working)
        self.hours.advance(1)
        await self.fails(AuthenticationFailed, wrong)
        self.assertEqual(await self.store.resume([access], [None]), [str(Elsewhere("b"))])

    async def test_an_alias_without_a_password_has_a_primary_too(self) -> None:
        alias = self.world.directory.add_alias("new@example.com", primary="b").id
        await self.fails(Elsewhere, self.store.deliver(alias, delivery("x")))
        await self.fails(Elsewhere, self.store.resolve("new@example.com"))

    async def test_a_session_goes_on_at_the_other(self) -> None:
        access = await self.far.enter(self.password)
        await self.store.append(access, "INBOX", [new("before")], None)
        key = self.far.sessions["one"][1]
        frozen = await self.store.freeze(self.alias, 5.0)
        old = self.world.volume.mailbox(access.mailbox)
        file_id = await frozen.run(self.switch, access.mailbox)
        base = Path(self.mktemp())
        base.mkdir()
        volume = Volume(base)
        volume.prepare()
        shutil.copy(old, volume.mailbox(file_id))
        await frozen.thaw()
        here, self.world.volume = self.world.volume, volume
        other = self.world.store(self.hours, "b")
        self.world.volume = here
        (resumed,) = await other.resume([access], [None])
        assert isinstance(resumed, Access)
        self.assertEqual((resumed.mailbox, resumed.session), (file_id, access.session))
        other.lend(resumed, key)
        self.store = other
        self.assertEqual(await self.stored(resumed), [message("before")])
        await other.append(resumed, "INBOX", [new("after")], None)
        self.assertEqual(len(await self.stored(resumed)), 2)
