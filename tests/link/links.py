"""Real links in one process: a server on a unix socket or over TLS, and clients of it."""

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from mailsrv.link.transport.endpoints import client_endpoint
from mailsrv.link.transport.tokens import FRONTEND, Tokens, make_tokens
from mailsrv.link.transport.websocket import LinkServerFactory, connect, secured
from mailsrv.link.wire.connection import LinkConnection, WelcomeParts
from mailsrv.link.wire.frames import VERSION, Hello, NoteBody, Operation
from mailsrv.link.wire.limits import LinkLimits
from mailsrv.link.wire.peer import Received
from mailsrv.settings import Primary
from mailsrv.tls import ServerTls, make_self_signed
from tests.link.operations import ACCEPTS, NOTES, TIMES, Carry, Echo
from tests.link.pipe import Recorder
from tests.waiting import until

HELLO = Hello(version=VERSION, node="front-1", public_key=b"front end's key")
PARTS = WelcomeParts(primary="primary-a", public_key=b"primary's key", lease_seconds=5.0)
LOCAL = [ip_network("127.0.0.0/8"), ip_network("::1/128")]
QUICK = LinkLimits(open_seconds=1.0, ping_seconds=0.5)


def work(call: Received) -> Any:
    """What both sides of these tests do."""
    operation = call.operation
    if isinstance(operation, Echo):
        return operation.text
    if isinstance(operation, Carry):
        return b"x" * operation.size
    raise AssertionError(operation)


class Handler(Recorder):
    """A recorder with the tables that a link asks its handler for."""

    def __init__(self, answer: Any = work) -> None:
        super().__init__(answer)
        self.accepts: Mapping[str, type[Operation]] = ACCEPTS
        self.notes: Mapping[str, type[NoteBody]] = NOTES
        self.told_notes: list[NoteBody] = []

    def told(self, note: NoteBody) -> None:
        self.told_notes.append(note)


class LinkCase(TestCase):
    """Serves links in a folder of its own and takes everything down at the end."""

    timeout = 30 * TIMES

    def setUp(self) -> None:
        self.base = Path(self.mktemp())
        self.base.mkdir()
        make_tokens(self.base / "link.token")
        self.tokens = Tokens.load(self.base / "link.token")
        self.made: list[tuple[LinkConnection, Handler]] = []
        self.links: list[LinkConnection] = []
        self.factories: list[LinkServerFactory] = []

    def make(self, link: LinkConnection) -> Handler:
        handler = Handler()
        self.made.append((link, handler))
        return handler

    def factory(self, limits: LinkLimits = QUICK, allow: Any = LOCAL) -> LinkServerFactory:
        made = LinkServerFactory(self.tokens, allow, self.make, lambda: PARTS, reactor, limits)
        self.factories.append(made)
        return made

    def serve_unix(self, limits: LinkLimits = QUICK) -> Primary:
        path = f"{gettempdir()}/link-{os.getpid()}-{id(self)}-{len(self.factories)}.sock"
        port = reactor.listenUNIX(path, self.factory(limits, None), mode=0o600)
        self.addCleanup(port.stopListening)
        return Primary(endpoint=f"unix:{path}")

    def serve_plain(self, limits: LinkLimits = QUICK, allow: Any = LOCAL) -> int:
        """Port number; no TLS, for raw sockets."""
        port = reactor.listenTCP(0, self.factory(limits, allow), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return port.getHost().port

    def serve_tls(self, limits: LinkLimits = QUICK, allow: Any = LOCAL) -> Primary:
        folder = self.base / f"tls{len(self.factories)}"
        make_self_signed(folder, "primary.example.com", datetime.now(UTC))
        tls = ServerTls(folder / "cert.pem", folder / "key.pem", SSL.TLS1_3_VERSION)
        factory = secured(self.factory(limits, allow), tls, reactor)
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return Primary(
            endpoint=f"tcp:127.0.0.1:{port.getHost().port}",
            hostname="primary.example.com",
            ca=folder / "ca.pem",
        )

    async def link(
        self, primary: Primary, *, token: str | None = None, hello: Hello = HELLO, **given: Any
    ) -> LinkConnection:
        """A client's end; closed after the test."""
        token = self.tokens.token(FRONTEND) if token is None else token
        limits = given.get("limits", QUICK)
        make = given.get("make", self.make)
        endpoint = client_endpoint(primary, reactor)
        link = await connect(endpoint, token, hello, make, reactor, limits)
        self.links.append(link)
        return link

    async def asyncTearDown(self) -> None:
        open_links = [link for link in self.links if not link.closed.called]
        open_links += [link for one in self.factories for link in one.connections]
        for link in open_links:
            link.abort("the test is over")
        await until(lambda: not any(one.countConnections for one in self.factories))
        await until(lambda: all(link.closed.called for link in open_links))

    def tearDown(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.asyncTearDown())
