"""The MX on Twisted: bytes, timers and limits of a connection around a ``Session``.

Derived from ``twisted.mail.smtp.ESMTP`` for what it is and for its life cycle; the way from bytes
to replies is our own, since the stock one executes what was pipelined behind STARTTLS, ends DATA
at an over-long line and runs pipelined commands at the same time. Only public names are used.

Commands run strictly one after another; replies to a group leave in one write (rfc2920:205).
While the store works or the client does not read, nothing more is read from it.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IDelayedCall,
    IPushProducer,
    ISSLTransport,
    ITCPTransport,
    ITLSTransport,
)
from twisted.logger import Logger
from twisted.mail import smtp
from twisted.python.failure import Failure
from zope.interface import implementer

from mailsrv.smtp.limits import Pace
from mailsrv.smtp.reply import LOCAL_ERROR, Step, Then, part, say
from mailsrv.smtp.session import Answer, Link, Session
from mailsrv.smtp.trace import TlsInfo
from mailsrv.smtp.unwelcome import SHUTTING_DOWN, TOO_OFTEN
from mailsrv.smtp.wire import Chunk, End, Event, Framer, Line

if TYPE_CHECKING:
    from mailsrv.smtp.factory import MxFactory

log = Logger()

READ_AHEAD = 64 * 1024
"""Octets that may wait here for a command to finish; above that reading stops."""
EVENTS_A_TURN = 200
"""Commands and pieces of messages that are handled before other connections have their turn."""
CLOSE_GRACE = 10.0
"""Seconds that a client gets to take the last reply."""


@implementer(IPushProducer)
class MxServer(smtp.ESMTP):
    """One connection."""

    noisy = False
    transport: Any
    """ITCPTransport; TLS and no delay where it can."""

    def __init__(self, factory: "MxFactory") -> None:
        smtp.ESMTP.__init__(self, contextFactory=factory.options.tls)  # type: ignore[no-untyped-call]
        self.factory = factory
        self._options = factory.options
        self._reactor = factory.reactor
        self._framer = Framer()
        self._pace = Pace(self._options.minimum_rate, self._options.rate_grace)
        self._address: str | None = None
        self._heard = self._reactor.seconds()
        self._out: list[bytes] = []
        self._urgent = False
        self._greeted = self._busy = self._pumping = self._yields = False
        self._closing = self._expired = False
        self._client_reads = True
        self._reading = True
        self._timers: dict[str, IDelayedCall] = {}

    # Life cycle

    def connectionMade(self) -> None:
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpNoDelay(True)
        self._address = getattr(self.transport.getPeer(), "host", None)
        self.startedTLS = ISSLTransport.providedBy(self.transport)
        self.canStartTLS = self.ctx is not None and ITLSTransport.providedBy(self.transport)
        self._session = self._new_session()
        self.transport.registerProducer(self, True)
        self._wait(self._options.timeout)
        self._after("lifetime", self._options.lifetime, self._expire)
        if self._options.greeting_delay:
            self._after("greeting", self._options.greeting_delay, self._greet)
        else:
            self._greet()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self._closing = True
        for timer in self._timers.values():
            if timer.active():
                timer.cancel()
        self._timers.clear()
        self._session.lost()
        smtp.ESMTP.connectionLost(self, reason)  # type: ignore[no-untyped-call]
        self.factory.lost(self)

    def shut_down(self) -> None:
        """Say goodbye, after the reply that is under way."""
        if self._busy:
            self._expired = True
        elif not self._closing:
            self._last_words(Step(SHUTTING_DOWN))

    def silent_for(self) -> float:
        """Seconds for which the client owes us a word."""
        return 0.0 if self._busy else self._reactor.seconds() - self._heard

    def give_way(self) -> None:
        """Leave the place to another client."""
        if self._closing:
            self.transport.abortConnection()
        else:
            self._last_words(part(421, "4.3.2", "Too many clients to wait for a silent one"))

    def callLater(self, period: float, func: Callable[[], Any]) -> IDelayedCall:
        """What TimeoutMixin waits with."""
        return self._reactor.callLater(period, func)

    def timeoutConnection(self) -> None:
        if self._closing:
            self.transport.abortConnection()
        else:
            self._last_words(part(421, "4.4.2", "Timeout"))

    def extensions(self) -> dict[bytes, list[bytes] | None]:
        """What EHLO announces."""
        return {
            name.encode(): [value.encode()] if value else None
            for name, value in self._session.extensions().items()
        }

    # Input

    def dataReceived(self, data: bytes) -> None:
        if self._closing:
            return
        if not self._greeted:
            self._last_words(part(554, "5.5.0", "Spoke before the greeting"))
            return
        if not self._busy:
            self._heard = self._reactor.seconds()
            self.resetTimeout()  # type: ignore[no-untyped-call]
        if self._framer.in_message and self._pace.too_slow(len(data), self._reactor.seconds()):
            self._last_words(part(421, "4.4.2", "Message comes too slowly"))
            return
        self._framer.receive(data)
        self._pump()

    def _pump(self) -> None:
        if self._pumping:
            return
        self._pumping = True
        try:
            if not self._yields:
                self._handle_some()
        finally:
            self._pumping = False
        if not self._busy or self._urgent:
            self._flush()
        self._read_or_not()

    def _handle_some(self) -> None:
        for _ in range(EVENTS_A_TURN):
            if self._busy or self._closing or not self._client_reads:
                return
            event = self._framer.next()
            if event is None:
                return
            self._handle(event)
        self._yields = True
        self._after("turn", 0.0, self._next_turn)

    def _next_turn(self) -> None:
        self._yields = False
        self._pump()

    def _handle(self, event: Event) -> None:
        if isinstance(event, Chunk):
            self._session.take(event.octets)
        elif isinstance(event, Line):
            self._answer(self._session.command(event.text, self._framer.buffered))
        elif isinstance(event, End):
            self._answer(self._session.end())
        elif event.hopeless:
            self._apply(part(421, "4.7.0", "Line has no end"))
        else:
            self._apply(say(500, "5.5.2", "Line too long"))

    def _answer(self, answer: Answer) -> None:
        if isinstance(answer, Step):
            self._apply(answer)
            return
        self._busy = True
        Deferred.fromCoroutine(answer).addCallbacks(self._answered, self._broke)
        if self._busy:
            self._wait(None)
            self._after("store", self._options.store_timeout, self._store_is_late)

    def _answered(self, step: Step) -> None:
        self._busy = False
        self._heard = self._reactor.seconds()
        timer = self._timers.pop("store", None)
        if timer is not None and timer.active():
            timer.cancel()
        if self._closing:
            return
        if timer is not None:
            self._wait(self._options.timeout)
        self._apply(step)
        self._pump()

    def _broke(self, failure: Failure) -> None:
        log.failure("mx command failed", failure=failure)
        self._answered(Step(LOCAL_ERROR))

    # Output

    def _apply(self, step: Step) -> None:
        step = self._session.settle(step)
        if step.reply is not None:
            self._out.append(step.reply.wire)
            self._urgent = self._urgent or step.stored
        if step.then is Then.DATA:
            self._framer.begin_data()
            self._pace.start(self._reactor.seconds())
        elif step.then is Then.CHUNK:
            self._framer.begin_chunk(step.octets)
            self._pace.start(self._reactor.seconds())
        elif step.then is Then.TLS:
            self._start_tls()
        elif step.then is Then.CLOSE:
            self._close()
        if self._expired and step.reply is not None and not self._closing:
            self._close()

    def _flush(self) -> None:
        self._urgent = False
        if self._out:
            self.transport.write(b"".join(self._out))
            self._out.clear()

    def _last_words(self, step: Step) -> None:
        if step.reply is not None:
            self._out.append(step.reply.wire)
        self._close()

    def _close(self) -> None:
        self._closing = True
        self._flush()
        self._read_or_not()
        self.transport.unregisterProducer()
        self._wait(CLOSE_GRACE)
        self.transport.loseConnection()

    # TLS

    def _start_tls(self) -> None:
        """Forget everything and go on in TLS; the session made sure that nothing was waiting."""
        self._flush()
        self.transport.startTLS(self.ctx)
        self.startedTLS = True
        self._framer = Framer()
        self._session = self._new_session()

    def _new_session(self) -> Session:
        offers_tls = self.canStartTLS and not self.startedTLS
        return Session(self.factory.services, Link(self._address, offers_tls, self._tls_info))

    def _tls_info(self) -> TlsInfo | None:
        if not self.startedTLS:
            return None
        connection = self.transport.getHandle()
        return TlsInfo(
            connection.get_protocol_version_name(),
            connection.get_cipher_name() or "unknown",
            connection.get_group_name(),
        )

    # Timers

    def _wait(self, seconds: float | None) -> None:
        """How long the client may be silent; None for ever."""
        self.setTimeout(seconds)  # type: ignore[no-untyped-call]

    def _after(self, name: str, seconds: float, call: Callable[[], None]) -> None:
        self._timers[name] = self._reactor.callLater(seconds, call)

    def _greet(self) -> None:
        self.factory.services.rates.connection(self._address).addCallback(self._greet_if)

    def _greet_if(self, welcome: bool) -> None:
        if self._closing:
            return
        if not welcome:
            self._last_words(Step(TOO_OFTEN))
            return
        self._greeted = True
        self._apply(self._session.greeting())
        self._flush()

    def _expire(self) -> None:
        if self._busy:
            self._expired = True
        elif not self._closing:
            self._last_words(part(421, "4.4.2", "Connection is too old"))

    def _store_is_late(self) -> None:
        """Give the sender its answer; what the store was asked for goes on."""
        log.error("mx store did not answer in {seconds} s", seconds=self._options.store_timeout)
        self._last_words(part(421, "4.3.2", "Service is too slow now, try again later"))

    # Backpressure: IPushProducer towards the client, and reading from it

    def pauseProducing(self) -> None:
        self._client_reads = False
        self._read_or_not()

    def resumeProducing(self) -> None:
        self._client_reads = True
        self._pump()

    def stopProducing(self) -> None:
        """The connection goes away; connectionLost follows."""

    def _read_or_not(self) -> None:
        waits = self._busy or self._yields or not self._client_reads
        wanted = self._closing or not (waits and self._framer.buffered > READ_AHEAD)
        if wanted != self._reading:
            self._reading = wanted
            if wanted:
                self.transport.resumeProducing()
            else:
                self.transport.pauseProducing()
