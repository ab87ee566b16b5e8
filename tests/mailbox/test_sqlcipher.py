"""A copy that SQLCipher opens. That it does is shown in tests/cli/test_exchange.py."""

import traceback

import apsw

from mailsrv.errors import AlreadyExists, InvalidInput, MailboxDamaged, StorageFailed
from mailsrv.mailbox import sqlcipher
from mailsrv.mailbox.sqlcipher import export_sqlcipher
from tests.mailbox.support import MailboxTestCase, message

PASSWORD = "p&ss=wörd 'quoted' %20?#"


class ExportTests(MailboxTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.put(message())
        self.target = self.directory / "copy.db"

    def test_it_opens_with_the_password(self) -> None:
        export_sqlcipher(self.mailbox, self.target, PASSWORD)
        copy = apsw.Connection(str(self.target))
        self.addCleanup(copy.close)
        copy.pragma("cipher", "sqlcipher")
        copy.pragma("legacy", 4)
        copy.pragma("key", PASSWORD)
        self.assertEqual(copy.execute("SELECT count(*) FROM message").fetchall(), [(1,)])
        self.assertNotIn(b"alice@example.com", self.target.read_bytes())
        self.assertEqual(self.target.stat().st_mode & 0o777, 0o600)

    def test_no_password_no_copy(self) -> None:
        self.assertRaises(InvalidInput, export_sqlcipher, self.mailbox, self.target, "")
        self.assertFalse(self.target.exists())

    def test_the_password_is_in_no_error(self) -> None:
        target = self.directory / "missing" / "copy.db"
        error = self.assertRaises(StorageFailed, export_sqlcipher, self.mailbox, target, "hunter-2")
        self.assertNotIn("hunter-2", "".join(traceback.format_exception(error)))
        self.assertIsNone(error.__context__)

    def test_nothing_is_written_over(self) -> None:
        self.target.write_bytes(b"mine")
        self.assertRaises(AlreadyExists, export_sqlcipher, self.mailbox, self.target, PASSWORD)
        self.assertEqual(self.target.read_bytes(), b"mine")

    def test_a_copy_that_is_not_good_goes(self) -> None:
        def damaged(*_: object) -> None:
            raise MailboxDamaged("the copy is damaged")

        self.patch(sqlcipher, "_verify", damaged)
        self.assertRaises(MailboxDamaged, export_sqlcipher, self.mailbox, self.target, PASSWORD)
        self.assertEqual([p.name for p in self.directory.iterdir() if "copy" in p.name], [])
