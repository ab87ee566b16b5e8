"""Copies of a mailbox: what they hold, who waits for them, what is left when they fail."""

import hashlib
import os
import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import apsw

from mailsrv.errors import AlreadyExists, DiskFull, MailboxBusy, MailboxDamaged, WrongKey
from mailsrv.mailbox import connection as connections
from mailsrv.mailbox import snapshot
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.mailbox.restored import prepare
from mailsrv.mailbox.values import ALL_UIDS, Flags, NewMessage, StoreFlags
from tests.mailbox.support import MailboxTestCase, fetch_all, message, new_key

MARK = b"Nobody but the owner reads this."


class SnapshotCase(MailboxTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.target = self.directory / "copy.sqlite"

    def take(self) -> snapshot.Snapshot:
        return snapshot.take(self.mailbox, self.key, self.target)

    def fill(self, count: int, octets: int) -> None:
        self.put(*(message(n, os.urandom(octets // 2).hex()) for n in range(count)))


class TakeTests(SnapshotCase):
    def test_the_copy_is_the_mailbox(self) -> None:
        self.fill(5, 20_000)
        self.put(message(9, MARK.decode()), flags=Flags(1, "word"))
        taken = self.take()
        octets = self.target.read_bytes()
        self.assertEqual(taken.octets, len(octets))
        self.assertEqual(taken.sha256, hashlib.sha256(octets).digest())
        self.assertEqual((taken.digest, taken.messages), (self.mailbox.digest(), 6))
        self.assertNotIn(MARK, octets)
        self.assertEqual([one.name for one in self.directory.glob("copy.*")], ["copy.sqlite"])
        self.assertEqual(snapshot.verify(self.target, self.key), taken)
        with Mailbox.open(self.target, self.key, self.now) as copy:
            self.assertEqual(copy.folders(), self.mailbox.folders())
            self.assertEqual(
                fetch_all(copy, self.inbox, ("flags", "keywords", "modseq")),
                fetch_all(self.mailbox, self.inbox, ("flags", "keywords", "modseq")),
            )

    def test_two_copies_differ_in_octets_and_not_in_content(self) -> None:
        self.fill(3, 2000)
        first = self.take()
        self.target = self.directory / "second.sqlite"
        second = self.take()
        self.assertNotEqual(first.sha256, second.sha256)
        self.assertEqual(first.digest, second.digest)

    def test_a_file_in_its_place_is_left_alone(self) -> None:
        self.target.write_bytes(b"mine")
        with self.assertRaises(AlreadyExists):
            self.take()
        self.assertEqual(self.target.read_bytes(), b"mine")

    def test_writers_wait_only_until_it_has_begun(self) -> None:
        self.fill(200, 100_000)
        stored: list[bool] = []
        running = threading.Event()
        real = snapshot._told_of_beginning

        def told(connection: apsw.Connection, release: object) -> object:
            def begun() -> None:
                release()  # type: ignore[operator]
                # on this thread, in the middle of the copy
                with Mailbox.open(self.path, self.key, self.now) as other:
                    other.append("INBOX", [NewMessage(b"late")])
                stored.append(running.is_set())

            running.set()
            return real(connection, begun)

        with mock.patch.object(snapshot, "_told_of_beginning", told):
            taken = self.take()
        self.assertEqual(stored, [True])
        self.assertEqual(taken.messages, 200)
        self.assertEqual(self.mailbox.usage().messages, 201)
        self.assertNotEqual(taken.digest, self.mailbox.digest())

    def test_nobody_writes_before_it_has_begun(self) -> None:
        with snapshot.hold_writes(self.path, self.key) as release:
            other = self.open()
            other.connection.set_busy_timeout(1)
            with self.assertRaises(MailboxBusy):
                other.append("INBOX", [NewMessage(b"too early")])
            release()
            other.append("INBOX", [NewMessage(b"now")])
            release()

    def test_nothing_is_left_of_one_that_fails(self) -> None:
        self.fill(3, 20_000)
        for failing in ("verify", "_copy"):
            with (
                mock.patch.object(snapshot, failing, side_effect=MailboxDamaged("on purpose")),
                self.assertRaises(MailboxDamaged),
            ):
                self.take()
            self.assertEqual(list(self.directory.glob("copy.*")), [])
        self.put(b"the mailbox goes on")

    def test_a_full_disk_at_any_octet(self) -> None:
        self.fill(10, 50_000)
        octets = self.take().octets
        self.target.unlink()
        for limit in (4096, octets // 3, octets // 2, octets - 4096):
            with no_file_larger_than(limit), self.assertRaises(DiskFull):
                self.take()
            self.assertEqual(list(self.directory.glob("copy.*")), [])
        self.put(b"the mailbox goes on")
        self.assertEqual(self.take().messages, 11)

    def test_a_copy_of_something_else_is_refused(self) -> None:
        with (
            mock.patch.object(snapshot, "content_digest", side_effect=(b"before", b"after")),
            self.assertRaises(MailboxDamaged),
        ):
            self.take()

    def test_a_damaged_source_gives_no_copy(self) -> None:
        self.fill(20, 50_000)
        self.mailbox.connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        self.mailbox.close()
        _damage(self.path, self.path.stat().st_size // 2)
        self.mailbox = self.open()
        with self.assertRaises(MailboxDamaged):
            self.take()
        self.assertEqual(list(self.directory.glob("copy.*")), [])


class VerifyTests(SnapshotCase):
    def setUp(self) -> None:
        super().setUp()
        self.fill(20, 50_000)
        self.take()

    def test_a_damaged_page(self) -> None:
        _damage(self.target, self.target.stat().st_size // 2)
        with self.assertRaises(MailboxDamaged):
            snapshot.verify(self.target, self.key)

    def test_cut_short(self) -> None:
        os.truncate(self.target, self.target.stat().st_size - 4096)
        with self.assertRaises(MailboxDamaged):
            snapshot.verify(self.target, self.key)

    def test_another_key(self) -> None:
        with self.assertRaises(WrongKey):
            snapshot.verify(self.target, new_key())

    def test_a_message_that_is_not_its_hash(self) -> None:
        connection = connections.connect(self.target, self.key)
        connection.execute("UPDATE content SET sha256 = randomblob(32)")
        connection.close()
        with self.assertRaises(MailboxDamaged):
            snapshot.verify(self.target, self.key)

    def test_a_counter_that_is_wrong(self) -> None:
        connection = connections.connect(self.target, self.key)
        connection.execute("UPDATE folder SET messages = messages + 1")
        connection.close()
        with self.assertRaises(MailboxDamaged):
            snapshot.verify(self.target, self.key)


class DigestTests(MailboxTestCase):
    def test_every_change_changes_it(self) -> None:
        box = self.mailbox
        self.put(b"one", b"two")
        seen = {box.digest()}
        changes = (
            lambda: self.put(b"three"),
            lambda: box.store_flags(self.inbox, StoreFlags(((1, 1),), "add", Flags(8))),
            lambda: box.store_flags(self.inbox, StoreFlags(((2, 2),), "add", Flags(0, "word"))),
            lambda: box.expunge(self.inbox, ALL_UIDS),
            lambda: box.create_folder("Work"),
            lambda: box.copy(self.inbox, ALL_UIDS, "Work"),
            lambda: box.rename_folder("Work", "Play"),
            lambda: box.move(self.inbox, ALL_UIDS, "Play"),
            lambda: box.subscribe("Play", True),
            lambda: box.delete_folder("Play"),
            lambda: prepare(box, 0, None),
        )
        for change in changes:
            change()
            digest = box.digest()
            self.assertNotIn(digest, seen)
            seen.add(digest)

    def test_looking_does_not(self) -> None:
        self.put(b"one", b"two")
        before = self.mailbox.digest()
        self.mailbox.select("INBOX", True)
        self.mailbox.index_pending(10)
        fetch_all(self.mailbox, self.inbox, ("envelope",))
        with self.open() as other:
            self.assertEqual(other.digest(), before)
        self.assertEqual(self.mailbox.digest(), before)


class PreparedTests(MailboxTestCase):
    def test_every_folder_gets_a_number_and_an_id_that_it_never_had(self) -> None:
        self.put(b"one")
        before = {one.name: one for one in self.mailbox.folders()}
        prepare(self.mailbox, 0, None)
        after = {one.name: one for one in self.mailbox.folders()}
        self.assertEqual(after.keys(), before.keys())
        numbers = {one.uidvalidity for one in after.values()}
        self.assertGreater(min(numbers), max(one.uidvalidity for one in before.values()))
        self.assertEqual(len(numbers), len(after))
        ids = {one.object_id for one in (*before.values(), *after.values())}
        self.assertEqual(len(ids), 2 * len(after))
        self.assertEqual(self.content(1), b"one")

    def test_no_number_of_a_later_life_comes_back(self) -> None:
        self.now.advance(days=30)
        prepare(self.mailbox, 0, None)
        least = min(one.uidvalidity for one in self.mailbox.folders())
        self.assertGreaterEqual(least, int(self.now().timestamp()))


@contextmanager
def no_file_larger_than(octets: int) -> Iterator[None]:
    """Let the operating system refuse to write behind so many octets, as it does when full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (octets, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _damage(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        octet = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([octet ^ 1]))
