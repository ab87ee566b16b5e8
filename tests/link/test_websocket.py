"""Links over real sockets: what they carry, whom they refuse, how they end."""

import gc
import os
import signal
import subprocess
import sys
import tracemalloc
from ipaddress import ip_network
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import attrs
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint, wrapClientTLS
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import (
    Certificate,
    TLSVersion,
    optionsForClientTLS,
    trustRootFromCertificates,
)
from twisted.trial.unittest import SynchronousTestCase

from mailsrv.errors import InvalidInput, LinkLost
from mailsrv.link.transport.endpoints import client_endpoint
from mailsrv.link.transport.tokens import FRONTEND, OPERATOR, Tokens, make_tokens
from mailsrv.link.transport.websocket import LinkRefused, connect
from mailsrv.link.wire.frames import Hello
from mailsrv.link.wire.limits import MIB, LinkLimits
from mailsrv.settings import Primary
from tests.link.links import HELLO, QUICK, LinkCase
from tests.link.operations import TIMES, Carry, Echo, News
from tests.link.raw import Raw
from tests.waiting import pause, until


class CarryingTests(LinkCase):
    async def test_unix_socket(self) -> None:
        link = await self.link(self.serve_unix())
        await self.carries(link)

    async def test_tls(self) -> None:
        link = await self.link(self.serve_tls())
        await self.carries(link)

    async def carries(self, link: Any) -> None:
        self.assertEqual(await link.peer.call(Echo(text="hi")), "hi")
        answer = await link.peer.call(Carry(data=bytes(900_000), size=3_000_000))
        self.assertEqual(answer, b"x" * 3_000_000)
        (server, handler), (client, own) = self.made
        self.assertIs(client, link)
        self.assertEqual(await server.peer.call(Carry(size=500_000)), b"x" * 500_000)
        link.peer.tell(News(number=1))
        server.peer.tell(News(number=2))
        await until(lambda: handler.told_notes and own.told_notes)

    async def test_who_is_who(self) -> None:
        primary = self.serve_unix()
        link = await self.link(primary)
        await self.link(primary, token=self.tokens.token(OPERATOR))
        server, operator = self.made[0][0], self.made[2][0]
        self.assertEqual((server.role, operator.role), (FRONTEND, OPERATOR))
        self.assertEqual((server.node, server.public_key), ("front-1", b"front end's key"))
        self.assertEqual((link.node, link.public_key), ("primary-a", b"primary's key"))
        self.assertEqual(link.welcome, server.welcome)
        self.assertNotEqual(link.welcome.nonce, operator.welcome.nonce)
        self.assertEqual(link.welcome.message_octets, QUICK.message_octets)

    async def test_the_primary_says_how_much_it_takes(self) -> None:
        limits = attrs.evolve(QUICK, in_flight=2, message_octets=MIB)
        link = await self.link(self.serve_unix(limits))
        asked = [link.peer.call(Echo(text="x")) for _ in range(10)]
        self.assertEqual(link.peer.in_flight, 2)
        self.assertEqual(await gatherResults(asked), ["x"] * 10)
        await self.assertFailure(link.peer.call(Carry(data=bytes(3 * MIB))), InvalidInput)


class RefusingTests(LinkCase):
    async def refused(self, primary: Primary, *words: str, **given: Any) -> None:
        with self.assertRaises(LinkRefused) as caught:
            await self.link(primary, **given)
        for word in words:
            self.assertIn(word, str(caught.exception))
        self.assertNotIn(self.tokens.token(FRONTEND), str(caught.exception))
        self.assertEqual([link for link, _ in self.made], [])

    async def test_wrong_token(self) -> None:
        await self.refused(self.serve_unix(), "does not know the token", token="0" * 64)

    async def test_wrong_authority(self) -> None:
        primary, other = self.serve_tls(), self.serve_tls()
        await self.refused(Primary(primary.endpoint, primary.hostname, other.ca), "not signed by")

    async def test_wrong_name(self) -> None:
        primary = self.serve_tls()
        wrong = Primary(primary.endpoint, "other.example.com", primary.ca)
        await self.refused(wrong, "another name")

    async def test_a_client_of_plain_text(self) -> None:
        primary = self.serve_tls()
        port = int(primary.endpoint.rpartition(":")[2])
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port)
        await self.refused_at(endpoint)

    async def test_a_server_of_plain_text(self) -> None:
        port, tls = self.serve_plain(), self.serve_tls()
        await self.refused(Primary(f"tcp:127.0.0.1:{port}", tls.hostname, tls.ca))

    async def test_old_tls(self) -> None:
        primary = self.serve_tls()
        assert primary.ca is not None
        options = optionsForClientTLS(
            primary.hostname,
            trustRootFromCertificates([Certificate.loadPEM(primary.ca.read_bytes())]),
            extraCertificateOptions={"lowerMaximumSecurityTo": TLSVersion.TLSv1_2},
        )
        port = int(primary.endpoint.rpartition(":")[2])
        plain = TCP4ClientEndpoint(reactor, "127.0.0.1", port)
        await self.refused_at(wrapClientTLS(options, plain))

    async def refused_at(self, endpoint: Any) -> None:
        token = self.tokens.token(FRONTEND)
        opening = connect(endpoint, token, HELLO, self.make, reactor, QUICK)
        await self.assertFailure(opening, LinkRefused)
        self.assertEqual(self.made, [])

    async def test_the_link_is_tls_1_3_with_ml_kem(self) -> None:
        link = await self.link(self.serve_tls())
        connection = link._wire.transport.getHandle()
        self.assertEqual(connection.get_protocol_version_name(), "TLSv1.3")
        self.assertEqual(connection.get_group_name(), "X25519MLKEM768")

    async def test_address_not_allowed(self) -> None:
        for allow in ([ip_network("192.0.2.0/24")], []):
            await self.refused(self.serve_tls(allow=allow))

    async def test_too_many(self) -> None:
        primary = self.serve_tls(attrs.evolve(QUICK, connections=2))
        first, _ = await self.link(primary), await self.link(primary)
        with self.assertRaises(LinkRefused):
            await self.link(primary)
        first.abort()
        await until(lambda: self.factories[0].countConnections == 1)
        await self.link(primary)

    async def test_those_without_a_token_keep_nobody_out(self) -> None:
        primary = self.serve_tls(attrs.evolve(QUICK, connections=2, strangers=3, open_seconds=20.0))
        port = int(primary.endpoint.rpartition(":")[2])
        silent = [await Raw.to(port) for _ in range(3)]
        await until(lambda: len(self.factories[0].strangers) == 3)
        first, second = await self.link(primary), await self.link(primary)
        self.assertEqual(await first.peer.call(Echo(text="x")), "x")
        self.assertEqual(await second.peer.call(Echo(text="x")), "x")
        for one in silent:
            one.transport.abortConnection()
        await until(lambda: not self.factories[0].strangers)

    async def test_wrong_version(self) -> None:
        hello = Hello(version=2, node="future", public_key=b"")
        await self.refused(self.serve_unix(), "version 2", hello=hello)

    async def test_nobody_there(self) -> None:
        await self.refused(Primary(endpoint=f"unix:{self.base}/none.sock"))
        tls = self.serve_tls()
        await self.refused(Primary("tcp:127.0.0.1:1", tls.hostname, tls.ca))

    async def test_a_server_that_says_nothing(self) -> None:
        path = f"{gettempdir()}/link-{os.getpid()}-{id(self)}-silent.sock"
        port = reactor.listenUNIX(path, Factory.forProtocol(Protocol))
        self.addCleanup(port.stopListening)
        began = reactor.seconds()
        await self.refused(Primary(endpoint=f"unix:{path}"))
        self.assertLess(reactor.seconds() - began, 2.5)

    async def test_cancelled(self) -> None:
        primary = self.serve_tls()
        for wait in (0, 0.001, 0.003, 0.005):
            endpoint = client_endpoint(primary, reactor)
            token = self.tokens.token(FRONTEND)
            opening = connect(endpoint, token, HELLO, self.make, reactor, QUICK)
            await pause(wait)
            if opening.called:
                self.links.append(await opening)
                continue
            opening.cancel()
            with self.assertRaises((CancelledError, LinkRefused)):
                await opening
        await until(lambda: self.factories[0].countConnections == len(self.links))


class EndingTests(LinkCase):
    async def test_goodbye(self) -> None:
        link = await self.link(self.serve_unix())
        server = self.made[0][0]
        server.close("shutting down")
        self.assertEqual(await link.closed, "shutting down")
        await self.assertFailure(link.peer.call(Echo(text="x")), LinkLost)

    async def test_goodbye_over_tls_while_much_is_under_way(self) -> None:
        link = await self.link(self.serve_tls())
        asked = [link.peer.call(Carry(size=20 * MIB)) for _ in range(4)]
        await pause(0.01)
        self.made[0][0].close("shutting down")
        self.assertEqual(await link.closed, "shutting down")
        for one in asked:
            await self.assertFailure(one, LinkLost)

    async def test_aborted_in_the_middle(self) -> None:
        primary = self.serve_tls()
        for _ in range(5 * TIMES):
            link = await self.link(primary)
            asked = link.peer.call(Carry(data=bytes(MIB), size=20 * MIB))
            await pause(0.01)
            self.made[-2][0].abort()
            await self.assertFailure(asked, LinkLost)
            await link.closed
        await until(lambda: not self.factories[0].countConnections)
        self.assertEqual(self.factories[0]._budget.used, 0)

    async def test_half_open(self) -> None:
        self.assertLessEqual(2 * LinkLimits().ping_seconds, 15)
        link = await self.link(self.serve_unix())
        server = self.made[0][0]
        # the other side is stopped: it neither reads nor answers
        link._wire.transport.pauseProducing()
        began = reactor.seconds()
        await until(lambda: server.closed.called, 4)
        self.assertGreater(reactor.seconds() - began, QUICK.ping_seconds)

    async def test_half_open_seen_by_the_client(self) -> None:
        link = await self.link(self.serve_unix())
        self.made[0][0]._wire.transport.pauseProducing()
        asked = link.peer.call(Echo(text="x"))
        await self.assertFailure(asked, LinkLost)

    async def test_an_idle_link_stays(self) -> None:
        link = await self.link(self.serve_unix())
        await pause(2.5)
        self.assertEqual(await link.peer.call(Echo(text="x")), "x")


FRONT_END = """
import sys
from pathlib import Path
from twisted.internet import reactor
from mailsrv.link.transport.tokens import Tokens
from mailsrv.link.transport.websocket import client_endpoint, connect
from mailsrv.settings import Primary
from tests.link.links import HELLO, QUICK, Handler

token = Tokens.load(Path(sys.argv[2])).token("frontend")
endpoint = client_endpoint(Primary(endpoint=sys.argv[1]), reactor)
link = connect(endpoint, token, HELLO, lambda link: Handler(), reactor, QUICK)
link.addCallback(lambda link: link.closed).addBoth(lambda _: reactor.stop())
reactor.run()
"""


class ProcessTests(LinkCase):
    """A front end that is a process of its own, and what signals do to it."""

    async def start(self) -> subprocess.Popen[bytes]:
        primary = self.serve_unix()
        command = [sys.executable, "-c", FRONT_END, primary.endpoint]
        command.append(str((self.base / "link.token").resolve()))
        root = Path(__file__).parents[2]
        process = subprocess.Popen(command, cwd=root)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        await until(lambda: self.made, 15)
        return process

    async def test_stopped(self) -> None:
        process = await self.start()
        await pause(1.5)
        server = self.made[0][0]
        asked = server.peer.call(Echo(text="x"))
        self.assertEqual(await asked, "x")
        process.send_signal(signal.SIGSTOP)
        asked = server.peer.call(Echo(text="x"))
        began = reactor.seconds()
        await self.assertFailure(asked, LinkLost)
        self.assertLess(reactor.seconds() - began, 3 * QUICK.ping_seconds)
        process.send_signal(signal.SIGCONT)
        await until(lambda: process.poll() is not None)

    async def test_killed(self) -> None:
        process = await self.start()
        process.kill()
        await until(lambda: self.made[0][0].closed.called, 1)


class MemoryTests(LinkCase):
    async def test_flat_while_a_reader_is_paused(self) -> None:
        limits = attrs.evolve(QUICK, ping_seconds=20.0, unsent_octets=8 * MIB)
        link = await self.link(self.serve_unix(limits))
        server = self.made[0][0]
        link._wire.transport.pauseProducing()
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        before = tracemalloc.get_traced_memory()[0]
        asked = [link.peer.call(Carry(size=2 * MIB)) for _ in range(100)]
        for number in range(20_000):
            if not server.peer.full:
                server.peer.tell(News(number=number))
        await pause(0.3)
        gc.collect()
        self.assertEqual(server.peer.serving, 100 - 4)
        self.assertLess(tracemalloc.get_traced_memory()[0] - before, 16 * MIB)
        tracemalloc.stop()
        link._wire.transport.resumeProducing()
        for one in asked:
            self.assertEqual(len(await one), 2 * MIB)

    async def test_others_are_served_meanwhile(self) -> None:
        primary = self.serve_unix(attrs.evolve(QUICK, ping_seconds=20.0))
        slow, quick = await self.link(primary), await self.link(primary)
        slow._wire.transport.pauseProducing()
        for _ in range(50):
            slow.peer.call(Carry(size=20 * MIB)).addErrback(lambda failure: None)
        await pause(0.05)
        began = reactor.seconds()
        self.assertEqual(await quick.peer.call(Echo(text="x")), "x")
        self.assertLess(reactor.seconds() - began, 1)


class TokenTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())

    def test_made_once(self) -> None:
        make_tokens(self.path)
        first = self.path.read_text()
        make_tokens(self.path)
        self.assertEqual(self.path.read_text(), first)
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)
        self.assertEqual(
            [one.name for one in self.path.parent.glob(f"{self.path.name}*")], [self.path.name]
        )
        tokens = Tokens.load(self.path)
        self.assertEqual(tokens.role_of(tokens.token(FRONTEND).encode()), FRONTEND)
        self.assertEqual(tokens.role_of(tokens.token(OPERATOR).encode()), OPERATOR)
        self.assertNotIn(tokens.token(FRONTEND), repr(tokens))

    def write(self, text: str, mode: int = 0o600) -> None:
        self.path.write_text(text)
        self.path.chmod(mode)

    def test_old_and_new(self) -> None:
        self.write(f"# old\nfrontend {'a' * 64}\n\nfrontend {'b' * 64}\n")
        tokens = Tokens.load(self.path)
        self.assertEqual(tokens.token(FRONTEND), "a" * 64)
        for one in ("a", "b"):
            self.assertEqual(tokens.role_of(one.encode() * 64), FRONTEND)
        for wrong in (b"", b"a" * 63, b"a" * 65, b"c" * 64, b"A" * 64, bytes(100_000)):
            self.assertIsNone(tokens.role_of(wrong))
        with self.assertRaises(InvalidInput):
            tokens.token(OPERATOR)

    def test_named_and_not_shown(self) -> None:
        for text, mode, words in (
            ("frontend canary", 0o600, "line 1"),
            (f"\nadmin {'a' * 64}", 0o600, "line 2"),
            (f"frontend {'a' * 64}", 0o640, "0640"),
            ("\xff\xfe canary", 0o600, "line 1"),
        ):
            self.write(text, mode)
            with self.assertRaises(InvalidInput) as caught:
                Tokens.load(self.path)
            self.assertIn(words, str(caught.exception))
            self.assertIn(str(self.path), str(caught.exception))
            self.assertNotIn("canary", str(caught.exception))
            self.assertNotIn("aaaa", str(caught.exception))
            self.path.unlink()
        with self.assertRaises(InvalidInput):
            Tokens.load(self.path)


class EndpointTests(SynchronousTestCase):
    def test_what_is_wrong_is_named(self) -> None:
        empty = Path(self.mktemp())
        empty.write_text("nothing")
        for primary in (
            Primary(endpoint="unix:"),
            Primary(endpoint="tcp:host"),
            Primary(endpoint="tcp::993"),
            Primary(endpoint="http://host"),
            Primary(endpoint="tcp:host:1"),
            Primary("tcp:host:1", "host", empty),
            Primary("tcp:host:1", "host", empty / "none"),
        ):
            with self.assertRaises(InvalidInput):
                client_endpoint(primary, reactor)
