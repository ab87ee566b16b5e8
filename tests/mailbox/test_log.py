"""A log that is begun anew beside readers that come one before the other has gone."""

import itertools
import threading
import time
from pathlib import Path

import apsw
from twisted.trial.unittest import SynchronousTestCase

from mailsrv.mailbox import failed_syncs, log
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.mailbox.values import Flags, NewMessage
from tests.mailbox.support import Clock, message, new_key


class TestShorten(SynchronousTestCase):
    def setUp(self) -> None:
        self.path, self.key = Path(self.mktemp()), new_key()
        self.box = Mailbox.create(self.path, self.key, Clock())
        self.addCleanup(self.box.close)
        self.numbers = itertools.count(1)

    def put(self) -> None:
        content = message(next(self.numbers), "x" * 20_000)
        self.box.append("INBOX", [NewMessage(content, Flags())])

    def reader(self) -> apsw.Connection:
        box = Mailbox.open(self.path, self.key, Clock(), readonly=True)
        self.addCleanup(box.close)
        return box.connection

    def begin(self, reader: apsw.Connection) -> int:
        """Begin to read: how many messages there are."""
        reader.execute("BEGIN")
        return reader.execute("SELECT count(*) FROM message").fetchall()[0][0]

    def test_a_reader_is_waited_for_as_long_as_was_said(self) -> None:
        reader = self.reader()
        self.put()
        self.assertEqual(self.begin(reader), 1)
        self.put()
        length = log.octets(self.path)
        before = time.monotonic()
        self.assertFalse(log.shorten(self.box.connection, 100))
        self.assertLess(time.monotonic() - before, 2)
        self.assertEqual(log.octets(self.path), length)
        timer = threading.Timer(0.05, reader.execute, ["COMMIT"])
        timer.start()
        self.addCleanup(timer.join)
        self.assertTrue(log.shorten(self.box.connection, 5000))
        self.assertEqual(log.octets(self.path), 0)
        self.assertEqual(self.begin(reader), 2)
        self.put()
        self.assertEqual(reader.execute("SELECT count(*) FROM message").fetchall(), [(2,)])
        reader.execute("COMMIT")
        self.box.check()

    def test_readers_without_a_gap_end_nothing(self) -> None:
        one, other = self.reader(), self.reader()
        self.begin(one)
        ends, wrong = threading.Event(), []

        def read() -> None:
            nonlocal one, other
            known = 0
            while not ends.is_set():
                now = self.begin(other)
                one.execute("COMMIT")
                if now < known:
                    wrong.append((known, now))
                known, one, other = now, other, one

        thread = threading.Thread(target=read)
        thread.start()
        try:
            for _ in range(5):
                for _ in range(10):
                    self.put()
                self.assertTrue(log.shorten(self.box.connection, 60_000))
        finally:
            ends.set()
            thread.join()
        self.assertEqual(wrong, [])
        self.assertEqual(one.execute("SELECT count(*) FROM message").fetchall(), [(50,)])

    def test_who_copies_beside_us_is_waited_for(self) -> None:
        self.put()
        with Mailbox.open(self.path, self.key, Clock()) as other:
            other.connection.execute("BEGIN IMMEDIATE")
            self.assertFalse(log.shorten(self.box.connection, 30))
            timer = threading.Timer(0.05, other.connection.execute, ["COMMIT"])
            timer.start()
            self.addCleanup(timer.join)
            self.assertTrue(log.shorten(self.box.connection, 5000))
            timer.join()

    def test_a_log_whose_sync_failed_is_left_to_the_next_write(self) -> None:
        self.put()
        length = log.octets(self.path)
        failed_syncs._suspects.add(self.box.connection.filename)
        self.assertFalse(log.shorten(self.box.connection, 30))
        self.assertEqual(log.octets(self.path), length)
        self.put()
        self.assertTrue(log.shorten(self.box.connection, 5000))

    def test_afterwards_writers_are_as_patient_as_before(self) -> None:
        log.shorten(self.box.connection, 30)
        with Mailbox.open(self.path, self.key, Clock()) as other:
            other.connection.execute("BEGIN IMMEDIATE")
            timer = threading.Timer(0.3, other.connection.execute, ["COMMIT"])
            timer.start()
            self.put()
            timer.join()
