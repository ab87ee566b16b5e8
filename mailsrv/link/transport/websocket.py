"""Servers and clients of the link: who is let in, and how to get in.

On a server everything is decided as early as it can be: address and number of connections at
accept, before TLS; the token in the handshake; the protocol's version in the first frame.
"""

from collections.abc import Callable, Sequence

from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketServerFactory
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IAddress,
    IOpenSSLServerConnectionCreator,
    IProtocol,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure

from mailsrv.errors import Unavailable
from mailsrv.link.transport.endpoints import client_endpoint
from mailsrv.link.transport.handshake import PATH, SUBPROTOCOL
from mailsrv.link.transport.protocols import (
    LinkClientProtocol,
    LinkServerProtocol,
    Timers,
    protocol_options,
)
from mailsrv.link.transport.tokens import Tokens
from mailsrv.link.wire.connection import (
    FrontEndSide,
    ILinkHandler,
    LinkConnection,
    MakeHandler,
    PrimarySide,
    WelcomeParts,
)
from mailsrv.link.wire.failures import printable
from mailsrv.link.wire.frames import Hello
from mailsrv.link.wire.limits import LinkLimits
from mailsrv.link.wire.streams import Budget
from mailsrv.networks import Network, is_within

__all__ = [
    "ILinkHandler",
    "LinkConnection",
    "LinkRefused",
    "LinkServerFactory",
    "MakeHandler",
    "WelcomeParts",
    "client_endpoint",
    "connect",
    "secured",
]

log = Logger()


class LinkRefused(Unavailable):
    """No link came about; the sentence says why: no such machine, wrong token, wrong version."""


class LinkServerFactory(WebSocketServerFactory):
    """Serves the link. ``allow`` is None for a unix socket, where the file's mode decides.

    ``make_handler`` is called for each connection when its Hello has come, ``welcome`` when its
    handshake is done. ``budget`` is shared with other factories of the process.
    """

    protocol = LinkServerProtocol
    noisy = False

    def __init__(
        self,
        tokens: Tokens,
        allow: Sequence[Network] | None,
        make_handler: MakeHandler,
        welcome: Callable[[], WelcomeParts],
        reactor: IReactorTime,
        limits: LinkLimits,
        budget: Budget | None = None,
    ) -> None:
        super().__init__(protocols=[SUBPROTOCOL], server="", reactor=reactor)
        self.setProtocolOptions(
            versions=[13],
            webStatus=False,
            trustXForwardedFor=0,
            serveFlashSocketPolicy=False,
            **protocol_options(limits),
        )
        self._batched_timer = Timers(reactor)
        self.tokens = tokens
        """Good for connections that begin from now on."""
        self._allow = allow
        self._make_handler = make_handler
        self._welcome = welcome
        self._clock = reactor
        self._limits = limits
        self._budget = Budget(limits.body_octets) if budget is None else budget
        self.connections: set[LinkConnection] = set()
        """Those whose handshake is done."""
        self.strangers: dict[LinkServerProtocol, None] = {}
        """Those whose handshake is not, the oldest first."""

    def admits(self, address: IAddress) -> bool:
        """Whether a connection from there may begin now.

        Who has shown no token yet gives way to who comes after: it keeps no link away.
        """
        if len(self.connections) >= self._limits.connections:
            log.info("Refused a link from {peer}: too many connections", peer=address)
            return False
        if not _allowed(address, self._allow):
            log.info("Refused a link from {peer}: not in allow_from", peer=address)
            return False
        if len(self.strangers) >= self._limits.strangers:
            next(iter(self.strangers)).abort("others want to be let in")
        return True

    def buildProtocol(self, address: IAddress) -> IProtocol | None:
        if not self.admits(address):
            return None
        protocol = LinkServerProtocol()
        protocol.factory, protocol.clock, protocol.tokens = self, self._clock, self.tokens
        self.strangers[protocol] = None
        return protocol

    def begin(self, protocol: LinkServerProtocol) -> LinkConnection:
        """For the protocol, when its handshake is done."""
        self.strangers.pop(protocol, None)
        parts = self._welcome()
        link = PrimarySide(
            protocol, protocol.role, self._make_handler, self._clock, self._limits, self._budget
        )
        link.greet_with(parts)
        self.connections.add(link)
        peer = str(protocol.peer)

        def ended(reason: str) -> str:
            self.connections.discard(link)
            log.info(
                "The link of {node} at {peer} ended: {why}", node=link.node, peer=peer, why=reason
            )
            return reason

        link.closed.addCallback(ended)
        return link


class _Secured(TLSMemoryBIOFactory):
    """TLS around a LinkServerFactory; who is not allowed never gets so far."""

    noisy = False

    def buildProtocol(self, addr: IAddress | None) -> IProtocol | None:  # type: ignore[override]
        if not self.wrappedFactory.admits(addr):
            return None
        return super().buildProtocol(addr)


def secured(
    factory: LinkServerFactory, tls: IOpenSSLServerConnectionCreator, reactor: IReactorTime
) -> TLSMemoryBIOFactory:
    """The factory to listen with on a network: TLS from the first octet."""
    return _Secured(tls, False, factory, reactor)


class _ClientFactory(WebSocketClientFactory):
    """One connection to a primary."""

    protocol = LinkClientProtocol
    noisy = False

    def __init__(
        self,
        token: str,
        hello: Hello,
        make_handler: MakeHandler,
        reactor: IReactorTime,
        limits: LinkLimits,
        budget: Budget | None,
    ) -> None:
        super().__init__(
            f"ws://primary{PATH}",
            protocols=[SUBPROTOCOL],
            useragent="",
            headers={"Authorization": f"Bearer {token}"},
            reactor=reactor,
        )
        self.setProtocolOptions(version=18, **protocol_options(limits))
        self._batched_timer = Timers(reactor)
        self._hello = hello
        self._make_handler = make_handler
        self._clock = reactor
        self._limits = limits
        self._budget = Budget(limits.body_octets) if budget is None else budget
        self.line: LinkClientProtocol | None = None
        self.opened: Deferred[LinkConnection] = Deferred(self._cancelled)

    def buildProtocol(self, _address: IAddress) -> IProtocol:
        protocol = self.line = LinkClientProtocol()
        protocol.factory, protocol.clock = self, self._clock
        return protocol

    def begin(self, protocol: LinkClientProtocol) -> LinkConnection:
        """For the protocol, when its handshake is done."""
        link = FrontEndSide(
            protocol, "primary", self._make_handler, self._clock, self._limits, self._budget
        )
        link.opened = lambda: self._succeed(link)
        link.say_hello(self._hello)
        return link

    def ended(self, reason: str) -> None:
        """The connection is gone; where it never became a link, that is the answer."""
        if not self.opened.called:
            self.opened.errback(LinkRefused(reason))

    def _succeed(self, link: LinkConnection) -> None:
        if not self.opened.called:
            self.opened.callback(link)

    def _cancelled(self, _deferred: Deferred[LinkConnection]) -> None:
        if self.line is not None:
            self.line.abort("not wanted any more")


def connect(
    endpoint: IStreamClientEndpoint,
    token: str,
    hello: Hello,
    make_handler: MakeHandler,
    reactor: IReactorTime,
    limits: LinkLimits,
    budget: Budget | None = None,
) -> Deferred[LinkConnection]:
    """Open a link. Deferred of LinkConnection, after Welcome; LinkRefused says why not.

    ``make_handler`` is called just before the Deferred fires. Cancelling leaves nothing open.
    """
    factory = _ClientFactory(token, hello, make_handler, reactor, limits, budget)
    connecting = endpoint.connect(factory)

    def unreachable(failure: Failure) -> None:
        factory.ended(printable(failure.getErrorMessage()))

    def stop(failure: Failure) -> Failure:
        connecting.cancel()
        return failure

    connecting.addErrback(unreachable)
    opened: Deferred[LinkConnection] = factory.opened
    return opened.addErrback(stop)


def _allowed(address: IAddress, allow: Sequence[Network] | None) -> bool:
    if isinstance(address, UNIXAddress) or allow is None:
        return isinstance(address, UNIXAddress) and allow is None
    return is_within(str(getattr(address, "host", "")), allow)
