"""Copies in a store: what counts as one, what is damaged, what a crash left."""

import hashlib
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mailsrv.backup.copies import (
    copy_at,
    damaged_manifests,
    fetch_copy,
    find_copy,
    list_copies,
    put_copy,
    remove_copy,
    remove_leftovers,
)
from mailsrv.backup.layout import CopyManifest
from mailsrv.errors import BackupDamaged, BackupStoreFailed, NoSuchBackup
from tests.backup.fakes import FakeStore

ALIAS, OTHER = "a" * 24, "b" * 24
FILE = "f" * 24
DATA = b"octets of a mailbox" * 100


def manifest(day: int, alias: str = ALIAS, mailbox: str = FILE) -> CopyManifest:
    return CopyManifest(
        alias=alias,
        mailbox=mailbox,
        taken=f"2026-11-{day:02}T10:00:00Z",
        octets=len(DATA),
        sha256=hashlib.sha256(DATA).hexdigest(),
        digest="d" * 64,
        messages=3,
    )


class CopiesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.store = FakeStore(Path(self.mktemp()).absolute())
        self.path = Path(self.mktemp())
        self.path.write_bytes(DATA)

    def put(self, *manifests: CopyManifest) -> None:
        for one in manifests:
            put_copy(self.store, self.path, one)

    def test_listed_newest_last_and_by_alias(self) -> None:
        self.put(manifest(3), manifest(1), manifest(2, OTHER), manifest(2, mailbox="0" * 24))
        found = [one.taken[8:10] for one in list_copies(self.store, ALIAS)]
        self.assertEqual(found, ["01", "02", "03"])
        self.assertEqual(len(list_copies(self.store, OTHER)), 1)
        self.assertEqual(list_copies(self.store, "c" * 24), [])

    def test_there_with_its_manifest_only(self) -> None:
        self.store.refuses = {"write"}
        self.assertRaises(BackupStoreFailed, self.put, manifest(1))
        self.store.refuses = set()
        self.assertEqual(list_copies(self.store, ALIAS), [])
        self.put(manifest(1))
        self.store.refuses = {"remove"}
        self.assertRaises(BackupStoreFailed, remove_copy, self.store, manifest(1))
        self.store.refuses = set()
        remove_copy(self.store, manifest(1))
        remove_copy(self.store, manifest(1))
        self.assertEqual(self.store.names(), [])

    def test_at_a_time(self) -> None:
        copies = [manifest(1), manifest(3)]
        for day, expected in ((1, 1), (2, 1), (3, 3), (9, 3)):
            moment = datetime(2026, 11, day, 10, tzinfo=UTC)
            self.assertEqual(copy_at(copies, moment), manifest(expected))
        self.assertEqual(copy_at(copies, None), manifest(3))
        early = datetime(2026, 11, 1, 9, tzinfo=UTC)
        self.assertRaises(NoSuchBackup, copy_at, copies, early)
        self.assertRaises(NoSuchBackup, copy_at, [], None)

    def test_found_when_it_is_whole(self) -> None:
        self.put(manifest(1))
        arguments = (self.store, ALIAS, FILE, manifest(1).taken)
        self.assertEqual(find_copy(*arguments), manifest(1))
        self.assertIsNone(find_copy(self.store, ALIAS, FILE, manifest(2).taken))
        self.assertIsNone(find_copy(self.store, ALIAS, "0" * 24, manifest(1).taken))
        (self.store.root / manifest(1).name).write_bytes(DATA[:-1])
        self.assertIsNone(find_copy(*arguments))
        (self.store.root / manifest(1).name).unlink()
        self.assertIsNone(find_copy(*arguments))

    def test_fetched_and_compared(self) -> None:
        self.put(manifest(1))
        target = Path(self.mktemp())
        fetch_copy(self.store, manifest(1), target)
        self.assertEqual(target.read_bytes(), DATA)
        for octets in (DATA[:-1], b"X" + DATA[1:], b""):
            target.unlink(missing_ok=True)
            (self.store.root / manifest(1).name).write_bytes(octets)
            self.assertRaises(BackupDamaged, fetch_copy, self.store, manifest(1), target)
            self.assertFalse(target.exists())

    def test_manifests_that_are_none(self) -> None:
        self.put(manifest(1), manifest(2), manifest(3))
        (self.store.root / manifest(1).manifest_name).write_bytes(b"{")
        (self.store.root / manifest(2).manifest_name).write_bytes(
            (self.store.root / manifest(3).manifest_name).read_bytes()
        )
        self.assertEqual(list_copies(self.store, ALIAS), [manifest(3)])
        names = [manifest(day).manifest_name for day in (1, 2)]
        self.assertEqual(damaged_manifests(self.store, ALIAS), names)

    def test_what_a_crash_left_goes_after_a_day(self) -> None:
        self.put(manifest(1), manifest(2))
        (self.store.root / manifest(1).manifest_name).unlink()
        now = datetime.now(UTC)
        self.assertEqual(remove_leftovers(self.store, ALIAS, now), 0)
        long_ago = (now - timedelta(days=1, minutes=1)).timestamp()
        for name in self.store.names():
            os.utime(self.store.root / name, (long_ago, long_ago))
        self.assertEqual(remove_leftovers(self.store, ALIAS, now), 1)
        self.assertEqual(self.store.names(), [manifest(2).manifest_name, manifest(2).name])
