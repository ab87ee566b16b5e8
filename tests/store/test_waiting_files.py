"""Waiting files stay open for a moment to be added to, and no longer than is safe."""

from pathlib import Path
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from mailsrv.errors import StorageFailed
from mailsrv.keys.sealing import generate_key_pair
from mailsrv.mailbox.waiting import WaitingMail
from mailsrv.store.secret import ServerSecret
from mailsrv.store.values import Delivery
from mailsrv.store.volume import Volume
from mailsrv.store.waiting import WaitingFiles


class WaitingFilesTests(SynchronousTestCase):
    def setUp(self) -> None:
        base = Path(self.mktemp())
        base.mkdir()
        volume = Volume(base)
        volume.prepare()
        self.files = WaitingFiles(volume, ServerSecret(bytes(32)))
        self.addCleanup(self.files.close_kept, 0)
        _, self.public_key = generate_key_pair()
        self.path = volume.waiting(self.public_key)

    def add(self, delivery_id: str) -> None:
        content = b"Subject: x\r\n\r\n"
        delivery = Delivery(content, delivery_id, "2026-11-23T10:15:00Z")
        self.files.add(self.public_key, "a" * 24, [delivery])

    def waiting(self) -> list[str]:
        with self.files.open(self.public_key) as waiting:
            return [row.delivery_id for row in waiting.batch(100)]

    def test_one_opening_serves_many(self) -> None:
        real = WaitingMail.open_or_create
        with mock.patch.object(WaitingMail, "open_or_create", side_effect=real) as opened:
            for number in range(5):
                self.add(str(number))
        self.assertEqual(opened.call_count, 1)
        self.assertEqual(self.waiting(), list("01234"))

    def test_closed_when_idle(self) -> None:
        self.add("one")
        self.assertTrue(self.files.kept)
        self.files.close_kept(60)
        self.assertTrue(self.files.kept)
        self.files.close_kept(0)
        self.assertFalse(self.files.kept)
        self.assertFalse(self.path.with_name(f"{self.path.name}-wal").exists())

    def test_nothing_is_written_to_a_file_that_was_taken_away(self) -> None:
        self.add("lost with its file")
        for path in self.path.parent.glob(f"{self.path.name}*"):
            path.unlink()
        self.add("kept")
        self.assertEqual(self.waiting(), ["kept"])

    def test_deleted_file_is_not_written_to(self) -> None:
        self.add("one")
        with self.files.open(self.public_key) as waiting, self.files.locked(self.public_key):
            self.assertFalse(self.files.delete_if_empty(self.public_key, waiting))
            waiting.remove(["one"])
            self.assertTrue(self.files.delete_if_empty(self.public_key, waiting))
        self.assertFalse(self.path.exists())
        self.add("two")
        self.assertEqual(self.waiting(), ["two"])

    def test_what_failed_is_not_kept_open(self) -> None:
        self.add("one")
        with mock.patch.object(WaitingMail, "add", side_effect=StorageFailed("no")):
            self.assertRaises(StorageFailed, self.add, "two")
        self.assertFalse(self.files.kept)
        self.add("three")
        self.assertEqual(self.waiting(), ["one", "three"])

    def test_more_than_are_kept_open(self) -> None:
        with mock.patch("mailsrv.store.waiting._KEPT_AT_MOST", 0):
            self.add("one")
            self.assertFalse(self.files.kept)
        self.assertEqual(self.waiting(), ["one"])
