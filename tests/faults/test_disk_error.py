"""A sync that fails, a volume that may only be read: no false promise, and the server goes on."""

import contextlib
import errno
import imaplib
import os
import signal
import smtplib
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mailsrv.keys.filekey import FileKey
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.mailbox.values import Section
from tests.faults.common import ADDRESS, marked, now
from tests.faults.disk import CHANGES, SYNCS, Disk
from tests.faults.on_disk import DiskFaultTestCase

MOST_SYNCS = 60

TWO_CONNECTIONS = r"""
import os, sys
from datetime import UTC, datetime
from pathlib import Path
from mailsrv.errors import StorageFailed
from mailsrv.keys.filekey import FileKey
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.mailbox.values import NewMessage

path, control, times = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
key = FileKey(raw=bytes(32), salt=bytes(16))
one, two = (Mailbox.open(path, key, lambda: datetime.now(UTC)) for _ in range(2))

def append(mailbox, text):
    new = NewMessage(text.encode(), internal_date="2026-11-23T00:00:00Z")
    mailbox.append("INBOX", [new])

inbox = one.select("INBOX", True).folder.id
append(one, "first")
with one.writing(durable=False) as writer:
    writer.raise_modseq(inbox)
control.write_text(f"5 s 1 {times}")
refused = 0
try:
    append(one, "refused")
except StorageFailed:
    refused += 1
one.close()
while True:
    try:
        append(two, "second")
    except StorageFailed:
        refused += 1
    else:
        break
print(refused, flush=True)
os.kill(os.getpid(), 9)
"""


class HoleTests(SynchronousTestCase):
    """A commit without a sync, a failed sync, then a good one: what the last promised holds."""

    def check_after(self, times: int) -> int:
        """How often a write was refused while ``times`` syncs failed."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        root = Path(folder.name).resolve() / "volume"
        root.mkdir()
        path = root / "353a03f21e534321f5d6e267.sqlite"
        key = FileKey(raw=bytes(32), salt=bytes(16))
        Mailbox.create(path, key, now).close()
        disk = Disk(root, root.with_name("aside"))
        environment = disk.environment()
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                TWO_CONNECTIONS,
                str(path),
                environment["DISK_CONTROL"],
                str(times),
            ],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), **environment},
        )
        self.assertEqual(done.returncode, -signal.SIGKILL, done.stderr)
        disk.cut()
        with Mailbox.open(path, key, now) as mailbox:
            mailbox.check()
            inbox = mailbox.select("INBOX", False).folder.id
            texts = [mailbox.read(inbox, uid, Section("")) for uid in (1, 2)]
        self.assertEqual(texts, [b"first", b"second"])
        return int(done.stdout)

    def test_once(self) -> None:
        self.assertEqual(self.check_after(1), 1)

    def test_again_when_the_log_is_written_again(self) -> None:
        for times in (2, 3, 4):
            self.assertEqual(self.check_after(times), times - 1)


class FailedSyncTests(DiskFaultTestCase):
    """What a failed sync should have written may be lost for good, so nobody may count on it."""

    def at_each_sync(self, attempt: Callable[[str], bool]) -> set[str]:
        """Marks of the acknowledged messages; each n-th sync failed once."""
        stored: set[str] = set()
        for first in range(1, MOST_SYNCS):
            with self.disk.failing(errno.EIO, SYNCS, first, times=1):
                done = attempt(f"sync-{first}")
            hits = self.disk.hits
            if done:
                stored.add(f"sync-{first}")
            self.assertTrue(done or hits)
            self.assertTrue(attempt(f"after-{first}"))
            stored.add(f"after-{first}")
            if not hits:
                break
        else:
            self.fail("the syncs came to no end")
        self.assertGreater(first, 1)
        return stored

    def verify(self, stored: set[str]) -> None:
        """All of it is there with the power cut, once; what was refused is there once at most."""
        self.cut_power(0)
        found = self.marks()
        self.assertEqual(stored - set(found), set(), f"seed {self.seed}")
        self.assertEqual(set(found.values()), {1})
        self.server.kill()
        self.check_mailbox()

    def by_smtp(self, mark: str) -> bool:
        code, text = self.send(mark)
        self.assertIn(code, (250, 451), text)
        return code == 250

    def test_delivery_to_an_absent_owner(self) -> None:
        self.verify(self.at_each_sync(self.by_smtp))

    def test_delivery_to_a_connected_owner(self) -> None:
        """The message is stored where mail waits when the mailbox's sync fails."""
        owner = self.client()
        owner.select()
        stored = self.at_each_sync(self.by_smtp)
        self.verify(stored)
        owner.shutdown()

    def test_append(self) -> None:
        client, other = self.client(), self.client()
        self.send("first")
        other.select()

        def attempt(mark: str) -> bool:
            # a change of flags that waits for no sync stands in the log before the message
            other.store("1:*", "+FLAGS", f"({mark})")
            answer, (text, *_) = client.append("INBOX", "", None, marked(mark))
            self.assertTrue(answer == "OK" or text.startswith(b"[UNAVAILABLE]"), text)
            return answer == "OK"

        self.verify(self.at_each_sync(attempt) | {"first"})
        client.shutdown()
        other.shutdown()


class ReadOnlyTests(DiskFaultTestCase):
    def test_volume_becomes_read_only(self) -> None:
        for number in range(3):
            self.send(f"before-{number}")
        client = self.client()
        self.assertEqual(len(self.contents(client, "INBOX")), 3)
        with self.disk.failing(errno.EROFS, CHANGES):
            code, text = self.send("refused")
            self.assertEqual(code // 100, 4, text)
            self.assertEqual(len(self.contents(client, "INBOX")), 3)
            for command in (
                lambda: client.append("INBOX", "", None, marked("refused")),
                lambda: client.create("Refused"),
                lambda: client.copy("1", "Trash"),
            ):
                answer, (text, *_) = command()
                self.assertEqual((answer, text[:13]), ("NO", b"[UNAVAILABLE]"))
            self.assertEqual(client.noop()[0], "OK")
            self.log_in()
        self.assertEqual(self.send("after"), (250, b""))
        client.logout()
        expected = ("before-0", "before-1", "before-2", "after")
        self.assertEqual(dict(self.marks()), dict.fromkeys(expected, 1))
        self.server.kill()
        self.check_mailbox()

    def log_in(self) -> None:
        """It works or is refused in one line, for the right reason; others are served on."""
        client = imaplib.IMAP4("127.0.0.1", self.server.imap_port, timeout=60)
        try:
            client.login(ADDRESS, self.password)
        except imaplib.IMAP4.error as error:
            self.assertIn("UNAVAILABLE", str(error))
        else:
            self.assertEqual(len(self.contents(client, "INBOX")), 3)
        finally:
            client.shutdown()
        with contextlib.closing(smtplib.SMTP("127.0.0.1", self.server.smtp_port)) as mx:
            self.assertEqual(mx.noop()[0], 250)
