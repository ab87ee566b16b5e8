"""Every number that could be wrong is found to be."""

import gc
import os
from datetime import timedelta

import apsw

from mailsrv.errors import MailboxDamaged
from mailsrv.mailbox.criteria import Body, Text
from mailsrv.mailbox.values import FetchRequest, Flags, Section
from tests.mailbox.support import MailboxTestCase, message

WRONG = (
    "UPDATE folder SET messages = messages + 1 WHERE id = 2",
    "UPDATE folder SET unseen = 0 WHERE id = 1",
    "UPDATE folder SET deleted = 0 WHERE id = 1",
    "UPDATE folder SET size = size - 1 WHERE id = 1",
    "UPDATE folder SET uidnext = 2 WHERE id = 1",
    "UPDATE folder SET highestmodseq = 1 WHERE id = 1",
    "UPDATE content SET size = size + 1 WHERE id = 1",
    "DELETE FROM body WHERE content_id = 1",
    "DELETE FROM field WHERE content_id = 1",
    "INSERT INTO content VALUES (9, 1, '', '', '', '', 'x', 1)",
    "UPDATE part SET refs = refs + 1",
    "UPDATE part SET refs = 0",
    "INSERT INTO part(sha256, size, refs) VALUES (x'00', 0, 0)",
    "DELETE FROM part_chunk",
    "DELETE FROM part",
    "UPDATE message SET content_id = 1000 WHERE uid = 1",
    "UPDATE recoverable SET content_id = 1000",
    "UPDATE recoverable SET size = size + 1",
    "DELETE FROM recoverable",
    "UPDATE meta SET value = value - 1 WHERE name = 'recoverable'",
)


class CheckTests(MailboxTestCase):
    def setUp(self) -> None:
        super().setUp()
        attachment = b"Content-Type: application/x\r\n\r\n" + os.urandom(5000)
        self.put(message(1), attachment, flags=Flags(8))
        with self.open(keep_expunged=timedelta(days=1)) as mailbox:
            (uid,) = self.put(message(2), flags=Flags(8))
            mailbox.expunge(self.inbox, ((uid, uid),))

    def test_a_good_mailbox_passes(self) -> None:
        self.mailbox.check()
        self.mailbox.index_pending(10)
        self.mailbox.check()

    def test_each_wrong_number_is_found(self) -> None:
        connection = self.mailbox.connection
        connection.pragma("foreign_keys", "OFF")
        for statement in WRONG:
            connection.execute("SAVEPOINT here")
            connection.execute(statement)
            connection.execute("RELEASE here")
            with self.assertRaises(MailboxDamaged, msg=statement):
                self.mailbox.check()
            self.mailbox.close()
            self.setUp()
            connection = self.mailbox.connection
            connection.pragma("foreign_keys", "OFF")


class StatementTests(MailboxTestCase):
    def test_no_operation_leaves_a_statement_open(self) -> None:
        """An open statement holds a snapshot, which stops checkpoints and VACUUM."""
        self.put(message(1), message(2))
        for indexed in (False, True):
            if indexed:
                self.mailbox.index_pending(10)
            for number in range(3):
                self.mailbox.search(self.inbox, Text("hello"))
                self.mailbox.search(self.inbox, Body(f"none{number}"))
            self.assertEqual(self.mailbox.connection.txn_state(), 0)
            self.mailbox.connection.execute("VACUUM")

    def test_no_operation_leaks_cursors(self) -> None:
        attachment = b"Content-Type: application/x\r\n\r\n" + os.urandom(100_000)
        self.put(*(attachment + bytes([n]) for n in range(5)))
        uids = ((1, 2), (4, 5))

        def work() -> None:
            self.mailbox.search(self.inbox, Text("hello"))
            self.mailbox.fetch(self.inbox, FetchRequest(uids, (), (Section(),), max_rows=2))
            self.mailbox.read(self.inbox, 1, Section())
            self.mailbox.check()

        work()
        before = self.cursors()
        for _ in range(3):
            work()
        self.assertEqual(self.cursors(), before)

    def cursors(self) -> int:
        return sum(isinstance(one, apsw.Cursor) for one in gc.get_objects())
