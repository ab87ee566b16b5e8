"""Keys on lease: here while they are needed and a little longer, gone after that, really gone."""

import threading
from typing import Any, ClassVar
from unittest import mock

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mailsrv.errors import (
    AuthenticationFailed,
    InvalidInput,
    KeyGone,
    LeaseEnded,
    WrongKey,
)
from mailsrv.keys.filekey import FileKey
from mailsrv.keys.vault import Vault
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.store.interfaces import IPrimary
from mailsrv.store.leases import Leases
from mailsrv.store.sessions import Session, Sessions
from mailsrv.store.values import Access, Body
from tests.store.cases import ADDRESS
from tests.store.conformance import Client, Listener, delivery, message, new
from tests.store.leased import LeasedCase


class TestLeases(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.vault = Vault()
        self.sessions = Sessions()
        self.ended: list[Session] = []
        self.wrong: list[Session] = []
        self.leases = Leases(
            self.clock, self.vault, self.sessions, 5.0, self.ended.append, self.wrong.append
        )

    def session(self, name: str) -> Session:
        access = Access(name, "a", "a@example.com", "box", "credential", f"handle-{name}")
        session = Session(access, None, leased=True, key_here=False)
        self.sessions.enter(session)
        return session

    def test_a_key_goes_after_its_time(self) -> None:
        session = self.session("s")
        self.leases.begin(session, b"key")
        self.clock.advance(4.9)
        self.assertTrue(session.key_here)
        self.clock.advance(0.2)
        self.assertFalse(session.key_here)
        self.assertEqual((len(self.vault), self.ended), (0, [session]))
        self.assertRaises(LeaseEnded, self.leases.using(session).__enter__)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_each_use_prolongs_it_from_its_end_on(self) -> None:
        session = self.session("s")
        self.leases.begin(session, b"key")
        with self.leases.using(session):
            for _ in range(10):
                self.clock.advance(2)
            self.assertTrue(session.key_here)
        self.clock.pump([0.5] * 9)
        self.assertTrue(session.key_here)
        self.clock.pump([0.5] * 4)
        self.assertFalse(session.key_here)

    def test_what_is_borrowed_stays_as_long_as_that_and_no_longer(self) -> None:
        session = self.session("s")
        self.leases.begin(session, b"key")
        with self.leases.borrowing(session):
            self.clock.pump([1.0] * 20)
            self.assertEqual(len(self.vault), 1)
            self.assertIsNone(self.sessions.holder("a"))
            self.assertRaises(LeaseEnded, self.leases.borrowing(session).__enter__)
        self.assertEqual((len(self.vault), self.ended), (0, [session]))

    def test_a_request_of_the_session_saves_a_lease_that_is_ending(self) -> None:
        session = self.session("s")
        self.leases.begin(session, b"key")
        with self.leases.borrowing(session):
            self.clock.pump([1.0] * 20)
            with self.leases.using(session):
                self.assertIs(self.sessions.holder("a"), session)
        self.assertEqual(len(self.vault), 1)
        self.clock.pump([1.0] * 7)
        self.assertEqual(len(self.vault), 0)

    def test_one_delayed_call_serves_all_and_none_is_late_by_much(self) -> None:
        sessions = [self.session(f"s{number}") for number in range(100)]
        gone: dict[Session, float] = {}
        began: dict[Session, float] = {}
        for session in sessions:
            self.leases.begin(session, b"key")
            began[session] = self.clock.seconds()
            self.clock.advance(0.03)
            self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        for _ in range(1000):
            self.clock.advance(0.01)
            gone.update({one: self.clock.seconds() for one in self.ended if one not in gone})
        took = [gone[one] - began[one] for one in sessions]
        self.assertTrue(min(took) >= 4.99 and max(took) <= 6.3, (min(took), max(took)))

    def test_sessions_of_this_process_have_no_lease(self) -> None:
        session = Session(Access("s", "a", "", "", "", "handle"), None)
        for use in (self.leases.using(session), self.leases.borrowing(session)):
            with use:
                self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_what_was_postponed_is_done_once_when_a_key_comes(self) -> None:
        done: list[str] = []
        session, other = self.session("s"), self.session("other")
        for _ in range(2):
            self.leases.postpone("a", done.append)
        self.leases.begin(session, b"key")
        self.leases.begin(session, b"key")
        self.assertEqual(done, ["a"])
        self.leases.postpone("a", done.append)
        for one in (session, other):
            self.sessions.remove(one.access)
            self.leases.forget(one)
        self.leases.postpone("a", done.append)
        self.assertEqual(self.leases._postponed, {})

    def test_forgotten_while_in_use(self) -> None:
        session = self.session("s")
        self.leases.begin(session, b"key")
        with self.leases.using(session):
            self.leases.forget(session)
        self.assertEqual((len(self.vault), len(self.leases)), (0, 0))
        self.clock.advance(10)
        self.assertEqual(self.ended, [])


class TestSessionsOnLease(LeasedCase):
    def test_the_store_is_a_primary(self) -> None:
        verifyObject(IPrimary, self.store)

    async def test_a_login_answers_the_key_and_what_it_opens(self) -> None:
        access, key = await self.store.login_leased(ADDRESS, self.password, "imap", None, "mine")
        self.assertEqual(access.session, "mine")
        path = self.world.volume.mailbox(access.mailbox)
        Mailbox.open(path, FileKey.unpack(key), self.store._now).close()
        client = Client(self.password, await self.store.scram_challenge(ADDRESS))
        accepted, again = await self.store.login_scram_leased(
            ADDRESS, client.proof(), "imap", None, "other"
        )
        self.assertEqual((again, accepted.server_signature), (key, client.expects()))
        self.assertEqual(accepted.access.session, "other")

    async def test_a_wrong_password_answers_no_key(self) -> None:
        asked = self.store.login_leased(ADDRESS, "wrong", "imap", None, "mine")
        await self.until(lambda: not self.store._entrance._turns.tokens < 4)
        self.hours.advance(1)
        await self.fails(AuthenticationFailed, asked)
        self.assertEqual(self.keys(), 0)

    async def test_after_a_lease_the_key_is_nowhere(self) -> None:
        access = await self.far.enter(self.password)
        await self.store.folders(access)
        self.assertEqual((self.keys(), self.open()), (1, 1))
        await self.pass_time(7)
        self.assertEqual((self.keys(), self.open()), (0, 0))
        for asked in (
            self.store.folders(access),
            self.store.append(access, "INBOX", [new("x")], "write"),
            self.store.create_folder(access, "x", None, None),
            self.store.select(access, "INBOX", True),
        ):
            await self.fails(LeaseEnded, asked)
        self.assertEqual((self.keys(), self.open()), (0, 0))
        self.assertEqual((await self.store.quota(access)).messages, 0)
        self.assertEqual(await self.store.poll(access), 0)
        self.far.lend()
        self.assertEqual(await self.stored(access), [])

    async def test_who_has_no_key_gets_no_connection_that_another_opened(self) -> None:
        here = await self.enter()
        far = await self.far.enter(self.password)
        await self.store.folders(here)
        await self.pass_time(7)
        self.assertEqual(self.open(), 1)
        await self.fails(LeaseEnded, self.store.folders(far))
        self.store.lend(far, bytes(32) + self.far.sessions["one"][1][32:])
        await self.fails(WrongKey, self.store.folders(far))
        self.assertTrue(await self.store.folders(here))

    async def test_connections_stay_while_another_session_has_a_key(self) -> None:
        await self.far.enter(self.password, "one")
        self.hours.advance(3)
        other = await self.far.enter(self.password, "two")
        await self.store.folders(other)
        await self.pass_time(3)
        await self.at_rest()
        self.assertEqual((self.keys(), self.open()), (1, 1))
        await self.pass_time(4)
        self.assertEqual(self.keys(), 0)

    async def test_a_lease_lasts_as_long_as_what_runs(self) -> None:
        access = await self.far.enter(self.password)
        gate, inside = threading.Event(), threading.Event()
        self.addCleanup(gate.set)
        real = Mailbox.append

        def slow(*given: Any) -> Any:
            inside.set()
            gate.wait(10)
            return real(*given)

        with mock.patch.object(Mailbox, "append", slow):
            asked = self.store.append(access, "INBOX", [new("x")], "write")
            waits = [self.store.folders(access) for _ in range(20)]
            await self.until(inside.is_set)
            self.hours.pump([1.0] * 60)
            self.assertEqual(self.keys(), 1)
            gate.set()
            await asked
            for one in waits:
                await one
        await self.pass_time(7)
        self.assertEqual((self.keys(), self.open()), (0, 0))

    async def test_a_logout_while_something_runs_leaves_no_key_behind(self) -> None:
        access = await self.far.enter(self.password)
        opening, gate = threading.Event(), threading.Event()
        self.addCleanup(gate.set)
        real = Mailbox.open
        self.store._connections.close()

        def slow(*given: Any, **more: Any) -> Mailbox:
            opening.set()
            gate.wait(10)
            return real(*given, **more)

        with mock.patch.object(Mailbox, "open", slow):
            asked = self.store.append(access, "INBOX", [new("x")], None)
            await self.until(opening.is_set)
            self.store.logout(access)
            self.assertEqual(self.keys(), 0)
            gate.set()
            await asked  # it had the key already, and ends
        await self.at_rest()
        self.assertEqual(self.open(), 0)
        await self.fails(KeyGone, self.store.folders(access))
        self.assertRaises(KeyGone, self.far.lend)
        self.assertEqual(self.keys(), 0)

    async def test_lend_takes_keys_of_leased_sessions_alone(self) -> None:
        here, far = await self.enter(), await self.far.enter(self.password)
        self.assertRaises(InvalidInput, self.store.lend, here, bytes(48))
        self.assertRaises(InvalidInput, self.store.lend, far, b"short")
        for other in (
            Access(far.session, far.alias, far.address, far.mailbox, far.credential, "x"),
            Access("x", far.alias, far.address, far.mailbox, far.credential, far.key),
        ):
            self.assertRaises(KeyGone, self.store.lend, other, bytes(48))
        self.assertEqual(self.keys(), 2)

    async def test_a_password_change_ends_it(self) -> None:
        listener = Listener()
        access = await self.far.enter(self.password, listener=listener)
        await deferToThread(self.world.lifecycle.change_password, ADDRESS, self.password)
        self.hours.advance(1)
        await self.until(lambda: listener.reasons)
        self.assertRaises(KeyGone, self.far.lend)
        await self.fails(KeyGone, self.store.folders(access))
        await self.at_rest()
        self.assertEqual((self.keys(), self.open()), (0, 0))

    async def test_a_login_with_an_id_that_is_in_use_replaces_that_session(self) -> None:
        listener = Listener()
        former = await self.far.enter(self.password, listener=listener)
        access = await self.far.enter(self.password)
        self.assertEqual(self.keys(), 1)
        await self.fails(KeyGone, self.store.folders(former))
        self.store.logout(former)  # comes late, from a link that is gone
        self.assertTrue(await self.store.folders(access))
        self.assertEqual((listener.reasons, len(self.store._sessions)), ([], 1))

    async def test_of_two_logins_with_one_id_the_later_stays_whichever_is_quicker(self) -> None:
        gate, inside = threading.Event(), threading.Event()
        self.addCleanup(gate.set)
        real = self.store._entrance._look
        first: list[int] = []

        def slow(opened: Any, revision: int) -> Any:
            if not first:
                first.append(1)
                inside.set()
                gate.wait(10)
            return real(opened, revision)

        with mock.patch.object(self.store._entrance, "_look", slow):
            early = self.store.login_leased(ADDRESS, self.password, "imap", None, "one")
            await self.until(inside.is_set)
            access = await self.far.enter(self.password)
            gate.set()
            await self.fails(KeyGone, early)
        self.assertTrue(await self.store.folders(access))
        self.assertEqual(self.keys(), 1)

    async def test_a_login_that_waits_for_anothers_merge_keeps_its_key(self) -> None:
        with mock.patch.object(self.store._deliveries, "_arrived"):
            await self.store.deliver(self.alias, delivery("x"))
        merged: Deferred[int] = Deferred()
        merge = mock.Mock(return_value=merged)
        with mock.patch.object(self.store._merging, "merge", merge):
            entering = Deferred.fromCoroutine(self.far.enter(self.password))
            await self.until(lambda: merge.called)
            self.hours.pump([1.0] * 20)
            merged.callback(1)
            access = await entering
        self.assertEqual(len(self.far.sessions["one"][1]), 48)
        self.assertTrue(await self.store.folders(access))

    async def test_a_login_that_is_cancelled_leaves_nothing(self) -> None:
        asked = self.store.login_leased(ADDRESS, self.password, "imap", None, "one")
        asked.cancel()
        await self.fails(CancelledError, asked)
        await self.at_rest()
        self.assertEqual((self.keys(), len(self.store._sessions)), (0, 0))

    async def test_a_stop_forgets_leases(self) -> None:
        await self.far.enter(self.password)
        await self.store.close()
        self.assertRaises(KeyGone, self.far.lend)
        self.assertEqual((self.keys(), self.open()), (0, 0))
        self.assertEqual([one.func for one in self.hours.getDelayedCalls()], [])


class TestMailOnLease(LeasedCase):
    limits: ClassVar = {"index_messages": 2}

    async def lapse(self) -> None:
        await self.pass_time(7)
        self.assertEqual((self.keys(), self.open()), (0, 0))

    async def test_a_delivery_uses_the_lease_and_does_not_prolong_it(self) -> None:
        access = await self.far.enter(self.password)
        await self.at_rest()
        self.hours.advance(4)
        self.assertEqual((await self.store.deliver(self.alias, delivery("one"))).where, "live")
        self.hours.advance(1.3)
        self.assertEqual(self.keys(), 0)
        self.assertEqual((await self.store.deliver(self.alias, delivery("two"))).where, "waiting")
        self.far.lend()
        await self.until(lambda: not self.world.files("*.waiting.sqlite"))
        self.assertEqual(await self.stored(access), [message("one"), message("two")])

    async def test_a_poll_needs_the_key_only_if_mail_waits(self) -> None:
        access = await self.far.enter(self.password)
        await self.lapse()
        self.assertEqual(await self.store.poll(access), 0)
        with mock.patch.object(self.store._deliveries, "_arrived"):
            await self.store.deliver(self.alias, delivery("x"))
        await self.fails(LeaseEnded, self.store.poll(access))
        self.far.lend()
        self.assertEqual(await self.store.poll(access), 1)

    async def test_a_merge_that_goes_on_behind_a_login_keeps_the_key(self) -> None:
        for number in range(3):
            await self.store.deliver(self.alias, delivery(f"m{number}"))
        access = await self.far.enter(self.password)
        gate, inside = threading.Event(), threading.Event()
        self.addCleanup(gate.set)
        real = self.store._merging._batch
        self.store._connections.close()

        def slow(session: Access) -> Any:
            inside.set()
            gate.wait(10)
            return real(session)

        with (
            mock.patch.object(self.store._deliveries, "_arrived"),
            mock.patch.object(self.store._deliveries, "_key_holder", return_value=None),
        ):
            await self.store.deliver(self.alias, delivery("late"))
        with mock.patch.object(self.store._merging, "_batch", slow):
            merging = Deferred.fromCoroutine(self.store._merging.merge(access))
            await self.until(inside.is_set)
            self.hours.pump([1.0] * 20)
            gate.set()
            self.assertEqual(await merging, 1)

    async def test_indexing_goes_on_when_the_key_comes_again(self) -> None:
        access = await self.far.enter(self.password)
        await self.store.append(access, "INBOX", [new(f"m{n}") for n in range(9)], None)
        with mock.patch.object(Mailbox, "index_pending", return_value=5):
            await self.lapse()
        self.far.lend()

        async def left() -> int:
            return await self.store._operations.work(access, lambda box: box.index_pending(0))

        for _ in range(200):
            if await left() == 0:
                break
            self.hours.advance(0.05)
            await self.at_rest()
        self.assertEqual(await left(), 0)
        inbox = (await self.store.folders(access))[0]
        found = await self.store.search(access, inbox.id, Body("Good morning"))
        self.assertEqual(len(found.uids), 4 * 9)
