"""Clients and transports in memory, with which the tests talk to an ImapServer."""

import re
from collections.abc import Iterable
from typing import Any, ClassVar

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import ISSLTransport, ITLSTransport
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import alsoProvides, implementer

from mailsrv.imap.options import ImapOptions
from mailsrv.imap.server import ImapFactory, ImapServer
from tests.fakes.store import FakeStore

ADDRESS = "alice@example.com"
PASSWORD = 'correct "horse" staple'
QUOTED_PASSWORD = rb'"correct \"horse\" staple"'
LOGIN = b"LOGIN alice@example.com " + QUOTED_PASSWORD

MESSAGE = (
    b"From: Bob <bob@example.net>\r\n"
    b"To: alice@example.com\r\n"
    b"Subject: %b\r\n"
    b"Date: Mon, 23 Nov 2026 10:15:00 +0100\r\n"
    b"Message-ID: <%b@example.net>\r\n"
    b"\r\n"
    b"Hello %b.\r\nBye.\r\n"
)


def message(name: bytes) -> bytes:
    return MESSAGE % (name, name, name)


@implementer(ITLSTransport)
class Wire(StringTransport):
    """A transport that can begin TLS (by name only) and be made to stop taking octets."""

    def __init__(self, host: str = "192.0.2.1", *, secure: bool = False) -> None:
        super().__init__(peerAddress=IPv4Address("TCP", host, 40000))
        self.nodelay = False
        self.aborted = False
        if secure:
            alsoProvides(self, ISSLTransport)

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.nodelay = enabled

    def startTLS(self, context: object) -> None:
        alsoProvides(self, ISSLTransport)

    def abortConnection(self) -> None:
        self.aborted = True
        super().abortConnection()


class Client:
    """One connection. ``say`` sends lines and returns the lines that came back."""

    def __init__(self, factory: ImapFactory, transport: Wire, chunk: int | None = None) -> None:
        self.transport = transport
        self.chunk = chunk
        self.server: ImapServer = factory.buildProtocol(None)
        self.clock: Clock = factory.reactor
        self.server.makeConnection(transport)
        self._tags = 0
        self.greeting = self.heard()

    def send(self, data: bytes) -> None:
        step = self.chunk or len(data) or 1
        for start in range(0, len(data), step):
            self.server.dataReceived(data[start : start + step])
        self.settle()

    def settle(self) -> None:
        """Let everything happen that needs no time."""
        for _ in range(200):
            if not any(call.getTime() <= self.clock.seconds() for call in self.clock.calls):
                break
            self.clock.advance(0)

    def heard(self) -> list[bytes]:
        """Lines that came since the last time."""
        self.settle()
        data = self.transport.value()
        self.transport.clear()
        return data.split(b"\r\n")[:-1] if data else []

    def raw(self) -> bytes:
        self.settle()
        data = self.transport.value()
        self.transport.clear()
        return data

    def say(self, command: bytes) -> list[bytes]:
        """Give a command a tag, send it, and return the answer without the tag."""
        self._tags += 1
        tag = b"t%d" % self._tags
        self.send(tag + b" " + command + b"\r\n")
        return [re.sub(b"^" + tag + b" ", b"", line) for line in self.heard()]

    def login(self) -> "Client":
        lines = self.say(LOGIN)
        assert lines[-1].startswith(b"OK "), lines
        return self

    def select(self, name: bytes = b"INBOX") -> list[bytes]:
        return self.say(b"SELECT " + name)

    def lose(self) -> None:
        self.server.connectionLost(Failure(ConnectionDone()))

    @property
    def closed(self) -> bool:
        return self.transport.disconnecting


class ImapTestCase(SynchronousTestCase):
    """A store with one alias, a clock, and clients."""

    options: ClassVar[dict[str, Any]] = {}

    def setUp(self) -> None:
        self.clock = Clock()
        self.store = FakeStore()
        self.alias = self.store.add_alias(ADDRESS, PASSWORD)
        self.factory = self.make_factory(**self.options)
        self.clients: list[Client] = []

    def make_factory(self, **options: Any) -> ImapFactory:
        return ImapFactory(self.store, ImapOptions(**{"tls": object(), **options}), self.clock)

    def connect(
        self, *, secure: bool = True, host: str = "192.0.2.1", chunk: int | None = None
    ) -> Client:
        client = Client(self.factory, Wire(host, secure=secure), chunk)
        self.clients.append(client)
        return client

    def logged_in(self, **kind: Any) -> Client:
        return self.connect(**kind).login()

    def fill(self, names: Iterable[bytes], folder: str = "INBOX") -> list[int]:
        """Put messages into a folder, as a delivery would."""
        from mailsrv.store.values import Flags

        mailbox = self.store.mailbox(ADDRESS)
        target = mailbox.named(folder)
        uids = []
        for name in names:
            target.modseq += 1
            uids.append(
                target.add(message(name), Flags(), "2026-11-23T09:15:00Z", "2026-11-23T09:16:00Z")
            )
        for owner, listener in list(self.store.sessions.values()):
            if owner.address == ADDRESS and listener is not None:
                listener.changed(target.id, target.modseq)
        return uids
