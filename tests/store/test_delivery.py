"""Deliveries: grouped, fenced, and into the waiting file whenever the mailbox cannot take them."""

import time
from typing import Any, ClassVar
from unittest import mock

from twisted.internet import reactor
from twisted.internet.defer import gatherResults

from mailsrv.errors import (
    AliasDisabled,
    DiskFull,
    MailboxDamaged,
    MailboxNotReady,
    MailsrvError,
    MessageTooLarge,
    OverQuota,
    StorageFailed,
    Unavailable,
    WrongKey,
)
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.mailbox.snapshot import hold_writes
from mailsrv.mailbox.waiting import WaitingMail
from mailsrv.store.authentication import Authentication
from mailsrv.store.secret import ServerSecret
from mailsrv.store.values import Access, Delivery
from tests.store.cases import ADDRESS, StoreCase
from tests.store.conformance import Listener, delivery, message, new
from tests.waiting import until


class TestGrouping(StoreCase):
    async def test_what_gathers_goes_in_one_transaction(self) -> None:
        for live in (False, True):
            counted = []
            owner, name = (Mailbox, "append") if live else (WaitingMail, "add")
            real = getattr(owner, name)

            def count(*given: Any, real: Any = real, counted: Any = counted) -> Any:
                counted.append(given)
                return real(*given)

            access = await self.enter() if live else None
            with mock.patch.object(owner, name, count):
                await gatherResults(
                    [
                        self.store.deliver(self.alias, delivery(f"{live}{number}"))
                        for number in range(50)
                    ]
                )
            self.assertTrue(len(counted) <= 3, f"{len(counted)} transactions")
            if access is not None:
                self.assertEqual(len(await self.stored(access)), 100)

    async def test_one_bad_message_does_not_hurt_the_others(self) -> None:
        access = await self.enter()
        real = Mailbox.append

        def append(mailbox: Mailbox, folder: str, messages: Any, write_id: Any = None) -> Any:
            if any(b"poison" in one.content for one in messages):
                raise ZeroDivisionError("text of the message")
            if any(b"large" in one.content for one in messages):
                raise MessageTooLarge("too large")
            return real(mailbox, folder, messages, write_id)

        with mock.patch.object(Mailbox, "append", append):
            good = [self.store.deliver(self.alias, delivery(f"good{n}")) for n in range(5)]
            bad = self.store.deliver(self.alias, delivery("poison"))
            large = self.store.deliver(self.alias, delivery("large"))
            good.append(self.store.deliver(self.alias, delivery("good5")))
            await self.fails(Unavailable, bad)
            await self.fails(MessageTooLarge, large)
            answers = await gatherResults(good)
        self.assertEqual({answer.where for answer in answers}, {"live"})
        self.assertEqual(len(await self.stored(access)), 6)

    async def test_errors_of_the_volume_pass_through(self) -> None:
        await self.enter()
        for error in (DiskFull, StorageFailed):
            with (
                mock.patch.object(Mailbox, "append", side_effect=error("no")),
                mock.patch.object(WaitingMail, "add", side_effect=error("no")),
            ):
                await self.fails(error, self.store.deliver(self.alias, delivery("x")))


class TestQueueLimit(StoreCase):
    limits: ClassVar = {"queued_octets": 1000}

    async def test_too_much_at_once_is_refused_for_now(self) -> None:
        deliveries = [
            Delivery(b"x" * 600, f"d{number}", "2026-11-23T10:00:00Z") for number in range(3)
        ]
        first, second, third = [self.store.deliver(self.alias, one) for one in deliveries]
        await self.fails(Unavailable, second)
        await self.fails(Unavailable, third)
        await first
        self.assertEqual((await self.store.deliver(self.alias, deliveries[1])).where, "waiting")

    async def test_one_large_message_is_not_refused_for_its_size(self) -> None:
        large = Delivery(b"x" * 5000, "d", "2026-11-23T10:00:00Z")
        self.assertEqual((await self.store.deliver(self.alias, large)).where, "waiting")


class TestFallback(StoreCase):
    async def test_a_mailbox_that_is_being_copied(self) -> None:
        listener = Listener()
        access = await self.enter(listener)
        secret = ServerSecret(self.world.volume.server_key())
        opened = Authentication(self.world.directory, secret).with_password(
            ADDRESS, self.password, "imap"
        )
        with (
            hold_writes(self.world.volume.mailbox(access.mailbox), opened.key),
            mock.patch("mailsrv.mailbox.connection.BUSY_MILLISECONDS", 50),
        ):
            # a connection that is open already waits as long as it was told to
            self.store.logout(access)
            await until(lambda: len(self.store._connections) == 0)
            access = await self.enter(listener)
            for name in ("one", "two"):
                delivered = await self.store.deliver(self.alias, delivery(name))
                self.assertEqual(delivered.where, "waiting")
        # comes in by itself, a while after the mailbox was found busy
        await until(lambda: listener.heard)
        self.assertEqual(await self.stored(access), [message("one"), message("two")])
        self.assertEqual((await self.store.deliver(self.alias, delivery("three"))).where, "live")

    async def test_a_live_mailbox_in_trouble(self) -> None:
        access = await self.enter()
        for error in (MailboxDamaged, WrongKey, StorageFailed):
            with mock.patch.object(Mailbox, "append", side_effect=error("no")):
                name = error.__name__
                delivered = await self.store.deliver(self.alias, delivery(name))
                self.assertEqual(delivered.where, "waiting", name)
        await self.store.poll(access)
        self.assertEqual(len(await self.stored(access)), 3)

    async def test_an_owner_who_logs_out_meanwhile(self) -> None:
        access = await self.enter()
        asked = self.store.deliver(self.alias, delivery("x"))
        self.store.logout(access)
        await asked
        self.assertEqual(await self.stored(await self.enter()), [message("x")])

    async def test_an_owner_who_comes_meanwhile_need_not_ask(self) -> None:
        listener = Listener()
        real = WaitingMail.add
        entered: list[Access] = []

        def enter() -> None:
            asked = self.store.login(ADDRESS, self.password, "imap", listener)
            asked.addCallback(entered.append)

        def slow(waiting: WaitingMail, rows: Any) -> None:
            reactor.callFromThread(enter)  # type: ignore[attr-defined]
            time.sleep(0.3)
            real(waiting, rows)

        with mock.patch.object(WaitingMail, "add", slow):
            delivered = await self.store.deliver(self.alias, delivery("x"))
        self.assertEqual(delivered.where, "waiting")
        await until(lambda: entered and listener.heard)
        self.assertEqual(await self.stored(entered[0]), [message("x")])

    async def test_after_starting_over_mail_goes_to_the_new_mailbox(self) -> None:
        real = WaitingMail.add
        passwords: list[str] = []

        def race(waiting: WaitingMail, rows: Any) -> None:
            if not passwords:
                passwords.append(self.world.lifecycle.start_over(ADDRESS))
            real(waiting, rows)

        with mock.patch.object(WaitingMail, "add", race):
            await self.store.deliver(self.alias, delivery("x"))
        access = await self.store.login(ADDRESS, passwords[0], "imap", None)
        self.assertEqual(await self.stored(access), [message("x")])


class TestRefusals(StoreCase):
    async def test_an_alias_without_a_password_has_no_key_to_seal_to(self) -> None:
        alias = self.world.alias("new@example.com")
        error = await self.fails(MailboxNotReady, self.store.deliver(alias, delivery("x")))
        assert isinstance(error, MailsrvError)
        self.assertEqual((error.smtp_code, error.smtp_status), (450, "4.2.1"))
        await self.fails(MailboxNotReady, self.store.resolve("new@example.com"))

    async def test_a_disabled_alias_is_not_resolved(self) -> None:
        self.world.directory.set_alias_enabled(self.alias, False)
        await self.fails(AliasDisabled, self.store.resolve(ADDRESS))

    async def test_pooled_quota_holds_against_parallel_deliveries(self) -> None:
        size = len(message("m0"))
        domain = self.world.directory.domain("example.com")
        self.world.directory.set_quota("domain", domain.id, 5 * size)
        aliases = [self.alias] + [self.world.mailbox(f"u{n}@example.com")[0] for n in range(4)]
        answers: list[bool] = []
        asked = [
            self.store.deliver(alias, delivery(f"m{number}"))
            for alias in aliases
            for number in range(4)
        ]
        for one in asked:
            try:
                await one
                answers.append(True)
            except OverQuota:
                answers.append(False)
        self.assertEqual(sum(answers), 5)
        await until(
            lambda: sum(self.world.directory.usage(one).octets for one in aliases) == 5 * size
        )

    async def test_usage_counts_what_waits_and_is_written_at_the_end(self) -> None:
        await self.store.deliver(self.alias, delivery("m1"))
        access = await self.enter()
        await self.store.append(access, "INBOX", [new("m2")], None)
        self.store.logout(access)
        await self.store.deliver(self.alias, delivery("m3"))
        await self.store.close()
        usage = self.world.directory.usage(self.alias)
        self.assertEqual((usage.octets, usage.messages), (3 * len(message("m1")), 3))

    async def test_a_login_puts_a_wrong_count_right(self) -> None:
        self.world.directory.set_usage(self.alias, 10**9, 77)
        self.assertEqual((await self.store.quota(await self.enter())).messages, 0)
        await until(lambda: self.world.directory.usage(self.alias).octets == 0)

    async def test_nothing_lies_open_on_the_volume(self) -> None:
        marker = "a marker that must not be found"
        await self.store.deliver(self.alias, delivery("m1", marker))
        waiting = [path.read_bytes() for path in self.world.volume.mailboxes.iterdir()]
        access = await self.enter()
        await self.store.deliver(self.alias, delivery("m2", marker))
        live = [path.read_bytes() for path in self.world.volume.mailboxes.iterdir()]
        self.assertEqual(len(await self.stored(access)), 2)
        for octets in waiting + live:
            self.assertNotIn(marker.encode(), octets)
            self.assertFalse(octets.startswith(b"SQLite format 3"))
