"""Expunged messages in the store: when they go, what they count, who hears that they are back."""

from datetime import timedelta
from typing import Any, ClassVar

from mailsrv.errors import (
    AliasDisabled,
    AuthenticationFailed,
    InvalidInput,
    MailboxMoved,
    OverQuota,
)
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.store.authentication import Authentication
from mailsrv.store.beside import Beside
from mailsrv.store.secret import ServerSecret
from mailsrv.store.values import (
    ALL_UIDS,
    DELETED,
    Access,
    ExpungedQuery,
    Flags,
    NewMessage,
)
from tests.store.cases import ADDRESS, StoreCase
from tests.store.conformance import delivery, message, new
from tests.store.world import now
from tests.waiting import until

WEEK = timedelta(days=7)
SIZE = len(message("m0"))
EVERYTHING = ExpungedQuery()


class UndeleteCase(StoreCase):
    def open(self, password: str | None = None, ago: timedelta = timedelta()) -> Mailbox:
        """The mailbox beside the store, as if some time ago."""
        secret = ServerSecret(self.world.volume.server_key())
        opened = Authentication(self.world.directory, secret).with_password(
            ADDRESS, password or self.password, None
        )
        path = self.world.volume.mailbox(opened.mailbox)
        mailbox = Mailbox.open(path, opened.key, lambda: now() - ago, keep_expunged=WEEK)
        self.addCleanup(mailbox.close)
        return mailbox

    def expunge_beside(self, *subjects: str, ago: timedelta = timedelta()) -> None:
        with self.open(ago=ago) as mailbox:
            messages = [NewMessage(message(one), Flags(DELETED)) for one in subjects]
            inbox = mailbox.append("INBOX", messages).folder_id
            mailbox.expunge(inbox, ALL_UIDS)

    async def expunge(self, access: Access, *subjects: str) -> None:
        messages = [new(one, Flags(DELETED)) for one in subjects]
        inbox = (await self.store.append(access, "INBOX", messages, None)).folder_id
        await self.store.expunge(access, inbox, ALL_UIDS, None)

    def usage(self) -> tuple[int, int, int]:
        """What the directory says."""
        usage = self.world.directory.usage(self.alias)
        return usage.octets, usage.messages, usage.recoverable


class ExpiryTests(UndeleteCase):
    async def test_what_is_too_old_goes_when_its_owner_comes(self) -> None:
        self.expunge_beside("old", "older", ago=WEEK + timedelta(hours=1))
        self.expunge_beside("young")
        access = await self.enter()
        size = len(message("young"))
        await until(lambda: self.usage() == (size, 0, size))
        page = await self.store.expunged(access, EVERYTHING, None, 10)
        self.assertEqual([one.subject for one in page.messages], ["young"])


class TurnedOffTests(UndeleteCase):
    limits: ClassVar[dict[str, Any]] = {"undelete_days": 0.0}

    async def test_what_is_there_is_purged_and_nothing_is_kept(self) -> None:
        self.expunge_beside("one", "two")
        access = await self.enter()
        await self.expunge(access, "three")
        await until(lambda: self.open().usage().recoverable == 0)
        await until(lambda: self.usage() == (0, 0, 0))
        self.assertEqual((await self.store.expunged(access, EVERYTHING, None, 9)).messages, [])


class QuotaTests(UndeleteCase):
    async def test_the_directory_learns_what_they_take(self) -> None:
        access = await self.enter()
        await self.store.append(access, "INBOX", [new("m0")], None)
        await self.expunge(access, "m1", "m2")
        await until(lambda: self.usage() == (3 * SIZE, 1, 2 * SIZE))
        await self.store.undelete(access, ExpungedQuery(subject="m1"), None, None)
        await until(lambda: self.usage() == (3 * SIZE, 2, SIZE))
        await self.store.purge(access, EVERYTHING, None)
        await until(lambda: self.usage() == (2 * SIZE, 2, 0))

    async def test_the_room_of_a_domain(self) -> None:
        other, _ = self.world.mailbox("other@example.com")
        domain = self.world.directory.domain("example.com")
        self.world.directory.set_quota("domain", domain.id, 3 * SIZE)
        access = await self.enter()
        await self.expunge(access, "m0", "m1", "m2")
        # whose they are makes room; nobody makes room of what is another's
        await self.fails(OverQuota, self.store.deliver(other, delivery("m3")))
        await self.store.deliver(self.alias, delivery("m4"))
        page = await self.store.expunged(access, EVERYTHING, None, 9)
        self.assertEqual([one.subject for one in page.messages], ["m2", "m1"])

    async def test_nothing_is_purged_where_it_would_not_be_enough(self) -> None:
        access = await self.enter()
        await self.store.append(access, "INBOX", [new("m0"), new("m1"), new("m2")], None)
        await self.store.copy(access, 1, ALL_UIDS, "Archive", None)
        await self.expunge(access, "m3")
        self.world.directory.set_quota("alias", self.alias, 2 * SIZE)
        self.store._usages.flush()
        await self.fails(OverQuota, self.store.append(access, "INBOX", [new("m4")], None))
        await self.fails(OverQuota, self.store.deliver(self.alias, delivery("m5")))
        await self.store.poll(access)
        page = await self.store.expunged(access, EVERYTHING, None, 9)
        self.assertEqual([one.subject for one in page.messages], ["m3"])

    async def test_room_for_a_large_batch_of_waiting_mail(self) -> None:
        self.world.directory.set_quota("alias", self.alias, 20 * SIZE)
        access = await self.enter()
        await self.expunge(access, *(f"n{n}" for n in range(10, 20)))
        await self.expunge(access, *(f"o{n}" for n in range(10, 20)))
        self.store.logout(access)
        for number in range(15):
            await self.store.deliver(self.alias, delivery(f"w{number:02}"))
        access = await self.enter()
        await self.store.poll(access)
        self.assertEqual(len(await self.stored(access)), 15)
        quota = await self.store.quota(access)
        self.assertTrue(quota.used_octets <= 20 * SIZE, quota)
        page = await self.store.expunged(access, EVERYTHING, None, 99)
        self.assertTrue(page.messages)
        self.assertEqual({one.subject[0] for one in page.messages}, {"o"})


class BesideTests(UndeleteCase):
    def beside(self, primary: str = "primary") -> Beside:
        return Beside(self.world.directory, self.world.volume, now, primary, WEEK)

    async def test_what_is_written_beside_the_server(self) -> None:
        access = await self.enter()
        await self.expunge(access, "m0", "m1", "m2")
        await until(lambda: self.usage() == (3 * SIZE, 0, 3 * SIZE))
        inbox = (await self.store.folders(access))[0]
        before = self.world.directory.revision()
        with self.beside().open(ADDRESS, self.password, None) as opened:
            opened.undelete(ExpungedQuery(subject="m0"), None)
            self.assertEqual(self.usage(), (3 * SIZE, 1, 2 * SIZE))
            self.assertTrue(self.world.directory.revision() > before)
            opened.purge(ExpungedQuery(subject="m1"))
            self.assertEqual(self.usage(), (2 * SIZE, 1, SIZE))
        changes = await self.store.changes(access, inbox.id, inbox.highestmodseq, False)
        self.assertEqual(len(changes.changed), 1)
        self.assertEqual(await self.stored(access), [message("m0")])

    async def test_passwords(self) -> None:
        app = self.world.lifecycle.add_app_password(ADDRESS, self.password, "phone", ("imap",))
        with self.beside().open(ADDRESS, app, "imap") as opened:
            self.assertEqual(opened.mailbox.expunged().messages, [])
        for password, scope in ((app, None), ("wrong", "imap")):
            self.refused(AuthenticationFailed, self.beside(), password, scope)
        self.refused(InvalidInput, self.beside("elsewhere"), self.password, None)
        self.world.directory.mark_deleted(self.alias)
        self.refused(AliasDisabled, self.beside(), self.password, None)

    def refused(self, error: type[Exception], beside: Beside, password: str, scope: Any) -> None:
        with self.assertRaises(error), beside.open(ADDRESS, password, scope):
            pass

    async def test_nothing_is_written_into_a_file_that_was_replaced(self) -> None:
        self.expunge_beside("m0")
        with self.beside().open(ADDRESS, self.password, None) as opened:
            self.world.lifecycle.start_over(ADDRESS)
            with self.assertRaises(MailboxMoved):
                opened.undelete(EVERYTHING, None)
