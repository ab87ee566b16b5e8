"""A folder behaves as every store does, and leaves nothing readable, half or behind."""

import errno
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from mailsrv.backup.objects import folder
from mailsrv.backup.objects.folder import FolderStore
from mailsrv.errors import BackupStoreFailed, DiskFull, NoSuchBackup, StorageFailed
from tests.backup.store_cases import StoreCases


class FolderTests(StoreCases):
    read_limit_in = "mailsrv.backup.objects.folder.READ_LIMIT"

    def make_store(self) -> FolderStore:
        return FolderStore(self.folder.with_name(f"{self.folder.name}-backups"))


class FilesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.here = Path(self.mktemp())
        self.here.mkdir()
        self.root = self.here / "backups"
        self.store = FolderStore(self.root)

    def everything(self) -> list[str]:
        return sorted(str(path.relative_to(self.root)) for path in self.root.rglob("*"))

    def test_as_people_read_it(self) -> None:
        self.assertEqual(str(self.store), f"folder {self.root}")

    def test_nobody_else_can_read(self) -> None:
        umask = os.umask(0)
        self.addCleanup(os.umask, umask)
        self.store.write("a/b/c", b"x")
        for path in (self.root, *self.root.rglob("*")):
            expected = 0o700 if path.is_dir() else 0o600
            self.assertEqual(path.stat().st_mode & 0o777, expected, path)

    def test_disk_that_is_away(self) -> None:
        store = FolderStore(self.here / "disk" / "backups")
        for attempt in (
            lambda: store.write("a", b"x"),
            lambda: list(store.list("")),
            lambda: store.remove(["a"]),
            lambda: store.read("a"),
            lambda: store.tidy(datetime.now(UTC)),
        ):
            with self.assertRaisesRegex(BackupStoreFailed, "/disk with .* is its disk mounted"):
                attempt()
        self.assertEqual(list(self.here.iterdir()), [])

    def test_removing_the_last_object_removes_its_folders(self) -> None:
        self.store.write("mailboxes/1/copies/a", b"x")
        self.store.write("mailboxes/2/copies/a", b"x")
        self.store.remove(["mailboxes/1/copies/a"])
        self.assertEqual(
            self.everything(), ["mailboxes", "mailboxes/2", "mailboxes/2/copies",
                                "mailboxes/2/copies/a"]
        )  # fmt: skip
        self.store.remove(["mailboxes/2/copies/a"])
        self.assertEqual(self.everything(), [])
        self.assertTrue(self.root.is_dir())

    def test_disk_that_is_full(self) -> None:
        self.store.write("a/b", b"old")
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with mock.patch("os.fsync", side_effect=full):
            with self.assertRaisesRegex(BackupStoreFailed, "a/b: No space left on device"):
                self.store.write("a/b", b"new")
            with self.assertRaises(DiskFull):
                self.store.get("a/b", self.here / "got")
        self.assertEqual(self.store.read("a/b"), b"old")
        self.assertEqual(self.everything(), ["a", "a/b"])
        self.assertFalse((self.here / "got").exists())

    def test_disk_that_gives_back_other_octets(self) -> None:
        self.store.write("a", b"old")
        digest = folder.digest_of
        digests = iter((b"other",))
        self.patch(folder, "digest_of", lambda file: next(digests, None) or digest(file))
        with self.assertRaisesRegex(BackupStoreFailed, "gives back other octets"):
            self.store.write("a", b"new")
        self.assertEqual(self.store.read("a"), b"old")
        self.assertEqual(self.everything(), ["a"])

    def test_disk_that_cannot_be_read(self) -> None:
        self.store.write("a", b"x")

        def unreadable(file: Any) -> Any:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
            yield b""

        self.patch(folder, "pieces", unreadable)
        with self.assertRaisesRegex(BackupStoreFailed, "a: Input/output error"):
            self.store.get("a", self.here / "got")
        with self.assertRaisesRegex(BackupStoreFailed, "a: Input/output error"):
            self.store.read("a")
        self.assertFalse((self.here / "got").exists())

    def test_source_that_cannot_be_read(self) -> None:
        """The error is of the source, not of the folder of the backups."""
        source = self.here / "source"
        source.write_bytes(b"x")

        def unreadable(file: Any) -> Any:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
            yield b""

        self.patch(folder, "pieces", unreadable)
        with self.assertRaisesRegex(StorageFailed, "source: Input/output error"):
            self.store.put("a", source)
        self.assertEqual(self.everything(), [])

    def test_object_that_shrinks_while_it_is_read(self) -> None:
        self.store.write("a", b"xx")

        def shorter(file: Any) -> Any:
            yield file.read()[:1]

        self.patch(folder, "pieces", shorter)
        with self.assertRaisesRegex(BackupStoreFailed, "a: 2 octets, but 1 came"):
            self.store.get("a", self.here / "got")

    def test_what_a_crash_leaves(self) -> None:
        """Killed before the rename: the old object counts, the rest goes when it is old."""
        self.store.write("a/b", b"old")

        def crash(*_: Any) -> None:
            raise SystemExit

        with mock.patch.object(Path, "replace", crash), mock.patch.object(Path, "unlink", crash):
            for name in ("a/b", "c/d"):
                with self.assertRaises(SystemExit):
                    self.store.write(name, b"new")
        self.assertEqual(len([name for name in self.everything() if name.endswith(".part")]), 2)
        self.assertEqual([found.name for found in self.store.list("")], ["a/b"])
        with self.assertRaises(NoSuchBackup):
            self.store.read("c/d")
        now = datetime.now(UTC)
        self.assertEqual(self.store.tidy(now - timedelta(days=1)), 0)
        self.assertEqual(self.store.tidy(now + timedelta(seconds=5), "b/"), 0)
        self.assertEqual(self.store.tidy(now + timedelta(seconds=5)), 2)
        self.assertEqual(self.everything(), ["a", "a/b"])
        self.assertEqual(self.store.read("a/b"), b"old")

    def test_foreign_files_are_left_alone(self) -> None:
        self.store.write("a/b", b"x")
        foreign = [self.root / ".hidden", self.root / "a" / "with blank", self.root / "x.part"]
        for path in foreign:
            path.write_bytes(b"")
            os.utime(path, (0, 0))
        self.assertEqual(self.store.tidy(datetime.now(UTC)), 0)
        self.assertEqual([found.name for found in self.store.list("")], ["a/b", "x.part"])
        self.store.remove(["a/b"])
        for path in foreign:
            self.assertTrue(path.exists())

    def test_time_is_that_of_the_file(self) -> None:
        self.store.write("a", b"x")
        os.utime(self.root / "a", (0, 0))
        (found,) = self.store.list("")
        self.assertEqual(found.modified, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(0)))


del StoreCases
