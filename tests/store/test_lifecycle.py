"""Passwords: first, changed, added, revoked, started over; and what is left on the volume."""

from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from mailsrv.errors import (
    AlreadyExists,
    AuthenticationFailed,
    DiskFull,
    InvalidInput,
    MailboxBusy,
    MailboxDamaged,
    MailboxMoved,
    NoSuchAlias,
    WeakPassword,
)
from mailsrv.keys.filekey import derive_file_key
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.mailbox.values import NewMessage
from mailsrv.store import changing as changing_module
from mailsrv.store import lifecycle as lifecycle_module
from mailsrv.store.authentication import Authentication, Opened
from mailsrv.store.orphans import remove_orphans
from mailsrv.store.secret import ServerSecret
from mailsrv.store.values import Delivery
from mailsrv.store.waiting import WaitingFiles
from tests.store.world import World, now, open_directory

ADDRESS = "hello@example.com"
CHOSEN = "seven quiet herons cross the marsh"


class LifecycleCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World(Path(self.mktemp()))
        self.addCleanup(self.world.directory.close)
        self.lifecycle = self.world.lifecycle
        self.alias = self.world.alias(ADDRESS)

    def opened(self, password: str, scope: str | None = "imap") -> Opened:
        secret = ServerSecret(self.world.volume.server_key())
        return Authentication(self.world.directory, secret).with_password(ADDRESS, password, scope)

    def mailbox(self, password: str) -> Mailbox:
        opened = self.opened(password)
        mailbox = Mailbox.open(self.world.volume.mailbox(opened.mailbox), opened.key, now)
        self.addCleanup(mailbox.close)
        return mailbox

    def count(self, password: str) -> int:
        return self.mailbox(password).usage().messages

    def refused(self, password: str) -> None:
        self.assertRaises(AuthenticationFailed, self.opened, password)


class TestFirstPassword(LifecycleCase):
    def test_generated(self) -> None:
        password = self.lifecycle.set_first_password(ADDRESS)
        self.assertEqual(self.count(password), 0)
        self.assertEqual(self.opened(password).credential.verifier.iterations, 4096)

    def test_chosen(self) -> None:
        self.assertEqual(self.lifecycle.set_first_password(ADDRESS, CHOSEN), CHOSEN)
        self.assertEqual(self.opened(CHOSEN).credential.verifier.iterations, 64007)

    def test_weak_ones_leave_nothing(self) -> None:
        for weak in ("hello@example.com", "password1234", "short"):
            self.assertRaises(WeakPassword, self.lifecycle.set_first_password, ADDRESS, weak)
        self.assertEqual(self.world.files(), [])

    def test_only_once(self) -> None:
        self.lifecycle.set_first_password(ADDRESS)
        self.assertRaises(AlreadyExists, self.lifecycle.set_first_password, ADDRESS)
        self.assertEqual(len(self.world.files("*.sqlite")), 1)

    def test_who_gives_up_leaves_no_file(self) -> None:
        with mock.patch.object(
            type(self.world.directory), "set_mailbox", side_effect=KeyboardInterrupt
        ):
            self.assertRaises(KeyboardInterrupt, self.lifecycle.set_first_password, ADDRESS, CHOSEN)
        self.assertEqual(self.world.files(), [])

    def test_unknown_address(self) -> None:
        self.assertRaises(NoSuchAlias, self.lifecycle.set_first_password, "x@example.com")

    def test_the_password_is_the_passphrase_of_the_file(self) -> None:
        password = self.lifecycle.set_first_password(ADDRESS)
        path = self.world.volume.mailbox(self.opened(password).mailbox)
        with path.open("rb") as file:
            salt = file.read(16)
        self.assertEqual(derive_file_key(password, salt), self.opened(password).key)
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)

    def test_a_failed_switch_leaves_no_file(self) -> None:
        with mock.patch.object(type(self.world.directory), "set_mailbox", side_effect=DiskFull):
            self.assertRaises(DiskFull, self.lifecycle.set_first_password, ADDRESS)
        self.assertEqual(self.world.files(), [])
        self.lifecycle.set_first_password(ADDRESS)


class TestChangePassword(LifecycleCase):
    def setUp(self) -> None:
        super().setUp()
        self.password = self.lifecycle.set_first_password(ADDRESS)
        self.mailbox(self.password).append("INBOX", [NewMessage(b"Subject: kept\r\n\r\n")], None)

    def test_the_new_one_works_and_the_old_one_does_not(self) -> None:
        old_file = self.opened(self.password).mailbox
        changed = self.lifecycle.change_password(ADDRESS, self.password)
        self.refused(self.password)
        self.assertEqual(self.count(changed.password), 1)
        self.assertEqual(changed.dropped, ())
        self.assertNotIn(f"{old_file}.sqlite", self.world.files())
        self.assertEqual(self.world.directory.discarded_mailboxes(), [])

    def test_only_the_main_password_changes_it(self) -> None:
        app = self.lifecycle.add_app_password(ADDRESS, self.password, "phone", ("imap",))
        for wrong in ("not this one", app):
            self.assertRaises(AuthenticationFailed, self.lifecycle.change_password, ADDRESS, wrong)
        self.assertEqual(self.count(self.password), 1)

    def test_app_passwords_open_the_new_file(self) -> None:
        app = self.lifecycle.add_app_password(ADDRESS, self.password, "phone", ("imap", "smtp"))
        changed = self.lifecycle.change_password(ADDRESS, self.password)
        self.assertEqual(changed.dropped, ())
        self.assertEqual(self.count(app), 1)
        self.assertEqual(self.opened(app).mailbox, self.opened(changed.password).mailbox)

    def test_a_chosen_one_costs_the_generated_app_passwords(self) -> None:
        app = self.lifecycle.add_app_password(ADDRESS, self.password, "phone", ("imap",))
        changed = self.lifecycle.change_password(ADDRESS, self.password, CHOSEN)
        self.assertEqual(changed.dropped, ("phone",))
        self.refused(app)
        self.assertEqual(self.count(CHOSEN), 1)
        app = self.lifecycle.add_app_password(ADDRESS, CHOSEN, "laptop", ("imap",))
        back = self.lifecycle.change_password(ADDRESS, CHOSEN)
        self.assertEqual(back.dropped, ())
        self.assertEqual((self.count(app), self.count(back.password)), (1, 1))

    def test_waiting_mail_stays_readable(self) -> None:
        before = self.opened(self.password).public_key
        changed = self.lifecycle.change_password(ADDRESS, self.password)
        self.assertEqual(self.opened(changed.password).public_key, before)
        self.assertEqual(self.mailbox(changed.password).keys()[1], before)

    def test_a_copy_that_fails_changes_nothing(self) -> None:
        for module, name in (
            (lifecycle_module, "copy_under_new_key"),
            (lifecycle_module, "reseal"),
            (changing_module, "make_credential"),
        ):
            self.lifecycle.add_app_password(ADDRESS, self.password, name, ("imap",))
            files = self.world.files("*.sqlite")
            with mock.patch.object(module, name, side_effect=MailboxDamaged("x")):
                self.assertRaises(
                    MailboxDamaged, self.lifecycle.change_password, ADDRESS, self.password
                )
            self.assertEqual(self.world.files("*.sqlite"), files)
            self.assertEqual(self.count(self.password), 1)

    def test_an_error_after_the_switch_still_tells_the_password(self) -> None:
        real = self.world.directory.set_mailbox

        def switch_and_fail(*args: object, **more: object) -> None:
            real(*args, **more)  # type: ignore[arg-type]
            raise DiskFull("x")

        with mock.patch.object(self.world.directory, "set_mailbox", switch_and_fail):
            changed = self.lifecycle.change_password(ADDRESS, self.password)
        self.assertEqual(self.count(changed.password), 1)
        self.refused(self.password)

    def test_writers_of_the_old_file_are_fenced_off(self) -> None:
        opened = self.opened(self.password)
        late = self.mailbox(self.password)

        def fence() -> None:
            record = self.world.directory.mailbox(self.alias)
            if record is None or record.id != opened.mailbox:
                raise MailboxMoved("gone")

        late.fence = fence
        changed = self.lifecycle.change_password(ADDRESS, self.password)
        self.assertRaises(MailboxMoved, late.append, "INBOX", [NewMessage(b"late")], None)
        self.assertEqual(late.usage().messages, 1)
        self.assertEqual(self.count(changed.password), 1)

    def test_two_changes_exclude_each_other(self) -> None:
        with (
            self.world.volume.exclusive(self.alias),
            mock.patch.object(changing_module, "PATIENCE", 0.05),
        ):
            self.assertRaises(MailboxBusy, self.lifecycle.change_password, ADDRESS, self.password)


class TestAppPasswords(LifecycleCase):
    def setUp(self) -> None:
        super().setUp()
        self.password = self.lifecycle.set_first_password(ADDRESS)

    def test_scopes(self) -> None:
        app = self.lifecycle.add_app_password(ADDRESS, self.password, "phone", ("imap",))
        self.assertFalse(self.opened(app).credential.main)
        self.assertRaises(AuthenticationFailed, self.opened, app, "smtp")
        self.assertRaises(AuthenticationFailed, self.opened, app, None)
        self.assertEqual(self.opened(self.password, "pop3").credential.label, "main")

    def test_needs_the_main_password(self) -> None:
        self.assertRaises(
            AuthenticationFailed, self.lifecycle.add_app_password, ADDRESS, "x", "phone", ("imap",)
        )

    def test_bad_input(self) -> None:
        for label, scopes in (("phone", ()), ("phone", ("root",)), (" ", ("imap",))):
            self.assertRaises(
                InvalidInput,
                self.lifecycle.add_app_password,
                ADDRESS,
                self.password,
                label,
                scopes,
            )

    def test_revoke(self) -> None:
        app = self.lifecycle.add_app_password(ADDRESS, self.password, "phone", ("imap",))
        main, phone = self.lifecycle.credentials(ADDRESS)
        self.assertEqual((main.main, phone.label), (True, "phone"))
        self.lifecycle.revoke_credential(ADDRESS, phone.id)
        self.refused(app)
        for wrong in (main.id, phone.id, "nothing"):
            self.assertRaises(InvalidInput, self.lifecycle.revoke_credential, ADDRESS, wrong)
        self.assertTrue(self.opened(self.password))


class TestStartOver(LifecycleCase):
    def test_archives_the_old_one(self) -> None:
        old = self.lifecycle.set_first_password(ADDRESS)
        self.mailbox(old).append("INBOX", [NewMessage(b"old")], None)
        opened = self.opened(old)
        new = self.lifecycle.start_over(ADDRESS)
        self.refused(old)
        self.assertEqual(self.count(new), 0)
        self.assertNotEqual(self.opened(new).public_key, opened.public_key)
        archived = self.world.directory.archived_mailboxes(self.alias)
        self.assertEqual([record.id for record in archived], [opened.mailbox])
        path = self.world.volume.mailbox(opened.mailbox)
        with path.open("rb") as file:
            key = derive_file_key(old, file.read(16))
        with Mailbox.open(path, key, now) as mailbox:
            self.assertEqual(mailbox.usage().messages, 1)

    def test_waiting_mail_stays_with_the_old_one(self) -> None:
        old = self.lifecycle.set_first_password(ADDRESS)
        key = self.opened(old).public_key
        files = WaitingFiles(self.world.volume, ServerSecret(self.world.volume.server_key()))
        files.add(key, self.alias, [Delivery(b"sealed", "d1", "2026-11-23T10:00:00Z")])
        new = self.lifecycle.start_over(ADDRESS)
        self.assertTrue(files.exist(key))
        self.assertFalse(files.exist(self.opened(new).public_key))

    def test_serves_as_a_first_password(self) -> None:
        self.assertEqual(self.count(self.lifecycle.start_over(ADDRESS)), 0)


class TestElsewhere(LifecycleCase):
    """Of several primaries each changes what is on its own volume."""

    def setUp(self) -> None:
        super().setUp()
        self.password = self.lifecycle.set_first_password(ADDRESS)
        directory = self.world.directory
        record = directory.mailbox(self.alias)
        assert record is not None
        incoming = directory.begin_move(self.alias, record.id, "b")
        directory.finish_move(self.alias, record.id, incoming.id)

    def test_changes_are_refused(self) -> None:
        before = self.world.files()
        for change in (
            lambda: self.lifecycle.change_password(ADDRESS, self.password),
            lambda: self.lifecycle.start_over(ADDRESS),
            lambda: self.lifecycle.set_first_password(ADDRESS),
            lambda: self.lifecycle.add_app_password(ADDRESS, self.password, "phone", ("imap",)),
            lambda: self.lifecycle.revoke_credential(ADDRESS, "0" * 24),
        ):
            error = self.assertRaises(InvalidInput, change)
            self.assertEqual(str(error), f"{ADDRESS} is served by primary b: run this there")
        self.assertEqual(self.world.files(), before)

    def test_a_move_that_was_under_way_is_waited_for(self) -> None:
        directory = self.world.directory
        mine = directory.add_alias("other@example.com")

        def move_away(_name: str, _patience: float) -> object:
            directory.set_primary(mine.id, "b")
            return nullcontext()

        with mock.patch.object(self.world.volume, "exclusive", move_away):
            error = self.assertRaises(
                InvalidInput, self.lifecycle.set_first_password, "other@example.com"
            )
        self.assertIn("is served by primary b", str(error))

    def test_files_of_other_volumes_stay_in_the_directory(self) -> None:
        directory = self.world.directory
        directory.delete_alias(self.alias)
        found = directory.discarded_mailboxes("b")
        self.assertEqual(len(found), 1)
        remove_orphans(directory, self.world.volume, now)
        self.assertEqual(directory.discarded_mailboxes("b"), found)
        remove_orphans(directory, self.world.volume, now, "b")
        self.assertEqual(directory.discarded_mailboxes("b"), [])


class TestOrphans(LifecycleCase):
    def setUp(self) -> None:
        super().setUp()
        self.password = self.lifecycle.set_first_password(ADDRESS)
        self.lifecycle.start_over(ADDRESS)
        self.known = self.world.files("*.sqlite")
        self.orphan = "f" * 24

    def leave(self, name: str) -> None:
        (self.world.volume.mailboxes / name).write_bytes(b"x")

    def sweep(self, hours: float = 2) -> list[str]:
        later = now() + timedelta(hours=hours)
        return remove_orphans(self.world.directory, self.world.volume, lambda: later)

    def test_takes_what_nobody_names_after_an_hour(self) -> None:
        for suffix in ("sqlite", "sqlite-wal", "lock"):
            self.leave(f"{self.orphan}.{suffix}")
        self.assertEqual(self.sweep(hours=0.9), [])
        self.assertEqual(self.sweep(), [self.orphan])
        self.assertEqual(self.world.files(), self.known)

    def test_leaves_what_is_in_the_making(self) -> None:
        self.leave(f"{self.orphan}.sqlite")
        with self.world.volume.exclusive(self.orphan):
            self.assertEqual(self.sweep(), [])

    def test_leaves_mailboxes_that_another_directory_names(self) -> None:
        elsewhere = self.world.base / "restored"
        elsewhere.mkdir()
        restored = open_directory(elsewhere)
        self.addCleanup(restored.close)
        later = now() + timedelta(days=9)
        self.assertEqual(remove_orphans(restored, self.world.volume, lambda: later), [])
        self.assertEqual(self.world.files("*.sqlite"), self.known)

    def test_a_lock_left_behind_costs_no_mailbox(self) -> None:
        current = self.opened(self.lifecycle.start_over(ADDRESS)).mailbox
        archived = self.world.directory.archived_mailboxes(self.alias)[0].id
        for name in (current, archived, self.alias):
            self.leave(f"{name}.lock")
        known = self.world.files("*.sqlite")
        self.assertEqual(self.sweep(), [])
        self.assertEqual(self.world.files(), known)

    def test_never_takes_waiting_mail_or_strangers(self) -> None:
        names = [f"{self.orphan}.waiting.sqlite", f"{self.orphan}.aside.sqlite", "notes.txt"]
        for name in names:
            self.leave(name)
        self.assertEqual(self.sweep(), [])
        self.assertEqual(self.world.files(), sorted(self.known + names))

    def test_takes_what_was_replaced(self) -> None:
        password = self.lifecycle.start_over(ADDRESS)
        with mock.patch.object(type(self.world.volume), "remove_mailbox", side_effect=OSError):
            changed = self.lifecycle.change_password(ADDRESS, password)
        discarded = self.world.directory.discarded_mailboxes()
        self.assertEqual(len(discarded), 1)
        self.assertEqual(self.sweep(hours=0), discarded)
        self.assertEqual(self.world.directory.discarded_mailboxes(), [])
        self.assertEqual(self.count(changed.password), 0)
