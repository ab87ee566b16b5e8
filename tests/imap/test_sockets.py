"""The same over real sockets and real TLS, spoken by Python's own client."""

import imaplib
import socket
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import TestCase

from mailsrv.imap.options import ImapOptions
from mailsrv.imap.server import ImapFactory
from mailsrv.tls import ServerTls, make_self_signed
from tests.fakes.store import FakeStore
from tests.imap.talking import ADDRESS, message

PASSWORD = "correct-horse-staple"


class SocketTests(TestCase):
    timeout = 30

    def setUp(self) -> None:
        folder = Path(self.mktemp())
        make_self_signed(folder, "localhost", datetime.now(UTC))
        tls = ServerTls(folder / "cert.pem", folder / "key.pem")
        self.store = FakeStore()
        self.store.add_alias(ADDRESS, PASSWORD)
        self.factory = ImapFactory(self.store, ImapOptions(tls=tls), reactor)
        self.plain = self.listen(self.factory)
        self.wrapped = self.listen(TLSMemoryBIOFactory(tls, False, self.factory))
        self.trust = ssl.create_default_context(cafile=str(folder / "ca.pem"))
        self.addCleanup(self.factory.shut_down)

    def listen(self, factory: Any) -> int:
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        return int(port.getHost().port)

    def use(self, client: imaplib.IMAP4) -> None:
        client.login(ADDRESS, PASSWORD)
        content = message(b"sent") + b"x" * 70 + b"\r\n" * 200_000
        kind, _ = client.append("INBOX", r"(\Seen)", None, content)
        self.assertEqual(kind, "OK")
        self.assertEqual(client.select("INBOX"), ("OK", [b"1"]))
        _, found = client.fetch("1", "(UID BODY.PEEK[])")
        self.assertEqual(found[0][1], content)
        client.close()
        client.logout()

    def test_starttls(self) -> Deferred[None]:
        def talk() -> None:
            client = imaplib.IMAP4("127.0.0.1", self.plain, timeout=10)
            client.host = "localhost"
            self.assertIn("LOGINDISABLED", client.capabilities)
            client.starttls(self.trust)
            self.assertIn("AUTH=PLAIN", client.capabilities)
            self.use(client)

        return deferToThread(talk)

    def test_tls_from_the_start(self) -> Deferred[None]:
        def talk() -> None:
            client = imaplib.IMAP4_SSL(
                "localhost", self.wrapped, ssl_context=self.trust, timeout=10
            )
            self.assertNotIn("STARTTLS", client.capabilities)
            self.use(client)

        return deferToThread(talk)

    def test_nothing_said_before_tls_is_answered_inside(self) -> Deferred[None]:
        def talk() -> None:
            with socket.create_connection(("127.0.0.1", self.plain), timeout=10) as raw:
                raw.recv(1000)
                raw.sendall(b"a STARTTLS\r\nb NOOP\r\n")
                answer = b""
                while data := raw.recv(1000):
                    answer += data
            self.assertIn(b"a BAD Too early", answer)
            self.assertNotIn(b"b OK", answer)

        return deferToThread(talk)

    def test_everyone_is_gone_after_shut_down(self) -> Deferred[None]:
        def talk() -> imaplib.IMAP4:
            client = imaplib.IMAP4("127.0.0.1", self.plain, timeout=10)
            client.noop()
            return client

        def stop(client: imaplib.IMAP4) -> Deferred[None]:
            self.addCleanup(client.shutdown)
            finished = self.factory.shut_down()
            return finished.addCallback(lambda _: self.assertEqual(self.factory.connections, set()))

        return deferToThread(talk).addCallback(stop)
