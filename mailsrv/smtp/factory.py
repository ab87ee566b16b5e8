"""The factory of the MX: who gets a connection, who is turned away, and how all are seen off.

What all connections of a process share lives here: the slots, the rates, the memory for messages.
A full house parts with whoever was silent for longest before it turns anybody away.
"""

from collections.abc import Callable
from datetime import UTC, datetime

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import Protocol
from twisted.mail import smtp

from mailsrv.counters.memory import MemoryCounters
from mailsrv.networks import network_of
from mailsrv.smtp.content import Budget
from mailsrv.smtp.limits import Rates, Slots
from mailsrv.smtp.options import MxOptions
from mailsrv.smtp.server import MxServer
from mailsrv.smtp.transaction import Services
from mailsrv.smtp.unwelcome import SHUTTING_DOWN, TOO_MANY, Unwelcome
from mailsrv.store.interfaces import IStore


def _utc_now() -> datetime:
    return datetime.now(UTC)


class MxFactory(smtp.SMTPFactory):
    """Makes an MxServer for each connection, within the limits."""

    noisy = False

    def __init__(
        self,
        store: IStore,
        options: MxOptions,
        reactor: IReactorTime,
        now: Callable[[], datetime] = _utc_now,
    ) -> None:
        smtp.SMTPFactory.__init__(self)  # type: ignore[no-untyped-call]
        self.domain = options.hostname.encode()
        self.options = options
        self.reactor = reactor
        # A single message of the largest size must fit.
        budget = Budget(max(options.memory_limit, options.message_limit))
        rates = Rates(
            options.counters or MemoryCounters(reactor),
            options.connections_per_minute,
            options.messages_per_minute,
        )
        self.services = Services(store, options, budget, rates, now)
        self._slots = Slots(options.connections, options.connections_per_client)
        self._open: dict[MxServer, str] = {}
        self._all_gone: Deferred[None] | None = None

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        key = network_of(getattr(addr, "host", None))
        if self._all_gone is not None:
            return Unwelcome(SHUTTING_DOWN)
        if self._slots.full and self._slots.allows(key):
            self._make_room()
        if not self._slots.take(key):
            return Unwelcome(TOO_MANY)
        server = MxServer(self)
        server.host = self.domain
        self._open[server] = key
        return server

    def _make_room(self) -> None:
        """Part with the client that was silent for longest, if that is long enough."""
        silent = max(self._open, key=MxServer.silent_for)
        if silent.silent_for() >= self.options.silence_when_full:
            silent.give_way()
            self.lost(silent)

    def lost(self, server: MxServer) -> None:
        """Called by a server whose connection is gone; again for one that gave way before."""
        key = self._open.pop(server, None)
        if key is None:
            return
        self._slots.free(key)
        if self._all_gone is not None and not self._open:
            self._all_gone.callback(None)

    def shut_down(self) -> Deferred[None]:
        """Say 421 to everybody; fires when the last connection is gone."""
        done: Deferred[None] = Deferred()
        self._all_gone = done
        for server in list(self._open):
            server.shut_down()
        if not self._open:
            done.callback(None)
        return done
