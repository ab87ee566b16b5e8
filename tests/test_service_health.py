"""Health over HTTP: what each path and method is answered, and how little a client may ask for."""

from typing import Any

import msgspec
from prometheus_client import CollectorRegistry, Counter
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from mailsrv.errors import NoSuchDomain, Unavailable
from mailsrv.service.health import (
    CONNECTION_OCTETS,
    CONNECTION_SECONDS,
    CONNECTIONS,
    PROBE_PATIENCE,
    PROBE_SECONDS,
    HealthFactory,
    Readiness,
    StoreProbe,
)


class SiteTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.lacking: list[str] = []
        self.registry = CollectorRegistry()
        self.factory = HealthFactory(lambda: self.lacking, self.registry, self.clock)

    def connected(self) -> tuple[Any, StringTransport]:
        protocol = self.factory.buildProtocol(None)
        assert protocol is not None
        transport = StringTransport()
        transport.abortConnection = transport.loseConnection
        protocol.makeConnection(transport)
        return protocol, transport

    def asked(self, request: bytes) -> tuple[int, dict[bytes, bytes], bytes]:
        protocol, transport = self.connected()
        protocol.dataReceived(request + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        head, _, body = transport.value().partition(b"\r\n\r\n")
        status, *lines = head.split(b"\r\n")
        headers = dict(line.split(b": ", 1) for line in lines)
        return int(status.split()[1]), headers, body

    def test_alive(self) -> None:
        self.lacking.append("everything")
        status, headers, body = self.asked(b"GET /healthz")
        self.assertEqual((status, body), (200, b'{"alive":true}\n'))
        self.assertEqual(headers[b"Content-Type"], b"application/json")

    def test_ready(self) -> None:
        status, _, body = self.asked(b"GET /readyz")
        self.assertEqual((status, msgspec.json.decode(body)), (200, {"ready": True, "missing": []}))

    def test_not_ready_names_what_is_missing(self) -> None:
        self.lacking += ["worker 2", "link to b"]
        status, _, body = self.asked(b"GET /readyz")
        self.assertEqual(status, 503)
        self.assertEqual(
            msgspec.json.decode(body), {"ready": False, "missing": ["worker 2", "link to b"]}
        )

    def test_head_has_no_body(self) -> None:
        self.lacking.append("store")
        status, headers, body = self.asked(b"HEAD /readyz")
        self.assertEqual((status, body), (503, b""))
        self.assertEqual(
            int(headers[b"Content-Length"]), len('{"ready":false,"missing":["store"]}\n')
        )

    def test_other_methods_and_paths(self) -> None:
        for method in (b"POST", b"PUT", b"DELETE", b"OPTIONS", b"QUUX"):
            status, headers, _ = self.asked(method + b" /readyz")
            self.assertEqual((status, headers[b"Allow"]), (405, b"GET, HEAD"), method)
        for path in (b"/", b"/readyz/", b"/healthz/x", b"/metrics/", b"//healthz"):
            self.assertEqual(self.asked(b"GET " + path)[0], 404, path)
        self.assertEqual(self.asked(b"GET /readyz?verbose")[0], 200)

    def test_metrics(self) -> None:
        Counter("mailsrv_backups", "Backups.", registry=self.registry).inc(3)
        status, headers, body = self.asked(b"GET /metrics")
        self.assertEqual(status, 200)
        self.assertTrue(headers[b"Content-Type"].startswith(b"text/plain; version=0.0.4"))
        self.assertIn(b"\nmailsrv_backups_total 3.0\n", body)
        self.assertEqual(int(headers[b"Content-Length"]), len(body))

    def test_a_connection_that_sends_too_much(self) -> None:
        protocol, transport = self.connected()
        protocol.dataReceived(
            b"POST /readyz HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
        )
        protocol.dataReceived(b"x" * (CONNECTION_OCTETS // 2))
        self.assertFalse(transport.disconnecting)
        protocol.dataReceived(b"x" * (CONNECTION_OCTETS // 2))
        self.assertTrue(transport.disconnecting)

    def test_a_connection_that_takes_too_long(self) -> None:
        protocol, transport = self.connected()
        for _ in range(4):
            protocol.dataReceived(b"G")
            self.clock.advance(CONNECTION_SECONDS / 5)
        self.assertFalse(transport.disconnecting)
        self.clock.advance(CONNECTION_SECONDS / 5)
        self.assertTrue(transport.disconnecting)

    def test_too_many_connections(self) -> None:
        first, _ = self.connected()
        for _ in range(CONNECTIONS - 1):
            self.connected()
        self.assertIsNone(self.factory.buildProtocol(None))
        first.connectionLost(None)
        self.assertIsNotNone(self.factory.buildProtocol(None))


class ReadinessTests(SynchronousTestCase):
    def test_ready_until_leaving(self) -> None:
        readiness = Readiness()
        self.assertEqual(readiness.missing(), [])
        readiness.add(list)
        readiness.add(lambda: ["a", "b"])
        self.assertEqual(readiness.missing(), ["a", "b"])
        readiness.leave()
        self.assertEqual(readiness.missing(), ["stopping", "a", "b"])


class _Store:
    def __init__(self) -> None:
        self.questions: list[Deferred[Any]] = []

    def resolve(self, address: str) -> Deferred[Any]:
        self.questions.append(Deferred())
        return self.questions[-1]


class StoreProbeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.store = Clock(), _Store()
        self.probe = StoreProbe(self.store, self.clock)
        self.addCleanup(self.probe.stopService)

    def test_not_before_an_answer(self) -> None:
        self.assertEqual(self.probe.missing(), ["store"])
        self.probe.startService()
        self.assertEqual(self.probe.missing(), ["store"])
        self.store.questions[0].errback(NoSuchDomain("health.invalid"))
        self.assertEqual(self.probe.missing(), [])

    def test_a_store_that_cannot_be_reached(self) -> None:
        self.probe.startService()
        self.store.questions[0].errback(NoSuchDomain("health.invalid"))
        self.clock.advance(PROBE_SECONDS)
        self.store.questions[1].errback(Unavailable("the directory is away"))
        self.assertEqual(self.probe.missing(), ["store"])
        self.clock.advance(PROBE_SECONDS)
        self.clock.advance(PROBE_PATIENCE / 2)
        self.assertEqual(len(self.store.questions), 3)
        self.clock.advance(PROBE_PATIENCE / 2)
        self.assertEqual(self.probe.missing(), ["store"])
        self.clock.advance(PROBE_SECONDS)
        self.store.questions[-1].callback(None)
        self.assertEqual(self.probe.missing(), [])
