"""The file key is the one that SQLite3MultipleCiphers derives from the passphrase."""

import os
import unicodedata
from pathlib import Path

import apsw
from twisted.trial.unittest import SynchronousTestCase

from mailsrv.errors import InvalidInput
from mailsrv.keys.filekey import FileKey, derive_file_key, new_salt

PASSPHRASES = ["wombat-lantern", 'it\'s; "quoted" -- ok', "한글 비밀번호", "a" * 255, "raw:zz"]


def _open(path: Path, key: str) -> apsw.Connection:
    connection = apsw.Connection(str(path))
    connection.pragma("cipher", "chacha20")
    connection.pragma("key", key)
    return connection


class SqleetTests(SynchronousTestCase):
    """Files of plain apsw-sqlite3mc against our derivation, both ways."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp())

    def test_file_made_with_passphrase_opens_with_our_key(self) -> None:
        for number, passphrase in enumerate(PASSPHRASES):
            with self.subTest(number):
                path = self.path.with_suffix(f".{number}")
                made = _open(path, passphrase)
                made.execute("CREATE TABLE t (x); INSERT INTO t VALUES ('kept')")
                made.close()
                key = derive_file_key(passphrase, path.read_bytes()[:16])
                opened = _open(path, key.pragma())
                self.assertEqual(opened.execute("SELECT x FROM t").get, "kept")
                opened.close()

    def test_file_made_with_our_key_opens_with_passphrase(self) -> None:
        for number, passphrase in enumerate(PASSPHRASES):
            with self.subTest(number):
                path = self.path.with_suffix(f".{number}")
                key = derive_file_key(passphrase, new_salt())
                made = _open(path, key.pragma())
                made.execute("CREATE TABLE t (x); INSERT INTO t VALUES ('kept')")
                made.close()
                self.assertEqual(path.read_bytes()[:16], key.salt)
                opened = _open(path, passphrase)
                self.assertEqual(opened.execute("SELECT x FROM t").get, "kept")
                opened.close()

    def test_wrong_password_does_not_open(self) -> None:
        made = _open(self.path, "right")
        made.execute("CREATE TABLE t (x)")
        made.close()
        key = derive_file_key("wrong", self.path.read_bytes()[:16])
        opened = _open(self.path, key.pragma())
        self.addCleanup(opened.close)
        with self.assertRaises(apsw.NotADBError):
            opened.execute("SELECT count(*) FROM sqlite_master")

    def test_decomposed_spelling_is_the_same_password(self) -> None:
        salt = bytes(range(16))
        composed, decomposed = (unicodedata.normalize(form, "비밀번호é") for form in ("NFC", "NFD"))
        self.assertNotEqual(composed, decomposed)
        self.assertEqual(derive_file_key(composed, salt), derive_file_key(decomposed, salt))


class FileKeyTests(SynchronousTestCase):
    def test_pack_and_unpack(self) -> None:
        key = FileKey(raw=bytes(range(32)), salt=bytes(range(32, 48)))
        self.assertEqual(FileKey.unpack(key.pack()), key)
        self.assertEqual(key.pragma(), "raw:" + bytes(range(48)).hex())

    def test_the_raw_key_is_wiped_when_nobody_has_it(self) -> None:
        raw = os.urandom(32)
        key = FileKey(raw=raw, salt=bytes(16))
        kept = bytearray(raw)
        key.__del__()
        self.assertEqual(raw, kept)
        del raw
        key.__del__()  # as when the last reference goes, after which there is nothing to look at
        self.assertEqual(key.raw, b"0" * 32)

    def test_what_a_key_was_made_of_stays(self) -> None:
        packed = os.urandom(48)
        kept = bytearray(packed)
        FileKey.unpack(packed)
        self.assertEqual(packed, kept)
        self.assertEqual(FileKey.unpack(packed).raw, kept[:32])

    def test_wrong_lengths_are_refused(self) -> None:
        # raw: with another length would silently become a passphrase
        for raw, salt in ((31, 16), (33, 16), (32, 15), (32, 17), (0, 0)):
            with self.subTest((raw, salt)), self.assertRaises(InvalidInput):
                FileKey(raw=bytes(raw), salt=bytes(salt))
        for length in (0, 47, 49):
            with self.subTest(length), self.assertRaises(InvalidInput):
                FileKey.unpack(bytes(length))

    def test_unusable_passwords_are_refused(self) -> None:
        for password in ("", "\x07bell", "a" * 256, "\u00ad"):
            with self.subTest(password), self.assertRaises(InvalidInput):
                derive_file_key(password, bytes(16))
