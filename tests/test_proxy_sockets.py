"""IMAP and MX behind a load balancer: a pretended one, and HAProxy itself.

Clients come from 127.0.0.5 and ::1 and the balancer from 127.0.0.1, so that one cannot be taken for
the other.
"""

import imaplib
import shutil
import signal
import smtplib
import socket
import ssl
import subprocess
import tempfile
import time
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from typing import Any, ClassVar

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SkipTest, TestCase

from mailsrv.imap.options import ImapOptions
from mailsrv.imap.server import ImapFactory
from mailsrv.proxy_protocol import proxied
from mailsrv.smtp.factory import MxFactory
from mailsrv.smtp.options import MxOptions
from mailsrv.tls import ServerTls, make_self_signed
from tests.children import die_with_parent
from tests.fakes.mx_store import MxStore
from tests.fakes.store import FakeStore
from tests.imap.talking import ADDRESS, message
from tests.test_proxy_protocol import v2_ipv4

PASSWORD = "correct-horse-staple"
CLIENT = "127.0.0.5"
BIG = message(b"sent") + b"x" * 70 + b"\r\n" * 200_000

HAPROXY = "/usr/sbin/haproxy"
_CONFIGURATION = """
defaults
    mode tcp
    timeout connect 5s
    timeout client 30s
    timeout server 30s
"""


class Imap(imaplib.IMAP4):
    """Speaks from an address of its own; sends ``header`` first."""

    def __init__(self, port: int, header: bytes = b"", address: str = CLIENT) -> None:
        self._header, self._address = header, address
        super().__init__("localhost", port, timeout=15)

    def _create_socket(self, timeout: float) -> socket.socket:  # type: ignore[override]
        return open_socket(self.port, self._header, self._address)


class ImapTls(Imap):
    def __init__(self, trust: ssl.SSLContext, *arguments: Any) -> None:
        self._trust = trust
        super().__init__(*arguments)

    def _create_socket(self, timeout: float) -> socket.socket:  # type: ignore[override]
        return self._trust.wrap_socket(super()._create_socket(timeout), server_hostname="localhost")


class Smtp(smtplib.SMTP):
    def __init__(self, port: int, header: bytes = b"", address: str = CLIENT) -> None:
        self._header, self._address = header, address
        super().__init__("localhost", port, "client.example.org", timeout=15)
        self._host = "localhost"

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        return open_socket(port, self._header, self._address)


def open_socket(port: int | str, header: bytes, address: str) -> socket.socket:
    """A connection to a port of loopback, or to the unix socket at a path."""
    if isinstance(port, str):
        opened = socket.socket(socket.AF_UNIX)
        opened.settimeout(15)
        opened.connect(port)
        opened.sendall(header)
        return opened
    target = "::1" if ":" in address else "127.0.0.1"
    opened = socket.create_connection((target, port), timeout=15, source_address=(address, 0))
    opened.sendall(header)
    return opened


class BehindProxyTestCase(TestCase):
    timeout = 60
    balancer = "127.0.0.1/32"

    def setUp(self) -> None:
        folder = Path(self.mktemp())
        make_self_signed(folder, "localhost", datetime.now(UTC))
        self.tls = ServerTls(folder / "cert.pem", folder / "key.pem")
        self.trust = ssl.create_default_context(cafile=str(folder / "ca.pem"))
        self.store, self.mx_store = FakeStore(), MxStore()
        self.sent = 0
        self.store.add_alias(ADDRESS, PASSWORD)
        self.imap = ImapFactory(self.store, ImapOptions(tls=self.tls), reactor)
        options = MxOptions(hostname="mx.example.com", tls=self.tls, greeting_delay=0.01)
        self.mx = MxFactory(self.mx_store, options, reactor)
        self.imap_port = self.listen(self.imap)
        self.imaps_port = self.listen(TLSMemoryBIOFactory(self.tls, False, self.imap))
        self.mx_port = self.listen(self.mx)
        self.addCleanup(lambda: gatherResults([self.imap.shut_down(), self.mx.shut_down()]))

    def listen(self, factory: Any) -> int:
        wrapped: Any = proxied(factory, [ip_network(self.balancer)], reactor)  # type: ignore[arg-type]
        port = reactor.listenTCP(0, wrapped, interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        return int(port.getHost().port)

    def use(self, client: imaplib.IMAP4, address: str = CLIENT) -> None:
        self.assertIn(address, {server.host for server in self.imap.connections})
        client.login(ADDRESS, PASSWORD)
        self.assertEqual(client.append("INBOX", None, None, BIG)[0], "OK")  # type: ignore[arg-type]
        (count,) = client.select("INBOX")[1]
        assert count is not None
        _, found = client.fetch(count.decode(), "(UID BODY.PEEK[])")
        self.assertEqual(found[0][1], BIG)  # type: ignore[index]
        client.logout()

    def starttls(self, client: imaplib.IMAP4) -> imaplib.IMAP4:
        client.host = "localhost"
        self.assertIn("LOGINDISABLED", client.capabilities)
        client.starttls(self.trust)
        self.assertIn("AUTH=PLAIN", client.capabilities)
        return client

    def send(self, client: smtplib.SMTP, address: str = CLIENT) -> None:
        client.ehlo()
        self.assertTrue(client.has_extn("starttls"))
        client.starttls(context=self.trust)
        self.sent += 1
        client.sendmail(
            "you@example.org", "hello@example.com", b"X-Number: %d\r\n" % self.sent + BIG
        )
        client.quit()
        trace = self.mx_store.delivered.pop()[1].content[:600].decode()
        literal = f"[IPv6:{address}]" if ":" in address else f"[{address}]"
        self.assertIn(f"from client.example.org ({literal})", trace)
        self.assertIn(" with ESMTPS id ", trace)


class PretendedBalancerTests(BehindProxyTestCase):
    """The client writes the header itself."""

    header = v2_ipv4("192.0.2.7")
    line = b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 143\r\n"

    def test_imap(self) -> Deferred[None]:
        def talk() -> None:
            for header in (self.header, self.line):
                client = Imap(self.imap_port, header, "127.0.0.1")
                self.use(self.starttls(client), "192.0.2.7")
                tls = ImapTls(self.trust, self.imaps_port, header, "127.0.0.1")
                self.assertNotIn("STARTTLS", tls.capabilities)
                self.use(tls, "192.0.2.7")

        return deferToThread(talk)

    def test_mx(self) -> Deferred[None]:
        def talk() -> None:
            for header in (self.header, self.line):
                self.send(Smtp(self.mx_port, header, "127.0.0.1"), "192.0.2.7")

        return deferToThread(talk)

    def test_who_is_no_balancer_hears_nothing(self) -> Deferred[None]:
        def talk() -> None:
            for port in (self.imap_port, self.imaps_port, self.mx_port):
                with self.assertRaises(OSError), open_socket(port, b"", CLIENT) as stranger:
                    stranger.sendall(self.header)
                    if not stranger.recv(100):
                        raise ConnectionResetError
            self.assertEqual(self.imap.connections, set())

        return deferToThread(talk)

    def test_no_greeting_before_the_header(self) -> Deferred[None]:
        def talk() -> None:
            with open_socket(self.mx_port, b"", "127.0.0.1") as client:
                for octet in self.header:
                    client.settimeout(0.001)
                    self.assertRaises(TimeoutError, client.recv, 100)
                    client.settimeout(15)
                    client.sendall(bytes([octet]))
                self.assertEqual(client.recv(100), b"220 mx.example.com ESMTP mailsrv\r\n")

        return deferToThread(talk)

    def test_over_a_unix_socket(self) -> Deferred[None]:
        folder = Path(tempfile.mkdtemp(prefix="mailsrv-proxy-"))
        self.addCleanup(shutil.rmtree, folder)
        for name, factory in (("imap", self.imap), ("mx", self.mx)):
            wrapped: Any = proxied(factory, [], reactor)  # type: ignore[arg-type]
            port = reactor.listenUNIX(str(folder / name), wrapped)  # type: ignore[attr-defined]
            self.addCleanup(port.stopListening)

        def talk() -> None:
            client = Imap(str(folder / "imap"), self.header)  # type: ignore[arg-type]
            self.use(self.starttls(client), "192.0.2.7")
            self.send(Smtp(str(folder / "mx"), self.header), "192.0.2.7")  # type: ignore[arg-type]

        return deferToThread(talk)

    def test_a_client_that_does_not_read_holds_the_server_back(self) -> Deferred[None]:
        def talk() -> None:
            client = ImapTls(self.trust, self.imaps_port, self.header, "127.0.0.1")
            client.login(ADDRESS, PASSWORD)
            client.append("INBOX", None, None, b"x" * 2_000_000)  # type: ignore[arg-type]
            client.select("INBOX")
            client.send(b"".join(b"x%d FETCH 1 BODY.PEEK[]\r\n" % n for n in range(40)))
            while not self.fetches():
                time.sleep(0.01)
            time.sleep(0.5)
            self.assertTrue(0 < self.fetches() < 20, self.fetches())
            read = 0
            while read < 40 * 2_000_000:
                read += len(client.sock.recv(65536))
            client.shutdown()

        return deferToThread(talk)

    def fetches(self) -> int:
        return self.store.calls.count("fetch")


class HaproxyTests(BehindProxyTestCase):
    """HAProxy in tcp mode, with both kinds of header."""

    kinds: ClassVar[tuple[str, ...]] = ("send-proxy", "send-proxy-v2", "send-proxy-v2-ssl-cn")

    def setUp(self) -> None:
        if not Path(HAPROXY).exists():
            raise SkipTest("HAProxy is not installed (Debian: apt-get install haproxy)")
        super().setUp()
        self.folder = Path(tempfile.mkdtemp(prefix="mailsrv-haproxy-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.fronts: dict[tuple[str, int], int] = {}
        lines = [_CONFIGURATION]
        self.addresses = [CLIENT, *(["::1"] if has_ipv6() else [])]
        for kind in self.kinds:
            for port in (self.imap_port, self.imaps_port, self.mx_port):
                front = self.fronts[kind, port] = free_port()
                lines.append(f"listen {kind}-{port}\n    bind 127.0.0.1:{front}")
                if "::1" in self.addresses:
                    lines.append(f"    bind ::1:{front}")
                lines.append(f"    server mailsrv 127.0.0.1:{port} {kind} check inter 100\n")
        (self.folder / "haproxy.cfg").write_text("\n".join(lines))
        self.start()

    def start(self) -> None:
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [HAPROXY, "-db", "-f", self.folder / "haproxy.cfg"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent(signal.SIGTERM),
            )
        self.addCleanup(self.stop)
        deadline = time.monotonic() + 15
        while not all(answers(port) for port in self.fronts.values()):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.fail((self.folder / "log").read_text())
            time.sleep(0.02)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    def test_imap(self) -> Deferred[None]:
        def talk() -> None:
            for kind in self.kinds:
                for address in self.addresses:
                    plain = Imap(self.fronts[kind, self.imap_port], b"", address)
                    self.use(self.starttls(plain), address)
                    front = self.fronts[kind, self.imaps_port]
                    self.use(ImapTls(self.trust, front, b"", address), address)

        return deferToThread(talk)

    def test_mx(self) -> Deferred[None]:
        def talk() -> None:
            for kind in self.kinds:
                for address in self.addresses:
                    self.send(Smtp(self.fronts[kind, self.mx_port], b"", address), address)

        return deferToThread(talk)


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
