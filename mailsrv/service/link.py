"""The primary's side of the link: a unix socket for this machine, TLS listeners for others."""

import errno
import os
import socket
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IReactorTime
from twisted.logger import Logger

from mailsrv.errors import InvalidInput
from mailsrv.link.moving.serving import Operator
from mailsrv.link.primary.front_end import LinkPrimary
from mailsrv.link.sealed import LinkKeys
from mailsrv.link.transport.tokens import OPERATOR, Tokens, make_tokens
from mailsrv.link.transport.websocket import LinkServerFactory, secured
from mailsrv.link.wire.connection import LinkConnection
from mailsrv.link.wire.limits import LinkLimits
from mailsrv.link.wire.streams import Budget
from mailsrv.service.process import Refused
from mailsrv.settings import Settings
from mailsrv.store.interfaces import IPrimary
from mailsrv.tls import ServerTls

LONGEST_PATH = 107
"""Octets of a unix socket's path (sockaddr_un of Linux, with its final NUL)."""

GOODBYE_SECONDS = 5.0

log = Logger()


def serves_link(settings: Settings) -> bool:
    """Whether this process is a primary that somebody reaches over the link."""
    only = not settings.front_ends
    return "primary" in settings.roles and (
        settings.needs_link or bool(settings.link.listen) or only
    )


class LinkService(Service):
    """Serves the link of ``store`` on the unix socket, and what comes to ``far_factory``.

    Call ``listen`` before the start.

    :raises InvalidInput: when socket path or token file cannot be used.
    """

    def __init__(self, settings: Settings, store: IPrimary, reactor: Any) -> None:
        self._path = settings.link.socket
        if len(os.fsencode(self._path)) > LONGEST_PATH:
            raise InvalidInput(
                f"link.socket: expected a path of at most {LONGEST_PATH} octets, got {self._path}"
            )
        tokens_file = settings.link.token_file
        if not tokens_file.exists():
            make_tokens(tokens_file)
            owner = settings.base.stat()
            if os.geteuid() == 0:  # until privileges are dropped; workers read it after that
                os.chown(tokens_file, owner.st_uid, owner.st_gid)
        tokens = Tokens.load(tokens_file)
        self._settings = settings
        self._reactor = reactor
        self._primary = LinkPrimary(
            store,
            LinkKeys.generate(),
            settings.link.lease_seconds,
            {OPERATOR: lambda connection: Operator(store.moves, connection)},
        )
        self._limits = LinkLimits(
            message_octets=settings.limits.message_size, connections=settings.link.connections
        )
        self._budget = Budget(self._limits.body_octets)
        self._near = self._factory(tokens, None)
        self._far = self._factory(tokens, [ip_network(one) for one in settings.link.allow_from])
        self._port: IListeningPort | None = None

    def far_factory(self, tls: ServerTls) -> IProtocolFactory:
        """The factory to listen with on a network."""
        return secured(self._far, tls, self._reactor)

    def _factory(self, tokens: Tokens, allow: Any) -> LinkServerFactory:
        return LinkServerFactory(
            tokens,
            allow,
            self._primary.handler,
            self._primary.welcome,
            self._reactor,
            self._limits,
            self._budget,
        )

    def reload(self) -> None:
        """Read the tokens again. InvalidInput when that fails: those of before stay good."""
        self._near.tokens = self._far.tokens = Tokens.load(self._settings.link.token_file)
        log.info("tokens read again")

    def missing(self) -> list[str]:
        """What keeps this from being ready."""
        return [] if self._port is not None else [f"listener link.socket {self._path}"]

    def listen(self) -> None:
        """Make the socket. Before services start, for threads would keep a refused start alive."""
        _remove_stale(self._path)
        try:
            self._port = self._reactor.listenUNIX(str(self._path), self._near, mode=0o600)
        except CannotListenError as error:
            raise Refused(f"link.socket {self._path}: cannot listen: {error.socketError}") from None

    def stopService(self) -> Deferred[None]:
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        port, self._port = self._port, None
        if port is not None:
            await (port.stopListening() or DeferredList([]))
        connections = self._near.connections | self._far.connections
        gone = [_gone(connection, self._reactor) for connection in connections]
        for connection in connections:
            connection.close("the primary is shutting down")
        await DeferredList(gone)


def _gone(connection: LinkConnection, clock: IReactorTime) -> Deferred[None]:
    """Fires when the connection has ended, or has had time enough."""
    gone: Deferred[None] = Deferred()

    def ended(reason: Any) -> Any:
        if not gone.called:
            gone.callback(None)
        return reason

    connection.closed.addBoth(ended)
    return gone.addTimeout(GOODBYE_SECONDS, clock, lambda *_: None)


def _remove_stale(path: Path) -> None:
    """Remove the socket that a killed server left; refuse one that somebody serves."""
    if path.exists() and not path.is_socket():
        raise Refused(f"link.socket {path}: something else is there")
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except FileNotFoundError:
            return
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except OSError as error:
            reason = os.strerror(error.errno or errno.EIO)
            raise Refused(f"link.socket {path}: {reason}") from None
    raise Refused(f"link.socket {path}: another process serves it already")
