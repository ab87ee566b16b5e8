"""Ports: bound and listened on here, bound here for workers, or adopted by a worker.

A port that cannot be had stops the start with one line that names its key.
"""

import errno
import os
import socket
from ipaddress import ip_network
from typing import Any

import msgspec
from OpenSSL import SSL
from twisted.application.internet import StreamServerEndpointService
from twisted.application.service import Service
from twisted.application.strports import service as listener_service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.internet.protocol import Factory

from mailsrv.errors import InvalidInput
from mailsrv.proxy_protocol import proxied
from mailsrv.service.process import Refused
from mailsrv.settings import PROXY_PREFIX, Role, Settings

BACKLOG = 512
"""Connections that wait for a worker to accept them; the system may allow fewer."""

_NO_ENDPOINT = (ValueError, TypeError, LookupError, OSError, SSL.Error)


class Door(msgspec.Struct, frozen=True):
    """One endpoint string of the configuration."""

    key: str
    """Where it stands there: ``imap.listen``."""
    text: str
    """As it stands there."""
    tls: bool
    """Whether TLS begins at once."""
    role: Role = "primary"
    """Who answers."""

    @property
    def endpoint(self) -> str:
        return self.text.removeprefix(PROXY_PREFIX)

    @property
    def proxied(self) -> bool:
        """Whether connections begin with a load balancer's header."""
        return self.text.startswith(PROXY_PREFIX)

    def __str__(self) -> str:
        return f"{self.key} {self.text!r}"


def _no_endpoint(door: Door, error: Exception) -> InvalidInput:
    return InvalidInput(
        f"{door.key}: expected an endpoint such as tcp:143, got {door.text!r} ({error})"
    )


def _refuse(door: Door, reason: object) -> Refused:
    return Refused(f"{door}: cannot listen: {reason}")


def guarded(
    door: Door, factory: IProtocolFactory, settings: Settings, reactor: Any
) -> IProtocolFactory:
    """``factory`` behind a load balancer's header, where the door wants it."""
    if door.proxied:
        balancers = [ip_network(network) for network in settings.proxy.allow_from]
        return proxied(factory, balancers, reactor)
    return factory


class Listener(Service):
    """Listens at a door in this process.

    :raises InvalidInput: when the endpoint string is none.
    """

    def __init__(self, door: Door, factory: IProtocolFactory, reactor: Any) -> None:
        self._door = door
        self._listening = False
        try:
            self._listener: StreamServerEndpointService = listener_service(
                door.endpoint, factory, reactor
            )
        except _NO_ENDPOINT as error:
            raise _no_endpoint(door, error) from None

    def missing(self) -> list[str]:
        """What keeps this from being ready."""
        return [] if self._listening else [f"listener {self._door}"]

    def privilegedStartService(self) -> None:
        if self._listening:
            return
        try:
            self._listener.privilegedStartService()
        except CannotListenError as error:
            raise _refuse(self._door, error.socketError) from None
        except (OSError, OverflowError) as error:
            raise _refuse(self._door, error) from None
        self._listening = True

    def startService(self) -> None:
        self._listener.startService()
        super().startService()

    def stopService(self) -> Deferred[None]:
        super().stopService()
        if not self._listening:
            return succeed(None)
        self._listening = False
        stopping: Deferred[None] = self._listener.stopService()
        return stopping


class _Binder:
    """What an endpoint asks of a reactor in order to listen; binds, and accepts nothing."""

    def __init__(self) -> None:
        self.bound: list[socket.socket] = []

    def listenTCP(
        self, port: int, _factory: IProtocolFactory, backlog: int = 50, interface: str = ""
    ) -> None:
        family, _, _, _, address = socket.getaddrinfo(
            interface or "0.0.0.0",  # noqa: S104 - no interface given means all of them
            None,
            type=socket.SOCK_STREAM,
            flags=socket.AI_NUMERICHOST,
        )[0]
        self.bound.append(bound := socket.socket(family, socket.SOCK_STREAM))
        bound.setblocking(False)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((address[0], port, *address[2:]))
        bound.listen(max(backlog, BACKLOG))

    def adoptStreamPort(self, descriptor: int, _family: int, _factory: IProtocolFactory) -> None:
        self.bound.append(socket.socket(fileno=os.dup(descriptor)))


class SharedDoors(Service):
    """Binds doors at which the workers accept, and keeps them open however often those restart.

    :raises InvalidInput: when an endpoint string is none, or one that cannot be shared.
    """

    def __init__(self, doors: list[Door]) -> None:
        self.doors = doors
        self._binder = _Binder()
        self._endpoints = []
        for door in doors:
            try:
                endpoint = serverFromString(self._binder, door.endpoint)
            except _NO_ENDPOINT as error:
                raise _no_endpoint(door, error) from None
            if door.endpoint.partition(":")[0] not in ("tcp", "tcp6", "systemd"):
                raise InvalidInput(
                    f"{door.key}: workers share tcp, tcp6 and systemd endpoints, got {door.text!r}"
                )
            self._endpoints.append(endpoint)

    @property
    def descriptors(self) -> list[int]:
        """Of the listening sockets, in the order of ``doors``."""
        return [bound.fileno() for bound in self._binder.bound]

    def missing(self) -> list[str]:
        """What keeps this from being ready."""
        return [f"listener {door}" for door in self.doors[len(self._binder.bound) :]]

    def privilegedStartService(self) -> None:
        for door, endpoint in list(zip(self.doors, self._endpoints, strict=True)):
            if self.missing():
                self._bind(door, endpoint)

    def _bind(self, door: Door, endpoint: Any) -> None:
        failures: list[BaseException] = []
        endpoint.listen(Factory()).addErrback(lambda failure: failures.append(failure.value))
        for failure in failures:
            if isinstance(failure, OSError):
                raise _refuse(door, os.strerror(failure.errno or errno.EIO))
            raise _refuse(door, failure)

    def stopService(self) -> None:
        super().stopService()
        for bound in self._binder.bound:
            bound.close()
        self._binder.bound.clear()


class AdoptedDoor(Service):
    """A worker's share of a door that the main process bound and gave as ``descriptor``."""

    def __init__(self, descriptor: int, factory: IProtocolFactory, reactor: Any) -> None:
        self._descriptor = descriptor
        self._factory = factory
        self._reactor = reactor
        self._port: IListeningPort | None = None

    def startService(self) -> None:
        super().startService()
        with socket.socket(fileno=self._descriptor) as given:
            self._port = self._reactor.adoptStreamPort(given.fileno(), given.family, self._factory)

    def stopService(self) -> Deferred[None]:
        super().stopService()
        if self._port is None:
            return succeed(None)
        return self._port.stopListening() or succeed(None)
