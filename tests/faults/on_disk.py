"""A server on the faulty disk: cut its power, and hear again what it promised."""

import imaplib
import os
import random
import smtplib
import subprocess
import sys
import threading
import time
from collections.abc import Callable

from tests.faults.common import ADDRESS, MARK, FaultTestCase, marked
from tests.faults.disk import Disk, compiled
from tests.running import RunningServer
from tests.waiting import eventually

GONE = (OSError, smtplib.SMTPException, imaplib.IMAP4.error)


class ServerOnDisk(RunningServer):
    """Its data directory is on the faulty disk as soon as there is one."""

    disk: Disk | None = None

    def environment(self) -> dict[str, str]:
        disk = self.disk.environment() if self.disk else {}
        return {**super().environment(), **disk}

    def spawn(self, *words: str, stdin: str = "") -> subprocess.Popen[bytes]:
        """``mailsrv --json WORDS`` in a process of its own, on the disk."""
        process = subprocess.Popen(
            [sys.executable, "-m", "mailsrv.cli", "--json", "--config", str(self.config), *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environment(),
        )
        process.stdin.write(stdin.encode())
        process.stdin.flush()
        return process


class DiskFaultTestCase(FaultTestCase):
    def setUp(self) -> None:
        compiled()
        self.seed = int(os.environ.get("MAILSRV_SEED", time.time_ns()))
        self.dice = random.Random(self.seed)
        self.server = ServerOnDisk()
        self.addCleanup(self.server.stop)
        self.password = self.server.add(ADDRESS)
        self.disk = self.server.disk = Disk(self.server.folder, self.server.root / "aside")
        self.server.start()
        self.client().logout()  # only then it has begun everything that it begins at a start

    def cut_power(
        self,
        number: int,
        seconds: float = 0.0,
        *jobs: threading.Thread,
        begun: Callable[[], object] = lambda: True,
    ) -> None:
        """Cut it so many seconds after the jobs have ``begun``, and come back.

        Every second time some of what was not synced survives.
        """
        for job in jobs:
            job.start()
        self.assertTrue(eventually(begun), "the jobs did not begin")
        time.sleep(seconds)
        self.server.kill()
        for job in jobs:
            job.join()
        self.disk.cut(self.dice if number % 2 else None)
        self.server.start()

    def send(self, mark: str, size: int = 3000) -> tuple[int, bytes]:
        """The answer to a message: (250, ...) when it was taken."""
        with smtplib.SMTP("127.0.0.1", self.server.smtp_port, timeout=60) as client:
            try:
                client.sendmail("a@example.org", ADDRESS, marked(mark, size))
            except smtplib.SMTPResponseException as error:
                return error.smtp_code, error.smtp_error
            except smtplib.SMTPRecipientsRefused as error:
                return error.recipients[ADDRESS]
        return 250, b""

    def contents(self, client: imaplib.IMAP4, folder: str) -> dict[int, str]:
        """UID to mark; every message was compared octet by octet."""
        self.assertEqual(client.select(folder, readonly=True)[0], "OK")
        found: dict[int, str] = {}
        for answer in client.uid("FETCH", "1:*", "(BODY.PEEK[])")[1]:
            if isinstance(answer, tuple):
                uid = int(answer[0].split(b"UID ")[1].split()[0])
                mark = MARK.search(answer[1])[1].decode()
                # the server put its own fields on top of what came by SMTP
                self.assertEqual(answer[1][answer[1].index(b"From: a@") :], marked(mark))
                found[uid] = mark
        return found
