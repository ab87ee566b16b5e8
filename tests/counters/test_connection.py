"""What happens when Redis is late, away, or says strange things: on a clock, without a server."""

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError, ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mailsrv.counters.address import RedisAddress
from mailsrv.counters.connection import LONGEST_PAUSE, OPEN_SECONDS
from mailsrv.counters.interfaces import ICounters
from mailsrv.counters.redis import ANSWER_SECONDS, RedisCounters


class Transport(StringTransport):
    """Loses the connection as soon as it is told to."""

    protocol: Any

    def abortConnection(self) -> None:
        if not self.disconnected:
            self.disconnected = True
            self.protocol.connectionLost(Failure(ConnectionLost()))


class Endpoint:
    """Hands out connections when the test says so."""

    def __init__(self) -> None:
        self.tries = 0
        self.waiting: Deferred[Any] | None = None
        self.factory: Any = None

    def connect(self, factory: Any) -> Deferred[Any]:
        self.tries += 1
        self.factory = factory
        self.waiting = Deferred()
        return self.waiting

    def refuse(self) -> None:
        assert self.waiting is not None
        self.waiting.errback(Failure(ConnectError()))

    def accept(self) -> Any:
        assert self.waiting is not None
        protocol = self.factory.buildProtocol(None)
        transport = Transport()
        transport.protocol = protocol
        protocol.makeConnection(transport)
        self.waiting.callback(protocol)
        return protocol


class ConnectionTests(SynchronousTestCase):
    address = RedisAddress(host="redis.example.com")

    def setUp(self) -> None:
        self.clock = Clock()
        self.endpoint = Endpoint()
        self.counters = RedisCounters(self.endpoint, self.address, self.clock, lambda: 1.0)
        self.told: list[str] = []
        globalLogPublisher.addObserver(self.hear)
        self.addCleanup(globalLogPublisher.removeObserver, self.hear)
        self.addCleanup(self.close)
        self.counters.start()

    def hear(self, event: Any) -> None:
        if event.get("log_namespace", "").startswith("mailsrv.counters"):
            self.told.append(event["log_format"].format(**event))

    def close(self) -> None:
        self.successResultOf(self.counters.close())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def connected(self) -> Any:
        protocol = self.endpoint.accept()
        self.assertFalse(self.counters.shared)
        protocol.dataReceived(b":1\r\n")
        self.assertTrue(self.counters.shared)
        protocol.transport.clear()
        return protocol

    def add(self) -> Deferred[int]:
        return self.counters.add("a", 1, 60)

    def test_interface(self) -> None:
        verifyObject(ICounters, self.counters)

    def test_counts_alone_until_the_connection_is_proven(self) -> None:
        self.assertEqual(self.successResultOf(self.add()), 1)
        protocol = self.endpoint.accept()
        self.assertEqual(self.successResultOf(self.add()), 2)
        protocol.dataReceived(b":1\r\n")
        answer = self.add()
        self.assertNoResult(answer)
        protocol.dataReceived(b":41\r\n")
        self.assertEqual(self.successResultOf(answer), 41)
        self.assertEqual(self.told, [])

    def test_a_late_answer_is_not_waited_for_and_ends_the_connection(self) -> None:
        protocol = self.connected()
        answer = self.add()
        self.clock.advance(ANSWER_SECONDS)
        self.assertEqual(self.successResultOf(answer), 1)
        self.assertTrue(protocol.transport.disconnected)
        self.assertEqual(self.successResultOf(self.add()), 2)
        self.assertEqual(len(self.told), 1)
        self.assertIn("redis.example.com:6379 is away (TimeoutError)", self.told[0])

    def test_a_lost_connection_answers_all_who_wait(self) -> None:
        protocol = self.connected()
        answers = [self.add(), self.counters.read("b"), self.counters.clear("a")]
        protocol.transport.abortConnection()
        self.assertEqual([self.successResultOf(answer) for answer in answers], [1, 0, None])

    def test_who_does_not_wait_does_no_harm(self) -> None:
        protocol = self.connected()
        first, second = self.add(), self.add()
        first.cancel()
        self.failureResultOf(first, CancelledError)
        protocol.dataReceived(b":1\r\n:2\r\n")
        self.assertEqual(self.successResultOf(second), 2)
        self.assertTrue(self.counters.shared)

    def test_strange_answers(self) -> None:
        for octets in (b"+OK\r\n", b"-OOM no\r\n", b"$-1\r\n", b":x\r\n", b"*1\r\n:1\r\n"):
            protocol = self.connected()
            answer = self.add()
            protocol.dataReceived(octets)
            self.successResultOf(answer)
            self.assertFalse(self.counters.shared)
            self.clock.pump([LONGEST_PAUSE])
        self.endpoint.refuse()

    def test_comes_back_with_growing_pauses_and_says_so_once(self) -> None:
        pauses = []
        for _ in range(9):
            self.endpoint.refuse()
            (call,) = self.clock.getDelayedCalls()
            pauses.append(round(call.getTime() - self.clock.seconds(), 3))
            self.clock.advance(pauses[-1])
        self.assertEqual(pauses, [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5, 5])
        self.assertEqual(len(self.told), 1)
        protocol = self.connected()
        self.assertEqual(len(self.told), 2)
        self.assertIn("is back", self.told[1])
        self.clock.advance(60)
        protocol.transport.abortConnection()
        self.clock.advance(0.1)
        self.assertEqual(self.endpoint.tries, 11)

    def test_a_server_that_takes_connections_and_no_requests_is_away(self) -> None:
        for _ in range(3):
            protocol = self.endpoint.accept()
            self.clock.advance(OPEN_SECONDS)
            self.assertTrue(protocol.transport.disconnected)
            self.assertFalse(self.counters.shared)
            self.clock.advance(LONGEST_PAUSE)
        self.assertEqual(len(self.told), 1)

    def test_a_connection_that_is_not_made_in_time_is_given_up(self) -> None:
        self.clock.advance(OPEN_SECONDS)
        self.clock.advance(LONGEST_PAUSE)
        self.assertEqual(self.endpoint.tries, 2)

    def test_closing_at_any_stage(self) -> None:
        self.close()
        self.counters.start()
        self.endpoint.accept()
        self.close()
        self.counters.start()
        protocol = self.connected()
        answer = self.add()
        self.close()
        self.assertEqual(self.successResultOf(answer), 1)
        self.assertTrue(protocol.transport.disconnected)
        self.assertEqual(self.told, [])
        self.assertEqual(self.successResultOf(self.add()), 2)

    def test_only_digests_leave_the_process(self) -> None:
        protocol = self.connected()
        self.add()
        self.counters.add("login account alice@example.com", 1, 60)
        sent = protocol.transport.value()
        self.assertIn(b"mailsrv:", sent)
        self.assertNotIn(b"alice", sent)


class LoginTests(ConnectionTests):
    address = RedisAddress(host="redis.example.com", database=3, user="me", password="hunter2")

    def connected(self) -> Any:
        protocol = self.endpoint.accept()
        self.assertIn(b"AUTH\r\n$2\r\nme\r\n$7\r\nhunter2", protocol.transport.value())
        protocol.dataReceived(b"+OK\r\n")
        self.assertIn(b"SELECT\r\n$1\r\n3\r\n", protocol.transport.value())
        protocol.dataReceived(b"+OK\r\n:1\r\n")
        protocol.transport.clear()
        return protocol

    def test_counts_alone_until_the_connection_is_proven(self) -> None:
        protocol = self.endpoint.accept()
        protocol.dataReceived(b"+OK\r\n+OK\r\n")
        self.assertEqual(self.successResultOf(self.add()), 1)

    def test_a_connection_lost_while_logging_in_is_tried_again(self) -> None:
        self.endpoint.accept().transport.abortConnection()
        self.clock.advance(LONGEST_PAUSE)
        self.connected()
        self.assertTrue(self.counters.shared)

    def test_a_refused_password_is_told_without_it(self) -> None:
        for refusal in (b"-WRONGPASS no\r\n", b"-ERR unknown, args: hunter2\r\n"):
            self.endpoint.accept().dataReceived(refusal)
            self.clock.advance(LONGEST_PAUSE)
        self.connected()
        self.assertIn("(ResponseError WRONGPASS)", self.told[0])
        self.assertNotIn("hunter2", repr(self.told))
