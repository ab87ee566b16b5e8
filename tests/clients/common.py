"""What the client tests share: one server a class, programs that may be missing, sample mail."""

import shutil
import smtplib
import subprocess
from collections.abc import Callable

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.running import RunningServer
from tests.waiting import eventually

ADDRESS = "hello@example.com"
SENDER = "you@example.org"


def need(*programs: str) -> None:
    """Skip the test, naming the program and Debian's package, unless all are installed."""
    for program in programs:
        if shutil.which(program) is None:
            package = {"mbsync": "isync"}.get(program, program)
            raise SkipTest(f"{program} is not installed (Debian package {package})")


def message(subject: str, body: str = "Hello.\r\n") -> bytes:
    return (
        f"From: You <{SENDER}>\r\nTo: {ADDRESS}\r\nSubject: {subject}\r\n"
        f"Date: Mon, 23 Nov 2026 10:15:00 +0000\r\n"
        f"Message-ID: <{subject.replace(' ', '.')}@example.org>\r\n"
        f"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{body}"
    ).encode()


class ClientTestCase(SynchronousTestCase):
    """A fresh server with one alias for each test."""

    def setUp(self) -> None:
        self.server = RunningServer()
        self.addCleanup(self.server.stop)
        self.password = self.server.add(ADDRESS)
        self.server.start()

    def deliver(self, content: bytes, to: str = ADDRESS) -> None:
        with smtplib.SMTP("127.0.0.1", self.server.smtp_port, timeout=30) as client:
            client.sendmail(SENDER, to, content)

    def program(
        self, *words: str, stdin: bytes = b"", **environment: str
    ) -> "subprocess.CompletedProcess[bytes]":
        done = subprocess.run(
            words,
            input=stdin,
            capture_output=True,
            check=False,
            timeout=60,
            env={**self.server.environment(), **environment},
        )
        self.assertEqual(done.returncode, 0, (done.stdout + done.stderr).decode("utf-8", "replace"))
        return done

    def eventually(self, condition: Callable[[], bool], seconds: float = 10) -> None:
        self.assertTrue(eventually(condition, seconds), "it did not come to pass")
