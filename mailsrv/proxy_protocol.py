"""Real client addresses behind a load balancer: HAProxy's PROXY protocol, versions 1 and 2.

A header in front of everything else tells whom the balancer speaks for. The protocol for the
connection is made only when it is known, so that greeting, limits and logs never see the balancer.
(Twisted's own wrapper makes it before, and loses a version 2 header that comes in small pieces.)

``parse`` knows no transport; ``proxied`` puts it in front of a factory. Only what the header says
of TCP over IPv4 and IPv6 is used. A health check of the balancer (LOCAL) and a client of an unknown
kind keep the balancer's own address. Type-length-values, the checksum among them, are skipped.
"""

import re
import struct
from collections.abc import Sequence
from ipaddress import IPv4Address as Ip4
from ipaddress import IPv6Address as Ip6
from typing import Any

import attrs
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHalfCloseableProtocol,
    IHandshakeListener,
    IProtocol,
    IProtocolFactory,
    IReactorTime,
)
from twisted.internet.protocol import Protocol
from twisted.logger import Logger
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from zope.interface import alsoProvides, directlyProvides, providedBy

from mailsrv.errors import InvalidInput
from mailsrv.networks import Network, is_within

log = Logger()

V1_LIMIT = 107
"""Octets of a version 1 header, its line end included."""
V2_LIMIT = 4096
"""Octets of addresses and type-length-values of a version 2 header."""
HEADER_SECONDS = 5.0
"""A balancer sends its header at once; 3 seconds would cover a lost segment."""

_V1_START = b"PROXY "
_V2_START = b"\r\n\r\n\0\r\nQUIT\n"
_V2_FIXED = 16
_PORT = re.compile(rb"0|[1-9][0-9]{0,4}")
_LOCAL, _PROXY = 0x20, 0x21

Ip = type[Ip4] | type[Ip6]
_V1_KINDS: dict[bytes, Ip] = {b"TCP4": Ip4, b"TCP6": Ip6}
_V2_KINDS: dict[int, tuple[Ip, str]] = {0x11: (Ip4, "!4s4sHH"), 0x21: (Ip6, "!16s16sHH")}

Address = IPv4Address | IPv6Address


@attrs.frozen
class Header:
    """Who speaks with whom, None where the header does not tell; ``size`` octets were read."""

    source: Address | None
    destination: Address | None
    size: int


def parse(buffer: bytes) -> Header | None:
    """Read the header with which ``buffer`` begins; None while more of it is needed.

    :raises InvalidInput: when no header can begin like this.
    """
    if buffer.startswith(_V2_START):
        return _parse_v2(buffer)
    if buffer.startswith(_V1_START):
        return _parse_v1(buffer)
    if _V2_START.startswith(buffer) or _V1_START.startswith(buffer):
        return None
    raise InvalidInput("no PROXY header")


def _parse_v1(buffer: bytes) -> Header | None:
    line, end, _ = buffer[:V1_LIMIT].partition(b"\r\n")
    if b"\n" in line or b"\r" in (line if end else line[:-1]):
        raise InvalidInput("PROXY line with a bare line end")
    if not end:
        if len(buffer) >= V1_LIMIT:
            raise InvalidInput("PROXY line without end")
        return None
    size = len(line) + len(end)
    words = line.split(b" ")
    if words[1] == b"UNKNOWN":
        return Header(None, None, size)
    ip = _V1_KINDS.get(words[1])
    if ip is None or len(words) != 6:
        raise InvalidInput("PROXY line of an unknown kind")
    source, destination, source_port, destination_port = words[2:]
    return Header(
        _address(ip, _text(source), _port(source_port)),
        _address(ip, _text(destination), _port(destination_port)),
        size,
    )


def _text(word: bytes) -> str:
    if not word.isascii() or b"%" in word:
        raise InvalidInput("PROXY line with a wrong address")
    return word.decode()


def _port(word: bytes) -> int:
    if not _PORT.fullmatch(word) or int(word) > 65535:
        raise InvalidInput("PROXY line with a wrong port")
    return int(word)


def _address(ip: Ip, host: str | bytes, port: int) -> Address:
    try:
        text = str(ip(host))
    except ValueError:
        raise InvalidInput("PROXY header with a wrong address") from None
    return IPv4Address("TCP", text, port) if ip is Ip4 else IPv6Address("TCP", text, port)


def _parse_v2(buffer: bytes) -> Header | None:
    if len(buffer) < _V2_FIXED:
        return None
    command, kind, length = struct.unpack_from("!BBH", buffer, len(_V2_START))
    if command not in {_LOCAL, _PROXY}:
        raise InvalidInput("PROXY header with an unknown version or command")
    if command == _PROXY and (kind >> 4 > 3 or kind & 0x0F > 2):
        raise InvalidInput("PROXY header of an unknown kind")
    if length > V2_LIMIT:
        raise InvalidInput(f"PROXY header of more than {V2_LIMIT} octets")
    size = _V2_FIXED + length
    if len(buffer) < size:
        return None
    if command == _LOCAL or kind not in _V2_KINDS:
        return Header(None, None, size)
    ip, layout = _V2_KINDS[kind]
    if length < struct.calcsize(layout):
        raise InvalidInput("PROXY header without its addresses")
    source, destination, source_port, destination_port = struct.unpack_from(
        layout, buffer, _V2_FIXED
    )
    return Header(
        _address(ip, source, source_port), _address(ip, destination, destination_port), size
    )


def proxied(
    factory: IProtocolFactory,
    allow_from: Sequence[Network],
    clock: IReactorTime,
) -> "ProxiedFactory":
    """Put the PROXY protocol in front of ``factory``, for balancers in ``allow_from`` only.

    For implicit TLS the order is ``proxied(TLSMemoryBIOFactory(tls, False, factory), ...)``: the
    header comes in the clear. Who may connect to a unix socket is the matter of its file mode.
    """
    return ProxiedFactory(factory, tuple(allow_from), clock)


class ProxiedProtocol(ProtocolWrapper):
    """Waits for the header, then is the transport of the protocol made for the client."""

    factory: "ProxiedFactory"
    transport: Any
    wrappedProtocol: IProtocol | None  # type: ignore[assignment]

    def __init__(self, factory: "ProxiedFactory") -> None:
        super().__init__(factory, None)  # type: ignore[arg-type]
        self._buffer = b""
        self._peer: IAddress | None = None
        self._host: IAddress | None = None
        self._patience: IDelayedCall | None = None

    # Towards the balancer

    def makeConnection(self, transport: Any) -> None:
        directlyProvides(self, providedBy(transport))
        self.factory.registerProtocol(self)  # type: ignore[no-untyped-call]
        self._patience = self.factory.clock.callLater(HEADER_SECONDS, self._refuse, "no header")
        Protocol.makeConnection(self, transport)  # type: ignore[no-untyped-call]

    def dataReceived(self, data: bytes) -> None:
        if self.wrappedProtocol is not None:
            self.wrappedProtocol.dataReceived(data)
        elif self._patience is not None:
            self._buffer += data
            self._read_header()

    def _read_header(self) -> None:
        try:
            header = parse(self._buffer)
        except InvalidInput as error:
            self._refuse(str(error))
            return
        if header is not None:
            self._stop_waiting()
            rest, self._buffer = self._buffer[header.size :], b""
            self._begin(header, rest)

    def _begin(self, header: Header, rest: bytes) -> None:
        self._peer, self._host = header.source, header.destination
        inner: IProtocol | None = self.factory.wrappedFactory.buildProtocol(self.getPeer())
        if inner is None:
            self.abortConnection()
            return
        self.wrappedProtocol = inner
        self._provide()
        inner.makeConnection(self)  # type: ignore[arg-type]
        # as on a socket, nothing more is read for one that has hung up
        if rest and not self.disconnecting:
            self.dataReceived(rest)

    def _refuse(self, reason: str) -> None:
        self._stop_waiting()
        log.info("load balancer {peer}: {reason}", peer=self.transport.getPeer(), reason=reason)
        self.abortConnection()

    def give_up(self) -> None:
        """Close, if there is no client yet."""
        if self._patience is not None:
            self._stop_waiting()
            self.abortConnection()

    def _stop_waiting(self) -> None:
        patience, self._patience = self._patience, None
        if patience is not None and patience.active():
            patience.cancel()

    def readConnectionLost(self) -> None:
        """As IHalfCloseableProtocol, which is provided when the client's protocol does."""
        IHalfCloseableProtocol(self.wrappedProtocol).readConnectionLost()

    def writeConnectionLost(self) -> None:
        """As IHalfCloseableProtocol."""
        IHalfCloseableProtocol(self.wrappedProtocol).writeConnectionLost()

    def handshakeCompleted(self) -> None:
        """As IHandshakeListener, which is provided when the client's protocol does."""
        IHandshakeListener(self.wrappedProtocol).handshakeCompleted()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self._stop_waiting()
        self.factory.unregisterProtocol(self)  # type: ignore[no-untyped-call]
        inner, self.wrappedProtocol = self.wrappedProtocol, None
        if inner is not None:
            inner.connectionLost(reason)

    # Towards the client's protocol

    def getPeer(self) -> IAddress:
        """The client's address, or the balancer's when it speaks for itself."""
        peer: IAddress = self._peer or self.transport.getPeer()
        return peer

    def getHost(self) -> IAddress:
        """The address to which the client connected, or ours when the balancer did."""
        host: IAddress = self._host or self.transport.getHost()
        return host

    def startTLS(self, context: Any, normal: bool = True) -> None:
        """As ITLSTransport; afterwards this provides ISSLTransport as the socket does."""
        self.transport.startTLS(context, normal)
        self._provide()

    def abortConnection(self) -> None:
        self.disconnecting = 1
        self.transport.abortConnection()

    def _provide(self) -> None:
        inner: Any = self.wrappedProtocol
        directlyProvides(self, providedBy(self.transport))
        for interface in (IHalfCloseableProtocol, IHandshakeListener):
            if interface.providedBy(inner):
                alsoProvides(self, interface)


class ProxiedFactory(WrappingFactory[ProxiedProtocol]):
    """Makes a ProxiedProtocol for each connection of an allowed balancer."""

    noisy = False

    def __init__(
        self,
        factory: IProtocolFactory,
        allow_from: tuple[Network, ...],
        clock: IReactorTime,
    ) -> None:
        super().__init__(factory)  # type: ignore[no-untyped-call]
        self.clock = clock
        self._allow_from = allow_from

    def buildProtocol(self, addr: IAddress | None) -> ProxiedProtocol | None:  # type: ignore[override]
        """None closes the connection before anything is read from it."""
        if not self._allows(addr):
            log.info("{peer} is no load balancer of ours", peer=addr)
            return None
        return ProxiedProtocol(self)

    def _allows(self, peer: Any) -> bool:
        if isinstance(peer, UNIXAddress):
            return True
        return is_within(str(getattr(peer, "host", "")), self._allow_from)

    def doStop(self) -> None:
        """Nobody listens any more: let no client begin either."""
        for protocol in list(self.protocols):
            protocol.give_up()
        super().doStop()  # type: ignore[no-untyped-call]
