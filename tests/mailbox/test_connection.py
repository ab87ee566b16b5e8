"""Opening files, and a name of its own for everything that can go wrong with them."""

import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import mock

import apsw
from twisted.trial.unittest import SynchronousTestCase

from mailsrv.errors import (
    AlreadyExists,
    DiskFull,
    MailboxBusy,
    MailboxDamaged,
    MailboxMissing,
    SchemaMismatch,
    StorageFailed,
    WrongKey,
)
from mailsrv.keys.filekey import derive_file_key
from mailsrv.mailbox import connection as connections
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.mailbox.values import NewMessage
from tests.mailbox.support import Clock, MailboxTestCase, message, new_key

PAGE = 4096
ROOT = Path(__file__).parents[2]


class OpeningTests(MailboxTestCase):
    def test_a_new_file_is_encrypted_and_private(self) -> None:
        self.assertEqual(self.path.read_bytes()[:16], self.key.salt)
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)

    def test_no_file_begins_in_plain_or_holds_the_marker(self) -> None:
        marker = b"a marker that nobody may read"
        self.put(message(1, f"{marker.decode()}\r\n" * 500))
        self.mailbox.index_pending(10)
        self.mailbox.copy_to(self.directory / "copy.sqlite", new_key())
        names = sorted(path.name for path in self.directory.iterdir())
        self.assertEqual(len(names), 4, names)
        for path in self.directory.iterdir():
            data = path.read_bytes()
            self.assertFalse(data.startswith(b"SQLite format 3"), path)
            self.assertNotIn(marker, data, path)

    def test_what_fails_beside_an_open_mailbox_leaves_its_locks(self) -> None:
        """Closing any descriptor of a file gives back all locks that the process has on it."""
        before = self.locks()
        self.assertTrue(before)
        with self.assertRaises(WrongKey):
            Mailbox.open(self.path, new_key(), self.now)
        with self.assertRaises(AlreadyExists):
            Mailbox.create(self.path, self.key, self.now)
        self.assertEqual(self.locks(), before)

    def locks(self) -> list[str]:
        inode = f":{self.path.stat().st_ino} "
        lines = Path("/proc/locks").read_text().splitlines()
        return sorted(line.partition(":")[2] for line in lines if inode in line)

    def test_an_existing_file_is_never_created_over(self) -> None:
        before = self.path.read_bytes()
        with self.assertRaises(AlreadyExists):
            Mailbox.create(self.path, new_key(), self.now)
        self.assertEqual(self.path.read_bytes(), before)

    def test_pragmas_are_set_in_the_order_of_the_design(self) -> None:
        asked: list[str] = []
        real = apsw.Connection.pragma

        class Spy(apsw.Connection):
            def pragma(self, name: str, *values: object, **others: object) -> object:
                asked.append(name)
                return real(self, name, *values, **others)

            def execute(self, statement: str, *values: object, **others: object) -> object:
                words = re.match("PRAGMA (key)=", statement)
                asked.extend(words.groups() if words else ())
                return super().execute(statement, *values, **others)

        with mock.patch.object(connections.apsw, "Connection", Spy):
            self.open()
        self.assertEqual(
            asked[:8],
            [
                *("cipher", "key", "journal_mode", "busy_timeout", "synchronous"),
                *("foreign_keys", "encoding", "temp_store"),
            ],
        )

    def test_settings_are_those_of_the_design(self) -> None:
        pragma = self.open().connection.pragma
        wanted = {
            "cipher": "chacha20",
            "journal_mode": "wal",
            "synchronous": 1,
            "foreign_keys": 1,
            "encoding": "UTF-8",
            "temp_store": 2,
            "page_size": 4096,
        }
        self.assertEqual({name: pragma(name) for name in wanted}, wanted)

    def test_the_file_opens_with_the_passphrase_in_any_tool(self) -> None:
        password = "a passphrase of the owner"
        key = derive_file_key(password, os.urandom(16))
        path = self.directory / "other.sqlite"
        Mailbox.create(path, key, self.now).close()
        with apsw.Connection(str(path)) as tool:
            tool.pragma("key", password)
            names = tool.execute("SELECT count(*) FROM folder").fetchall()
        self.assertEqual(names, [(6,)])

    def test_id_is_the_name_of_the_file(self) -> None:
        self.assertEqual(self.mailbox.id, "353a03f21e534321f5d6e267")

    def test_temporary_tables_stay_in_memory(self) -> None:
        connection = self.mailbox.connection
        connection.execute("CREATE TEMP TABLE t(a); INSERT INTO t VALUES (zeroblob(10000000))")
        self.assertEqual(len(list(self.directory.iterdir())), 3)


class FaultTests(MailboxTestCase):
    def damage(self, at: int) -> None:
        data = bytearray(self.path.read_bytes())
        data[at] ^= 1
        self.path.write_bytes(data)

    def fails(self, error: type[Exception]) -> None:
        with self.assertRaises(error):
            Mailbox.open(self.path, self.key, self.now).close()

    def test_wrong_key(self) -> None:
        self.mailbox.close()
        with self.assertRaises(WrongKey):
            Mailbox.open(self.path, new_key(), self.now)

    def test_wrong_key_of_an_open_mailbox(self) -> None:
        with self.assertRaises(WrongKey):
            Mailbox.open(self.path, new_key(), self.now)

    def test_missing_file(self) -> None:
        with self.assertRaises(MailboxMissing):
            Mailbox.open(self.directory / "none.sqlite", self.key, self.now)
        self.assertFalse((self.directory / "none.sqlite").exists())

    def test_first_page_damaged_is_no_wrong_key(self) -> None:
        self.mailbox.close()
        for at in (5, 17, 200, PAGE - 1):
            self.damage(at)
            self.fails(MailboxDamaged)
            self.damage(at)
        Mailbox.open(self.path, self.key, self.now).close()

    def test_any_damaged_page_is_found_by_check(self) -> None:
        self.put(*(message(n, "text\r\n" * 2000) for n in range(20)))
        self.mailbox.close()
        size = self.path.stat().st_size
        for page in range(1, size // PAGE, 3):
            self.damage(page * PAGE + 1000)
            with self.assertRaises(MailboxDamaged), self.open() as mailbox:
                mailbox.check()
            self.damage(page * PAGE + 1000)

    def test_other_messages_are_readable_beside_a_damaged_page(self) -> None:
        self.put(*(message(n, os.urandom(3000).hex()) for n in range(50)))
        self.mailbox.close()
        self.damage(self.path.stat().st_size - 5000)
        readable, damaged = 0, 0
        with Mailbox.open(self.path, self.key, self.now) as mailbox:
            self.mailbox = mailbox
            for uid in range(1, 51):
                try:
                    readable += self.content(uid) is not None
                except MailboxDamaged:
                    damaged += 1
        self.assertEqual(damaged, 1)
        self.assertEqual(readable, 49)

    def test_file_cut_short_anywhere(self) -> None:
        self.put(*(message(n, "text\r\n" * 2000) for n in range(5)))
        self.mailbox.close()
        data = self.path.read_bytes()
        for length in (0, 10, 511, PAGE - 1, PAGE, PAGE + 100, len(data) // 2, len(data) - PAGE):
            self.path.write_bytes(data[:length])
            self.fails(MailboxDamaged)

    def test_an_empty_file_stays_empty(self) -> None:
        path = self.directory / "empty.sqlite"
        path.touch()
        with self.assertRaises(MailboxDamaged):
            Mailbox.open(path, self.key, self.now)
        self.assertEqual(path.stat().st_size, 0)

    def test_a_plaintext_database_is_no_mailbox(self) -> None:
        path = self.directory / "plain.sqlite"
        with apsw.Connection(str(path)) as plain:
            plain.execute("CREATE TABLE t(a)")
        with self.assertRaises(MailboxDamaged):
            Mailbox.open(path, self.key, self.now)

    def test_an_encrypted_database_that_is_no_mailbox(self) -> None:
        path = self.directory / "other.sqlite"
        connections.create(path, self.key).close()
        with self.assertRaises(SchemaMismatch):
            Mailbox.open(path, self.key, self.now)

    def test_a_key_that_encrypts_nothing_leaves_no_file(self) -> None:
        path = self.directory / "plain.sqlite"
        plain = mock.patch.object(type(self.key), "pragma", return_value="")
        with plain, self.assertRaises(StorageFailed):
            Mailbox.create(path, self.key, self.now)
        self.assertEqual(list(self.directory.glob("plain*")), [])

    def test_a_held_write_lock_is_busy_and_does_not_stop_reading(self) -> None:
        other = self.open()
        other.connection.set_busy_timeout(1)
        with self.mailbox.writing():
            with self.assertRaises(MailboxBusy):
                other.append("INBOX", [NewMessage(message())])
            self.assertEqual(len(other.folders()), 6)
        other.append("INBOX", [NewMessage(message())])

    def test_full_volume_keeps_nothing_of_the_write(self) -> None:
        self.put(message(1))
        connection = self.mailbox.connection
        pages = connection.pragma("page_count")
        connection.pragma("max_page_count", int(str(pages)) + 10)
        with self.assertRaises(DiskFull):
            self.put(message(2), b"Subject: large\r\n\r\n" + os.urandom(500_000))
        connection.pragma("max_page_count", 2**31)
        self.assertEqual(self.folder("INBOX").messages, 1)
        self.assertEqual(self.put(message(2)), [2])
        self.mailbox.check()

    def test_directory_that_cannot_be_made_in(self) -> None:
        with self.assertRaises(MailboxMissing):
            Mailbox.create(self.directory / "no" / "box.sqlite", self.key, self.now)


CHILD = """
import os, resource, signal, sys
from pathlib import Path
from mailsrv.errors import MailsrvError
from mailsrv.keys.filekey import FileKey
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.mailbox.values import NewMessage
from tests.mailbox.support import Clock, message

path, raw, salt = sys.argv[1:]
path, key = Path(path), FileKey(raw=bytes.fromhex(raw), salt=bytes.fromhex(salt))
{setup}
try:
    with Mailbox.open(path, key, Clock(), readonly={readonly}) as mailbox:
        print(mailbox.folders()[0].messages)
        for number in range(1000):
            mailbox.append("INBOX", [NewMessage(message(number, os.urandom(5000).hex()))])
except MailsrvError as error:
    print(type(error).__name__)
"""


class ProcessTests(MailboxTestCase):
    """What only another process can have: limits, and rights that root lacks."""

    def setUp(self) -> None:
        super().setUp()
        self.put(message(1), message(2))

    def child(self, setup: str, *, readonly: bool = False) -> list[str]:
        self.mailbox.close()
        done = subprocess.run(
            [
                *(sys.executable, "-c", CHILD.format(setup=setup, readonly=readonly)),
                *(self.path.resolve(), self.key.raw.hex(), self.key.salt.hex()),
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        self.assertEqual(done.stderr, "")
        return done.stdout.split()

    def test_a_limit_on_the_size_of_files_is_a_full_disk(self) -> None:
        limit = 600_000
        setup = f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))"
        self.assertEqual(self.child(setup), ["2", "DiskFull"])
        self.mailbox = self.open()
        kept = self.folder("INBOX").messages
        self.assertGreater(kept, 2)
        self.mailbox.check()
        self.assertEqual(resource.getrlimit(resource.RLIMIT_FSIZE)[0], resource.RLIM_INFINITY)

    def test_a_volume_that_may_not_be_written(self) -> None:
        self.become_readable()
        self.assertEqual(self.child(_NOBODY), ["ReadOnlyVolume"])

    def test_a_volume_that_may_not_be_written_can_be_read(self) -> None:
        self.become_readable()
        self.assertEqual(self.child(_NOBODY, readonly=True), ["2", "NeedsWriter"])

    def become_readable(self) -> None:
        """Move the mailbox to where another user may read and not write."""
        self.mailbox.close()
        place = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, place)
        shutil.move(self.path, place / self.path.name)
        self.path = place / self.path.name
        self.path.chmod(0o444)
        place.chmod(0o555)
        self.addCleanup(place.chmod, 0o700)


_NOBODY = "os.getuid() or os.setuid(65534)"


class ClockTests(SynchronousTestCase):
    def test_the_clock_is_given(self) -> None:
        now = Clock()
        path = Path(self.mktemp())
        key = new_key()
        with Mailbox.create(path, key, now) as mailbox:
            first = mailbox.folders()[0].uidvalidity
        self.assertEqual(first, int(now().timestamp()))
