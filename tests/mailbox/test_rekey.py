"""A mailbox under a new key; the old file untouched."""

import os
import threading
from pathlib import Path
from unittest import mock

import apsw

from mailsrv.errors import (
    AlreadyExists,
    MailboxBusy,
    MailboxDamaged,
    StorageFailed,
    WrongKey,
)
from mailsrv.keys.filekey import derive_file_key
from mailsrv.mailbox import rekey
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.mailbox.rekey import copy_under_new_key
from mailsrv.mailbox.snapshot import hold_writes
from mailsrv.mailbox.values import Flags, NewMessage
from tests.mailbox.support import MailboxTestCase, fetch_all, message, new_key


class RekeyTests(MailboxTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.put(*(message(n, os.urandom(20_000).hex()) for n in range(5)), flags=Flags(1, "word"))
        self.mailbox.index_pending(3)
        self.target = self.directory / "new.sqlite"
        self.new_key = new_key()

    def test_the_copy_is_the_mailbox_under_the_new_key(self) -> None:
        with hold_writes(self.path, self.key):
            copy_under_new_key(self.mailbox, self.target, self.new_key)
        with self.assertRaises(WrongKey):
            Mailbox.open(self.target, self.key, self.now)
        columns = ("flags", "keywords", "modseq", "size", "email_id", "thread_id")
        with Mailbox.open(self.target, self.new_key, self.now) as copy:
            copy.check()
            self.assertEqual(copy.folders(), self.mailbox.folders())
            self.assertEqual(copy.keys(), self.mailbox.keys())
            self.assertEqual(
                fetch_all(copy, self.inbox, columns),
                fetch_all(self.mailbox, self.inbox, columns),
            )
            self.assertEqual(copy.append("INBOX", [NewMessage(b"x")]).uids, (6,))
        self.assertEqual(self.put(b"y"), [6])

    def test_the_copy_opens_with_the_passphrase(self) -> None:
        key = derive_file_key("the new password", os.urandom(16))
        self.mailbox.copy_to(self.target, key)
        with apsw.Connection(str(self.target)) as tool:
            tool.pragma("cipher", "chacha20")
            tool.pragma("key", "the new password")
            count = tool.execute("SELECT count(*) FROM message").fetchall()
        self.assertEqual(count, [(5,)])

    def test_the_source_is_not_touched(self) -> None:
        self.mailbox.connection.wal_checkpoint(mode=3)
        before = self.path.read_bytes()
        self.mailbox.copy_to(self.target, self.new_key)
        self.assertEqual(self.path.read_bytes(), before)

    def test_writes_are_held_and_reads_go_on(self) -> None:
        with hold_writes(self.path, self.key):
            self.mailbox.connection.set_busy_timeout(1)
            with self.assertRaises(MailboxBusy):
                self.put(b"x")
            self.assertEqual(len(self.content(1) or b""), len(message(0)) - 7 + 40_000)
            self.assertEqual(len(self.mailbox.folders()), 6)
        self.assertEqual(self.put(b"x"), [6])

    def test_holding_waits_for_a_writer(self) -> None:
        started, stop = threading.Event(), threading.Event()

        def write() -> None:
            with Mailbox.open(self.path, self.key, self.now) as other, other.writing():
                started.set()
                stop.wait(10)

        thread = threading.Thread(target=write)
        thread.start()
        started.wait(10)
        threading.Timer(0.05, stop.set).start()
        with hold_writes(self.path, self.key):
            self.assertTrue(stop.is_set())
        thread.join()

    def test_an_existing_target_is_refused_and_kept(self) -> None:
        self.target.write_bytes(b"something")
        with self.assertRaises(AlreadyExists):
            self.mailbox.copy_to(self.target, self.new_key)
        self.assertEqual(self.target.read_bytes(), b"something")

    def test_a_damaged_source_leaves_no_target(self) -> None:
        self.mailbox.close()
        data = bytearray(self.path.read_bytes())
        data[len(data) // 2] ^= 1
        self.path.write_bytes(data)
        with self.open() as damaged, self.assertRaises(MailboxDamaged):
            damaged.copy_to(self.target, self.new_key)
        self.assertEqual(list(self.directory.glob("new*")), [])

    def test_a_copy_that_lacks_rows_is_refused(self) -> None:
        real = rekey._summary
        answers = iter([{"message": 6}])

        def summary(connection: apsw.Connection) -> dict[str, int]:
            return next(answers, None) or real(connection)

        with mock.patch.object(rekey, "_summary", summary), self.assertRaises(MailboxDamaged):
            self.mailbox.copy_to(self.target, self.new_key)
        self.assertFalse(self.target.exists())

    def test_the_key_is_in_no_statement(self) -> None:
        statements: list[str] = []

        def trace(_: object, statement: str, bindings: object) -> bool:
            statements.append(statement)
            return True

        self.mailbox.connection.exec_trace = trace
        self.mailbox.copy_to(self.target, self.new_key)
        self.mailbox.connection.exec_trace = None
        self.assertNotIn(self.new_key.raw.hex(), "".join(statements).lower())

    def test_the_key_is_in_no_error(self) -> None:
        target = self.directory / "missing" / "copy.sqlite"
        error = self.assertRaises(
            StorageFailed, copy_under_new_key, self.mailbox, target, self.new_key
        )
        self.assertIsNone(error.__context__)

    def test_a_path_with_signs_of_an_address(self) -> None:
        odd = self.directory / "a b?c=d%20&e#f"
        odd.mkdir()
        target: Path = odd / "box.sqlite"
        self.mailbox.copy_to(target, self.new_key)
        with Mailbox.open(target, self.new_key, self.now) as copy:
            self.assertEqual(copy.usage(), self.mailbox.usage())
