"""Sessions: revoked within moments, merged for, indexed for; connections that come and go."""

import os
import threading
import time
from typing import Any, ClassVar
from unittest import mock

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import globalLogPublisher

from mailsrv.errors import (
    AuthenticationFailed,
    DiskFull,
    KeyGone,
    MailboxDamaged,
    MailboxMissing,
    MessageTooLarge,
    Unavailable,
    VolumeInUse,
)
from mailsrv.keys.sealing import generate_key_pair
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.mailbox.waiting import WaitingMail
from mailsrv.store.authentication import Authentication
from mailsrv.store.secret import ServerSecret
from mailsrv.store.values import ALL_UIDS, Body, Delivery, FetchRequest, NewMessage, Section
from mailsrv.store.waiting import WaitingFiles, pack
from tests.store.cases import ADDRESS, StoreCase
from tests.store.conformance import Listener, delivery, message, new
from tests.waiting import until


class Broken(Listener):
    def revoked(self, reason: str) -> None:
        raise RuntimeError("broken")


class TestRevocation(StoreCase):
    async def test_a_password_change_ends_all_sessions(self) -> None:
        one, two = Listener(), Listener()
        access = await self.enter(one)
        await self.enter(two)
        changed = await deferToThread(self.world.lifecycle.change_password, ADDRESS, self.password)
        await until(lambda: one.reasons and two.reasons)
        await self.fails(KeyGone, self.store.folders(access))
        await self.fails(
            AuthenticationFailed, self.store.login(ADDRESS, self.password, "imap", None)
        )
        self.password = changed.password
        self.assertEqual(await self.stored(await self.enter()), [])

    async def test_a_revoked_app_password_ends_its_sessions_alone(self) -> None:
        lifecycle = self.world.lifecycle
        app = lifecycle.add_app_password(ADDRESS, self.password, "phone", ("imap",))
        main, phone = Listener(), Listener()
        access = await self.enter(main)
        await self.store.login(ADDRESS, app, "imap", phone)
        lifecycle.revoke_credential(ADDRESS, lifecycle.credentials(ADDRESS)[1].id)
        await until(lambda: phone.reasons)
        self.assertEqual(main.reasons, [])
        self.assertTrue(await self.store.folders(access))

    async def test_a_disabled_or_deleted_alias_ends_them(self) -> None:
        for end in (
            lambda alias: self.world.directory.set_alias_enabled(alias, False),
            self.world.directory.delete_alias,
        ):
            alias, password = self.world.mailbox(f"{id(end)}@example.com")
            listener = Listener()
            await self.store.login(f"{id(end)}@example.com", password, "imap", listener)
            end(alias)
            await until(lambda heard=listener: heard.reasons)

    async def test_other_changes_of_the_directory_end_nobody(self) -> None:
        listener = Listener()
        access = await self.enter(listener)
        self.world.mailbox("another@example.com")
        revision = self.world.directory.revision()
        await until(lambda: self.store._revocation._revision == revision)
        self.assertTrue(await self.store.folders(access))
        self.assertEqual(listener.reasons, [])

    async def test_a_listener_that_fails_does_not_keep_the_others_in(self) -> None:
        broken, good = Broken(), Listener()
        await self.enter(broken)
        await self.enter(good)
        self.world.directory.set_alias_enabled(self.alias, False)
        await until(lambda: good.reasons)

    async def test_who_was_let_in_by_what_held_before_is_looked_at_again(self) -> None:
        listener = Listener()
        real = self.store._entrance._look

        def slow(opened: Any, revision: int) -> Any:
            admitted = real(opened, revision)
            self.world.directory.revoke_credential(self.alias, opened.credential.id)
            time.sleep(0.3)  # the change is noticed and dealt with before the session is there
            return admitted

        with mock.patch.object(self.store._entrance, "_look", slow):
            await self.enter(listener)
        await until(lambda: listener.reasons)


class TestLogin(StoreCase):
    async def test_scopes(self) -> None:
        app = self.world.lifecycle.add_app_password(ADDRESS, self.password, "relay", ("smtp",))
        await self.fails(AuthenticationFailed, self.store.login(ADDRESS, app, "imap", None))
        access = await self.store.login(ADDRESS, app, "smtp", None)
        self.assertEqual(access.alias, self.alias)

    async def test_the_last_use_is_noted_now_and_then(self) -> None:
        with mock.patch.object(
            type(self.world.directory), "used_credential", autospec=True
        ) as used:
            for _ in range(3):
                await self.enter()
        self.assertEqual(used.call_count, 1)

    async def test_a_login_while_the_password_changes_sees_one_or_the_other(self) -> None:
        real = Mailbox.open
        changed: list[str] = []

        def race(path: Any, key: Any, now: Any, **more: Any) -> Mailbox:
            if not changed:
                changed.append("")
                new = self.world.lifecycle.change_password(ADDRESS, self.password)
                changed[0] = new.password
            return real(path, key, now, **more)

        with mock.patch.object(Mailbox, "open", race):
            await self.fails(
                AuthenticationFailed, self.store.login(ADDRESS, self.password, "imap", None)
            )
        self.password = changed[0]
        self.assertTrue(await self.enter())

    async def test_a_missing_or_damaged_file_has_its_own_error(self) -> None:
        path = self.world.volume.mailbox(self.world.directory.mailbox(self.alias).id)
        octets = path.read_bytes()
        path.unlink()
        await self.fails(MailboxMissing, self.store.login(ADDRESS, self.password, "imap", None))
        path.write_bytes(octets[:1000])
        await self.fails(MailboxDamaged, self.store.login(ADDRESS, self.password, "imap", None))
        path.write_bytes(octets)
        self.assertTrue(await self.enter())

    async def test_a_full_disk_does_not_keep_the_owner_out(self) -> None:
        await self.store.deliver(self.alias, delivery("x"))
        with mock.patch.object(Mailbox, "append", side_effect=DiskFull("full")):
            access = await self.enter()
            self.assertEqual(await self.store.poll(access), 0)
        self.assertEqual(await self.store.poll(access), 1)

    async def test_who_goes_while_mail_is_merged_leaves_no_session(self) -> None:
        await self.store.deliver(self.alias, delivery("x"))
        real = self.store._merging._merger.merge_batch

        def slow(*given: Any) -> Any:
            time.sleep(0.3)
            return real(*given)

        with mock.patch.object(self.store._merging._merger, "merge_batch", slow):
            asked = self.store.login(ADDRESS, self.password, "imap", None)
            await until(lambda: len(self.store._sessions))
            asked.cancel()
            await self.fails(CancelledError, asked)
            self.assertEqual((len(self.store._sessions), len(self.store._vault)), (0, 0))
            await self.store.close()
        self.store = self.world.store()
        self.assertEqual(await self.stored(await self.enter()), [message("x")])

    async def test_mail_sealed_between_the_look_and_the_session_comes_in(self) -> None:
        real = self.store._entrance._look

        def look(opened: Any, revision: int) -> Any:
            admitted = real(opened, revision)
            reactor.callFromThread(  # type: ignore[attr-defined]
                self.store.deliver, self.alias, delivery("between")
            )
            deadline = time.monotonic() + 3
            while not self.world.files("*.waiting.sqlite") and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(0.1)  # its writer has nobody to bring it in for
            return admitted

        listener = Listener()
        with mock.patch.object(self.store._entrance, "_look", look):
            access = await self.enter(listener)
        await until(lambda: listener.heard)
        self.assertEqual(await self.stored(access), [message("between")])


class TestLargeMerge(StoreCase):
    limits: ClassVar = {"batch_messages": 5, "login_messages": 10}

    async def test_a_login_does_not_wait_for_all_of_it(self) -> None:
        await gatherResults(
            [self.store.deliver(self.alias, delivery(f"m{number}")) for number in range(60)]
        )
        listener = Listener()
        access = await self.enter(listener)
        early = len(await self.stored(access))
        self.assertTrue(early >= 10, early)
        await until(lambda: not self.world.files("*.waiting.sqlite"))
        self.assertEqual(
            sorted(await self.stored(access)), sorted(message(f"m{number}") for number in range(60))
        )
        self.assertTrue(listener.heard)


class TestMerge(StoreCase):
    def files(self) -> tuple[WaitingFiles, bytes]:
        secret = ServerSecret(self.world.volume.server_key())
        record = self.world.directory.mailbox(self.alias)
        assert record is not None
        return WaitingFiles(self.world.volume, secret), record.public_key

    async def test_what_does_not_unseal_is_kept_aside_and_stops_nobody(self) -> None:
        files, public_key = self.files()
        _, stranger = generate_key_pair()
        await self.store.deliver(self.alias, delivery("before"))
        foreign = Delivery(b"not for you", "foreign", "2026-11-23T10:00:00Z")
        with files.open(public_key) as waiting:
            waiting.add([("foreign", pack(stranger, self.alias, foreign), foreign.received, 11)])
            waiting.add([("noise", b"noise", foreign.received, 5)])
        await self.store.deliver(self.alias, delivery("after"))
        access = await self.enter()
        self.assertEqual(await self.stored(access), [message("before"), message("after")])
        self.assertFalse(files.exist(public_key))
        with files.open_aside(public_key) as aside:
            self.assertEqual([row.delivery_id for row in aside.batch(9)], ["foreign", "noise"])

    async def test_a_message_sealed_for_another_alias_or_id_does_not_open(self) -> None:
        files, public_key = self.files()
        files.add(public_key, "another alias", [delivery("x")])
        access = await self.enter()
        self.assertEqual(await self.stored(access), [])

    async def test_a_message_that_cannot_be_stored_stops_nobody(self) -> None:
        for name in ("one", "poison", "two"):
            await self.store.deliver(self.alias, delivery(name))
        real = Mailbox.append

        def append(mailbox: Mailbox, folder: str, messages: Any, write_id: Any = None) -> Any:
            if any(b"poison" in one.content for one in messages):
                raise RuntimeError("text of the message")
            return real(mailbox, folder, messages, write_id)

        with mock.patch.object(Mailbox, "append", append):
            access = await self.enter()
        self.assertEqual(await self.stored(access), [message("one"), message("two")])

    async def test_two_logins_share_one_merge(self) -> None:
        for number in range(5):
            await self.store.deliver(self.alias, delivery(f"m{number}"))
        under_way: list[int] = [0, 0]
        real = self.store._merging._merger.merge_batch

        def watch(*given: Any) -> Any:
            under_way[0] += 1
            under_way[1] = max(under_way)
            time.sleep(0.05)
            try:
                return real(*given)
            finally:
                under_way[0] -= 1

        with mock.patch.object(self.store._merging._merger, "merge_batch", watch):
            accesses = await gatherResults(
                [self.store.login(ADDRESS, self.password, "imap", None) for _ in range(4)]
            )
        self.assertEqual(under_way[1], 1)
        for access in accesses:
            self.assertEqual(len(await self.stored(access)), 5)

    async def test_mail_that_arrives_during_a_merge_is_not_deleted_with_the_file(self) -> None:
        files, public_key = self.files()
        await self.store.deliver(self.alias, delivery("first"))
        real = WaitingMail.remove
        late: list[str] = ["late"]

        def remove(waiting: WaitingMail, ids: Any) -> None:
            if late:
                with WaitingMail.open_or_create(
                    self.world.volume.waiting(public_key), files.secret.waiting_key(public_key)
                ) as other:
                    other.add([_row(public_key, self.alias, late.pop())])
            real(waiting, ids)

        with mock.patch.object(WaitingMail, "remove", remove):
            access = await self.enter()
        await self.store.poll(access)
        self.assertEqual(await self.stored(access), [message("first"), message("late")])


def _row(public_key: bytes, alias: str, name: str) -> tuple[str, bytes, str, int]:
    one = delivery(name)
    return one.delivery_id, pack(public_key, alias, one), one.received, len(one.content)


class TestConnections(StoreCase):
    limits: ClassVar = {"idle_seconds": 0.2, "open_connections": 3}

    def open_files(self) -> int:
        count = 0
        for name in os.listdir("/proc/self/fd"):
            try:
                count += os.readlink(f"/proc/self/fd/{name}").endswith(".sqlite")
            except OSError:
                continue
        return count - sum(
            os.readlink(f"/proc/self/fd/{name}").endswith("directory.sqlite")
            for name in os.listdir("/proc/self/fd")
            if os.path.islink(f"/proc/self/fd/{name}")
        )

    async def test_idle_sessions_cost_no_open_files(self) -> None:
        access = await self.enter()
        await self.store.folders(access)
        self.assertTrue(len(self.store._connections))
        await until(lambda: len(self.store._connections) == 0)
        self.assertEqual(self.open_files(), 0)
        self.assertTrue(await self.store.folders(access))

    async def test_one_connection_serves_a_burst(self) -> None:
        access = await self.enter()
        with mock.patch.object(Mailbox, "open") as opened:
            for _ in range(5):
                await self.store.folders(access)
        self.assertEqual(opened.call_count, 0)

    async def test_the_number_is_bounded(self) -> None:
        for number in range(8):
            address = f"user{number}@example.com"
            _, password = self.world.mailbox(address)
            access = await self.store.login(address, password, "imap", None)
            await self.store.folders(access)
            self.assertTrue(len(self.store._connections) <= 3)

    async def test_threads_never_share_one(self) -> None:
        access = await self.enter()
        using: set[int] = set()
        shared: list[int] = []
        lock = threading.Lock()
        real = Mailbox.folders

        def folders(mailbox: Mailbox) -> Any:
            with lock:
                if id(mailbox) in using:
                    shared.append(1)
                using.add(id(mailbox))
            time.sleep(0.01)
            answer = real(mailbox)
            with lock:
                using.discard(id(mailbox))
            return answer

        with mock.patch.object(Mailbox, "folders", folders):
            await gatherResults([self.store.folders(access) for _ in range(30)])
        self.assertEqual(shared, [])

    async def test_the_last_logout_closes_them(self) -> None:
        one, two = await self.enter(), await self.enter()
        await self.store.folders(one)
        self.store.logout(one)
        await self.store.folders(two)
        self.store.logout(two)
        await until(lambda: len(self.store._connections) == 0, seconds=0.15)

    async def test_a_file_taken_away_is_noticed(self) -> None:
        access = await self.enter()
        path = self.world.volume.mailbox(access.mailbox)
        hidden = path.with_suffix(".hidden")
        path.rename(hidden)
        await self.fails(
            MailboxMissing, self.store.append(access, "INBOX", [new("into the void")], None)
        )
        hidden.rename(path)
        self.assertEqual(await self.stored(access), [])

    async def test_a_failed_request_closes_its_connection(self) -> None:
        access = await self.enter()
        with mock.patch.object(Mailbox, "usage", side_effect=MailboxDamaged("x")):
            await self.fails(MailboxDamaged, self.store.append(access, "INBOX", [new("x")], None))
        self.assertEqual(len(self.store._connections), 0)


class TestFairness(StoreCase):
    async def test_one_alias_does_not_take_all_threads(self) -> None:
        _, password = self.world.mailbox("other@example.com")
        busy, other = (
            await self.enter(),
            await self.store.login("other@example.com", password, "imap", None),
        )
        gate = threading.Event()
        slow = [self.store._operations.work(busy, lambda _: gate.wait(10)) for _ in range(20)]
        begun = [self.store._workers.begin(lambda one=one: one) for one in slow]
        try:
            answer = self.store.folders(other)
            answer.addTimeout(3, reactor)
            self.assertTrue(await answer)
        finally:
            gate.set()
        await gatherResults(begun)
        self.assertEqual(self.store._workers._turns, {})


class TestIndexing(StoreCase):
    async def test_what_came_is_indexed_behind(self) -> None:
        access = await self.enter()
        await self.store.append(access, "INBOX", [new(f"m{n}") for n in range(50)], None)
        await self.store.deliver(self.alias, delivery("lively", "a sentence to be found"))

        async def left() -> int:
            return await self.store._operations.work(access, lambda box: box.index_pending(0))

        for _ in range(300):
            if await left() == 0:
                break
            await deferLater(reactor, 0.02)
        self.assertEqual(await left(), 0)
        inbox = (await self.store.folders(access))[0]
        found = await self.store.search(access, inbox.id, Body("tence to be fou"))
        self.assertEqual(len(found.uids), 4)


class TestErrors(StoreCase):
    async def test_the_unexpected_is_logged_without_its_text(self) -> None:
        access = await self.enter()
        heard: list[Any] = []
        globalLogPublisher.addObserver(heard.append)
        self.addCleanup(globalLogPublisher.removeObserver, heard.append)
        with mock.patch.object(Mailbox, "folders", side_effect=ValueError("SECRET")):
            error = await self.fails(Unavailable, self.store.folders(access))
        self.assertNotIn("SECRET", str(error))
        self.assertIsNone(error.__cause__)
        self.assertTrue(any(event.get("kind") == "ValueError" for event in heard))
        self.assertNotIn("SECRET", repr(heard))
        self.assertTrue(await self.store.folders(access))

    async def test_the_size_limit(self) -> None:
        access = await self.enter()
        large = NewMessage(b"x" * (50 * 1024 * 1024 + 1))
        await self.fails(MessageTooLarge, self.store.append(access, "INBOX", [large], None))

    async def test_values_that_hold_keys_do_not_show_them(self) -> None:
        secret = ServerSecret(self.world.volume.server_key())
        authentication = Authentication(self.world.directory, secret)
        opened = authentication.with_password(ADDRESS, self.password, "imap")
        access = await self.enter()
        shown = repr([opened, opened.key, access, self.store._vault, secret])
        for key in (opened.key.raw, self.world.volume.server_key()):
            self.assertNotIn(key.hex(), shown)
            self.assertNotIn(repr(key)[2:-1], shown)


class TestStop(StoreCase):
    async def test_what_is_under_way_ends_and_nothing_else_begins(self) -> None:
        access = await self.enter()
        asked = [self.store.deliver(self.alias, delivery(f"m{n}")) for n in range(10)]
        closing = self.store.close()
        await self.fails(Unavailable, self.store.folders(access))
        await self.fails(Unavailable, self.store.deliver(self.alias, delivery("late")))
        answers = await gatherResults(asked)
        self.assertEqual(len(answers), 10)
        await closing
        self.assertEqual(len(self.store._connections), 0)
        self.assertRaises(KeyGone, self.store._vault.put, b"x")
        self.store = self.world.store()
        self.assertEqual(len(await self.stored(await self.enter())), 10)

    async def test_closing_twice_is_harmless(self) -> None:
        await self.store.close()
        await self.store.close()

    async def test_one_store_for_a_volume(self) -> None:
        self.assertRaises(VolumeInUse, self.world.store)
        await self.store.close()
        self.world.store()


class TestPasswordChangeUnderLoad(StoreCase):
    async def test_no_acknowledged_mail_is_lost(self) -> None:
        acknowledged: set[bytes] = set()
        stop: list[bool] = []
        counts = {"live": 0, "waiting": 0}

        async def keep_delivering(lane: int) -> None:
            number = 0
            while not stop:
                number += 1
                one = delivery(f"lane{lane}-{number}")
                delivered = await self.store.deliver(self.alias, one)
                counts[delivered.where] += 1
                acknowledged.add(one.content)

        async def keep_reading(listener: Listener) -> None:
            access = await self.store.login(ADDRESS, self.password, "imap", listener)
            number = 0
            while not stop:
                try:
                    inbox = (await self.store.folders(access))[0]
                    await self.store.changes(access, inbox.id, 0, True)
                    number += 1
                    one = new(f"append-{id(listener)}-{number}-{len(acknowledged)}")
                    await self.store.append(access, "Sent", [one], None)
                    acknowledged.add(one.content)
                except (KeyGone, Unavailable):
                    return
                except Exception as error:
                    if type(error).__name__ not in ("MailboxMoved", "MailboxBusy"):
                        raise
                await deferLater(reactor, 0)

        lanes = [self.begin(keep_delivering(lane)) for lane in range(4)]
        for _ in range(4):
            listeners = [Listener(), Listener()]
            readers = [self.begin(keep_reading(listener)) for listener in listeners]
            await deferLater(reactor, 0.2)
            changed = await deferToThread(
                self.world.lifecycle.change_password, ADDRESS, self.password
            )
            self.password = changed.password
            await until(lambda heard=listeners: all(one.reasons for one in heard))
            await gatherResults(readers)
        stop.append(True)
        await gatherResults(lanes)
        access = await self.enter()
        await self.store.poll(access)
        found = await self.stored(access) + await self.sent(access)
        self.assertEqual(len(found), len(set(found)))
        self.assertEqual(acknowledged - set(found), set())
        self.assertTrue(counts["live"] and counts["waiting"], counts)

    async def sent(self, access: Any) -> list[bytes]:
        selected = await self.store.select(access, "Sent", False)
        request = FetchRequest(
            uids=ALL_UIDS, sections=(Section(),), max_rows=10**6, max_bytes=10**9
        )
        page = await self.store.fetch(access, selected.folder.id, request)
        return [row[1] for row in page.rows]

    def begin(self, work: Any) -> Any:
        return Deferred.fromCoroutine(work)
