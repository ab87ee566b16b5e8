"""The table of front ends: what each role listens on and how it is made.

A further role is one more entry. How its connections are wrapped (TLS, a load balancer's
header) and how its clients are seen off is the same for all.
"""

from collections.abc import Callable, Iterable
from ipaddress import ip_network
from typing import Any, Protocol

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.interfaces import IProtocolFactory, IReactorTime
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory

from mailsrv.counters.interfaces import ICounters
from mailsrv.counters.make import make_counters
from mailsrv.imap.options import ImapOptions
from mailsrv.imap.server import ImapFactory
from mailsrv.service.listeners import Door, guarded
from mailsrv.settings import Role, Settings
from mailsrv.smtp.factory import MxFactory
from mailsrv.smtp.options import MxOptions
from mailsrv.store.interfaces import IStore
from mailsrv.tls import ServerTls

log = Logger()

FAREWELL_SECONDS = 10.0
"""What a stop waits for clients to finish their command."""


class StoppableFactory(Protocol):
    """A front end's factory: says goodbye to its clients at the end."""

    def shut_down(self) -> Deferred[None]: ...


@attrs.frozen
class Surroundings:
    """What a front end is made from."""

    settings: Settings
    store: IStore
    tls: ServerTls
    counters: ICounters
    reactor: Any


@attrs.frozen
class FrontEnd:
    """A role that speaks a protocol to clients."""

    make: Callable[[Surroundings], Any]
    """The factory: IProtocolFactory and StoppableFactory."""

    listens: Callable[[Settings], list[tuple[str, tuple[str, ...], bool]]]
    """Key in the configuration, endpoint strings there, whether TLS begins at once."""


def _imap(around: Surroundings) -> ImapFactory:
    settings = around.settings
    options = ImapOptions(
        tls=around.tls,
        cleartext_login_from=tuple(map(ip_network, settings.imap.cleartext_login_from)),
        append_limit=settings.limits.message_size,
        connections_per_address=settings.imap.connections_per_address,
        counters=around.counters,
    )
    return ImapFactory(around.store, options, around.reactor)


def _mx(around: Surroundings) -> MxFactory:
    settings = around.settings
    options = MxOptions(
        hostname=settings.hostname,
        tls=around.tls,
        message_limit=settings.limits.message_size,
        recipient_limit=settings.mx.recipients,
        connections=settings.mx.connections,
        connections_per_client=settings.mx.connections_per_address,
        counters=around.counters,
    )
    return MxFactory(around.store, options, around.reactor)


FRONT_ENDS: dict[Role, FrontEnd] = {
    "imap": FrontEnd(
        _imap,
        lambda settings: [
            ("imap.listen", settings.imap.listen, False),
            ("imap.listen_tls", settings.imap.listen_tls, True),
        ],
    ),
    "mx": FrontEnd(_mx, lambda settings: [("mx.listen", settings.mx.listen, False)]),
}


def doors(settings: Settings) -> list[Door]:
    """Every endpoint that the configured front ends listen on."""
    return [
        Door(key=key, text=text, role=role, tls=tls)
        for role in settings.front_ends
        for key, texts, tls in FRONT_ENDS[role].listens(settings)
        for text in texts
    ]


def services(
    around: Surroundings, enter: Callable[[Door, IProtocolFactory], Service]
) -> list[Service]:
    """What serves the configured front ends, in starting order. ``enter`` opens one door."""
    settings = around.settings
    factories = {role: FRONT_ENDS[role].make(around) for role in settings.front_ends}
    farewell = Farewell(factories.values(), around.reactor)
    entrances = []
    for door in doors(settings):
        factory = factories[door.role]
        if door.tls:
            factory = TLSMemoryBIOFactory(around.tls, False, factory)
        entrances.append(enter(door, guarded(door, factory, settings, around.reactor)))
    return [farewell, *entrances]


class Counting(Service):
    """The counters that front ends share, let go at the end.

    :raises InvalidInput: when ``redis_url`` is none.
    """

    def __init__(self, settings: Settings, reactor: Any) -> None:
        self.counters: ICounters = make_counters(settings.redis_url, reactor)

    def stopService(self) -> Deferred[None]:
        super().stopService()
        return self.counters.close()


class Farewell(Service):
    """Lets the front ends finish what they do and say goodbye."""

    def __init__(self, factories: Iterable[StoppableFactory], clock: IReactorTime) -> None:
        self._factories = list(factories)
        self._clock = clock

    async def _stop(self) -> None:
        stopping = [factory.shut_down() for factory in self._factories]
        for stopped in stopping:
            stopped.addTimeout(FAREWELL_SECONDS, self._clock)
        for stopped in stopping:
            try:
                await stopped
            except TimedOut:
                log.info("clients did not finish within {seconds} s", seconds=FAREWELL_SECONDS)

    def stopService(self) -> Deferred[None]:
        super().stopService()
        return Deferred.fromCoroutine(self._stop())
