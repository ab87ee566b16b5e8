"""The PROXY protocol: its parser, and what stands between a balancer and our protocols."""

import struct
from ipaddress import ip_address, ip_network
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
    IPushProducer,
    ISSLTransport,
    ITCPTransport,
    ITLSTransport,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import directlyProvides, implementedBy, implementer

from mailsrv.errors import InvalidInput
from mailsrv.proxy_protocol import HEADER_SECONDS, V1_LIMIT, V2_LIMIT, Header, parse, proxied

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
V1 = b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 143\r\n"
V1_IPV6 = b"PROXY TCP6 2001:db8::7 2001:DB8:0:0:0:0:0:1 40000 0\r\n"


def v2(command: int, kind: int, body: bytes = b"") -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, kind, len(body)) + body


def v2_ipv4(source: str = "192.0.2.7", behind: bytes = b"") -> bytes:
    addresses = ip_address(source).packed + ip_address("198.51.100.1").packed
    return v2(0x21, 0x11, addresses + struct.pack("!HH", 40000, 143) + behind)


def v2_ipv6() -> bytes:
    addresses = ip_address("2001:db8::7").packed + ip_address("2001:db8::1").packed
    return v2(0x21, 0x21, addresses + struct.pack("!HH", 40000, 0))


CLIENT = IPv4Address("TCP", "192.0.2.7", 40000)
SERVER = IPv4Address("TCP", "198.51.100.1", 143)
CLIENT_IPV6 = IPv6Address("TCP", "2001:db8::7", 40000)
SERVER_IPV6 = IPv6Address("TCP", "2001:db8::1", 0)
TLVS = b"\x03\0\4abcd" + b"\x04\0\x09padding.." + b"\x20\xff\xffcut"

GOOD: dict[bytes, tuple[Any, Any]] = {
    V1: (CLIENT, SERVER),
    V1_IPV6: (CLIENT_IPV6, SERVER_IPV6),
    b"PROXY UNKNOWN\r\n": (None, None),
    b"PROXY UNKNOWN ffff::1 whatever it says\xff\r\n": (None, None),
    b"PROXY UNKNOWN " + b"x" * (V1_LIMIT - 16) + b"\r\n": (None, None),
    v2_ipv4(): (CLIENT, SERVER),
    v2_ipv4(behind=TLVS): (CLIENT, SERVER),
    v2_ipv4(behind=bytes(V2_LIMIT - 12)): (CLIENT, SERVER),
    v2_ipv6(): (CLIENT_IPV6, SERVER_IPV6),
    v2(0x20, 0x00): (None, None),
    v2(0x20, 0x11, bytes(12)): (None, None),
    v2(0x20, 0xFF, b"ignored"): (None, None),
    v2(0x21, 0x00): (None, None),
    v2(0x21, 0x10, b"short"): (None, None),
    v2(0x21, 0x12, bytes(12)): (None, None),
    v2(0x21, 0x31, bytes(216)): (None, None),
}

BAD = (
    b"* OK\r\n",
    b"EHLO client.example.org\r\n",
    b"\x16\x03\x01",
    b"proxy TCP4 192.0.2.7 198.51.100.1 40000 143\r\n",
    b"PROXY  TCP4 192.0.2.7 198.51.100.1 40000 143\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 40000\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 143 \r\n",
    b"PROXY TCP5 192.0.2.7 198.51.100.1 40000 143\r\n",
    b"PROXY TCP4 192.0.2.07 198.51.100.1 40000 143\r\n",
    b"PROXY TCP4 192.0.2 198.51.100.1 40000 143\r\n",
    b"PROXY TCP4 2001:db8::7 2001:db8::1 40000 143\r\n",
    b"PROXY TCP6 192.0.2.7 198.51.100.1 40000 143\r\n",
    b"PROXY TCP6 fe80::1%eth0 2001:db8::1 40000 143\r\n",
    b"PROXY TCP4 192.0.2.\xb2 198.51.100.1 40000 143\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 040000 143\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 65536 143\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 -1 143\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 \xb2 143\r\n",
    b"PROXY UNKNOWN\nEHLO x\r\n",
    b"PROXY UNKNOWN\rEHLO x\r\n",
    b"PROXY UNKNOWN " + b"x" * (V1_LIMIT - 15) + b"\r\n",
    v2(0x11, 0x11, bytes(12)),
    v2(0x22, 0x11, bytes(12)),
    v2(0x21, 0x41, bytes(12)),
    v2(0x21, 0x13, bytes(12)),
    v2(0x21, 0x11, bytes(11)),
    v2(0x21, 0x21, bytes(35)),
    v2(0x21, 0x11, bytes(V2_LIMIT + 1)),
)


class ParserTests(SynchronousTestCase):
    def test_headers(self) -> None:
        for octets, (source, destination) in GOOD.items():
            expected = Header(source, destination, len(octets))
            self.assertEqual(parse(octets), expected)
            self.assertEqual(parse(octets + octets), expected)

    def test_every_beginning_needs_more(self) -> None:
        for octets in GOOD:
            for end in range(len(octets)):
                self.assertIsNone(parse(octets[:end]), octets[:end])

    def test_what_is_none(self) -> None:
        for octets in BAD:
            self.assertRaises(InvalidInput, parse, octets)

    def test_nonsense_is_refused_before_it_is_whole(self) -> None:
        for octets in (b"P\r", b"\r\n\r\n\r", b"PROXY" * 2, b"PROXY " + b"x" * V1_LIMIT):
            self.assertRaises(InvalidInput, parse, octets)

    @settings(max_examples=500)
    @given(
        st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", b"PROXY TCP6 ", SIGNATURE, *GOOD]),
        st.binary(max_size=300),
        st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=3),
    )
    def test_anything(self, start: bytes, rest: bytes, changes: list[tuple[int, int]]) -> None:
        octets = bytearray(start + rest)
        for place, value in changes:
            if place < len(octets):
                octets[place] = value
        for buffer in (bytes(octets), bytes(octets[: len(start)])):
            try:
                header = parse(buffer)
            except InvalidInput:
                continue
            if header is not None:
                self.assertTrue(0 < header.size <= len(buffer))
            else:
                self.assertLess(len(buffer), V2_LIMIT + 16)


@implementer(ITCPTransport, ITLSTransport)
class Transport(StringTransport):
    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True
        super().abortConnection()

    def startTLS(self, context: object, normal: bool = True) -> None:
        directlyProvides(self, ISSLTransport)


class Inner(Protocol):
    """Greets at once, as mail protocols do, and notes what it hears."""

    transport: Any

    def __init__(self) -> None:
        self.heard = b""
        self.lost = 0

    def connectionMade(self) -> None:
        self.transport.write(b"hello")

    def dataReceived(self, data: bytes) -> None:
        self.heard += data

    def connectionLost(self, reason: Any = None) -> None:
        self.lost += 1


@implementer(IHalfCloseableProtocol)
class HalfCloseable(Inner):
    closed = ""

    def readConnectionLost(self) -> None:
        self.closed += "read"

    def writeConnectionLost(self) -> None:
        self.closed += "write"


class InnerFactory(Factory):
    noisy = False
    protocol: Any = Inner

    def __init__(self) -> None:
        self.built: list[tuple[Any, Any]] = []

    def buildProtocol(self, addr: Any) -> Any:
        protocol = self.protocol() if self.protocol else None
        self.built.append((addr, protocol))
        return protocol


class WrapperTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.inner = InnerFactory()
        networks = [ip_network("10.0.0.0/8"), ip_network("2001:db8:ffff::/48")]
        self.factory = proxied(self.inner, networks, self.clock)

    def connect(self, host: str = "10.0.0.1") -> tuple[Any, Transport]:
        kind = IPv6Address if ":" in host else IPv4Address
        transport = Transport(peerAddress=kind("TCP", host, 1234))
        protocol = self.factory.buildProtocol(transport.getPeer())
        assert protocol is not None
        protocol.makeConnection(transport)
        return protocol, transport

    def test_any_pieces(self) -> None:
        for octets, (source, destination) in GOOD.items():
            for size in (1, 2, 7, 15, 16, 17, len(octets), len(octets) + 3):
                protocol, transport = self.connect()
                stream = octets + b"a1 NOOP\r\n"
                for start in range(0, len(stream), size):
                    if start + size <= len(octets) - 1:
                        self.assertEqual(transport.value(), b"")
                    protocol.dataReceived(stream[start : start + size])
                address, inner = self.inner.built[-1]
                self.assertEqual(address, source or transport.getPeer())
                self.assertEqual(inner.transport.getPeer(), source or transport.getPeer())
                self.assertEqual(inner.transport.getHost(), destination or transport.getHost())
                self.assertEqual((inner.heard, transport.value()), (b"a1 NOOP\r\n", b"hello"))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_wrong_headers_reach_nobody(self) -> None:
        for octets in BAD:
            for size in (1, len(octets)):
                protocol, transport = self.connect()
                for start in range(0, len(octets), size):
                    protocol.dataReceived(octets[start : start + size])
                self.assertTrue(transport.aborted)
                self.assertEqual(transport.value(), b"")
        self.assertEqual(self.inner.built, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_time_limit(self) -> None:
        protocol, transport = self.connect()
        protocol.dataReceived(V1[:-1])
        self.clock.advance(HEADER_SECONDS - 0.1)
        self.assertFalse(transport.aborted)
        self.clock.advance(0.2)
        self.assertTrue(transport.aborted)
        protocol.dataReceived(V1[-1:])
        self.assertEqual(self.inner.built, [])

    def test_only_balancers_may_speak(self) -> None:
        for host in ("10.255.0.1", "::ffff:10.0.0.1", "2001:db8:ffff::1", "2001:db8:ffff::1%eth0"):
            self.connect(host)
        self.assertIsNotNone(self.factory.buildProtocol(UNIXAddress("/run/socket")))
        for host in ("192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1", "nonsense", ""):
            self.assertIsNone(self.factory.buildProtocol(IPv4Address("TCP", host, 1)))
        self.assertIsNone(self.factory.buildProtocol(None))

    def test_a_factory_that_refuses(self) -> None:
        self.inner.protocol = None
        protocol, transport = self.connect()
        protocol.dataReceived(V1 + b"x")
        self.assertTrue(transport.aborted)
        protocol.connectionLost(Failure(ConnectionDone()))

    def test_nothing_is_read_for_one_that_hung_up(self) -> None:
        class Unwelcome(Inner):
            def connectionMade(self) -> None:
                self.transport.loseConnection()

        self.inner.protocol = Unwelcome
        protocol, _transport = self.connect()
        protocol.dataReceived(V1 + b"x")
        self.assertEqual(self.inner.built[0][1].heard, b"")

    def test_the_transport_is_what_the_socket_is(self) -> None:
        protocol, transport = self.connect()
        protocol.dataReceived(V1)
        ours = self.inner.built[0][1].transport
        self.assertEqual(set(implementedBy(Transport)) - set(ours.__provides__), set())
        self.assertTrue(ITLSTransport.providedBy(ours))
        self.assertFalse(ISSLTransport.providedBy(ours))
        ours.startTLS(object())
        self.assertTrue(ISSLTransport.providedBy(ours) and ITLSTransport.providedBy(ours))
        ours.pauseProducing()
        self.assertEqual(transport.producerState, "paused")

        @implementer(IPushProducer)
        class Producer:
            pass

        producer = Producer()
        ours.registerProducer(producer, True)
        self.assertIs(transport.producer, producer)
        ours.unregisterProducer()
        self.assertIsNone(transport.producer)
        ours.abortConnection()
        self.assertTrue(transport.aborted)

    def test_half_close_reaches_those_who_know_it(self) -> None:
        protocol, _transport = self.connect()
        protocol.dataReceived(V1)
        self.assertFalse(IHalfCloseableProtocol.providedBy(protocol))
        self.inner.protocol = HalfCloseable
        protocol, _transport = self.connect()
        self.assertFalse(IHalfCloseableProtocol.providedBy(protocol))
        protocol.dataReceived(V1)
        IHalfCloseableProtocol(protocol).readConnectionLost()
        protocol.startTLS(object())
        IHalfCloseableProtocol(protocol).writeConnectionLost()
        self.assertEqual(self.inner.built[1][1].closed, "readwrite")

    def test_the_end(self) -> None:
        for octets, built in ((V1[:5], 0), (V1, 1)):
            protocol, _transport = self.connect()
            protocol.dataReceived(octets)
            protocol.connectionLost(Failure(ConnectionDone()))
            self.assertEqual(sum(inner.lost for _, inner in self.inner.built), built)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.factory.protocols, {})

    def test_no_client_begins_when_nobody_listens(self) -> None:
        self.factory.doStart()
        served, served_transport = self.connect()
        served.dataReceived(V1)
        waiting, transport = self.connect()
        self.factory.doStop()
        self.assertTrue(transport.aborted)
        waiting.dataReceived(V1)
        self.assertEqual(len(self.inner.built), 1)
        self.assertFalse(served_transport.aborted)
