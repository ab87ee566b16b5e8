"""A server that is killed and started again, and what must hold afterwards."""

import imaplib
import os
import random
import re
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mailsrv.directory.directory import Directory
from mailsrv.keys.filekey import derive_file_key
from mailsrv.mailbox.mailbox import Mailbox
from tests.running import RunningServer

ADDRESS = "hello@example.com"
SOAK = bool(os.environ.get("MAILSRV_SOAK"))
MARK = re.compile(rb"^X-Mark: (\S+)\r$", re.MULTILINE)


def rounds(usual: int) -> int:
    """How often to repeat: fifty times as often in ``make soak``."""
    return usual * 50 if SOAK else usual


def marked(mark: str, size: int = 3000) -> bytes:
    """A message that can be told from all others."""
    filler = (f"line of {mark}\r\n" * (size // (len(mark) + 10)))[:size]
    return (
        f"From: a@example.org\r\nTo: {ADDRESS}\r\nSubject: {mark}\r\nX-Mark: {mark}\r\n"
        f"Message-ID: <{mark}@example.org>\r\n\r\n{filler}\r\nend\r\n"
    ).encode()


def now() -> datetime:
    return datetime.now(UTC)


class FaultTestCase(SynchronousTestCase):
    tables = ""
    """For the end of the configuration."""

    def setUp(self) -> None:
        self.dice = random.Random(int(os.environ.get("MAILSRV_SEED", time.time_ns())))
        self.server = RunningServer(tables=self.tables)
        self.addCleanup(self.server.stop)
        self.password = self.server.add(ADDRESS)
        self.server.start()

    def client(self, password: str | None = None) -> imaplib.IMAP4:
        client = imaplib.IMAP4("127.0.0.1", self.server.imap_port, timeout=60)
        client.login(ADDRESS, password or self.password)
        return client

    def marks(self, folder: str = "INBOX") -> Counter[str]:
        """How often each mark is in the folder, read over IMAP after everything was merged."""
        client = self.client()
        deadline = time.monotonic() + 60
        while self.waiting_files() and time.monotonic() < deadline:
            client.noop()
            time.sleep(0.02)
        self.assertEqual(self.waiting_files(), [])
        client.select(folder, readonly=True)
        answers = client.fetch("1:*", "(BODY.PEEK[])")[1]
        client.logout()
        bodies = [answer[1] for answer in answers if isinstance(answer, tuple)]
        for body in bodies:
            self.assertTrue(body.endswith(b"end\r\n"), "half a message")
        return Counter(MARK.search(body)[1].decode() for body in bodies)

    def waiting_files(self) -> list[Path]:
        return list((self.server.folder / "mailboxes").glob("*.waiting.sqlite"))

    def check_mailbox(self, password: str | None = None) -> None:
        """integrity_check, reference counts and counters, with the server stopped."""
        directory = Directory(f"sqlite:///{self.server.folder / 'directory.sqlite'}", now)
        self.addCleanup(directory.close)
        record = directory.mailbox(directory.alias(ADDRESS).id)
        path = self.server.folder / "mailboxes" / f"{record.id}.sqlite"
        with path.open("rb") as file:
            salt = file.read(16)
        key = derive_file_key(password or self.password, salt)
        with Mailbox.open(path, key, now) as mailbox:
            mailbox.check()

    def no_plaintext_databases(self) -> None:
        for path in self.server.folder.rglob("*"):
            if path.is_file() and not path.name.startswith("directory.sqlite"):
                with path.open("rb") as file:
                    self.assertNotEqual(file.read(15), b"SQLite format 3", path.name)
