"""The link on WebSockets (rfc6455): thin glue between Autobahn and ``LinkConnection``.

Autobahn's defaults are made for browsers. Here every limit is set, nothing is compressed, a bad
frame gets its close code and then the connection is dropped, and Autobahn's logger is put away:
at its debug level it writes tokens, at others it repeats what strangers sent.
"""

# ruff: noqa: N803, ARG002 - the names and arguments of Autobahn's hooks

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from autobahn.twisted.websocket import (
    WebSocketAdapterProtocol,
    WebSocketClientProtocol,
    WebSocketServerProtocol,
)
from service_identity import VerificationError
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from mailsrv.link.transport import handshake
from mailsrv.link.transport.tokens import Tokens
from mailsrv.link.wire.connection import LinkConnection
from mailsrv.link.wire.failures import describe, printable
from mailsrv.link.wire.limits import LinkLimits
from mailsrv.link.wire.peer import ProtocolViolation

FRAGMENTS = 64
"""Of one message. Our own side sends none; a proxy on the way may."""
LINGER = 1.0
"""Seconds that a close may take before the connection is aborted."""
PROTOCOL_ERROR, UNSUPPORTED, TOO_BIG, INTERNAL_ERROR = 1002, 1003, 1009, 1011
REASON_OCTETS = 123

log = Logger()


class _NoLog:
    """Takes every call of Autobahn's logger and says nothing."""

    def __getattr__(self, _name: str) -> Any:
        return self._nothing

    def _nothing(self, *_arguments: object, **_values: object) -> None:
        pass


class Timers:
    """Autobahn's timers on our clock; its own fire up to a second early."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock

    def call_later(
        self, delay: float, function: Callable[..., object], *arguments: object
    ) -> IDelayedCall:
        """As ``callLater``."""
        return self._clock.callLater(delay, function, *arguments)


def protocol_options(limits: LinkLimits) -> dict[str, Any]:
    """What both factories set in Autobahn."""
    return {
        "maxFramePayloadSize": limits.frame_octets,
        "maxMessagePayloadSize": limits.frame_octets,
        "failByDrop": True,
        "openHandshakeTimeout": limits.open_seconds,
        "closeHandshakeTimeout": LINGER,
        "autoPingInterval": limits.ping_seconds,
        "autoPingTimeout": limits.ping_seconds,
        "tcpNoDelay": True,
    }


@implementer(IPushProducer)
class _Flow:
    """Tells the link when the transport is full."""

    def __init__(self, line: "LinkProtocol") -> None:
        self._line = line

    def pauseProducing(self) -> None:
        self._line.full(True)

    def resumeProducing(self) -> None:
        self._line.full(False)

    def stopProducing(self) -> None:
        """The transport is going; ``connectionLost`` follows."""


class LinkProtocol(WebSocketAdapterProtocol):
    """What both ends have in common; mixed in before Autobahn's protocol of one of them."""

    log = _NoLog()
    clock: IReactorTime
    link: LinkConnection | None = None
    message_data: Any

    _linger: IDelayedCall | None = None
    _full = False
    _pong: bytes | None = None
    _fragments = 0

    # What LinkConnection needs (IWire)

    def transmit(self, data: bytes) -> None:
        """Send one message, unless the connection is closing."""
        if self.state == self.STATE_OPEN:
            self.sendMessage(data, isBinary=True)

    def close(self) -> None:
        """Close cleanly; within ``LINGER`` seconds whatever the other side does."""
        self.sendClose(1000)
        self._end_soon()

    def abort(self, reason: str) -> None:
        """Close at once."""
        self.wasNotCleanReason = reason
        self.dropConnection(abort=True)

    # What comes from the transport

    def dataReceived(self, data: bytes) -> None:
        """Bytes; those of a handshake are counted, those after the end are nobody's."""
        if self.state == self.STATE_CLOSED:
            return
        if self.state == self.STATE_CONNECTING:
            known = (self.data + data)[: handshake.REQUEST_OCTETS]
            if len(known) == handshake.REQUEST_OCTETS and b"\r\n\r\n" not in known:
                self.failHandshake("too long", 431)
                return
        if self.autoPingTimeoutCall is not None:
            self._cancelAutoPingTimeoutCall()  # whoever sends anything is alive
        self._dataReceived(data)

    def connectionLost(self, reason: Failure) -> None:
        """The end, however it came."""
        if self._linger is not None and self._linger.active():
            self._linger.cancel()
        if self.closeHandshakeTimeoutCall is not None:
            self.closeHandshakeTimeoutCall.cancel()
        try:
            self._connectionLost(reason)
        finally:  # a link that never hears of its end waits for ever
            if self.link is not None:
                self.link.lost(self.why(reason))

    def why(self, reason: Failure) -> str:
        """The end in a sentence: the other side's own word, or what was seen here."""
        if reason.check(VerificationError):
            return "its certificate has another name than the configured hostname"
        if "certificate verify failed" in str(reason.value):
            return "its certificate is not signed by the configured ca (certificate verify failed)"
        if not reason.check(ConnectionDone, ConnectionLost, ConnectionAborted):
            return printable(f"{type(reason.value).__name__}: {reason.value}")
        said = self.remoteCloseReason or self.wasNotCleanReason
        return printable(said or reason.getErrorMessage())

    def full(self, full: bool) -> None:
        """The transport is full, or has room again."""
        self._full = full
        if self.link is None:
            return
        if full:
            self.link.pause()
            return
        if self._pong is not None:
            payload, self._pong = self._pong, None
            self.sendPong(payload)
        self.link.resume()

    # What Autobahn calls

    def onMessageBegin(self, isBinary: bool) -> None:
        self._fragments = 0
        super().onMessageBegin(isBinary)

    def onMessageFrameBegin(self, length: int) -> None:
        self._fragments += 1
        if self._fragments > FRAGMENTS:
            self._fail_connection(TOO_BIG, f"more than {FRAGMENTS} fragments")
        super().onMessageFrameBegin(length)

    def onMessageEnd(self) -> None:
        if not self.failedByMe and self.state == self.STATE_OPEN:
            self.onMessage(b"".join(self.message_data), self.message_is_binary)
        self.message_data = None

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        """One frame of ours."""
        if not isBinary:
            self._fail_connection(UNSUPPORTED, "text")
            return
        try:
            if self.link is not None:
                self.link.received(payload)
        except ProtocolViolation as violation:
            self._fail_connection(PROTOCOL_ERROR, str(violation))
        except Exception as error:  # noqa: BLE001 - one connection's fault is not the others'
            describe(error)
            self._fail_connection(INTERNAL_ERROR, "failed")

    def onPing(self, payload: bytes) -> None:
        """Answer; to one that does not read only the last of its pings, when it does."""
        if self._full:
            self._pong = payload
        else:
            self.sendPong(payload)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        """``connectionLost`` tells the link."""

    def dropConnection(self, abort: bool = False) -> None:
        super().dropConnection(abort)
        if not abort:
            self._end_soon()

    def _fail_connection(self, code: int = PROTOCOL_ERROR, reason: str = "") -> None:
        """Name what was wrong in a close frame, then drop the connection."""
        if self.state == self.STATE_CLOSED:
            return
        self.failedByMe = True
        self.wasClean = False
        self.wasNotCleanReason = printable(reason)
        if self.state == self.STATE_OPEN:
            text = self.wasNotCleanReason.encode("ascii", "replace")[:REASON_OCTETS]
            self.sendFrame(opcode=8, payload=code.to_bytes(2, "big") + text)
        self.dropConnection(abort=False)

    def onOpen(self) -> None:
        """The handshake is done; the client's may have failed in ``onConnect`` all the same."""
        if self.state != self.STATE_OPEN:
            return
        try:
            self.link = self.factory.begin(self)
            self.registerProducer(_Flow(self), True)
        except Exception as error:  # noqa: BLE001 - one connection's fault is not the others'
            describe(error)
            self._fail_connection(INTERNAL_ERROR, "failed")

    def _end_soon(self) -> None:
        if self._linger is None:
            self._linger = self.clock.callLater(LINGER, self.transport.abortConnection)


class LinkServerProtocol(LinkProtocol, WebSocketServerProtocol):
    """The primary's end of one connection."""

    tokens: Tokens
    role = ""

    def processHandshake(self) -> None:
        """Look at the request ourselves before Autobahn does."""
        end = self.data.find(b"\r\n\r\n")
        if end < 0:
            return
        try:
            self.role = handshake.check(self.data[: end + 4], self.tokens)
        except handshake.Refused as refused:
            self.failHandshake(str(refused), refused.status)
        else:
            super().processHandshake()

    def onConnect(self, request: Any) -> str:
        return handshake.SUBPROTOCOL

    def connectionLost(self, reason: Failure) -> None:
        self.factory.strangers.pop(self, None)
        super().connectionLost(reason)

    def failHandshake(self, reason: str, code: int = 400, responseHeaders: object = None) -> None:
        """Answer with the status alone: neither answer nor log repeats what was sent."""
        self.wasNotCleanReason = "refused"
        log.info("Refused a link from {peer}: {status}", peer=self.peer, status=int(code))
        self.transport.write(handshake.refusal(code))
        self.dropConnection(abort=False)


class LinkClientProtocol(LinkProtocol, WebSocketClientProtocol):
    """The front end's end of one connection."""

    def onConnect(self, response: Any) -> None:
        if response.protocol != handshake.SUBPROTOCOL:
            self._fail_connection(PROTOCOL_ERROR, "the other side is no mailsrv")

    def failHandshake(self, reason: str, code: int = 0) -> None:
        unknown = f"[{int(HTTPStatus.UNAUTHORIZED)}]" in reason
        said = "it does not know the token in the configured token_file (401)"
        self.wasNotCleanReason = said if unknown else printable(reason)
        self.dropConnection(abort=True)

    def connectionLost(self, reason: Failure) -> None:
        super().connectionLost(reason)
        self.factory.ended(self.why(reason))
