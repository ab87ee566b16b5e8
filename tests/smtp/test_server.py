"""Timers, limits, backpressure and what the log says."""

import ast
from pathlib import Path

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import formatEvent, globalLogPublisher
from twisted.mail import smtp
from twisted.trial.unittest import SynchronousTestCase

from mailsrv.counters.memory import MemoryCounters
from mailsrv.smtp import server
from mailsrv.smtp.factory import MxFactory
from mailsrv.smtp.limits import MINUTE, Rates, Slots
from mailsrv.smtp.server import CLOSE_GRACE, EVENTS_A_TURN, READ_AHEAD, MxServer
from mailsrv.smtp.wire import LINE_LIMIT, SWALLOW_LIMIT
from tests.fakes.counters import SlowCounters
from tests.smtp.conversation import HEADER, Conversation


class TimerTests(SynchronousTestCase):
    def test_silent_client(self):
        client = Conversation(timeout=300)
        client.clock.advance(299)
        self.assertEqual(client.codes(b"NOOP\r\n"), ["250 2.0.0"])
        client.clock.advance(299)
        self.assertEqual(client.replies(), [])
        client.clock.advance(1)
        self.assertEqual(client.replies(), ["421 4.4.2 Timeout"])
        self.assertTrue(client.closed)
        self.assertFalse(client.transport.aborted)
        client.clock.advance(CLOSE_GRACE)
        self.assertTrue(client.transport.aborted)

    def test_nothing_is_left_when_the_connection_goes(self):
        for begin in (True, False):
            client = Conversation(begin=begin, greeting_delay=1)
            client.server.connectionLost(None)
            self.assertEqual(client.clock.getDelayedCalls(), [])

    def test_lifetime(self):
        client = Conversation(lifetime=1000, timeout=300)
        for _ in range(9):
            client.clock.advance(100)
            client.say(b"NOOP\r\n")
        client.clock.advance(100)
        self.assertEqual(client.replies(), ["421 4.4.2 Connection is too old"])
        self.assertTrue(client.closed)

    def test_lifetime_waits_for_the_store(self):
        client = Conversation(lifetime=100, store_timeout=500)
        client.envelope(b"hello@example.com")
        client.say(b"DATA\r\n")
        client.store.slow = True
        client.say(b"x\r\n.\r\n")
        client.clock.advance(101)
        self.assertEqual(client.replies(), [])
        client.store.release()
        self.assertEqual(client.replies()[0][:9], "250 2.0.0")
        self.assertTrue(client.closed)

    def test_store_that_never_answers(self):
        client = Conversation(store_timeout=60, timeout=10)
        client.store.slow = True
        client.say(b"MAIL FROM:<a@b.c>\r\nRCPT TO:<hello@example.com>\r\n")
        client.clock.advance(59)
        self.assertFalse(client.closed)
        client.clock.advance(1)
        self.assertEqual([line[:9] for line in client.replies()], ["250 2.1.0", "421 4.3.2"])
        self.assertTrue(client.closed)
        client.store.release()
        self.assertEqual(client.replies(), [])

    def test_slow_message(self):
        client = Conversation(minimum_rate=500, rate_grace=60)
        client.envelope(b"hello@example.com")
        client.say(b"DATA\r\n")
        for _ in range(6):
            client.clock.advance(10)
            self.assertEqual(client.say(b"x" * 100), [])
        client.clock.advance(10)
        self.assertEqual(client.codes(b"x"), ["421 4.4.2"])
        self.assertTrue(client.closed)
        client.server.connectionLost(None)
        self.assertEqual(client.factory.services.budget.free, client.factory.options.memory_limit)

    def test_steady_message_may_take_long(self):
        client = Conversation(minimum_rate=500, rate_grace=60)
        client.envelope(b"hello@example.com")
        client.say(b"DATA\r\n")
        for _ in range(100):
            client.clock.advance(10)
            client.say(b"x" * 5000)
        self.assertEqual(client.codes(b"\r\n.\r\n"), ["250 2.0.0"])

    def test_talking_before_the_greeting(self):
        client = Conversation(greeting_delay=0.5, begin=False)
        self.assertEqual(client.greeting, [])
        self.assertEqual(client.codes(b"EHLO x\r\n"), ["554 5.5.0"])
        self.assertTrue(client.closed)
        client.clock.advance(1)
        self.assertEqual(client.replies(), [])

    def test_late_greeting(self):
        client = Conversation(greeting_delay=0.5, begin=False)
        client.clock.advance(0.5)
        self.assertEqual(client.replies(), ["220 mx.example.com ESMTP mailsrv"])
        self.assertEqual(client.codes(b"EHLO x\r\n"), ["250 CHUNKING"])


class LimitTests(SynchronousTestCase):
    def test_hard_errors(self):
        client = Conversation(hard_errors=20)
        self.assertEqual(client.codes(b"BAD\r\n" * 19), ["500 5.5.1"] * 19)
        self.assertEqual(client.codes(b"BAD\r\nNOOP\r\n"), ["421 4.7.0"])
        self.assertTrue(client.closed)

    def test_stored_message_forgives_errors(self):
        client = Conversation(hard_errors=3)
        for _ in range(5):
            self.assertEqual(client.codes(b"BAD\r\n" * 2), ["500 5.5.1"] * 2)
            self.assertEqual(client.deliver(b"x\r\n"), ["250 2.0.0"])

    def test_address_harvest(self):
        client = Conversation()
        codes = client.envelope(*(b"n%d@example.com" % n for n in range(100)))
        self.assertEqual(codes[-2:], ["550 5.1.1", "421 4.7.0"])
        self.assertEqual(len(client.store.asked), 20)

    def test_junk_commands(self):
        client = Conversation(junk_commands=10)
        codes = client.codes(b"NOOP\r\nRSET\r\nVRFY x\r\nHELP\r\nNOOP\r\n" * 4)
        self.assertEqual(codes[-1], "421 4.7.0")
        self.assertEqual(len(codes), 10)
        self.assertTrue(client.closed)

    def test_long_line_is_told_once(self):
        client = Conversation()
        octets = b"NOOP " + b"x" * LINE_LIMIT + b"\r\nNOOP\r\n"
        self.assertEqual(client.codes(octets, 100), ["500 5.5.2", "250 2.0.0"])

    def test_endless_line(self):
        client = Conversation()
        self.assertEqual(client.codes(b"x" * (SWALLOW_LIMIT + LINE_LIMIT * 2), 1000),
                         ["500 5.5.2", "421 4.7.0"])  # fmt: skip
        self.assertTrue(client.closed)

    def test_messages_in_a_minute(self):
        client = Conversation(messages_per_minute=3)
        for _ in range(3):
            self.assertEqual(client.deliver(b"x\r\n"), ["250 2.0.0"])
        second = Conversation(client.factory)
        self.assertEqual(second.envelope(b"hello@example.com"), ["451 4.7.1", "503 5.5.1"])
        self.assertFalse(second.closed)
        client.clock.advance(MINUTE)
        self.assertEqual(second.deliver(b"x\r\n"), ["250 2.0.0"])

    def test_connections_in_a_minute(self):
        client = Conversation(connections_per_minute=3)
        for _ in range(2):
            Conversation(client.factory).server.connectionLost(None)
        refused = Conversation(client.factory, begin=False)
        self.assertEqual(
            refused.greeting, ["421 4.7.0 Too many connections in a minute, try again later"]
        )
        self.assertTrue(refused.closed)
        refused.server.connectionLost(None)
        client.clock.advance(MINUTE)
        self.assertEqual(Conversation(client.factory).greeting[0][:3], "220")

    def test_rates_are_shared_with_the_counters(self):
        counters = MemoryCounters(Clock())
        options = {"counters": counters, "messages_per_minute": 2, "connections_per_minute": 3}
        for _ in range(2):
            self.assertEqual(Conversation(**options).deliver(b"x\r\n"), ["250 2.0.0"])
        self.assertEqual(Conversation(**options).envelope(), ["451 4.7.1"])
        self.assertEqual(Conversation(begin=False, **options).greeting[0][:3], "421")

    def test_who_has_no_rate(self):
        counters = SlowCounters()
        rates = Rates(counters, 1, 0)
        for here in (None, "/run/socket", "127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"):
            self.assertTrue(self.successResultOf(rates.connection(here)))
        self.assertTrue(self.successResultOf(rates.message("192.0.2.7")))
        self.assertEqual(counters.asked, [])
        for there in ("192.0.2.7", "::2", "2001:db8::1", "unknown"):
            self.assertNoResult(rates.connection(there))

    def test_greeting_waits_for_the_count(self):
        counters = SlowCounters()
        client = Conversation(begin=False, counters=counters)
        self.assertEqual(client.greeting, [])
        self.assertEqual(client.codes(b"EHLO x\r\n"), ["554 5.5.0"])
        counters.answer(1)
        self.assertEqual(client.replies(), [])
        patient = Conversation(client.factory, begin=False)
        counters.answer(1)
        self.assertEqual(patient.replies(), ["220 mx.example.com ESMTP mailsrv"])
        patient.say(b"EHLO x\r\n")
        self.assertEqual(patient.envelope(b"hello@example.com"), [])
        patient.server.connectionLost(None)
        counters.answer(1)
        self.assertEqual(client.factory.services.budget.free, client.factory.options.memory_limit)

    def test_connections_of_one_client(self):
        first = Conversation(connections_per_client=2)
        second = Conversation(first.factory)
        third = Conversation(first.factory)
        self.assertEqual(third.greeting, ["421 4.7.0 Too many connections, try again later"])
        self.assertTrue(third.closed)
        second.server.connectionLost(None)
        self.assertEqual(Conversation(first.factory).greeting[0][:3], "220")

    def test_silent_clients_make_room_when_there_is_none(self):
        first = Conversation(connections=3)
        talking, storing = Conversation(first.factory), Conversation(first.factory)
        first.store.slow = True
        storing.envelope(b"hello@example.com")
        first.clock.advance(9.9)
        talking.say(b"NOOP\r\n")
        self.assertEqual(Conversation(first.factory).greeting[0][:9], "421 4.7.0")
        first.clock.advance(0.1)
        newcomer = Conversation(first.factory)
        self.assertEqual(newcomer.greeting[0][:3], "220")
        self.assertEqual([line[:9] for line in first.replies()], ["421 4.3.2"])
        self.assertTrue(first.closed)
        first.server.connectionLost(None)
        self.assertEqual(Conversation(first.factory).greeting[0][:3], "421")
        self.assertFalse(talking.closed or storing.closed)

    def test_shut_down_with_a_client_that_gave_way(self):
        first = Conversation(connections=1)
        first.clock.advance(10)
        second = Conversation(first.factory)
        second.server.connectionLost(None)
        done = first.factory.shut_down()
        self.successResultOf(done)
        first.server.connectionLost(None)

    def test_silent_clients_do_not_make_room_for_one_that_has_enough(self):
        first = Conversation(connections=2, connections_per_client=2)
        second = Conversation(first.factory)
        first.clock.advance(100)
        self.assertEqual(Conversation(first.factory).greeting[0][:3], "421")
        self.assertFalse(first.closed or second.closed)

    def test_slots(self):
        slots = Slots(3, 2)
        self.assertEqual([slots.take(key) for key in "aaabb"], [True, True, False, True, False])
        slots.free("a")
        self.assertTrue(slots.take("b"))
        self.assertFalse(slots.take("a"))

    def test_addresses_of_any_kind(self):
        factory = Conversation().factory
        for address in (IPv4Address("TCP", "192.0.2.9", 1), IPv6Address("TCP", "::1", 1),
                        UNIXAddress(b"/x"), None):  # fmt: skip
            self.assertIsInstance(factory.buildProtocol(address), MxServer)

    def test_shut_down(self):
        idle = Conversation()
        busy = Conversation(idle.factory)
        busy.envelope(b"hello@example.com")
        busy.say(b"DATA\r\n")
        busy.store.slow = True
        busy.say(b"x\r\n.\r\n")
        done: Deferred = idle.factory.shut_down()
        self.assertEqual(idle.replies(), ["421 4.3.2 Service is shutting down"])
        late = Conversation(idle.factory)
        self.assertEqual(late.greeting, ["421 4.3.2 Service is shutting down"])
        idle.server.connectionLost(None)
        self.assertNoResult(done)
        busy.store.release()
        self.assertEqual(busy.replies()[0][:3], "250")
        self.assertTrue(busy.closed)
        busy.server.connectionLost(None)
        self.successResultOf(done)

    def test_shut_down_of_an_idle_server(self):
        factory = Conversation(begin=False)
        factory.server.connectionLost(None)
        self.successResultOf(factory.factory.shut_down())


class BackpressureTests(SynchronousTestCase):
    def test_reading_stops_while_the_store_works(self):
        client = Conversation(junk_commands=10**6)
        client.store.slow = True
        client.say(b"MAIL FROM:<a@b.c>\r\nRCPT TO:<hello@example.com>\r\n")
        client.say(b"NOOP\r\n" * 1000)
        self.assertEqual(client.transport.producerState, "producing")
        client.say(b"NOOP\r\n" * (READ_AHEAD // 6))
        self.assertEqual(client.transport.producerState, "paused")
        client.store.release()
        client.clock.advance(0)
        self.assertEqual(client.transport.producerState, "producing")
        self.assertEqual(len(client.replies()), 2 + 1000 + READ_AHEAD // 6)

    def test_commands_wait_for_a_client_that_does_not_read(self):
        client = Conversation(junk_commands=10**6)
        client.transport.producer.pauseProducing()
        self.assertEqual(client.say(b"NOOP\r\n" * READ_AHEAD), [])
        self.assertEqual(client.transport.producerState, "paused")
        client.transport.producer.resumeProducing()
        client.clock.advance(0)
        self.assertEqual(client.transport.producerState, "producing")
        self.assertEqual(len(client.replies()), READ_AHEAD)

    def test_others_have_their_turn(self):
        client = Conversation(junk_commands=10**6)
        self.assertEqual(len(client.say(b"NOOP\r\n" * (EVENTS_A_TURN + 1))), EVENTS_A_TURN)
        self.assertEqual(client.say(b"NOOP\r\n"), [])
        client.say(b"NOOP\r\n" * READ_AHEAD)
        self.assertEqual(client.transport.producerState, "paused")
        client.clock.advance(0)
        self.assertEqual(client.transport.producerState, "producing")
        self.assertEqual(len(client.replies()), READ_AHEAD + 2)


class LogTests(SynchronousTestCase):
    def observe(self):
        events = []
        note = events.append
        globalLogPublisher.addObserver(note)
        self.addCleanup(globalLogPublisher.removeObserver, note)
        return events

    def test_transactions_without_a_message(self):
        events = self.observe()
        client = Conversation()
        client.envelope(b"nobody@example.com", b"a@example.net")
        client.say(b"RSET\r\n")
        client.envelope(b"hello@example.com")
        client.say(b"RSET\r\n")
        client.envelope(b"hello@example.com")
        client.say(b"DATA\r\n")
        client.say(b"x" * 10)
        client.server.connectionLost(None)
        lines = [formatEvent(event).partition(" from=")[2] for event in events]
        self.assertEqual(
            lines,
            [
                "example.org recipients=0 refused=2 size=0 given up",
                "example.org recipients=1 refused=0 size=10 given up",
            ],
        )

    def test_one_line_without_content(self):
        events = self.observe()
        client = Conversation()
        client.store.addresses["canary@example.com"] = "a9"
        client.deliver(HEADER + b"Subject: CANARY\r\n\r\nCANARY\r\n", b"canary@example.com")
        client.deliver(b"CANARY\nCANARY\r\n", b"canary@example.com")
        lines = [formatEvent(event) for event in events]
        self.assertEqual(len(lines), 2)
        self.assertRegex(
            lines[0],
            r"\Amx [0-9a-f]{20} from=example\.org recipients=1 refused=0 size=\d+ mailboxes=1 "
            r"stored=1 waiting=0 repeated=0 reply=250 2\.0\.0\Z",
        )
        self.assertTrue(lines[1].endswith("stored=0 waiting=0 repeated=0 reply=554 5.6.0"))
        self.assertNotIn("canary", repr(events).lower())


class TwistedTests(SynchronousTestCase):
    def test_is_an_esmtp_server(self):
        mx = Conversation().server
        self.assertIsInstance(mx, smtp.ESMTP)
        self.assertEqual(mx.extensions()[b"SIZE"], [b"52428800"])
        self.assertNotIn(b"AUTH", mx.extensions())

    def test_only_public_names_of_twisted(self):
        """The base class has private attributes; ours must neither use nor hide them."""
        inherited = {name for base in MxServer.__mro__[1:] for name in vars(base)}
        inherited |= {name for base in MxFactory.__mro__[1:] for name in vars(base)}
        inherited |= set(vars(smtp.ESMTP()))
        private = {name for name in inherited if name.startswith("_") and name[1] != "_"}
        self.assertIn("_helo", private)
        tree = ast.parse(Path(server.__file__).read_text())
        used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        defined = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        self.assertEqual((used | defined) & private, set())
