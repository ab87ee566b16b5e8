"""The cache of connections against who drops, settles and closes beside it."""

import threading
import time
from pathlib import Path
from unittest import mock

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from mailsrv.errors import KeyGone, MailboxBusy
from mailsrv.keys.filekey import FileKey, derive_file_key, new_salt
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.store.connections import Connections
from tests.store.world import now


class TestConnections(TestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.key = derive_file_key("a password of many letters", new_salt())
        Mailbox.create(self.path, self.key, now).close()
        self.connections = Connections(time.monotonic, now, most=4, idle_seconds=10**6)
        self.addCleanup(self.connections.close)

    def use(self) -> None:
        with self.connections.use(self.path, lambda: self.key, lambda: None) as mailbox:
            mailbox.folders()

    def test_dropped_between_key_and_connection_it_is_not_kept(self) -> None:
        for begin in (lambda: None, self.use):  # one to be opened, one that is open
            begin()

            def key() -> FileKey:
                # a logout just after the vault was asked: idle ones are closed, ours is stale
                self.connections.drop(self.path)
                return self.key

            with self.connections.use(self.path, key, lambda: None) as mailbox:
                mailbox.folders()
            self.assertEqual(len(self.connections), 0)

    def test_dropped_just_before_an_idle_one_is_taken(self) -> None:
        idle, real = threading.Event(), self.connections._lock_of

        def slow(key: FileKey) -> bytes:
            if not idle.is_set():
                idle.set()
                self.connections.drop(self.path)
                self.use()  # somebody else's, put back before we look
            return real(key)

        with mock.patch.object(self.connections, "_lock_of", slow):
            self.use()
        self.assertEqual(len(self.connections), 0)

    def test_a_refused_key_leaves_nothing_behind(self) -> None:
        self.use()

        def key() -> FileKey:
            raise KeyGone("no")

        with (
            self.assertRaises(KeyGone),
            self.connections.use(self.path, key, lambda: None),
        ):
            self.fail("a connection without a key")
        self.assertEqual((len(self.connections), self.connections.idle), (1, 1))
        self.connections.settle(self.path, 0.1)

    async def test_settling_waits_for_what_is_used_and_for_what_is_closing(self) -> None:
        self.use()
        closing, gate = threading.Event(), threading.Event()
        self.addCleanup(gate.set)
        real = Mailbox.close

        def slow(mailbox: Mailbox) -> None:
            closing.set()
            gate.wait(10)
            real(mailbox)

        with mock.patch.object(Mailbox, "close", slow):
            dropped = deferToThread(self.connections.drop, self.path)
            await deferToThread(closing.wait, 10)
            self.assertEqual(len(self.connections), 0)
            self.assertRaises(MailboxBusy, self.connections.settle, self.path, 0.05)
            settled = deferToThread(self.connections.settle, self.path, 10.0)
            gate.set()
            await settled
            await dropped
        with self.connections.use(self.path, lambda: self.key, lambda: None):
            self.assertRaises(MailboxBusy, self.connections.settle, self.path, 0.05)
        self.connections.settle(self.path, 0.05)
        self.assertEqual(len(self.connections), 0)
