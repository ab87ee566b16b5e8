"""STARTTLS: nothing of what came in clear is believed in TLS (rfc3207:208)."""

from datetime import UTC, datetime
from pathlib import Path

from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, connectProtocol
from twisted.internet.interfaces import ITLSTransport
from twisted.internet.protocol import Protocol
from twisted.internet.ssl import CertificateOptions
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from mailsrv.smtp.factory import MxFactory
from mailsrv.smtp.options import MxOptions
from mailsrv.tls import ServerTls, make_self_signed
from tests.fakes.mx_store import MxStore
from tests.smtp.conversation import HEADER, Conversation


@implementer(ITLSTransport)
class TlsTransport(StringTransport):
    """Notes when TLS begins instead of doing it."""

    started = 0

    def setTcpNoDelay(self, enabled):
        pass

    def startTLS(self, context, normal=True):
        self.started += 1

    def getHandle(self):
        return SSL.Connection(SSL.Context(SSL.TLS_SERVER_METHOD), None)


class InjectionTests(SynchronousTestCase):
    def setUp(self):
        self.client = Conversation(begin=False, tls=object())
        self.client.transport = TlsTransport()
        self.client.server = self.client.factory.buildProtocol(None)
        self.client.server.makeConnection(self.client.transport)
        self.client.replies()

    def test_offered_once(self):
        self.assertIn("250 STARTTLS", self.client.say(b"EHLO x\r\n"))
        self.assertEqual(self.client.codes(b"STARTTLS\r\n"), ["220 2.0.0"])
        self.assertEqual(self.client.transport.started, 1)
        self.assertNotIn("STARTTLS", "".join(self.client.say(b"EHLO x\r\n")))
        self.assertEqual(self.client.codes(b"STARTTLS\r\n"), ["503 5.5.1"])
        self.assertEqual(self.client.transport.started, 1)

    def test_not_offered_without_certificate(self):
        client = Conversation(begin=False)
        self.assertNotIn("STARTTLS", "".join(client.say(b"EHLO x\r\n")))
        self.assertEqual(client.codes(b"STARTTLS\r\n"), ["502 5.5.1"])

    def test_anything_behind_it_ends_the_connection(self):
        for behind in (b"NOOP\r\n", b"MAIL FROM:<a@b.c>\r\n", b"N", b"\r", b"\0"):
            self.setUp()
            self.client.say(b"EHLO x\r\n")
            self.assertEqual(self.client.codes(b"STARTTLS\r\n" + behind), ["554 5.5.0"])
            self.assertEqual(self.client.transport.started, 0)
            self.assertTrue(self.client.closed)

    def test_everything_is_forgotten(self):
        self.client.say(b"EHLO x\r\n")
        self.client.envelope(b"hello@example.com")
        self.client.say(b"STARTTLS\r\n")
        self.assertEqual(self.client.codes(b"RCPT TO:<hello@example.com>\r\n"), ["503 5.5.1"])
        self.assertEqual(self.client.codes(b"DATA\r\n"), ["503 5.5.1"])
        self.assertEqual(self.client.codes(b"MAIL FROM:<a@b.c>\r\n"), ["503 5.5.1"])


class Talker(Protocol):
    """Sends lines and waits for whole replies."""

    def __init__(self):
        self.gone = Deferred()
        self._text = b""
        self._waiting = None

    def dataReceived(self, data):
        self._text += data
        last = self._text.rstrip(b"\r\n").rpartition(b"\r\n")[2]
        if self._waiting and self._text.endswith(b"\r\n") and last[3:4] == b" ":
            waiting, self._waiting = self._waiting, None
            text, self._text = self._text, b""
            waiting.callback(text.decode())

    def ask(self, octets=b""):
        self._waiting = Deferred()
        if octets:
            self.transport.write(octets)
        return self._waiting

    def connectionLost(self, reason):
        self.gone.callback(None)


class RealTlsTests(TestCase):
    def setUp(self):
        folder = Path(self.mktemp())
        make_self_signed(folder, "mx.example.com", datetime.now(UTC))
        tls = ServerTls(folder / "cert.pem", folder / "key.pem")
        self.store = MxStore()
        options = MxOptions(hostname="mx.example.com", tls=tls, greeting_delay=0.01)
        self.factory = MxFactory(self.store, options, reactor)

    async def connect(self):
        port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(self.factory)
        self.addCleanup(port.stopListening)
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)
        talker = await connectProtocol(endpoint, Talker())
        await talker.ask()
        return talker

    async def test_message_over_tls(self):
        talker = await self.connect()
        self.assertIn("STARTTLS", await talker.ask(b"EHLO client.example.org\r\n"))
        self.assertEqual((await talker.ask(b"STARTTLS\r\n"))[:3], "220")
        talker.transport.startTLS(CertificateOptions())
        self.assertNotIn("STARTTLS", await talker.ask(b"EHLO client.example.org\r\n"))
        await talker.ask(b"MAIL FROM:<a@b.c>\r\n")
        await talker.ask(b"RCPT TO:<hello@example.com>\r\n")
        await talker.ask(b"DATA\r\n")
        content = HEADER + b"Subject: x\r\n\r\n" + b"line\r\n" * 50_000
        self.assertEqual((await talker.ask(content + b".\r\n"))[:3], "250")
        self.assertEqual((await talker.ask(b"QUIT\r\n"))[:3], "221")
        await talker.gone
        [(_alias, delivery)] = self.store.delivered
        self.assertTrue(delivery.content.endswith(content))
        trace = delivery.content[:600].decode()
        self.assertIn("from client.example.org ([127.0.0.1])", trace)
        self.assertIn(" with ESMTPS id ", trace)
        self.assertIn("(TLSv1.3) tls TLS_AES_256_GCM_SHA384", trace)

    async def test_clear_text_after_starttls(self):
        talker = await self.connect()
        await talker.ask(b"EHLO x\r\n")
        await talker.ask(b"STARTTLS\r\n")
        talker.transport.write(b"MAIL FROM:<a@b.c>\r\nNOOP\r\n")
        await talker.gone
        self.assertEqual(self.store.delivered, [])
