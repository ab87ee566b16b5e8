"""A link from its first frame to its end: the greeting, then the peer. No I/O happens here.

The front end says Hello, the primary Welcome; before that nothing else is understood, and after
it both sides are peers.
"""

import secrets
from collections.abc import Callable, Mapping
from typing import Protocol

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from mailsrv.link.wire.failures import printable
from mailsrv.link.wire.frames import (
    VERSION,
    BadFrame,
    Frame,
    Goodbye,
    Hello,
    NoteBody,
    Operation,
    Welcome,
    decode_frame,
    encode_frame,
)
from mailsrv.link.wire.limits import LinkLimits
from mailsrv.link.wire.peer import Peer, ProtocolViolation
from mailsrv.link.wire.served import IHandler
from mailsrv.link.wire.streams import Budget

NONCE_OCTETS = 16


class IWire(Protocol):
    """What carries the frames of one connection."""

    def transmit(self, data: bytes) -> None:
        """Send one message."""

    def close(self) -> None:
        """Close when what was sent has gone out, or soon."""

    def abort(self, reason: str) -> None:
        """Close at once."""


class ILinkHandler(IHandler, Protocol):
    """A handler that knows what its side accepts from the other."""

    @property
    def accepts(self) -> Mapping[str, type[Operation]]:
        """Operations that the other side may ask for, by name."""

    @property
    def notes(self) -> Mapping[str, type[NoteBody]]:
        """Notes that the other side may tell, by name."""


@attrs.frozen
class WelcomeParts:
    """What the primary says of itself."""

    primary: str
    public_key: bytes
    lease_seconds: float


class LinkConnection:
    """One connection. ``role``, ``node``, ``public_key`` are the other side's.

    ``welcome`` and ``peer`` are there from the moment when the handler is made on, ``role`` from
    the beginning. ``closed`` fires with a sentence once everything has ended.
    """

    welcome: Welcome
    peer: Peer

    def __init__(
        self,
        wire: IWire,
        role: str,
        make_handler: "MakeHandler",
        clock: IReactorTime,
        limits: LinkLimits,
        budget: Budget,
    ) -> None:
        self._wire = wire
        self._make_handler = make_handler
        self._clock = clock
        self._limits = limits
        self._budget = budget
        self._paused = False
        self._greeting = clock.callLater(limits.open_seconds, self._late)
        self.open = False
        self.role = role
        self.node = ""
        self.public_key = b""
        self.closed: Deferred[str] = Deferred()

    def close(self, sentence: str) -> None:
        """Say goodbye and close; what has no answer is lost."""
        if self.open:
            self.peer.say_goodbye(sentence)
        self._wire.close()

    def abort(self, reason: str = "aborted") -> None:
        """Close at once and say nothing."""
        self._wire.abort(reason)

    def received(self, data: bytes) -> None:
        """A message came. ProtocolViolation: the connection must be closed."""
        if self.open:
            self.peer.received(data)
            return
        try:
            frame = decode_frame(data)
        except BadFrame as error:
            raise ProtocolViolation(str(error)) from None
        self._greeted(frame)

    def pause(self) -> None:
        """The transport is full."""
        self._paused = True
        if self.open:
            self.peer.pause()

    def resume(self) -> None:
        """The transport has room."""
        self._paused = False
        if self.open:
            self.peer.resume()

    def lost(self, reason: str) -> None:
        """The transport is gone."""
        if self._greeting.active():
            self._greeting.cancel()
        try:
            if self.open:
                reason = self.peer.goodbye or reason
                self.peer.lost()
        finally:  # without it nobody would ever connect again
            self.closed.callback(reason)

    def _greeted(self, frame: Frame) -> None:
        raise NotImplementedError

    def _begin(self, limits: LinkLimits) -> None:
        self._greeting.cancel()
        handler = self._make_handler(self)
        self.peer = Peer(
            self._wire.transmit,
            handler,
            handler.accepts,
            handler.notes,
            self._clock,
            limits,
            self._budget,
            overflow=lambda: self._wire.abort("the other side asks and does not read"),
        )
        if self._paused:
            self.peer.pause()
        self.open = True

    def _late(self) -> None:
        self._wire.abort("no greeting in time")


MakeHandler = Callable[[LinkConnection], ILinkHandler]


class PrimarySide(LinkConnection):
    """The primary's end: waits for Hello, answers with Welcome."""

    def greet_with(self, parts: WelcomeParts) -> None:
        """Set what Welcome will say."""
        self.welcome = Welcome(
            version=VERSION,
            primary=parts.primary,
            public_key=parts.public_key,
            nonce=secrets.token_bytes(NONCE_OCTETS),
            in_flight=self._limits.in_flight,
            message_octets=self._limits.message_octets,
            lease_seconds=parts.lease_seconds,
        )

    def _greeted(self, frame: Frame) -> None:
        if not isinstance(frame, Hello):
            raise ProtocolViolation(f"{type(frame).__name__} before Hello")
        _check_version(frame.version)
        self.node, self.public_key = frame.node, frame.public_key
        self._wire.transmit(encode_frame(self.welcome))
        self._begin(self._limits)


class FrontEndSide(LinkConnection):
    """The front end's end. ``opened`` is called when the primary has said Welcome."""

    opened: Callable[[], None]

    def say_hello(self, hello: Hello) -> None:
        """Send the first frame."""
        self._wire.transmit(encode_frame(hello))

    def _greeted(self, frame: Frame) -> None:
        if isinstance(frame, Goodbye):
            raise ProtocolViolation(printable(frame.sentence))
        if not isinstance(frame, Welcome):
            raise ProtocolViolation(f"{type(frame).__name__} before Welcome")
        _check_version(frame.version)
        self.welcome = frame
        self.node, self.public_key = frame.primary, frame.public_key
        self._begin(
            attrs.evolve(
                self._limits, in_flight=frame.in_flight, message_octets=frame.message_octets
            )
        )
        self.opened()


def _check_version(version: int) -> None:
    if version != VERSION:
        raise ProtocolViolation(f"version {version} of the link, expected {VERSION}")
