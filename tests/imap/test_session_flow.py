"""How octets come and go: in any pieces, in order, and no faster than they are taken."""

import tracemalloc

from twisted.internet.interfaces import IPushProducer
from zope.interface.verify import verifyObject

from mailsrv.imap.commands import TABLE
from mailsrv.imap.session import CROWDED
from mailsrv.store.interfaces import IListener, IStore
from tests.fakes.store import FakeStore
from tests.imap.talking import LOGIN, ImapTestCase, Wire, message

SCRIPTS = {
    "reading": (
        b"SELECT INBOX",
        b"FETCH 1:* (UID FLAGS ENVELOPE BODYSTRUCTURE)",
        b"FETCH 2 (BODY[] BODY[HEADER.FIELDS (Subject)])",
        b"UID FETCH 1:* (RFC822.SIZE BODY.PEEK[TEXT]<3.5>)",
        b"SEARCH OR SUBJECT two TEXT {5}\r\nthree",
        b"UID SEARCH RETURN (ALL COUNT) UNSEEN",
        b"CLOSE",
        b"LOGOUT",
    ),
    "writing": (
        b"SELECT INBOX",
        b"APPEND INBOX (\\Seen) {13}\r\na NOOP\r\n{3}\r\n",
        b"APPEND {5}\r\nINBOX {3+}\r\nabc",
        b"STORE 1:3 +FLAGS (\\Deleted green)",
        b"COPY 2 Archive",
        b"MOVE 3 Archive",
        b"EXPUNGE",
        b"STATUS Archive (MESSAGES UIDNEXT)",
        b"UNSELECT",
    ),
    "folders": (
        b"CREATE a/b/c",
        b"RENAME a d",
        b"SUBSCRIBE d/b",
        b'LIST "" *',
        b'LSUB "" %',
        b'LIST (SUBSCRIBED) "" (d* INBOX) RETURN (CHILDREN STATUS (MESSAGES))',
        b"DELETE d/b/c",
        b"GETQUOTAROOT INBOX",
        b"NAMESPACE",
        b'ID ("name" {4}\r\ntest)',
    ),
    "nonsense": (
        b"FETCH 1 FLAGS",
        b"",
        b"SELECT {9999999}",
        b"SELECT {70000+}\r\n" + b"x NOOP\r\n" * 8750,
        b"SELECT {10000000000}",
        b"SEARCH ((((",
        b"NOOP",
        b"SELECT \xff\xfe",
        b"CREATE a\rb",
        b"IDLE\r\nDONE",
        b"CHECK now",
        b"\0",
    ),
}


class PiecesTests(ImapTestCase):
    def play(self, script: tuple[bytes, ...], step: int | None) -> bytes:
        super().setUp()
        self.fill([b"one", b"two", b"three"])
        client = self.connect()
        data = b"".join(b"t%d %b\r\n" % pair for pair in enumerate((LOGIN, *script)))
        for start in range(0, len(data), step or len(data)):
            client.server.dataReceived(data[start : start + (step or len(data))])
        return client.raw()

    def test_any_pieces_give_the_same_answers(self) -> None:
        for name, script in SCRIPTS.items():
            whole = self.play(script, None)
            self.assertGreater(whole.count(b"\r\n"), len(script), name)
            for step in (1, 2, 3, 5, 64, 1000):
                if name != "nonsense" or step > 3:
                    self.assertEqual(self.play(script, step), whole, (name, step))

    def test_nonsense_octet_by_octet(self) -> None:
        short = tuple(line for line in SCRIPTS["nonsense"] if len(line) < 100)
        self.assertEqual(self.play(short, 1), self.play(short, None))


class OrderTests(ImapTestCase):
    def test_commands_run_one_after_the_other(self) -> None:
        self.fill([b"one"])
        client = self.logged_in()
        self.store.calls.clear()
        self.store.hold()
        client.send(b"a SELECT INBOX\r\nb FETCH 1 UID\r\nc SEARCH ALL\r\n")
        self.assertEqual(self.store.calls, ["select"])
        self.assertEqual(client.heard(), [])
        self.store.release()
        tags = [line.split(b" ")[0] for line in client.heard() if not line.startswith(b"*")]
        self.assertEqual(tags, [b"a", b"b", b"c"])

    def test_no_continuation_inside_an_answer(self) -> None:
        client = self.logged_in()
        self.store.hold()
        client.send(b"a SELECT INBOX\r\nb APPEND INBOX {3}\r\n")
        self.assertEqual(client.heard(), [])
        self.store.release()
        lines = client.heard()
        self.assertEqual(
            lines[-2:], [b"a OK [READ-WRITE] SELECT completed", b"+ Ready for the literal"]
        )

    def test_pipeline_gives_others_their_turn(self) -> None:
        client = self.connect()
        client.server.dataReceived(b"a NOOP\r\n" * 100)
        heard = client.transport.value().count(b"OK NOOP")
        self.assertLess(heard, 50)
        self.assertEqual(len(client.heard()), 100)

    def test_reading_pauses_behind_a_slow_command(self) -> None:
        client = self.logged_in()
        self.store.hold()
        client.send(b"a SELECT INBOX\r\n")
        sent = 0
        while client.transport.producerState == "producing" and sent < 2 * CROWDED:
            client.server.dataReceived(b"b CAPABILITY\r\n" * 100)
            sent += 1400
        self.assertEqual(client.transport.producerState, "paused")
        self.assertLess(sent, CROWDED + 2000)
        self.store.release()
        client.settle()
        for _ in range(2000):
            self.clock.advance(0)
        self.assertEqual(client.transport.producerState, "producing")

    def test_a_long_literal_does_not_pause_reading(self) -> None:
        client = self.logged_in()
        client.send(b"a APPEND INBOX {1000000+}\r\n")
        for _ in range(100):
            client.server.dataReceived(b"x" * 10000)
        self.assertEqual(client.transport.producerState, "producing")
        client.send(b"\r\n")
        self.assertTrue(client.heard()[0].startswith(b"a OK [APPENDUID"))


class SlowWire(Wire):
    """Holds what is written until it is taken, and tells the producer when that is much."""

    most = 0

    def write(self, data: bytes) -> None:
        super().write(data)
        held = len(self.value())
        self.most = max(self.most, held)
        if self.producer is not None and held > 64 * 1024:
            self.producer.pauseProducing()

    def take(self) -> bytes:
        data = self.value()
        self.clear()
        if self.producer is not None:
            self.producer.resumeProducing()
        return data


class BackpressureTests(ImapTestCase):
    def slow_client(self) -> SlowWire:
        self.wire = SlowWire(secure=True)
        self.server = self.factory.buildProtocol(None)
        self.server.makeConnection(self.wire)
        self.server.dataReceived(b"a " + LOGIN + b"\r\nb SELECT INBOX\r\n")
        self.wire.take()
        return self.wire

    def test_many_small_answers(self) -> None:
        self.fill(b"m%d" % number for number in range(3000))
        wire = self.slow_client()
        tracemalloc.start()
        self.server.dataReceived(b"c FETCH 1:* (FLAGS UID INTERNALDATE RFC822.SIZE)\r\n" * 300)
        for _ in range(100):
            self.clock.advance(0)
        held = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        self.assertLess(held, 2 * 1024 * 1024)
        self.assertLess(wire.most, 512 * 1024)
        self.assertEqual(self.store.calls.count("fetch"), 2)
        self.server.connectionLost(None)

    def test_one_large_answer(self) -> None:
        content = message(b"big") + b"0123456789abcde\r\n" * (8 * 65536)
        wire = self.slow_client()
        self.server.dataReceived(b"c APPEND INBOX {%d+}\r\n%b\r\n" % (len(content), content))
        self.clock.advance(0)
        wire.take()
        self.server.dataReceived(b"d FETCH 1 BODY.PEEK[]\r\n")
        taken = b""
        while not taken.endswith(b"d OK FETCH completed\r\n"):
            self.clock.advance(0)
            taken += wire.take()
        self.assertIn(content, taken)
        self.assertLess(wire.most, 512 * 1024)

    def test_client_that_never_reads_is_cut_off(self) -> None:
        self.fill(b"m%d" % number for number in range(3000))
        wire = self.slow_client()
        self.server.dataReceived(b"c FETCH 1:* (ENVELOPE BODYSTRUCTURE)\r\n")
        self.clock.advance(299)
        self.assertFalse(wire.aborted)
        self.clock.advance(2)
        self.assertTrue(wire.aborted)
        self.server.connectionLost(None)
        self.assertEqual(self.store.sessions, {})
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_client_that_leaves_in_the_middle(self) -> None:
        self.fill(b"m%d" % number for number in range(3000))
        self.slow_client()
        self.server.dataReceived(b"c FETCH 1:* (ENVELOPE BODYSTRUCTURE)\r\n")
        self.server.connectionLost(None)
        self.assertEqual(self.store.sessions, {})
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_long_answer_gives_others_their_turn(self) -> None:
        self.fill(b"m%d" % number for number in range(20_000))
        client = self.logged_in()
        client.select()
        client.server.dataReceived(b"c FETCH 1:* (FLAGS UID INTERNALDATE RFC822.SIZE)\r\n")
        first = len(client.transport.value())
        self.assertLess(first, 600 * 1024)
        self.assertGreater(len(client.raw()), 2 * first)


class StopTests(ImapTestCase):
    def test_everyone_hears_goodbye(self) -> None:
        idle, fresh, reader = self.logged_in(), self.connect(), self.logged_in()
        idle.say(b"IDLE")
        reader.select()
        stopped = self.factory.shut_down()
        for client in (idle, fresh, reader):
            self.assertEqual(client.heard(), [b"* BYE [UNAVAILABLE] The server is going down"])
            self.assertTrue(client.closed)
            self.assertNoResult(stopped)
            client.lose()
        self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_running_command_may_finish(self) -> None:
        client = self.logged_in()
        self.store.hold()
        client.send(b"a APPEND INBOX {1+}\r\nx\r\n")
        self.factory.shut_down()
        self.assertEqual(client.heard(), [])
        self.store.release()
        self.assertEqual(
            client.heard(),
            [
                b"a OK [APPENDUID 1001 1] APPEND completed",
                b"* BYE [UNAVAILABLE] The server is going down",
            ],
        )

    def test_but_not_for_ever(self) -> None:
        client = self.logged_in()
        self.store.hold()
        client.send(b"a SELECT INBOX\r\n")
        self.factory.shut_down()
        self.clock.advance(11)
        self.assertTrue(client.transport.aborted)

    def test_nobody_there(self) -> None:
        self.successResultOf(self.factory.shut_down())


class SeamTests(ImapTestCase):
    def test_interfaces(self) -> None:
        client = self.connect()
        verifyObject(IListener, client.server.session)
        verifyObject(IPushProducer, client.server.output)
        verifyObject(IStore, FakeStore())
        self.assertTrue(client.transport.nodelay)

    def test_capabilities_as_imap4server_has_them(self) -> None:
        client = self.connect()
        self.assertEqual(client.server.capabilities()[b"AUTH"], [b"PLAIN", b"SCRAM-SHA-256"])
        self.assertIsNone(client.server.capabilities()[b"LITERAL+"])
        self.assertEqual(client.server.listCapabilities()[0], b"IMAP4rev1")

    def test_every_command_with_a_capability_is_advertised(self) -> None:
        known = self.logged_in().say(b"CAPABILITY")[0].split(b" ")
        for command in TABLE.commands.values():
            for capability in command.capability:
                self.assertIn(capability.encode(), known)

    def test_what_this_release_promises(self) -> None:
        client = self.logged_in()
        known = client.say(b"CAPABILITY")[0].decode().split(" ")[2:]
        promised = (
            "IMAP4rev1 NAMESPACE IDLE UIDPLUS MOVE UNSELECT ID ENABLE CONDSTORE SPECIAL-USE "
            "CREATE-SPECIAL-USE CHILDREN LIST-EXTENDED LIST-STATUS ESEARCH QUOTA "
            "QUOTA=RES-STORAGE APPENDLIMIT=52428800 STATUS=SIZE LITERAL+"
        )
        self.assertEqual(set(known), set(promised.split()))
        self.assertEqual(len(known), len(set(known)))
