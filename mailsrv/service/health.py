"""Health for load balancers and supervisors, over HTTP.

``/healthz`` answers 200 while the reactor turns. ``/readyz`` answers 200 when all that this
process should do can be done, and otherwise 503 with a JSON document that names what is missing.
``/metrics`` answers what is counted, in the text format of Prometheus.
"""

from collections.abc import Callable
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.interfaces import IAddress, IDelayedCall
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web.http import NOT_ALLOWED, NOT_FOUND, OK, SERVICE_UNAVAILABLE, Request
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from mailsrv.errors import MailsrvError, StorageFailed, Unavailable
from mailsrv.store.interfaces import IStore

log = Logger()

CONNECTIONS = 64
CONNECTION_SECONDS = 30.0
CONNECTION_OCTETS = 16 * 1024
"""What one connection may last and send: these requests are short."""

PROBE_SECONDS = 2.0
PROBE_PATIENCE = 5.0


class Readiness:
    """Asks everybody what is missing. Ready when nothing is, and no stop has begun."""

    def __init__(self) -> None:
        self._checks: list[Callable[[], list[str]]] = []
        self._leaving = False

    def add(self, check: Callable[[], list[str]]) -> None:
        """``check`` answers what is missing, in words, on every question."""
        self._checks.append(check)

    def leave(self) -> None:
        """From now on nothing is ready any more."""
        self._leaving = True

    def missing(self) -> list[str]:
        """What is missing, in words; empty when ready."""
        stopping = ["stopping"] if self._leaving else []
        return stopping + [word for check in self._checks for word in check()]


class StoreProbe(Service):
    """Asks the store of this process every other second whether it answers at all."""

    def __init__(self, store: IStore, reactor: Any) -> None:
        self._store = store
        self._reactor = reactor
        self._answers = False
        self._loop = LoopingCall(lambda: Deferred.fromCoroutine(self._probe()))
        self._loop.clock = reactor

    def missing(self) -> list[str]:
        """What keeps this from being ready."""
        return [] if self._answers else ["store"]

    def startService(self) -> None:
        super().startService()
        self._loop.start(PROBE_SECONDS)

    def stopService(self) -> None:
        super().stopService()
        if self._loop.running:
            self._loop.stop()

    async def _probe(self) -> None:
        # no such domain can exist: that the store knows this shows that it and its directory work
        question = self._store.resolve("postmaster@health.invalid")
        try:
            await question.addTimeout(PROBE_PATIENCE, self._reactor)
        except (Unavailable, StorageFailed, TimedOut):
            self._answers = False
        except MailsrvError:
            self._answers = True
        else:
            self._answers = True


class _Answers(Resource):
    """All of the site: three paths."""

    isLeaf = True

    def __init__(self, missing: Callable[[], list[str]], registry: CollectorRegistry) -> None:
        super().__init__()
        self._missing = missing
        self._registry = registry

    def render(self, request: Request) -> Any:
        status, document = self._answer(request)
        if isinstance(document, bytes):
            kind, body = CONTENT_TYPE_PLAIN_0_0_4.encode(), document
        else:
            kind, body = b"application/json", msgspec.json.encode(document) + b"\n"
        request.setResponseCode(status)
        request.setHeader(b"Content-Type", kind)
        request.setHeader(b"Content-Length", str(len(body)).encode())
        request.setHeader(b"Cache-Control", b"no-store")
        request.write(body)  # which leaves it out for HEAD
        request.finish()
        return NOT_DONE_YET

    def _answer(self, request: Request) -> tuple[int, object]:
        if request.path not in (b"/healthz", b"/readyz", b"/metrics"):
            return NOT_FOUND, {"error": "expected /healthz, /readyz or /metrics"}
        if request.method not in (b"GET", b"HEAD"):
            request.setHeader(b"Allow", b"GET, HEAD")
            return NOT_ALLOWED, {"error": "expected GET or HEAD"}
        if request.path == b"/healthz":
            return OK, {"alive": True}
        if request.path == b"/metrics":
            return OK, generate_latest(self._registry)
        missing = self._missing()
        status = SERVICE_UNAVAILABLE if missing else OK
        return status, {"ready": not missing, "missing": missing}


class _Site(Site):
    displayTracebacks = False
    noisy = False

    def log(self, request: Request) -> None:
        """Say nothing: balancers ask every second."""


class _ShortConnection(ProtocolWrapper):
    """Ends a connection that lasts too long or sends too much."""

    _octets = 0
    _end: IDelayedCall | None = None

    factory: "HealthFactory"

    def connectionMade(self) -> None:
        super().connectionMade()
        clock = self.factory.clock
        self._end = clock.callLater(CONNECTION_SECONDS, self.abortConnection)

    def dataReceived(self, data: bytes) -> None:
        self._octets += len(data)
        if self._octets > CONNECTION_OCTETS:
            self.abortConnection()
        else:
            super().dataReceived(data)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        if self._end is not None and self._end.active():
            self._end.cancel()
        super().connectionLost(reason)


class HealthFactory(WrappingFactory):
    """The site, within its limits."""

    protocol = _ShortConnection
    noisy = False

    def __init__(
        self, missing: Callable[[], list[str]], registry: CollectorRegistry, reactor: Any
    ) -> None:
        site = _Site(_Answers(missing, registry), reactor=reactor, timeout=int(CONNECTION_SECONDS))
        super().__init__(site)
        self.clock = reactor

    def buildProtocol(  # type: ignore[override]
        self, addr: IAddress | None
    ) -> ProtocolWrapper | None:
        if len(self.protocols) >= CONNECTIONS:
            return None
        return super().buildProtocol(addr)
