"""What is told of a mailbox file without its key."""

import sqlite3
from pathlib import Path

from mailsrv.errors import MailboxDamaged, MailboxMissing
from mailsrv.mailbox.shape import check_shape
from tests.mailbox.support import MailboxTestCase


class ShapeTests(MailboxTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.mailbox.close()
        self.octets = self.path.read_bytes()

    def damaged(self, octets: bytes) -> str:
        path = Path(self.mktemp())
        path.write_bytes(octets)
        return str(self.assertRaises(MailboxDamaged, check_shape, path))

    def test_a_mailbox(self) -> None:
        check_shape(self.path)
        self.assertRaises(MailboxMissing, check_shape, Path(self.mktemp()))

    def test_what_is_none(self) -> None:
        self.assertIn("not encrypted", self.damaged(_plain(Path(self.mktemp()))))
        for octets in (b"", b"x" * 4096, bytes(8192), self.octets[:20]):
            self.assertIn("does not begin as", self.damaged(octets))

    def test_one_cut_short(self) -> None:
        self.assertIn("cut short", self.damaged(self.octets[:-1]))


def _plain(path: Path) -> bytes:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE t (x)")
    connection.close()
    return path.read_bytes()
