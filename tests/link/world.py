"""A primary and front ends in one process: real stores, real sockets, real WebSockets."""

import os
import random
from pathlib import Path
from typing import Any

import attrs
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.interfaces import IListeningPort

from mailsrv.keys.vault import Vault
from mailsrv.link.primary.front_end import LinkPrimary
from mailsrv.link.sealed import LinkKeys
from mailsrv.link.secondary.primary_link import ClientLimits, PrimaryLink
from mailsrv.link.secondary.store import RemoteStore
from mailsrv.link.transport.tokens import FRONTEND, OPERATOR, Tokens
from mailsrv.link.transport.websocket import LinkServerFactory, connect
from mailsrv.link.wire.connection import ILinkHandler, LinkConnection
from mailsrv.link.wire.frames import VERSION, Hello
from mailsrv.link.wire.limits import LinkLimits
from mailsrv.store.local import LocalStore
from tests.store.world import World
from tests.waiting import until

LINK_LIMITS = LinkLimits(message_octets=64 * 1024 * 1024)
QUICK = ClientLimits(patience=10.0, first_delay=0.01, longest_delay=0.05)
TOKENS = Tokens([(FRONTEND, "f" * 64), (OPERATOR, "0" * 64)])


@attrs.define(eq=False)
class Primary:
    """A store behind a socket, that can be stopped and started like a process."""

    world: World
    name: str = "primary"
    lease_seconds: float = 5.0
    store: LocalStore | None = None
    keys: LinkKeys = attrs.Factory(LinkKeys.generate)
    path: str = attrs.field(init=False)
    factory: LinkServerFactory | None = None
    port: IListeningPort | None = None

    def __attrs_post_init__(self) -> None:
        # the path of a unix socket must be short
        self.path = f"/tmp/mailsrv-{os.getpid()}-{id(self):x}.sock"

    def start(self) -> LocalStore:
        """A store with a new vault, and a new key pair, as a new process has them."""
        self.keys = LinkKeys.generate()
        self.store = self.world.store()
        self.listen()
        return self.store

    def listen(self) -> None:
        assert self.store is not None
        primary = LinkPrimary(self.store, self.keys, self.lease_seconds)  # type: ignore[arg-type]
        self.factory = LinkServerFactory(
            TOKENS, None, primary.handler, primary.welcome, reactor, LINK_LIMITS
        )
        self.port = reactor.listenUNIX(self.path, self.factory)  # type: ignore[attr-defined]

    @property
    def connections(self) -> set[LinkConnection]:
        return set() if self.factory is None else self.factory.connections

    async def deaf(self) -> None:
        """Listen no more; what is connected is cut."""
        port, self.port = self.port, None
        if port is not None:
            await port.stopListening()
        for connection in list(self.connections):
            connection.abort("cut by the test")
        await until(lambda: not self.connections)

    async def stop(self) -> None:
        await self.deaf()
        store, self.store = self.store, None
        if store is not None:
            await store.close()


@attrs.define(eq=False)
class FrontEnd:
    """A remote store over links to some primaries. ``cut`` is asked at every frame."""

    primaries: list[Primary]
    limits: ClientLimits = QUICK
    vault: Vault = attrs.Factory(Vault)
    keys: LinkKeys = attrs.Factory(LinkKeys.generate)
    links: dict[str, PrimaryLink] = attrs.field(init=False)
    store: RemoteStore = attrs.field(init=False)
    connections: list[LinkConnection] = attrs.Factory(list)
    cut: Any = None
    """Called with "out" or "in" and each frame's octets; True cuts the connection before it."""

    def __attrs_post_init__(self) -> None:
        self.links = {one.name: self._link(one) for one in self.primaries}
        self.store = RemoteStore(self.links, self.keys, self.vault, reactor)  # type: ignore[arg-type]
        self.store.start()

    def _link(self, primary: Primary) -> PrimaryLink:
        def open_link(handler: ILinkHandler) -> Deferred[LinkConnection]:
            return connect(
                UNIXClientEndpoint(reactor, primary.path),
                TOKENS.token(FRONTEND),
                Hello(VERSION, "front", self.keys.public),
                lambda connection: self._opened(connection, handler),
                reactor,  # type: ignore[arg-type]
                LINK_LIMITS,
            )

        return PrimaryLink(primary.name, open_link, reactor, random.random, self.limits)  # type: ignore[arg-type]

    def _opened(self, connection: LinkConnection, handler: ILinkHandler) -> ILinkHandler:
        self.connections.append(connection)
        received, transmit = connection.received, connection._wire.transmit

        def coming(data: bytes) -> None:
            if self._cuts("in", data):
                connection.abort("cut by the test")
            else:
                received(data)

        def going(data: bytes) -> None:
            if self._cuts("out", data):
                connection.abort("cut by the test")
            else:
                transmit(data)

        connection.received = coming  # type: ignore[method-assign]
        connection._wire.transmit = going  # type: ignore[method-assign]
        return handler

    def _cuts(self, way: str, data: bytes) -> bool:
        return self.cut is not None and bool(self.cut(way, data))

    async def up(self) -> RemoteStore:
        """The store, when its links are up."""
        await until(lambda: self.store.ready)
        return self.store

    def lose(self) -> None:
        """Every connection breaks."""
        for connection in self.connections:
            if not connection.closed.called:
                connection.abort("cut by the test")


@attrs.define(eq=False)
class LinkWorld:
    """One data directory, its primary, and front ends of it."""

    base: Path
    lease_seconds: float = 5.0
    world: World = attrs.field(init=False)
    primary: Primary = attrs.field(init=False)
    frontends: list[FrontEnd] = attrs.Factory(list)

    def __attrs_post_init__(self) -> None:
        self.world = World(self.base)
        self.world.limits = attrs.evolve(self.world.limits, lease_seconds=self.lease_seconds)
        self.primary = Primary(self.world, lease_seconds=self.lease_seconds)
        self.primary.start()

    async def frontend(self, limits: ClientLimits = QUICK) -> FrontEnd:
        """A new front end whose link is up."""
        frontend = FrontEnd([self.primary], limits)
        self.frontends.append(frontend)
        await frontend.up()
        return frontend

    async def end(self) -> None:
        """Take everything down."""
        await gatherResults([one.store.stop() for one in self.frontends])
        await self.primary.stop()
        await self.world.end()
