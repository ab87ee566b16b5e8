"""One backup: made, compared, kept, pruned; and what is left when something fails."""

import hashlib
import stat
import threading
import time
from datetime import timedelta
from pathlib import Path
from unittest import mock

from mailsrv.backup import daily
from mailsrv.backup.copies import fetch_copy, list_copies, remove_copy
from mailsrv.errors import (
    BackupStoreFailed,
    DiskFull,
    InvalidInput,
    MailboxBusy,
    MailboxDamaged,
    NoSuchAlias,
    NoSuchBackup,
    Unavailable,
)
from mailsrv.mailbox import snapshot
from mailsrv.settings import Backup
from mailsrv.store import volume
from tests.backup.cases import MARK, DailyCase
from tests.backup.fakes import FakeStore, FakeStores


class DailyTests(DailyCase):
    def test_a_copy_is_kept_and_opens(self) -> None:
        self.add_message()
        outcome = self.back_up()
        (manifest,) = list_copies(self.store, self.alias)
        self.assertEqual(
            (outcome.what, outcome.taken, outcome.octets),
            ("taken", "2026-11-23T10:00:00Z", manifest.octets),
        )
        self.assertEqual((manifest.messages, manifest.alias), (1, self.alias))
        path = Path(self.mktemp())
        fetch_copy(self.store, manifest, path)
        with self.opened() as (mailbox, key):
            self.assertEqual(manifest.mailbox, mailbox.id)
            self.assertEqual(manifest.digest, mailbox.digest().hex())
            found = snapshot.verify(path, key)
            self.assertEqual(found.sha256.hex(), manifest.sha256)
        record = self.world.directory.backup(self.alias)
        self.assertEqual((record.taken, record.digest), (manifest.taken, found.digest))
        self.assertIsNone(record.failed)
        self.assertEqual(self.temporary(), [])

    def test_octets_of_two_copies_differ_and_their_digests_do_not(self) -> None:
        """Why the digest is compared, and not the SHA-256 of the file."""
        self.add_message()
        paths = [Path(self.mktemp()) for _ in range(2)]
        with self.opened() as (mailbox, key):
            one, other = (snapshot.take(mailbox, key, path) for path in paths)
        self.assertNotEqual(one.sha256, other.sha256)
        for path, made in zip(paths, (one, other), strict=True):
            self.assertEqual(hashlib.sha256(path.read_bytes()).digest(), made.sha256)
        self.assertEqual(one.digest, other.digest)

    def test_nothing_is_copied_when_nothing_changed(self) -> None:
        self.add_message()
        first = self.back_up()
        self.clock.advance(days=1)
        second = self.back_up()
        self.assertEqual((second.what, second.taken), ("unchanged", first.taken))
        self.assertEqual(self.store.calls.count("put"), 1)
        record = self.world.directory.backup(self.alias)
        self.assertEqual((record.taken, record.wanted), (first.taken, None))
        self.add_message(b"more")
        self.assertEqual(self.back_up().what, "taken")
        self.assertEqual(len(list_copies(self.store, self.alias)), 2)

    def test_another_file_is_copied_though_its_content_is_the_same(self) -> None:
        self.add_message()
        self.back_up()
        self.clock.advance(minutes=1)
        changed = self.world.lifecycle.change_password("hello@example.com", self.password)
        self.password = changed.password
        self.assertEqual(self.back_up().what, "taken")

    def test_two_within_a_second_have_two_names(self) -> None:
        self.back_up()
        self.add_message()
        self.back_up()
        taken = [one.taken for one in list_copies(self.store, self.alias)]
        self.assertEqual(taken, ["2026-11-23T10:00:00Z", "2026-11-23T10:00:01Z"])

    def test_not_so_soon_again(self) -> None:
        pause = timedelta(minutes=5)
        first = self.back_up(pause)
        self.assertEqual(self.back_up(pause).what, "unchanged")
        self.add_message()
        self.clock.advance(minutes=5)
        self.assertEqual((self.back_up(pause).what, self.store.calls.count("put")), ("recent", 1))
        self.clock.advance(minutes=1)
        second = self.back_up(pause)
        self.assertEqual(second.what, "taken")
        self.assertGreater(second.taken, first.taken)

    def test_copies_that_are_too_many_go(self) -> None:
        self.backup = Backup(keep_last=2, keep_daily=0, keep_weekly=0)
        self.daily = self.make_daily()
        for number in range(4):
            self.add_message(b"%d" % number)
            self.clock.advance(hours=1)
            last = self.back_up()
        copies = list_copies(self.store, self.alias)
        self.assertEqual(len(copies), 2)
        self.assertEqual(copies[-1].taken, last.taken)
        self.assertEqual(len(self.store.names()), 4)

    def test_where_none_are_made(self) -> None:
        self.daily.stores = FakeStores(None)
        self.assertRaises(InvalidInput, self.daily.begin, self.alias)
        self.daily.stores = FakeStores(self.store)
        self.assertRaises(NoSuchAlias, self.daily.begin, "0" * 24)

    def test_who_looks_for_leftovers_is_waited_for(self) -> None:
        held, mine = threading.Event(), self.daily.place(self.alias)

        def look() -> None:
            with mine:
                held.set()
                time.sleep(0.05)

        looking = threading.Thread(target=look)
        looking.start()
        self.addCleanup(looking.join)
        held.wait()
        with mock.patch.object(daily, "TURN_PATIENCE", 60):
            self.daily.begin(self.alias).end()

    def test_one_at_a_time(self) -> None:
        turn = self.daily.begin(self.alias)
        other = self.make_daily()
        other.prepare()
        self.assertRaises(MailboxBusy, other.begin, self.alias)
        turn.end()
        turn.end()
        other.begin(self.alias).end()


class FailureTests(DailyCase):
    def setUp(self) -> None:
        super().setUp()
        self.add_message()
        self.first = self.back_up()
        self.add_message(b"more")
        self.clock.advance(days=1)

    def good(self) -> None:
        """The first copy is as it was, nothing is left over here, and the next attempt works."""
        (manifest, *_) = list_copies(self.store, self.alias)
        self.assertEqual(manifest.taken, self.first.taken)
        path = Path(self.mktemp())
        fetch_copy(self.store, manifest, path)
        self.assertEqual(self.temporary(), [])
        self.store.refuses.clear()
        self.assertEqual(self.back_up().what, "taken")
        self.assertEqual(len(list_copies(self.store, self.alias)), 2)

    def test_a_store_that_refuses(self) -> None:
        for method in ("put", "write"):
            self.store.refuses = {method}
            self.assertRaises(BackupStoreFailed, self.back_up)
            self.assertEqual(self.world.directory.backup(self.alias).taken, self.first.taken)
        self.good()

    def test_after_a_failure_the_store_is_asked_before_the_work(self) -> None:
        self.daily.failed(self.alias, BackupStoreFailed("no bucket of that name"))
        record = self.world.directory.backup(self.alias)
        self.assertEqual(record.problem, "no bucket of that name")
        self.store.refuses = {"list"}
        with mock.patch.object(snapshot, "take", side_effect=AssertionError):
            self.assertRaises(BackupStoreFailed, self.back_up)
        self.store.refuses = set()
        self.good()
        self.assertIsNone(self.world.directory.backup(self.alias).failed)

    def test_a_copy_that_is_damaged_is_not_kept(self) -> None:
        with mock.patch.object(snapshot, "verify", side_effect=MailboxDamaged("a page")):
            self.assertRaises(MailboxDamaged, self.back_up)
        self.good()

    def test_a_disk_without_room(self) -> None:
        with mock.patch.object(volume, "MARGIN", 2**60):
            self.assertRaises(DiskFull, self.back_up)
        self.good()

    def test_a_store_that_does_not_remove(self) -> None:
        self.backup = Backup(keep_last=1, keep_daily=0, keep_weekly=0)
        self.daily = self.make_daily()
        self.store.refuses = {"remove"}
        self.assertRaises(BackupStoreFailed, self.back_up)
        self.assertEqual(self.temporary(), [])
        self.assertEqual(len(list_copies(self.store, self.alias)), 2)

    def test_the_last_copy_was_taken_away(self) -> None:
        self.assertEqual(self.back_up().what, "taken")
        *_, last = list_copies(self.store, self.alias)
        (self.store.root / last.name).unlink()
        self.assertRaises(NoSuchBackup, self.back_up)
        self.clock.advance(minutes=1)
        self.assertEqual(self.back_up().what, "taken")
        self.assertEqual(self.back_up().what, "unchanged")

    def test_an_alias_that_is_erased_meanwhile(self) -> None:
        turn = self.daily.begin(self.alias)
        self.addCleanup(turn.end)
        with self.opened() as (mailbox, key):
            turn.copy(mailbox, key)
        for manifest in list_copies(self.store, self.alias):
            remove_copy(self.store, manifest)
        self.world.directory.delete_alias(self.alias)
        self.assertRaises(NoSuchAlias, turn.keep)
        self.assertEqual(self.store.names(), [])

    def test_one_that_was_given_up_is_not_kept(self) -> None:
        turn = self.daily.begin(self.alias)
        with self.opened() as (mailbox, key):
            turn.copy(mailbox, key)
        before = self.store.names()
        put = FakeStore.put

        def put_too_late(store: FakeStore, name: str, path: Path) -> None:
            put(store, name, path)
            turn.end()

        with mock.patch.object(FakeStore, "put", put_too_late):
            self.assertRaises(Unavailable, turn.keep)
        self.assertEqual(self.store.names(), before)
        self.assertEqual(self.world.directory.backup(self.alias).taken, self.first.taken)

    def test_what_a_crash_left_here_is_removed(self) -> None:
        left = self.daily.folder / f"{self.alias}.sqlite"
        for suffix in ("", "-journal"):
            Path(f"{left}{suffix}").write_bytes(b"x")
        (self.daily.folder / f"{self.alias}.lock").touch()
        (self.daily.folder / "of somebody else").touch()
        self.daily.prepare()
        self.assertEqual(self.temporary(), ["of somebody else"])

    def test_what_is_being_made_is_left(self) -> None:
        turn = self.daily.begin(self.alias)
        with self.opened() as (mailbox, key):
            turn.copy(mailbox, key)
        self.make_daily().prepare()
        self.assertEqual(self.temporary(), [f"{self.alias}.lock", f"{self.alias}.sqlite"])
        self.assertEqual(turn.keep().what, "taken")
        turn.end()
        self.assertEqual(self.temporary(), [])


class SecrecyTests(DailyCase):
    def test_nothing_can_be_read_on_the_way(self) -> None:
        self.add_message()
        turn = self.daily.begin(self.alias)
        self.addCleanup(turn.end)
        with self.opened() as (mailbox, key):
            turn.copy(mailbox, key)
        turn.keep()
        folder = self.daily.folder
        self.assertEqual(stat.S_IMODE(folder.stat().st_mode), 0o700)
        paths = [*folder.iterdir(), *(self.store.root / name for name in self.store.names())]
        self.assertEqual(len(paths), 4)  # lock, copy, and copy and manifest in the store
        for path in paths:
            data = path.read_bytes()
            for mark in (MARK, b"SQLite format 3", b"INBOX", b"hello@example.com"):
                self.assertNotIn(mark, data, path.name)

    def test_writers_are_not_held_while_it_is_kept(self) -> None:
        self.add_message()
        turn = self.daily.begin(self.alias)
        self.addCleanup(turn.end)
        with self.opened() as (mailbox, key):
            turn.copy(mailbox, key)
        put = self.store.put
        self.patch(
            self.store.__class__, "put", lambda _self, *args: (self.add_message(), put(*args))
        )
        self.assertEqual(turn.keep().what, "taken")
        with self.opened() as (mailbox, _):
            self.assertNotEqual(mailbox.digest(), self.world.directory.backup(self.alias).digest)
        turn.end()
        self.clock.advance(minutes=1)
        self.assertEqual(self.back_up().what, "taken")
