"""IMAP on Twisted: what stands between a transport and a Session, and nothing else.

``ImapServer`` is an ``IMAP4Server`` in name, life cycle and seams. Everything between octets and
mailbox is our own, reached by overriding public names of Protocol and TimeoutMixin, because the
stock parser runs commands concurrently and acts on what was sent before TLS.
"""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IAddress, IDelayedCall, ISSLTransport, ITLSTransport
from twisted.internet.protocol import Factory, connectionDone
from twisted.mail.imap4 import IMAP4Server
from twisted.python.failure import Failure

from mailsrv.counters.memory import MemoryCounters
from mailsrv.imap.addresses import Addresses
from mailsrv.imap.capabilities import capabilities
from mailsrv.imap.commands import TABLE
from mailsrv.imap.options import ImapOptions
from mailsrv.imap.output import Output
from mailsrv.imap.reply import status
from mailsrv.imap.session import Session
from mailsrv.store.interfaces import IStore

CLOSE_PATIENCE = 15.0
"""Seconds that a client gets to take our last words."""


class ImapServer(IMAP4Server):
    """One connection."""

    factory: "ImapFactory"
    transport: Any
    timeOut: float  # type: ignore[assignment]

    def __init__(self, store: IStore, options: ImapOptions, reactor: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.store = store
        self.options = options
        self.reactor = reactor
        self.host = ""
        self.login_failures = 0
        self.output = Output(reactor, options.stall_timeout, self.cut)
        self.session: Session | None = None
        self.gone: Deferred[None] = Deferred()
        self._counted = False
        self._reading = True
        self._deadline: IDelayedCall | None = None

    # Protocol

    def connectionMade(self) -> None:
        """Greet, or refuse one connection too many."""
        self.host = getattr(self.transport.getPeer(), "host", "")
        self.factory.connections.add(self)
        if hasattr(self.transport, "setTcpNoDelay"):
            self.transport.setTcpNoDelay(True)
        self._counted = self.addresses.enter(self.host)
        if not self._counted:
            self.transport.write(status("*", "BYE", "Too many connections", "LIMIT"))
            self.transport.loseConnection()
            return
        self.output.attach(self.transport)
        self._patience(self.options.login_timeout)
        self._deadline = self.callLater(self.options.login_deadline, self._too_slow)
        session = self._new_session()
        known = " ".join(capabilities(session))
        session.start(status("*", "OK", "mailsrv ready", f"CAPABILITY {known}"))

    def _new_session(self) -> Session:
        self.session = Session(self.store, self.options, self.reactor, self, TABLE)
        return self.session

    def dataReceived(self, data: bytes) -> None:
        """Give octets to the session; stop reading while much waits behind a running command."""
        session = self.session
        if session is None or session.over:
            return
        self.resetTimeout()  # type: ignore[no-untyped-call]
        session.receive(data)
        if session.crowded and self._reading:
            self._reading = False
            self.transport.pauseProducing()

    def relieved(self) -> None:
        """The session has caught up."""
        if not self._reading:
            self._reading = True
            self.transport.resumeProducing()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002
        """Give back the session, its key and its place."""
        self._patience(None)
        self._stop_deadline()
        if self.session is not None:
            self.session.lost()
        self.output.stopProducing()
        if self._counted:
            self._counted = False
            self.addresses.leave(self.host)
        self.factory.connections.discard(self)
        if not self.gone.called:
            self.gone.callback(None)

    # Time

    def callLater(self, period: float, func: Callable[[], None]) -> IDelayedCall:
        """As TimeoutMixin, on the reactor that we were given."""
        later: IDelayedCall = self.reactor.callLater(period, func)
        return later

    def timeoutConnection(self) -> None:
        """Nothing was heard for too long; a running command is not the client's silence."""
        session = self.session
        if session is not None and not session.over and not session.waiting:
            self._patience(self.timeOut)
        elif session is not None and not session.over:
            session.leave("Autologout after a long silence")

    def _patience(self, seconds: float | None) -> None:
        self.setTimeout(seconds)  # type: ignore[no-untyped-call]

    def _too_slow(self) -> None:
        self._deadline = None
        if self.session is not None:
            self.session.leave("Too slow to log in")

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def cut(self) -> None:
        """Close without waiting for anything."""
        self.transport.abortConnection()

    # What the session asks of its connection

    @property
    def addresses(self) -> Addresses:
        """What the client's address has done elsewhere."""
        return self.factory.addresses

    @property
    def secure(self) -> bool:
        """Whether TLS protects the connection."""
        return ISSLTransport(self.transport, None) is not None

    @property
    def can_start_tls(self) -> bool:
        """Whether STARTTLS would work now."""
        able = ITLSTransport(self.transport, None) is not None
        return self.options.tls is not None and able and not self.secure

    def start_tls(self) -> None:
        """Begin TLS with a session that knows nothing of what was said before."""
        old, self.startedTLS = self.session, True
        if old is not None:
            old.over = True
        self.transport.startTLS(self.options.tls)
        self._new_session().start(b"")

    def admitted(self) -> None:
        """The client has logged in."""
        self._stop_deadline()
        self._patience(self.options.idle_timeout)

    def hang_up(self) -> None:
        """Send what is left and close; not for ever, if the client does not read."""
        self._patience(None)
        self._stop_deadline()
        self.output.detach()
        self.transport.loseConnection()
        cut = self.callLater(CLOSE_PATIENCE, self.cut)
        self.gone.addCallback(lambda _: cut.cancel() if cut.active() else None)

    # IMAP4Server

    def capabilities(self) -> dict[bytes, list[bytes] | None]:
        """As IMAP4Server: names, and values for those that have some."""
        found: dict[bytes, list[bytes] | None] = {}
        for capability in self.listCapabilities()[1:]:
            name, equals, value = capability.partition(b"=")
            if not equals:
                found[name] = None
            else:
                found[name] = [*(found.get(name) or []), value]
        return found

    def listCapabilities(self) -> list[bytes]:
        """As IMAP4Server: what CAPABILITY answers."""
        if self.session is None:
            return [b"IMAP4rev1"]
        return [name.encode("ascii") for name in capabilities(self.session)]


class ImapFactory(Factory):
    """Makes an ImapServer for each connection, and says goodbye to all of them."""

    noisy = False

    def __init__(self, store: IStore, options: ImapOptions, reactor: Any) -> None:
        self.store = store
        self.options = options
        self.reactor = reactor
        counters = options.counters or MemoryCounters(reactor)
        self.addresses = Addresses(counters, options.connections, options.connections_per_address)
        self.connections: set[ImapServer] = set()

    def buildProtocol(  # type: ignore[override]
        self,
        addr: IAddress | None,  # noqa: ARG002
    ) -> ImapServer:
        """One connection."""
        protocol = ImapServer(self.store, self.options, self.reactor)
        protocol.factory = self
        return protocol

    def shut_down(self) -> Deferred[None]:
        """Say BYE to everyone, after the command that is running; fires when all are gone."""
        connections = list(self.connections)
        for connection in connections:
            if connection.session is not None:
                connection.session.leave("The server is going down", "UNAVAILABLE")
        everyone = DeferredList([connection.gone for connection in connections])
        finished: Deferred[None] = everyone.addCallback(lambda _: None)
        return finished
