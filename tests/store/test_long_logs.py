"""Logs of mailboxes stay short, though others read the files without a gap."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailsrv.keys.filekey import FileKey, derive_file_key, new_salt
from mailsrv.mailbox import log
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.mailbox.values import Flags, NewMessage
from mailsrv.store.connections import Connections
from mailsrv.store.limits import Limits
from tests.store.world import World, now
from tests.waiting import until

SHORT = 64 * 1024
MESSAGE = NewMessage(b"Subject: long\r\n\r\n" + b"x" * 20_000, Flags())


@contextmanager
def read_without_a_gap(path: Path, key: FileKey) -> Iterator[None]:
    """Two readers, as in another process, of whom one is always there."""
    ends = threading.Event()

    def read() -> None:
        with (
            Mailbox.open(path, key, now, readonly=True) as first,
            Mailbox.open(path, key, now, readonly=True) as second,
        ):
            one, other = first.connection, second.connection
            while not ends.is_set():
                other.execute("BEGIN")
                other.execute("SELECT count(*) FROM message").fetchall()
                if one.in_transaction:
                    one.execute("COMMIT")
                one, other = other, one

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield
    finally:
        ends.set()
        thread.join()


class TestLongLogs(TestCase):
    async def test_a_log_is_shortened_behind_the_writes(self) -> None:
        limits = Limits(poll_seconds=0.05, log_octets=SHORT, log_patience=2.0)
        world = World(Path(self.mktemp()), limits)
        self.addCleanup(world.end)
        _, password = world.mailbox("hello@example.com")
        store = world.store()
        access = await store.login("hello@example.com", password, "imap", None)
        path = world.volume.mailbox(access.mailbox)
        await store.append(access, "INBOX", [MESSAGE], None)
        with store._vault.use(access.key) as packed:
            key = FileKey.unpack(packed)
        with read_without_a_gap(path, key):
            for _ in range(3):
                longest = 0
                for _ in range(20):
                    await store.append(access, "INBOX", [MESSAGE], None)
                    longest = max(longest, log.octets(path))
                self.assertGreater(longest, SHORT)
                await until(lambda: log.octets(path) <= SHORT)
        self.assertEqual((await store.select(access, "INBOX", False)).folder.messages, 61)


class TestSettingAside(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.key = derive_file_key("a password of many letters", new_salt())
        Mailbox.create(self.path, self.key, now).close()
        self.connections = Connections(
            time.monotonic, now, most=4, idle_seconds=10**6, log_octets=SHORT, log_patience=0.01
        )
        self.addCleanup(self.connections.close)

    def put(self, count: int) -> Mailbox:
        with self.connections.use(self.path, lambda: self.key, lambda: None) as mailbox:
            for _ in range(count):
                mailbox.append("INBOX", [MESSAGE])
        return mailbox

    def test_one_connection_waits_until_the_log_was_shortened(self) -> None:
        first = self.put(1)
        self.assertIs(self.put(1), first)
        self.put(5)
        second = self.put(1)
        self.assertIsNot(second, first)
        self.assertIs(self.put(1), second)
        self.assertEqual(len(self.connections), 2)
        self.connections.shorten()
        self.assertEqual(log.octets(self.path), 0)
        self.assertEqual(self.connections.idle, 2)
        self.assertIs(self.put(1), first)

    def test_it_is_closed_as_others_are(self) -> None:
        self.put(5)
        self.connections.settle(self.path, 0.1)
        self.assertEqual(len(self.connections), 0)
        self.connections.shorten()

    def test_one_that_failed_is_not_kept(self) -> None:
        self.put(5)
        with mock.patch.object(log, "shorten", side_effect=OSError(5, "canary")):
            self.connections.shorten()
        self.assertEqual(len(self.connections), 0)
        self.put(1)
