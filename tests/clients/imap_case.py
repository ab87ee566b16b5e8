"""What the IMAP conformance tests share: one server a process, an alias a test or a class."""

import atexit
import itertools

from twisted.trial.unittest import SynchronousTestCase

from tests.clients.imap_client import Client
from tests.running import RunningServer

_servers: list[RunningServer] = []
_numbers = itertools.count(1)
_accounts: dict[type, tuple[str, str, list[int]]] = {}


def server() -> RunningServer:
    """The server of this process, started when first asked for and stopped at its end."""
    if not _servers:
        _servers.append(RunningServer())
        atexit.register(_servers[0].stop)
        _servers[0].start()
    return _servers[0]


def mail(subject: str = "Hello", body: str = "Hello.\r\n", *fields: str) -> bytes:
    """A plain message; ``fields`` are further header lines."""
    lines = (
        "From: You <you@example.org>",
        "To: hello@example.com",
        f"Subject: {subject}",
        "Date: Mon, 23 Nov 2026 10:15:00 +0000",
        *fields,
    )
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


class ImapTestCase(SynchronousTestCase):
    """A fresh alias; ``login`` gives sessions of it.

    Each test comes from a loopback address of its own, for failed logins make the server slow
    for the address that they come from.
    """

    messages = 0
    """How many messages INBOX has at first."""

    shared = False
    """Whether one alias does for all tests of the class, none minding what others left."""

    def setUp(self) -> None:
        self.server = server()
        number = next(_numbers)
        self.source = f"127.0.{1 + number // 200}.{1 + number % 200}"
        account = _accounts.get(type(self)) or self.account(number)
        if self.shared:
            _accounts[type(self)] = account
        self.address, self.password, self.uids = account

    def account(self, number: int) -> tuple[str, str, list[int]]:
        """A new alias: its address, its password and the UIDs in its INBOX."""
        self.address = f"user{number}@example.com"
        self.password = self.server.add(self.address)
        client = self.login()
        uids = [client.append(mail(f"Mail {n + 1}")) for n in range(self.messages)]
        client.close()
        return self.address, self.password, uids

    def connect(self, source: str = "") -> Client:
        client = Client(self.server.imap_port, source=source or self.source)
        self.addCleanup(client.close)
        return client

    def login(self, select: str | None = None) -> Client:
        client = self.connect()
        client.ok(f"LOGIN {self.address} {self.password}")
        if select is not None:
            client.ok(f"SELECT {select}")
        return client
