"""A client of the MX in memory, for tests."""

from datetime import UTC, datetime

from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from mailsrv.smtp.factory import MxFactory
from mailsrv.smtp.options import MxOptions
from mailsrv.smtp.server import MxServer
from tests.fakes.mx_store import MxStore

NOW = datetime(2026, 11, 23, 15, 30, 0, tzinfo=UTC)
CLIENT = IPv4Address("TCP", "192.0.2.7", 40000)
HEADER = b"Message-ID: <1@example.org>\r\nDate: Mon, 23 Nov 2026 15:00:00 +0000\r\n"


class Transport(StringTransport):
    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True
        super().abortConnection()


class Conversation:
    """One connection to a factory; made with a fake store and a clock unless given."""

    def __init__(self, factory: MxFactory | None = None, *, begin: bool = True, **options) -> None:
        if factory is None:
            chosen = MxOptions(**{"hostname": "mx.example.com", "greeting_delay": 0, **options})
            factory = MxFactory(MxStore(), chosen, Clock(), now=lambda: NOW)
        self.factory = factory
        self.store: MxStore = factory.services.store
        self.clock: Clock = factory.reactor
        self.transport = Transport(peerAddress=CLIENT)
        self.server = factory.buildProtocol(CLIENT)
        self.server.makeConnection(self.transport)
        self.greeting = self.replies()
        if begin and isinstance(self.server, MxServer):
            self.say(b"EHLO client.example.org\r\n")

    def replies(self) -> list[str]:
        """Reply lines since the last call."""
        text = self.transport.value().decode("ascii")
        self.transport.clear()
        return text.splitlines()

    def say(self, octets: bytes, size: int | None = None) -> list[str]:
        """Send octets, in pieces of ``size``; return the reply lines."""
        for start in range(0, len(octets), size or max(1, len(octets))):
            self.server.dataReceived(octets[start : start + (size or len(octets))])
        return self.replies()

    def codes(self, octets: bytes, size: int | None = None) -> list[str]:
        """Like ``say``; only code and enhanced status of each reply."""
        return [
            " ".join(line.split(" ")[:2]) for line in self.say(octets, size) if line[3:4] != "-"
        ]

    def envelope(self, *recipients: bytes, sender: bytes = b"x@example.org") -> list[str]:
        """MAIL and RCPT, pipelined."""
        lines = [b"MAIL FROM:<%s>\r\n" % sender]
        lines += [b"RCPT TO:<%s>\r\n" % recipient for recipient in recipients]
        return self.codes(b"".join(lines))

    def deliver(self, content: bytes, *recipients: bytes) -> list[str]:
        """A whole transaction with DATA; what comes after the message."""
        self.envelope(*(recipients or (b"hello@example.com",)))
        self.say(b"DATA\r\n")
        return self.codes(content + b".\r\n")

    @property
    def closed(self) -> bool:
        return self.transport.disconnecting

    def contents(self) -> list[bytes]:
        """What was delivered, without our trace fields and an empty line below them."""
        return [
            delivery.content.split(b" +0000\r\n", 1)[1].removeprefix(b"\r\n")
            for _alias, delivery in self.store.delivered
        ]
