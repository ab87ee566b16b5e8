"""The service of backups over a real store: who is backed up when, and what stops and fails."""

import email
import email.policy
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest import mock

from prometheus_client import CollectorRegistry, Gauge
from twisted.trial.unittest import TestCase

from mailsrv.backup import verification
from mailsrv.backup.alarms import Problem
from mailsrv.backup.copies import list_copies, remove_copy
from mailsrv.backup.daily import Daily
from mailsrv.backup.layout import CopyManifest
from mailsrv.backup.metrics import Metrics
from mailsrv.backup.schedule import slot_after
from mailsrv.backup.verification import Copies
from mailsrv.directory.values import BackupRecord
from mailsrv.errors import BackupDamaged, BackupStoreFailed, InvalidInput, NoSuchBackup, Unavailable
from mailsrv.keys.filekey import FileKey
from mailsrv.mailbox import snapshot
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.service import backups
from mailsrv.service.backup_verification import Verification
from mailsrv.service.backup_watch import Watch
from mailsrv.service.backups import Backups
from mailsrv.settings import Backup, Settings
from mailsrv.settings.tables import Operator
from mailsrv.store.values import Access, BackupState
from tests.backup.fakes import FakeStore, FakeStores
from tests.store.cases import ADDRESS, StoreCase
from tests.store.conformance import new
from tests.waiting import until

OPERATOR = "operator@example.com"


def _read(message: bytes) -> str:
    letter = email.message_from_bytes(message, policy=email.policy.default)
    return f"{letter['Subject']}: {letter.get_content()}"


class BackupsCase(StoreCase):
    timeout = 60
    backup = Backup()

    def setUp(self) -> None:
        super().setUp()
        self.moment = datetime.now(UTC)
        self.objects = FakeStore(Path(self.mktemp()).absolute())
        self.registry = CollectorRegistry()
        self.service = self.make_service()
        self.addCleanup(self.stopped)
        self.service.startService()

    def make_service(self) -> Backups:
        from twisted.internet import reactor

        world = self.world
        settings = Settings(
            hostname="mail.example.com",
            base=world.base.absolute(),
            backup=self.backup,
            operator=Operator(mail_to=OPERATOR),
        )
        metrics = Metrics(self.registry)
        self.daily = Daily(
            world.directory, world.volume, FakeStores(self.objects), self.backup, self.now
        )
        self.watch = Watch(settings, self.store, metrics, reactor, self.now)
        self.verification = Verification(settings, metrics, reactor, self.now)
        return Backups(
            self.store,
            self.backup,
            lambda: self.daily,
            self.watch,
            self.verification,
            metrics,
            reactor,
        )

    async def stopped(self) -> None:
        if self.objects.wait is not None:
            self.objects.wait.set()
        if self.service.running:
            await self.service.stopService()

    def now(self) -> datetime:
        return self.moment

    def sample(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)

    def copies(self, alias: str | None = None) -> int:
        return len(list_copies(self.objects, alias or self.alias))

    def later(self, **time: float) -> None:
        """Time passes, and the service looks around."""
        self.moment += timedelta(**time)
        self.service._look_around()

    async def add_message(self, access: Access, name: str) -> None:
        await self.store.append(access, "INBOX", [new(name)], None)


class ScheduleTests(BackupsCase):
    async def test_due_while_somebody_is_there(self) -> None:
        access = await self.enter()
        await self.add_message(access, "a")
        await until(lambda: self.service._schedule.knows(self.alias))
        self.moment = slot_after(self.alias, self.moment, timedelta(days=1))
        self.later(seconds=-1)
        self.assertEqual(self.service._jobs, {})
        self.later(seconds=1)
        await until(lambda: self.sample("mailsrv_backups_total", outcome="taken") == 1)
        self.assertEqual(self.copies(), 1)
        self.later(days=1)
        await until(lambda: self.sample("mailsrv_backups_total", outcome="unchanged") == 1)
        self.assertEqual(self.copies(), 1)
        await self.add_message(access, "b")
        self.later(days=1)
        await until(lambda: self.copies() == 2)

    async def test_overdue_at_the_next_login(self) -> None:
        self.later(days=3)
        access = await self.enter()
        await until(lambda: self.copies() == 1)
        self.store.logout(access)
        self.assertEqual(self.daily.directory.backup(self.alias).problem, None)

    async def test_of_mailboxes_whose_backups_are_kept_nowhere(self) -> None:
        """Domains with buckets have them, whatever is configured for all others."""
        self.daily.stores.default = None
        self.later(days=3)
        access = await self.enter()
        await self.fails(InvalidInput, self.store.back_up(access))
        await until(lambda: not self.service._looking)
        self.assertFalse(self.service._schedule.knows(self.alias))
        self.assertEqual(self.world.directory.backup(self.alias), BackupRecord())
        self.daily.stores.default = self.objects
        self.later(seconds=30)
        await until(lambda: self.copies() == 1)

    async def test_after_a_change_of_the_password(self) -> None:
        access = await self.enter()
        await self.store.back_up(access)
        self.moment += timedelta(minutes=1)
        changed = self.world.lifecycle.change_password(ADDRESS, self.password)
        self.password = changed.password
        await self.enter()

        def taken() -> bool:
            self.later(seconds=10)
            return self.copies() == 2

        await until(taken)

    async def test_as_many_at_once_as_configured(self) -> None:
        self.objects.wait = threading.Event()
        for number in range(5):
            _, password = self.world.mailbox(f"m{number}@example.com")
            await self.store.login(f"m{number}@example.com", password, "imap", None)
        self.later(days=2)
        await until(lambda: self.objects.calls.count("put") == 2)
        directory = self.world.directory
        await until(lambda: len(directory.pending_backups("primary")) == 3)
        self.assertEqual(self.objects.calls.count("put"), 2)
        self.objects.wait.set()
        await until(lambda: self.sample("mailsrv_backups_total", outcome="taken") == 5)
        self.assertEqual(directory.pending_backups("primary"), [])


class AskedTests(BackupsCase):
    async def test_taken_unchanged_recent(self) -> None:
        access = await self.enter()
        await self.add_message(access, "a")
        first = await self.store.back_up(access)
        octets = list_copies(self.objects, self.alias)[0].octets
        time = self.moment.strftime("%Y-%m-%dT%H:%M:%SZ")
        self.assertEqual(first, BackupState("taken", time, octets))
        self.assertEqual(await self.store.back_up(access), BackupState("unchanged", time, octets))
        await self.add_message(access, "b")
        self.assertEqual(await self.store.back_up(access), BackupState("recent", time, octets))
        self.moment += backups.ASK_PAUSE + timedelta(seconds=1)
        again = await self.store.back_up(access)
        self.assertEqual((again.what, self.copies()), ("taken", 2))

    async def test_who_asks_at_once_gets_one(self) -> None:
        self.objects.wait = threading.Event()
        access = await self.enter()
        asked = [self.store.back_up(access) for _ in range(3)]
        await until(self.objects.began.is_set)
        self.objects.wait.set()
        answers = [await one for one in asked]
        self.assertEqual(len(set(answers)), 1)
        self.assertEqual(self.copies(), 1)

    async def test_the_mailbox_works_while_it_is_brought_away(self) -> None:
        self.objects.wait = threading.Event()
        access = await self.enter()
        asked = self.store.back_up(access)
        await until(self.objects.began.is_set)
        await self.add_message(access, "meanwhile")
        self.store.logout(access)
        held = await self.store.freeze(self.alias, 5.0)
        await held.thaw()
        self.objects.wait.set()
        self.assertEqual((await asked).what, "taken")

    async def test_a_store_that_refuses_is_told_to_who_asks(self) -> None:
        self.objects.refuses = {"put"}
        access = await self.enter()
        await self.fails(BackupStoreFailed, self.store.back_up(access))
        await until(lambda: self.sample("mailsrv_backup_failing") == 1)
        self.assertEqual(self.sample("mailsrv_backup_store_refusals_total"), 1)
        self.objects.refuses = set()
        self.assertEqual((await self.store.back_up(access)).what, "taken")

    async def test_the_last_copy_has_gone(self) -> None:
        access = await self.enter()
        await self.store.back_up(access)
        for name in self.objects.names():
            (self.objects.root / name).unlink()
        self.moment += timedelta(minutes=1)
        self.assertEqual((await self.store.back_up(access)).what, "taken")


class StopTests(BackupsCase):
    async def test_what_is_brought_away_is_given_up(self) -> None:
        self.objects.wait = threading.Event()
        access = await self.enter()
        asked = self.store.back_up(access)
        await until(self.objects.began.is_set)
        self.assertEqual(len(list(self.daily.folder.iterdir())), 2)
        await self.service.stopService()
        await self.fails(Unavailable, asked)
        self.assertEqual(list(self.daily.folder.iterdir()), [])
        self.objects.wait.set()
        await self.fails(InvalidInput, self.store.back_up(access))
        self.assertIsNone(self.world.directory.backup(self.alias).taken)

    async def test_who_waits_for_a_turn_is_told(self) -> None:
        self.objects.wait = threading.Event()
        asked = []
        for number in range(4):
            _, password = self.world.mailbox(f"m{number}@example.com")
            access = await self.store.login(f"m{number}@example.com", password, "imap", None)
            asked.append(self.store.back_up(access))
        await until(lambda: self.objects.calls.count("put") == 2)
        await self.service.stopService()
        for one in asked:
            await self.fails(Unavailable, one)
        self.assertEqual(list(self.daily.folder.iterdir()), [])

    async def test_what_is_being_copied_is_waited_for(self) -> None:
        begun, go_on = threading.Event(), threading.Event()
        self.addCleanup(go_on.set)
        take = snapshot.take

        def take_slowly(mailbox: Mailbox, key: FileKey, target: Path) -> snapshot.Snapshot:
            begun.set()
            go_on.wait(60)
            return take(mailbox, key, target)

        self.patch(snapshot, "take", take_slowly)
        asked = self.store.back_up(await self.enter())
        await until(begun.is_set)
        stopping = self.service.stopService()
        self.assertFalse(stopping.called)
        go_on.set()
        await stopping
        await self.fails(Unavailable, asked)
        self.assertEqual(list(self.daily.folder.iterdir()), [])
        self.assertNotIn("put", self.objects.calls)


class AlarmTests(BackupsCase):
    def setUp(self) -> None:
        super().setUp()
        self.operator, self.operators_password = self.world.mailbox(OPERATOR)

    async def letters(self) -> list[str]:
        access = await self.store.login(OPERATOR, self.operators_password, "imap", None)
        try:
            return [_read(one) for one in await self.stored(access)]
        finally:
            self.store.logout(access)

    async def test_trouble_and_its_end_are_told_once(self) -> None:
        self.objects.refuses = {"put"}
        access = await self.enter()
        await self.fails(BackupStoreFailed, self.store.back_up(access))
        await until(lambda: self.watch._alarms._told)
        self.assertEqual(self.sample("mailsrv_backup_failing"), 1)
        self.objects.refuses = set()
        self.moment += timedelta(hours=2)
        await self.store.back_up(access)
        self.watch.look()
        await until(lambda: not self.watch._alarms._told)
        self.assertEqual(self.sample("mailsrv_backup_failing"), 0)
        trouble, well = await self.letters()
        self.assertIn("Backups: something is wrong with 1 mailbox: ", trouble)
        self.assertIn(ADDRESS, trouble)
        self.assertIn("the store refuses to put; there is no backup", trouble)
        self.assertIn("Backups: all is well again: ", well)

    async def test_what_is_in_the_way_of_shipping_is_told_too(self) -> None:
        trouble = [Problem(self.alias, ADDRESS, "changes are not shipped: away")]
        gauge = Gauge("shipping", "In the way.", registry=self.registry)
        self.watch.add(lambda: list(trouble), gauge)
        self.watch.look()
        await until(lambda: self.watch._alarms._told)
        self.assertEqual(self.sample("shipping"), 1)
        trouble.clear()
        self.moment += timedelta(hours=2)
        self.watch.look()
        await until(lambda: not self.watch._alarms._told)
        self.assertEqual(self.sample("shipping"), 0)
        told, _ = await self.letters()
        self.assertIn("changes are not shipped: away", told)

    async def test_an_operator_who_cannot_be_told(self) -> None:
        self.world.directory.set_alias_enabled(self.operator, False)
        self.objects.refuses = {"put"}
        access = await self.enter()
        await self.fails(BackupStoreFailed, self.store.back_up(access))
        await until(lambda: self.watch._alarms._last is not None)
        self.assertEqual(self.watch._alarms._told, set())


class VerificationTests(BackupsCase):
    async def verified(self, **time: float) -> None:
        """Time passes, and backups are looked at."""
        await until(lambda: self.verification._step is None)
        self.moment += timedelta(**time)
        self.verification.look()
        await until(lambda: self.verification._step is None)

    def outcomes(self) -> list[float | None]:
        return [
            self.sample("mailsrv_backup_verifications_total", outcome=outcome)
            for outcome in ("good", "damaged", "failed")
        ]

    async def test_each_once_in_its_time(self) -> None:
        await self.store.back_up(await self.enter())
        for _ in range(3):
            await self.verified(days=10)
        self.assertEqual(self.outcomes(), [1, 0, 0])
        await self.verified(days=30)
        self.assertEqual(self.outcomes(), [2, 0, 0])

    async def test_one_that_has_rotted(self) -> None:
        access = await self.enter()
        await self.store.back_up(access)
        self.store.logout(access)
        (name,) = [one for one in self.objects.names() if one.endswith(".sqlite")]
        path = self.objects.root / name
        octets = bytearray(path.read_bytes())
        octets[5000] ^= 1
        path.write_bytes(octets)
        await self.verified(days=30)
        self.assertEqual(self.outcomes(), [0, 1, 0])
        record = self.world.directory.backup(self.alias)
        self.assertIn("are not those that were put there", record.problem)
        self.watch.look()
        await until(lambda: self.sample("mailsrv_backup_failing") == 1)
        # nothing has changed in the mailbox, and still another copy is made
        await self.store.back_up(await self.enter())
        self.assertEqual(self.copies(), 2)
        self.assertIsNone(self.world.directory.backup(self.alias).problem)

    async def test_a_store_that_refuses_is_asked_again(self) -> None:
        await self.store.back_up(await self.enter())
        self.objects.refuses = {"get"}
        await self.verified(days=30)
        self.assertEqual(self.outcomes(), [0, 0, 1])
        self.assertIsNone(self.world.directory.backup(self.alias).problem)
        self.objects.refuses = set()
        await self.verified(hours=1)
        self.assertEqual(self.outcomes(), [1, 0, 1])

    async def test_one_that_is_removed_while_it_is_fetched(self) -> None:
        access = await self.enter()
        await self.store.back_up(access)
        (manifest,) = list_copies(self.objects, self.alias)
        copies = Copies(self.daily, self.world.directory.alias_by_id(self.alias))
        with mock.patch.object(verification, "fetch_copy", side_effect=NoSuchBackup("gone")):
            self.assertRaises(BackupDamaged, copies.verify, None, None)
            await self.store.back_up(access)
            fetch = mock.Mock(side_effect=lambda *_: self._removed(manifest))
            with mock.patch.object(verification, "fetch_copy", fetch):
                self.assertRaises(
                    NoSuchBackup, copies.verify, datetime.fromisoformat(manifest.taken), None
                )

    def _removed(self, manifest: CopyManifest) -> None:
        remove_copy(self.objects, manifest)
        raise NoSuchBackup("gone")


class NoCaseTests(TestCase):
    def test_no_label_names_an_address(self) -> None:
        registry = CollectorRegistry()
        Metrics(registry)
        labels = {
            label
            for family in registry.collect()
            for sample in family.samples
            for label in sample.labels
        }
        self.assertEqual(labels, {"outcome", "step", "le"})
