"""What the SMTP tests share: one server a process that takes small messages, an alias a test."""

import atexit
import itertools
from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from tests.clients.imap_client import Client
from tests.clients.smtp_client import Smtp
from tests.running import RunningServer

MESSAGE_LIMIT = 300_000
_servers: list[RunningServer] = []
_numbers = itertools.count(1)


def server() -> RunningServer:
    """The server of this process, started when first asked for and stopped at its end."""
    if not _servers:
        running = RunningServer()
        atexit.register(running.stop)
        with running.config.open("a") as config:
            config.write(f"\n[limits]\nmessage_size = {MESSAGE_LIMIT}\n")
        running.command("domain", "add", "example.com")
        running.start()
        _servers.append(running)
    return _servers[0]


class SmtpTestCase(SynchronousTestCase):
    """A fresh alias, and a loopback address of its own to come from."""

    def setUp(self) -> None:
        self.server = server()
        number = next(_numbers)
        self.source = f"127.1.{1 + number // 200}.{1 + number % 200}"
        self.address = f"user{number}@example.com"
        self.password = self.server.add(self.address)

    def connect(self, source: str = "", hello: bytes = b"EHLO c.example.org") -> Smtp:
        client = Smtp(self.server.smtp_port, source or self.source, hello)
        self.addCleanup(client.close)
        return client

    def mails(self, address: str = "", password: str = "") -> list[bytes]:
        """What the INBOX holds, read over IMAP."""
        client = Client(self.server.imap_port, source=self.source)
        try:
            client.ok(f"LOGIN {address or self.address} {password or self.password}")
            client.ok("EXAMINE INBOX")
            if not client.exists:
                return []
            found = client.fetch("1:*", "(BODY.PEEK[])")
            return [found[number]["BODY[]"] for number in sorted(found)]
        finally:
            client.close()

    def bodies(self, address: str = "", password: str = "") -> list[bytes]:
        """The same without the trace fields that the server put on top."""
        return [without_trace(mail) for mail in self.mails(address, password)]

    def each(self, cases: list[tuple[bytes, str]], ask: Callable[[bytes], str]) -> None:
        """Ask for every case and compare all answers at once."""
        self.assertEqual([(case, ask(case)) for case, _ in cases], cases)


def without_trace(mail: bytes) -> bytes:
    """What was sent: all behind our Return-Path and Received."""
    assert mail.startswith(b"Return-Path: <"), mail[:80]
    received, date = mail.partition(b"\r\nReceived: ")[2].partition(b" +0000\r\n")[::2]
    assert received, mail[:400]
    return date
