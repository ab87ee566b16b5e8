"""A backup becomes the mailbox again: whose passwords, which mail, what is left behind."""

from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from mailsrv.backup import restore as restore_module
from mailsrv.backup.moments import parse_moment
from mailsrv.backup.restore import Restore, Restored
from mailsrv.backup.restore_sources import Backups, FromArchive, FromFile, FromStore, Source
from mailsrv.directory.directory import Alias
from mailsrv.errors import (
    AliasDisabled,
    AlreadyExists,
    AuthenticationFailed,
    BackupDamaged,
    DiskFull,
    InvalidInput,
    MailboxMoved,
    MailsrvError,
    NoSuchBackup,
    WrongKey,
)
from mailsrv.keys.filekey import SALT_LENGTH, derive_file_key
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.mailbox.values import ALL_UIDS, DELETED, Flags, StoreFlags
from mailsrv.store import volume
from tests.backup.world import ADDRESS, CHOSEN, KeepingCase, contents
from tests.store.world import now

OTHER = "copy@example.com"


def not_asked() -> str | None:
    raise AssertionError("today's password was asked for")


class RestoreCase(KeepingCase):
    """A mailbox with a backup of two messages, and a third that came later."""

    def setUp(self) -> None:
        super().setUp()
        self.app = self.world.lifecycle.add_app_password(ADDRESS, self.password, "phone", ("imap",))
        self.manifest = self.keeping.back_up(ADDRESS, self.password)
        self.keeping.append(ADDRESS, self.password, "three")
        self.restorer = Restore(self.world.directory, self.world.volume, now)

    def source(self, moment: datetime | None = None) -> Source:
        return FromStore(Backups.of([self.keeping.store], self.alias, moment or now()))

    def downloaded(self) -> FromFile:
        return FromFile(self.keeping.folder / self.manifest.name)

    def restore(self, password: str | None = None, today: str | None = "") -> Restored:
        ask = not_asked if today == "" else lambda: today
        return self.restorer.restore(ADDRESS, self.source(), password or self.password, ask)

    def refused(self, error: type[MailsrvError], *args: str | None) -> str:
        """It fails with this, and nothing has changed."""
        before = self.world.files(), self.world.directory.mailbox(self.alias)
        raised = self.assertRaises(error, self.restore, *args)
        self.assertEqual((self.world.files(), self.world.directory.mailbox(self.alias)), before)
        return str(raised)

    def logs_in(self, password: str) -> bool:
        try:
            self.keeping.opened(ADDRESS, password)
        except AuthenticationFailed:
            return False
        return True


class SamePasswordTests(RestoreCase):
    def test_what_the_backup_held_is_there(self) -> None:
        former = self.current()
        done = self.restore()
        self.assertEqual(self.read(), ["one", "two"])
        self.assertEqual(self.read(self.app), ["one", "two"])
        self.assertEqual(
            (done.address, done.taken, done.messages, done.octets, done.archived),
            (ADDRESS, self.manifest.taken, 2, 6, former),
        )
        self.assertEqual((done.set_password, done.dropped, done.left), (False, (), 0))
        usage = self.world.directory.usage(self.alias)
        self.assertEqual((usage.octets, usage.messages), (6, 2))

    def test_the_former_file_is_archived_and_nothing_else_is_left(self) -> None:
        former = self.current()
        self.restore()
        self.assertEqual(
            self.world.files(), sorted([f"{former}.sqlite", f"{self.current()}.sqlite"])
        )
        states = {one.id: one.state for one in self.world.directory.mailbox_files(self.alias)}
        self.assertEqual(states, {former: "archived", self.current(): "current"})

    def test_what_can_be_had_back_is_counted_as_that(self) -> None:
        opened = self.keeping.opened(ADDRESS, self.password)
        path = self.world.volume.mailbox(opened.mailbox)
        week = timedelta(days=7)
        with Mailbox.open(path, opened.key, now, keep_expunged=week) as mailbox:
            inbox = mailbox.select("INBOX", writable=True).folder.id
            mailbox.store_flags(inbox, StoreFlags(((1, 1),), "add", Flags(DELETED)))
            mailbox.expunge(inbox, ALL_UIDS)
        self.keeping.back_up(ADDRESS, self.password, now() + timedelta(seconds=1))
        self.restorer.restore(
            ADDRESS, self.source(now() + timedelta(seconds=2)), self.password, not_asked
        )
        usage = self.world.directory.usage(self.alias)
        self.assertEqual((usage.octets, usage.messages, usage.recoverable), (11, 2, 3))

    def test_it_can_be_undone(self) -> None:
        former = self.current()
        done = self.restore()
        self.keeping.append(ADDRESS, self.password, "four")
        source = FromArchive(self.world.volume, former, now)
        undone = self.restorer.restore(ADDRESS, source, self.password, not_asked)
        self.assertEqual(self.read(), ["one", "two", "three"])
        self.assertNotEqual(undone.archived, done.archived)
        self.assertEqual(len(self.world.directory.archived_mailboxes(self.alias)), 2)

    def test_every_folder_has_a_higher_uidvalidity(self) -> None:
        with self.keeping.mailbox(ADDRESS, self.password) as mailbox:
            for number in range(50):  # more than seconds have gone by
                mailbox.create_folder(f"folder {number}")
        before = self.keeping.uidvalidities(ADDRESS, self.password)
        self.restore()
        after = self.keeping.uidvalidities(ADDRESS, self.password)
        self.assertGreater(min(after.values()), max(before.values()))
        self.assertEqual(len(set(after.values())), len(after))

    def test_the_main_password_opens_the_file_by_itself(self) -> None:
        salts = {self.salt()}
        self.restore()
        self.assertNotIn(self.salt(), salts)
        key = derive_file_key(self.password, self.salt())
        with Mailbox.open(self.world.volume.mailbox(self.current()), key, now) as mailbox:
            self.assertEqual(contents(mailbox), ["one", "two"])

    def salt(self) -> bytes:
        with self.world.volume.mailbox(self.current()).open("rb") as file:
            return file.read(SALT_LENGTH)

    def test_waiting_mail_is_read_after_it(self) -> None:
        public_key = self.keeping.opened(ADDRESS, self.password).public_key
        self.keeping.wait(ADDRESS, public_key, "waits")
        self.assertEqual(self.restore().brought, 0)
        self.assertEqual(self.read(), ["one", "two", "waits"])

    def test_a_revoked_password_stays_revoked(self) -> None:
        (phone,) = [
            one for one in self.world.lifecycle.credentials(ADDRESS) if one.label == "phone"
        ]
        self.world.lifecycle.revoke_credential(ADDRESS, phone.id)
        self.restore()
        self.assertFalse(self.logs_in(self.app))


class WrongPasswordTests(RestoreCase):
    def test_of_the_backup(self) -> None:
        said = self.refused(WrongKey, "not this one")
        self.assertIn(f"does not open the backup of {self.manifest.taken}", said)

    def test_app_passwords_open_no_files(self) -> None:
        self.assertIn("app passwords", self.refused(WrongKey, self.app))

    def test_nothing_is_fetched_where_the_directory_knows_better(self) -> None:
        with mock.patch.object(FromStore, "fetch", side_effect=AssertionError):
            self.refused(WrongKey, "not this one")

    def test_of_an_older_backup(self) -> None:
        self.world.lifecycle.change_password(ADDRESS, self.password)
        self.refused(WrongKey, "not this one")

    def test_of_today(self) -> None:
        self.world.lifecycle.change_password(ADDRESS, self.password)
        said = self.refused(AuthenticationFailed, self.password, "not this one")
        self.assertIn(f"not the main password (main) of {ADDRESS} today", said)


class PasswordChangedTests(RestoreCase):
    def setUp(self) -> None:
        super().setUp()
        self.old = self.password

    def change(self, chosen: str | None = None) -> str:
        return self.world.lifecycle.change_password(ADDRESS, self.old, chosen).password

    def test_todays_passwords_open_what_was_restored(self) -> None:
        new = self.change()
        done = self.restore(self.old, new)
        self.assertEqual(self.read(new), ["one", "two"])
        self.assertEqual(self.read(self.app), ["one", "two"])
        self.assertFalse(self.logs_in(self.old))
        self.assertFalse(done.set_password)

    def test_a_chosen_one(self) -> None:
        new = self.change(CHOSEN)
        self.restore(self.old, new)
        self.assertEqual(self.read(CHOSEN), ["one", "two"])

    def test_todays_app_password_is_not_enough(self) -> None:
        self.change()
        self.refused(AuthenticationFailed, self.old, self.app)

    def test_todays_is_lost(self) -> None:
        new = self.change()
        done = self.restore(self.old, None)
        self.assertEqual(self.read(self.old), ["one", "two"])
        self.assertFalse(self.logs_in(new))
        self.assertFalse(self.logs_in(self.app))
        self.assertEqual((done.set_password, done.dropped), (True, ("phone",)))

    def test_waiting_mail_is_read_all_the_same(self) -> None:
        """A password change keeps the key pair, so what waits stays readable."""
        for today in (self.change(), None):
            self.keeping.wait(
                ADDRESS, self.world.directory.mailbox(self.alias).public_key, f"waits {today}"
            )
            self.assertEqual(self.restore(self.old, today).left, 0)
            password = today or self.old
            self.assertEqual(self.read(password), ["one", "two", f"waits {today}"])

    def test_a_change_meanwhile_is_noticed(self) -> None:
        new = self.change()
        third: list[str] = []

        turn = self.restorer._changing

        def too_late(address: str) -> AbstractContextManager[Alias]:
            third.append(self.world.lifecycle.change_password(ADDRESS, new).password)
            return turn(address)

        with mock.patch.object(self.restorer, "_changing", too_late):
            self.assertRaises(MailboxMoved, self.restore, self.old, new)
        self.assertEqual(self.read(third[0]), ["one", "two", "three"])
        self.assertEqual(len(self.world.files()), 1)


class StartedOverTests(RestoreCase):
    """The key pair of the backup is another one than today's."""

    def setUp(self) -> None:
        super().setUp()
        self.former = self.keeping.opened(ADDRESS, self.password).public_key
        self.keeping.wait(ADDRESS, self.former, "waited before")
        self.new = self.world.lifecycle.start_over(ADDRESS)
        self.now = self.keeping.opened(ADDRESS, self.new).public_key
        self.keeping.wait(ADDRESS, self.now, "waits now")

    def test_all_that_waits_is_read(self) -> None:
        done = self.restore(self.password, self.new)
        self.assertEqual((done.brought, done.left), (1, 0))
        self.assertEqual(self.keeping.opened(ADDRESS, self.new).public_key, self.now)
        self.assertEqual(self.read(self.new), ["one", "two", "waited before", "waits now"])

    def test_when_todays_is_lost(self) -> None:
        done = self.restore(self.password, None)
        self.assertEqual((done.brought, done.left), (1, 1))
        self.assertEqual(self.read(), ["one", "two", "waited before"])
        self.assertNotIn(
            self.keeping.opened(ADDRESS, self.password).public_key, (self.now, self.former)
        )

    def test_and_then_it_turns_up(self) -> None:
        archived = self.restore(self.password, None).archived
        assert archived is not None
        source = FromArchive(self.world.volume, archived, now)
        done = self.restorer.restore(ADDRESS, source, self.new, lambda: self.password)
        self.assertEqual(done.brought, 1)
        self.assertEqual(self.read(), ["waits now"])

    def test_the_current_file_is_damaged(self) -> None:
        path = self.world.volume.mailbox(self.current())
        path.write_bytes(path.read_bytes()[:SALT_LENGTH] + bytes(5000))
        done = self.restore(self.password, self.new)
        self.assertEqual((done.brought, done.left), (1, 1))
        self.assertEqual(self.read(self.new), ["one", "two", "waited before"])


class LostFileTests(RestoreCase):
    def test_the_file_is_gone_and_the_passwords_are_not(self) -> None:
        path = self.world.volume.mailbox(self.current())
        path.unlink()
        public_key = self.keeping.opened(ADDRESS, self.password).public_key
        self.keeping.wait(ADDRESS, public_key, "waits")
        self.restore()
        self.assertEqual(self.read(self.app), ["one", "two", "waits"])

    def test_no_mailbox_at_all(self) -> None:
        self.world.alias(OTHER)
        done = self.restorer.restore(OTHER, self.downloaded(), self.password, not_asked)
        self.assertEqual((done.set_password, done.archived, done.taken), (True, None, None))
        self.assertEqual(self.keeping.read(OTHER, self.password), ["one", "two"])
        keys = {self.keeping.opened(one, self.password).public_key for one in (ADDRESS, OTHER)}
        self.assertEqual(len(keys), 2, "two mailboxes must not share what waits")


class IntoTests(RestoreCase):
    def into(self) -> Restored:
        return self.restorer.restore_into(OTHER, self.source(), self.password)

    def test_a_mailbox_of_its_own(self) -> None:
        other = self.world.alias(OTHER)
        public_key = self.keeping.opened(ADDRESS, self.password).public_key
        self.keeping.wait(ADDRESS, public_key, "waits")
        before = self.keeping.uidvalidities(ADDRESS, self.password)
        done = self.into()
        self.assertEqual(self.keeping.read(OTHER, self.password), ["one", "two"])
        self.assertEqual(self.read(), ["one", "two", "three", "waits"])
        self.assertEqual((done.address, done.set_password, done.archived), (OTHER, True, None))
        self.assertEqual(self.world.directory.usage(other).messages, 2)
        after = self.keeping.uidvalidities(OTHER, self.password)
        self.assertEqual(before.keys(), after.keys())
        one, two = (self.keeping.opened(name, self.password) for name in (ADDRESS, OTHER))
        self.assertNotEqual(one.public_key, two.public_key)
        self.assertNotEqual(one.key, two.key)

    def test_not_over_another_one(self) -> None:
        self.world.mailbox(OTHER)
        before = self.world.files()
        self.assertRaises(AlreadyExists, self.into)
        self.assertEqual(self.world.files(), before)

    def test_a_wrong_password(self) -> None:
        other = self.world.alias(OTHER)
        before = self.world.files()
        self.assertRaises(
            WrongKey, self.restorer.restore_into, OTHER, self.source(), "not this one"
        )
        self.assertEqual(self.world.files(), before)
        self.assertIsNone(self.world.directory.mailbox(other))


class RefusalTests(RestoreCase):
    def test_octets_that_are_not_those_that_were_put_there(self) -> None:
        path = self.keeping.folder / self.manifest.name
        path.chmod(0o600)
        octets = bytearray(path.read_bytes())
        octets[-100] ^= 1
        path.write_bytes(octets)
        self.refused(BackupDamaged)
        before = self.world.files()
        self.assertRaises(
            MailsrvError,
            self.restorer.restore,
            ADDRESS,
            self.downloaded(),
            self.password,
            not_asked,
        )
        self.assertEqual(self.world.files(), before)

    def test_one_of_an_older_version_is_mended_first(self) -> None:
        path = self.keeping.folder / self.manifest.name
        path.chmod(0o600)
        key = self.keeping.opened(ADDRESS, self.password).key
        with Mailbox.open(path, key, now) as mailbox:
            mailbox.connection.execute("ALTER TABLE folder DROP COLUMN deleted")
        self.restorer.restore(ADDRESS, self.downloaded(), self.password, not_asked)
        self.assertEqual(self.read(), ["one", "two"])

    def test_what_is_no_backup(self) -> None:
        path = Path(self.mktemp())
        for octets in (b"", b"short", b"x" * 10_000):
            path.write_bytes(octets)
            before = self.world.files()
            self.assertRaises(
                MailsrvError,
                self.restorer.restore,
                ADDRESS,
                FromFile(path),
                self.password,
                not_asked,
            )
            self.assertEqual(self.world.files(), before)

    def test_a_switch_that_fails_leaves_nothing(self) -> None:
        for name in ("copy_under_new_key", "open_and_verify", "prepare", "reseal"):
            with mock.patch.object(restore_module, name, side_effect=DiskFull("x")):
                self.refused(DiskFull)
        with mock.patch.object(type(self.world.directory), "set_mailbox", side_effect=DiskFull):
            self.refused(DiskFull)
        self.restore()

    def test_another_primary(self) -> None:
        record = self.world.directory.mailbox(self.alias)
        assert record is not None
        incoming = self.world.directory.begin_move(self.alias, record.id, "b")
        self.world.directory.finish_move(self.alias, record.id, incoming.id)
        self.assertIn("served by primary b", self.refused(InvalidInput))

    def test_a_disk_without_room(self) -> None:
        with mock.patch.object(volume, "MARGIN", 2**60):
            self.assertIn("octets of free disk", self.refused(DiskFull))
            for source in (self.downloaded(), FromArchive(self.world.volume, self.current(), now)):
                self.assertGreater(source.octets, 4096)

    def test_a_disabled_address(self) -> None:
        self.world.directory.set_alias_enabled(self.alias, False)
        self.refused(AliasDisabled)

    def test_a_copy_with_its_log(self) -> None:
        """A file that was copied while it was in use has its newest changes beside it."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        current = self.world.volume.mailbox(self.current())
        with self.keeping.mailbox(ADDRESS, self.password):
            self.keeping.append(ADDRESS, self.password, "four")
            for suffix in ("", "-wal"):
                (folder / f"taken.sqlite{suffix}").write_bytes(
                    Path(f"{current}{suffix}").read_bytes()
                )
        self.restorer.restore(ADDRESS, FromFile(folder / "taken.sqlite"), self.password, not_asked)
        self.assertEqual(self.read(), ["one", "two", "three", "four"])
        self.assertEqual(len(list(folder.iterdir())), 2)


class WhichOneTests(RestoreCase):
    def test_the_newest_that_is_not_younger(self) -> None:
        day = datetime(2026, 11, 1, 10, tzinfo=UTC)
        for number in range(3):
            self.keeping.append(ADDRESS, self.password, f"day {number}")
            self.keeping.back_up(ADDRESS, self.password, day + timedelta(days=number))
        for moment, count in (
            (day, 4),
            (day + timedelta(seconds=86399), 4),
            (day + timedelta(days=1), 5),
            (day + timedelta(days=1, hours=23), 5),
            (day + timedelta(days=5), 6),
        ):
            source = self.source(moment)
            done = self.restorer.restore(ADDRESS, source, self.password, not_asked)
            self.assertEqual(done.messages, count, moment)
        said = str(self.assertRaises(NoSuchBackup, self.source, day - timedelta(seconds=1)))
        self.assertIn("the oldest is of 2026-11-01T10:00:00Z", said)

    def test_none_at_all(self) -> None:
        other, _ = self.world.mailbox(OTHER)
        said = str(self.assertRaises(NoSuchBackup, Backups.of, [self.keeping.store], other, now()))
        self.assertEqual(said, "no backup of this mailbox is kept")


class MomentTests(SynchronousTestCase):
    NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)

    def parsed(self, text: str) -> str:
        return parse_moment(text, self.NOW).strftime("%Y-%m-%dT%H:%M:%SZ")

    def test_with_z_or_an_offset(self) -> None:
        for text in ("2026-11-23T10:15:00Z", "2026-11-23T11:15:00+01:00", "2026-11-23 10:15Z"):
            self.assertEqual(self.parsed(text), "2026-11-23T10:15:00Z")

    def test_a_date_is_the_end_of_its_day(self) -> None:
        self.assertEqual(self.parsed("2026-11-22"), "2026-11-22T23:59:59Z")
        self.assertEqual(self.parsed("2026-11-23"), "2026-11-23T12:00:00Z")

    def test_what_has_not_come_yet(self) -> None:
        for text in ("2026-11-24", "2026-11-23T12:00:01Z", "9999-12-31", "2026-11-23T11:00-05:00"):
            said = str(self.assertRaises(InvalidInput, self.parsed, text))
            self.assertIn("has not come yet", said)

    def test_what_is_none(self) -> None:
        beyond = "0001-01-01T00:00:00+14:00"
        for text in ("", "yesterday", "2026-13-01", "2026-11-23T10:15", "20261123", beyond):
            said = str(self.assertRaises(InvalidInput, self.parsed, text))
            self.assertIn(f"got {text}", said)
