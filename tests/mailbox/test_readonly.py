"""A mailbox that is only read, beside a writer in another process or after one that was killed."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import apsw
from twisted.trial.unittest import SynchronousTestCase

from mailsrv.errors import MailboxMissing, NeedsWriter, WrongKey
from mailsrv.keys.filekey import FileKey
from mailsrv.mailbox.criteria import Text
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.mailbox.values import ALL_UIDS, DELETED, SEEN, FetchRequest, Flags, Section, StoreFlags
from tests.mailbox.support import Clock, fetch_all, message, new_key

ROOT = Path(__file__).parents[2]

WRITER = """
import os, sys
from pathlib import Path
from mailsrv.keys.filekey import FileKey
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.mailbox.values import *
from tests.mailbox.support import Clock, message

path, raw, salt = sys.argv[1:]
key = FileKey(raw=bytes.fromhex(raw), salt=bytes.fromhex(salt))
box = Mailbox.open(Path(path), key, Clock(), boot=os.environ.get("BOOT"))
put = lambda *numbers: box.append("INBOX", [NewMessage(message(n), Flags()) for n in numbers])
print("ready", flush=True)
for line in sys.stdin:
    exec(line)
    print("done", flush=True)
box.close()
"""


class Writer:
    """The mailbox open for writing in another process."""

    def __init__(self, path: Path, key: FileKey, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), key.raw.hex(), key.salt.hex()],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answer("ready")

    def do(self, statement: str) -> None:
        """Run one line of Python there; back when it is done."""
        self.process.stdin.write(statement + "\n")
        self.process.stdin.flush()
        self._answer("done")

    def _answer(self, word: str) -> None:
        line = self.process.stdout.readline().strip()
        if line != word:
            raise RuntimeError(f"the writer said {line!r}")

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self._end()

    def close(self) -> None:
        """Close the mailbox and end."""
        self._end()

    def _end(self) -> None:
        if self.process.stdin and not self.process.stdin.closed:
            self.process.stdin.close()
        self.process.wait(timeout=30)
        self.process.stdout.close()


class ReadOnlyCase(SynchronousTestCase):
    """A mailbox with two messages that no process has open."""

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp()).resolve()
        self.addCleanup(shutil.rmtree, self.folder)
        self.path = self.folder / "353a03f21e534321f5d6e267.sqlite"
        self.key = new_key()
        Mailbox.create(self.path, self.key, Clock()).close()

    def writer(self, **environment: str) -> Writer:
        writer = Writer(self.path, self.key, **environment)
        self.addCleanup(writer.close)
        return writer

    def open(self, **options: object) -> Mailbox:
        mailbox = Mailbox.open(self.path, self.key, Clock(), readonly=True, **options)
        self.addCleanup(mailbox.close)
        return mailbox

    def inbox(self, mailbox: Mailbox) -> int:
        return mailbox.folders()[0].id

    def bodies(self, mailbox: Mailbox) -> list[bytes]:
        rows = fetch_all(mailbox, self.inbox(mailbox), sections=(Section(),))
        return [row[1] for row in rows]

    def state(self) -> dict[str, tuple[int, int, int, str]]:
        """Inode, size, time of change and contents of each file.

        Not so of the index, memory that its users share: there the inode alone. Read by another
        process: closing a file gives back every lock that this process has on it.
        """
        return {
            name: (status[0], 0, 0, "") if name.endswith("-shm") else (*status, digest)
            for name, status, digest in _in_child(_STATE, self.folder)
        }


_STATE = """
import os, sys
from hashlib import sha256
from pathlib import Path
print([
    (p.name, (p.stat().st_ino, p.stat().st_size, p.stat().st_mtime_ns),
     sha256(p.read_bytes()).hexdigest())
    for p in sorted(Path(sys.argv[1]).iterdir())
])
"""


def _in_child(code: str, *words: object) -> list[tuple[str, tuple[int, int, int], str]]:
    done = subprocess.run(
        [sys.executable, "-S", "-c", code, *map(str, words)],
        capture_output=True,
        text=True,
        check=True,
    )
    found: list[tuple[str, tuple[int, int, int], str]] = eval(done.stdout)
    return found


class FilesTests(ReadOnlyCase):
    """Neither file nor log changes by reading."""

    def read_everything(self) -> list[bytes]:
        with self.open() as mailbox:
            inbox = self.inbox(mailbox)
            mailbox.subscriptions()
            mailbox.select("INBOX", writable=False)
            mailbox.changes(inbox, 0, claim_recent=False)
            mailbox.search(inbox, Text("hello"))
            mailbox.usage()
            return self.bodies(mailbox)

    def test_beside_a_writer(self) -> None:
        self.writer().do("put(1, 2)")
        before = self.state()
        self.assertEqual(len(before), 3)
        self.assertEqual(self.read_everything(), [message(1), message(2)])
        self.assertEqual(self.state(), before)

    def test_after_a_writer_that_was_killed(self) -> None:
        writer = self.writer()
        writer.do("put(1, 2)")
        writer.kill()
        before = self.state()
        self.assertGreater(before[f"{self.path.name}-wal"][1], 0)
        for _ in range(2):
            self.assertEqual(self.read_everything(), [message(1), message(2)])
            self.assertEqual(self.state(), before)
        self.writer().do("put(3)")
        self.assertEqual(self.read_everything(), [message(number) for number in (1, 2, 3)])

    def test_closing_last_leaves_the_log_to_a_writer(self) -> None:
        writer = self.writer()
        writer.do("put(1)")
        mailbox = self.open()
        self.assertEqual(self.bodies(mailbox), [message(1)])
        writer.close()
        before = self.state()
        self.assertEqual(len(before), 3)
        mailbox.close()
        self.assertEqual(self.state(), before)
        self.writer().close()
        self.assertEqual(list(self.state()), [self.path.name])

    def test_nothing_is_made_where_nobody_writes(self) -> None:
        before = self.state()
        with self.assertRaises(NeedsWriter):
            self.open()
        self.assertEqual(self.state(), before)
        self.assertEqual(list(before), [self.path.name])

    def test_a_log_without_its_index_needs_a_writer(self) -> None:
        self.path.with_name(f"{self.path.name}-wal").touch()
        before = self.state()
        with self.assertRaises(NeedsWriter):
            self.open()
        self.assertEqual(self.state(), before)

    def test_the_log_is_never_emptied(self) -> None:
        self.writer().do("put(1)")
        before = self.state()
        mailbox = self.open()
        with self.assertRaises(apsw.Error):
            mailbox.connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        with self.assertRaises(apsw.ReadOnlyError):
            mailbox.connection.execute("DELETE FROM message")
        mailbox.close()
        self.assertEqual(self.state(), before)

    def test_errors_are_those_of_any_open(self) -> None:
        self.writer()
        self.key = new_key()
        with self.assertRaises(WrongKey):
            self.open()
        self.path = self.path.with_name("0" * 24 + ".sqlite")
        with self.assertRaises(MailboxMissing):
            self.open()

    def test_a_name_with_signs_of_a_uri(self) -> None:
        folder = self.folder / "100% #1?x=&y"
        folder.mkdir()
        self.path = self.path.rename(folder / self.path.name)
        self.writer().do("put(1)")
        self.assertEqual(self.bodies(self.open()), [message(1)])


class FreshnessTests(ReadOnlyCase):
    """What a writer has committed is seen, by an open connection too."""

    def test_every_commit_is_seen(self) -> None:
        writer, seen = self.writer(), []
        writer.do("put(0)")
        mailbox = self.open()
        for number in range(1, 40):
            writer.do(f"put({number})")
            if number % 10 == 0:
                mode = ("PASSIVE", "FULL", "RESTART", "TRUNCATE")[number // 10 - 1]
                writer.do(f"box.connection.execute('PRAGMA wal_checkpoint({mode})').fetchall()")
            seen.append(mailbox.folders()[0].messages)
        self.assertEqual(seen, list(range(2, 41)))
        self.assertEqual(self.bodies(mailbox), [message(number) for number in range(40)])

    def test_a_reader_that_stays_lets_the_log_be_emptied(self) -> None:
        writer = self.writer()
        writer.do("put(1)")
        mailbox = self.open()
        mailbox.folders()
        writer.do("box.connection.execute('PRAGMA wal_checkpoint(TRUNCATE)').fetchall()")
        self.assertEqual(self.state()[f"{self.path.name}-wal"][1], 0)
        writer.do("put(2)")
        self.assertEqual(len(self.bodies(mailbox)), 2)

    def test_a_writer_gets_its_turn_among_many_readers(self) -> None:
        """To begin the log anew nobody may need what is in it; new readers have to let that be."""
        writer = self.writer()
        stop = threading.Event()

        def read() -> None:
            with self.open() as mailbox:
                while not stop.is_set():
                    self.bodies(mailbox)

        readers = [threading.Thread(target=read) for _ in range(3)]
        writer.do("put(*range(100))")
        for reader in readers:
            reader.start()
        try:
            for number in range(5):
                writer.do(f"put({number})")
                writer.do("busy = box.connection.wal_checkpoint(mode=2)")
        finally:
            stop.set()
            for reader in readers:
                reader.join()
        self.assertLess(self.state()[f"{self.path.name}-wal"][1], 3_000_000)

    def test_a_connection_outlives_its_writer(self) -> None:
        writer = self.writer()
        writer.do("put(1)")
        mailbox = self.open()
        mailbox.folders()
        writer.kill()
        self.assertEqual(self.bodies(mailbox), [message(1)])
        self.writer().do("put(2)")
        self.assertEqual(self.bodies(mailbox), [message(1), message(2)])

    def test_a_connection_without_a_writer_gets_one(self) -> None:
        writer = self.writer()
        writer.do("put(1)")
        writer.kill()
        mailbox = self.open()
        self.assertEqual(self.bodies(mailbox), [message(1)])
        second = self.writer()
        second.do("put(2)")
        second.do("box.connection.execute('PRAGMA wal_checkpoint(TRUNCATE)').fetchall()")
        second.do("put(3)")
        self.assertEqual(len(self.bodies(mailbox)), 3)

    def test_a_start_of_the_system_needs_a_writer_first(self) -> None:
        self.writer(BOOT="before").do("put(1)")
        with self.assertRaises(NeedsWriter):
            self.open(boot="now")
        self.assertEqual(self.bodies(self.open(boot="before")), [message(1)])


class NeedsWriterTests(ReadOnlyCase):
    """A request that has to write says so, and is not answered without it."""

    def setUp(self) -> None:
        super().setUp()
        self.other = self.writer()
        self.other.do("put(1, 2)")
        self.mailbox = self.open()
        self.number = self.inbox(self.mailbox)

    def claimed(self) -> None:
        self.other.do("box.select('INBOX', True)")

    def test_select(self) -> None:
        with self.assertRaises(NeedsWriter):
            self.mailbox.select("INBOX", writable=True)
        self.assertEqual(self.mailbox.select("INBOX", writable=False).folder.messages, 2)
        self.claimed()
        self.assertEqual(self.mailbox.select("INBOX", writable=True).recent, ())

    def test_changes(self) -> None:
        with self.assertRaises(NeedsWriter):
            self.mailbox.changes(self.number, 0, claim_recent=True)
        self.assertEqual(len(self.mailbox.changes(self.number, 0, claim_recent=False).changed), 2)
        self.claimed()
        self.assertEqual(len(self.mailbox.changes(self.number, 0, claim_recent=True).changed), 2)

    def test_fetch(self) -> None:
        request = FetchRequest(ALL_UIDS, sections=(Section(),), mark_seen=True)
        with self.assertRaises(NeedsWriter):
            self.mailbox.fetch(self.number, request)
        change = f"StoreFlags(((1, 2),), 'add', Flags({SEEN}))"
        self.other.do(f"box.store_flags({self.number}, {change})")
        self.assertEqual(len(self.mailbox.fetch(self.number, request).rows), 2)

    def test_every_write(self) -> None:
        box, number, one = self.mailbox, self.number, ((1, 1),)
        for work in (
            lambda: box.create_folder("New"),
            lambda: box.delete_folder("Trash"),
            lambda: box.rename_folder("Trash", "Bin"),
            lambda: box.subscribe("Trash", False),
            lambda: box.append("INBOX", []),
            lambda: box.store_flags(number, StoreFlags(one, "add", Flags(DELETED))),
            lambda: box.expunge(number, one),
            lambda: box.copy(number, one, "Trash"),
            lambda: box.move(number, one, "Trash"),
            lambda: box.index_pending(10),
        ):
            with self.assertRaises(NeedsWriter):
                work()
        self.assertFalse(box.connection.in_transaction)

    def test_no_transaction_stays_open(self) -> None:
        self.mailbox.folders()
        self.assertFalse(self.mailbox.connection.in_transaction)
        with self.assertRaises(NeedsWriter):
            self.mailbox.select("INBOX", writable=True)
        self.assertFalse(self.mailbox.connection.in_transaction)
