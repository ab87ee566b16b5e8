"""When a chain of captured frames goes on, and when it has to end."""

import itertools
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from mailsrv.mailbox import failed_syncs
from mailsrv.mailbox import snapshot as sqlite_snapshot
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.mailbox.values import NewMessage
from mailsrv.mailbox.wal import frames, segments
from mailsrv.mailbox.wal.capture import Capture
from mailsrv.mailbox.wal.keeper import LogKeepers
from tests.mailbox.support import Clock, message, new_key

CHAIN = "20261123T101500Z-1a2b3c4d"


class TestCapture(SynchronousTestCase):
    def setUp(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        self.path, self.folder, self.key = folder / "a.sqlite", folder / "shipping", new_key()
        Mailbox.create(self.path, self.key, Clock(), boot="boot").close()
        self.keepers = self.process()
        self.box = self.open()
        self.assertTrue(self.keeper.begin(CHAIN, "alias"))

    def process(self, boot: str = "boot") -> LogKeepers:
        return LogKeepers(self.folder, lambda: 1, boot)

    def open(self, *, kept: bool = True) -> Mailbox:
        logs = self.keepers if kept else None
        box = Mailbox.open(self.path, self.key, Clock(), boot="boot", logs=logs)
        self.addCleanup(box.close)
        return box

    @property
    def keeper(self):
        return self.keepers.of(self.path)

    def put(self, box: Mailbox | None = None) -> None:
        (box or self.box).append("INBOX", [NewMessage(message(1, "x" * 3000))])

    def capture(self) -> int:
        """How many frames there are now."""
        with self.keeper.held() as capture:
            capture.capture()
            return capture.state.captured

    def copy_log(self) -> None:
        self.box.connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    @property
    def ended(self) -> str:
        return "" if self.keeper.state.chain == CHAIN else self.keeper.problem

    def test_it_goes_on_when_the_log_begins_anew_and_over_closing(self) -> None:
        counts = [self.capture()]
        for again in range(3):
            self.put()
            self.copy_log()
            self.put()
            counts.append(self.capture())
            if again:
                self.box.close()
                self.box = self.open()
        self.assertEqual(self.ended, "")
        self.assertEqual(sorted(set(counts)), counts)
        found = [segments.read(one.path) for one in self.keeper.spool.waiting()]
        self.assertEqual(found[0].first, 1)
        for before, after in itertools.pairwise(found):
            self.assertEqual(after.first, before.last + 1)

    def test_another_process_may_write_while_we_have_it_open(self) -> None:
        self.put()
        before = self.capture()
        other = self.open(kept=False)
        self.put(other)
        self.put()
        self.assertGreater(self.capture(), before)
        self.assertEqual(self.ended, "")

    def test_a_log_that_another_process_began_anew_ends_it(self) -> None:
        self.put()
        self.capture()
        other = self.open(kept=False)
        self.put(other)
        other.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        self.put(other)
        self.put()
        self.assertIn("another process", self.ended)

    def test_a_log_that_another_process_emptied_twice_ends_it(self) -> None:
        self.put()
        self.assertTrue(self.box.shorten_log(1000))
        other = self.open(kept=False)
        self.put(other)
        other.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        self.put()
        self.assertIn("another process", self.ended)

    def test_a_log_that_another_process_emptied_before_we_close_ends_it(self) -> None:
        self.put()
        self.capture()
        other = self.open(kept=False)
        self.put(other)
        other.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        self.box.close()
        self.assertIn("another process", self.ended)

    def test_a_write_beside_a_closed_mailbox_ends_it(self) -> None:
        self.put()
        self.box.close()
        self.assertIsNotNone(self.keeper.state.closed)
        other = self.open(kept=False)
        self.put(other)
        other.close()
        self.open()
        self.assertIn("changed by another process", self.ended)

    def test_reading_beside_a_closed_mailbox_ends_nothing(self) -> None:
        self.put()
        self.box.close()
        other = self.open(kept=False)
        other.usage()
        other.close()
        self.box = self.open()
        self.put()
        self.assertEqual(self.ended, "")

    def test_a_restart_of_the_machine_ends_what_was_open_and_nothing_else(self) -> None:
        self.box.close()
        self.keepers = self.process("next boot")
        self.box = self.open()
        self.assertEqual(self.ended, "")
        self.put()
        self.keepers = self.process("third boot")
        self.assertIn("started again", self.keeper.problem)
        self.assertEqual(self.keeper.state.chain, "")

    def found_after_kill(self, owner: object, name: str, work: Callable[[], object]) -> Mailbox:
        """What another process opens when this one is killed as it comes to a step of ``work``."""
        folder = self.path.parent.with_name(f"{self.path.parent.name}-after")
        step = getattr(owner, name)

        def killed(*args: object, **kwargs: object) -> object:
            if not folder.exists():
                shutil.copytree(self.path.parent, folder)
            return step(*args, **kwargs)

        with mock.patch.object(owner, name, killed):
            work()
        self.box.close()
        self.path, self.folder = folder / "a.sqlite", folder / "shipping"
        self.keepers = self.process()
        self.box = self.open()
        return self.box

    def assert_all_is_captured(self) -> None:
        """By its first segment the chain holds the whole log of a copy without one."""
        self.capture()
        self.assertEqual(self.ended, "")
        found = [segments.read(one.path) for one in self.keeper.spool.waiting()]
        for before, after in itertools.pairwise(found):
            self.assertEqual(after.first, before.last + 1)

    def test_a_kill_after_the_log_was_emptied_ends_nothing(self) -> None:
        self.put()
        self.found_after_kill(Capture, "emptied", self.box.close)
        self.assertEqual(Path(f"{self.path}-wal").stat().st_size, 0)
        self.put()
        self.assert_all_is_captured()

    def test_a_kill_after_a_commit_that_began_the_log_anew_ends_nothing(self) -> None:
        self.put()
        self.copy_log()
        self.found_after_kill(Capture, "committed", self.put)
        self.assert_all_is_captured()
        self.assertFalse(self.keeper.state.closed)

    def test_a_kill_after_a_short_commit_that_began_a_long_log_anew_ends_nothing(self) -> None:
        for _ in range(5):
            self.put()
        self.copy_log()
        self.test_a_kill_after_a_commit_that_began_the_log_anew_ends_nothing()

    def test_a_log_that_another_began_anew_right_after_a_commit_ends_it(self) -> None:
        self.put()
        self.capture()
        other = self.open(kept=False)
        committed = Capture.committed

        def late(*args: object) -> None:
            with mock.patch.object(Capture, "committed", committed):
                self.copy_log()
                self.put(other)
            committed(*args)

        with mock.patch.object(Capture, "committed", late):
            self.put()
        self.assertIn("began anew", self.ended)

    def test_when_a_commit_was_that_a_kill_left_is_not_forgotten(self) -> None:
        self.put()
        self.found_after_kill(Capture, "committed", self.put)
        found = len(self.keeper.spool.marks()[1])
        self.keepers = self.process()
        self.keeper.attach(self.open(kept=False).connection)
        self.assertEqual(len(self.keeper.spool.marks()[1]), found)
        self.put()
        self.capture()
        [segment] = [segments.read(one.path) for one in self.keeper.spool.waiting()][-1:]
        self.assertEqual(len(segment.marks), found)

    def test_a_copy_of_the_mailbox_beside_a_writer_that_waits_ends_nothing(self) -> None:
        self.put()
        writer = self.open()
        begun = sqlite_snapshot.hold_writes

        @contextmanager
        def held(*args: Any) -> Iterator[Any]:
            with begun(*args) as release:
                thread.start()
                # what it does before it waits for the lock it does now, or not before we let it
                time.sleep(0.2)
                yield release

        thread = threading.Thread(target=self.put, args=(writer,))
        with mock.patch.object(sqlite_snapshot, "hold_writes", held):
            sqlite_snapshot.take(self.box, self.key, self.path.with_name("copy.sqlite"))
        thread.join(30)
        self.assertFalse(thread.is_alive())
        self.put()
        self.assertEqual(self.ended, "")

    def test_who_forgets_a_mailbox_waits_for_no_writer(self) -> None:
        with self.box.writing():
            thread = threading.Thread(target=self.keepers.forget, args=(self.keeper,))
            thread.start()
            thread.join(30)
            self.assertFalse(thread.is_alive())
        self.assertIs(self.keepers.of(self.path), self.keeper)

    def test_who_opens_the_mailbox_to_read_waits_for_no_writer(self) -> None:
        with self.box.writing():
            thread = threading.Thread(target=lambda: self.open().usage())
            thread.start()
            thread.join(30)
            self.assertFalse(thread.is_alive())
        self.put()
        self.box.close()
        self.assertEqual(self.ended, "")

    def test_a_log_that_lost_its_end_ends_it(self) -> None:
        self.put()
        self.put()
        self.capture()
        log = Path(f"{self.path}-wal")
        data = log.read_bytes()
        self.keepers = self.process()
        keeper = self.keeper
        log.write_bytes(data[: frames.offset(3)])
        with keeper.held() as capture:
            capture.resume(2)
        self.assertIn("power cut", keeper.problem)
        log.write_bytes(data)

    def test_a_log_whose_sync_failed_stays_when_it_is_closed(self) -> None:
        self.put()
        failed_syncs._suspects.add(self.box.connection.filename)
        self.addCleanup(failed_syncs._suspects.clear)
        self.box.close()
        self.assertGreater(Path(f"{self.path}-wal").stat().st_size, 0)
        self.assertIsNone(self.keeper.state.closed)
        self.box = self.open()
        self.put()
        self.box.close()
        self.assertFalse(Path(f"{self.path}-wal").exists())
        self.assertEqual(self.ended, "")
