"""Long bodies in pieces: credits, budget, order."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailsrv.errors import InvalidInput
from mailsrv.link.wire.frames import Begin, Cancel, Chunk, decode_frame
from mailsrv.link.wire.limits import CHUNK, FIRST_CREDIT, KIB, MIB
from mailsrv.link.wire.outbox import Outbox
from mailsrv.link.wire.streams import Budget, Incoming, Outgoing, Reservation


class BudgetTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.budget = Budget(10 * MIB)
        self.granted: list[str] = []

    def reserve(self, name: str, octets: int) -> Reservation:
        return self.budget.reserve(octets, lambda: self.granted.append(name))

    def test_first_come_first_served(self) -> None:
        first = self.reserve("first", 8 * MIB)
        big = self.reserve("big", 9 * MIB)
        small = self.reserve("small", 2 * MIB)
        self.assertEqual(self.granted, ["first"])
        first.give_back()
        self.assertEqual(self.granted, ["first", "big"])
        big.give_back()
        self.assertEqual(self.granted, ["first", "big", "small"])
        small.give_back()
        self.assertEqual(self.budget.used, 0)

    def test_who_gives_up_lets_others_in(self) -> None:
        first = self.reserve("first", 8 * MIB)
        big = self.reserve("big", 9 * MIB)
        small = self.reserve("small", MIB)
        big.give_back()
        self.assertEqual(self.granted, ["first", "small"])
        for one in (first, small, first, big):
            one.give_back()
        self.assertEqual(self.budget.used, 0)

    def test_one_is_always_let_in(self) -> None:
        giant = self.reserve("giant", 100 * MIB)
        self.assertEqual(self.granted, ["giant"])
        giant.give_back()
        self.assertEqual(self.budget.used, 0)

    @settings(max_examples=100, deadline=None)
    @given(st.lists(st.tuples(st.integers(1, 12 * MIB), st.integers(0, 5)), max_size=30))
    def test_everybody_gets_a_turn(self, steps: list[tuple[int, int]]) -> None:
        budget, granted, live = Budget(10 * MIB), set(), []
        for number, (octets, back) in enumerate(steps):
            live.append(budget.reserve(octets, lambda number=number: granted.add(number)))
            if back < len(live):
                live.pop(back).give_back()
        while live:
            self.assertTrue(any(not one.waits for one in live))
            live.pop(next(n for n, one in enumerate(live) if not one.waits)).give_back()
        self.assertEqual(budget.used, 0)


class IncomingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.credits: list[int] = []
        self.budget = Budget(MIB)

    def incoming(self, size: int) -> Incoming:
        return Incoming(size, self.budget, self.credits.append)

    def test_all_of_it(self) -> None:
        body = bytes(range(256)) * 4 * KIB
        outgoing, incoming = Outgoing((1, False), body), self.incoming(len(body))
        outgoing.allow(sum(self.credits))
        while outgoing.ready:
            incoming.add(outgoing.next_chunk().data)
        self.assertEqual(outgoing.unsent, 0)
        self.assertTrue(incoming.complete)
        self.assertEqual(incoming.take(), body)

    def test_without_credit_nothing_more(self) -> None:
        blocker = self.incoming(MIB)
        outgoing, incoming = Outgoing((1, False), bytes(MIB)), self.incoming(MIB)
        self.assertEqual(self.credits, [MIB - FIRST_CREDIT])
        sent = 0
        while outgoing.ready:
            chunk = outgoing.next_chunk()
            incoming.add(chunk.data)
            sent += len(chunk.data)
        self.assertEqual(sent, FIRST_CREDIT)
        with self.assertRaises(InvalidInput):
            incoming.add(b"x")
        blocker.close()
        self.assertEqual(self.credits, [MIB - FIRST_CREDIT] * 2)

    def test_more_than_announced(self) -> None:
        incoming = self.incoming(10)
        with self.assertRaises(InvalidInput):
            incoming.add(b"x" * 11)
        with self.assertRaises(InvalidInput):
            self.incoming(10).add(b"")

    def test_closed_it_counts_and_keeps_nothing(self) -> None:
        incoming = self.incoming(2 * CHUNK)
        incoming.add(bytes(CHUNK))
        incoming.close()
        self.assertEqual(self.budget.used, 0)
        incoming.add(bytes(CHUNK))
        self.assertTrue(incoming.complete)
        self.assertEqual(incoming.take(), b"")


class OutboxTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.sent: list[bytes] = []
        self.overflows = 0
        self.outbox = Outbox(self.sent.append, MIB, self.overflow)

    def overflow(self) -> None:
        self.overflows += 1

    def stream(self, number: int, size: int = FIRST_CREDIT) -> None:
        begin = Begin(id=number, answer=False, size=size, head=b"")
        self.outbox.stream(begin, Outgoing((number, False), bytes(size)))

    def frames(self) -> list[tuple[str, int]]:
        decoded = [decode_frame(data) for data in self.sent]
        return [(type(one).__name__, getattr(one, "id", 0)) for one in decoded]

    def test_small_frames_go_first_and_bodies_take_turns(self) -> None:
        self.outbox.pause()
        self.stream(1)
        self.stream(2)
        self.outbox.push(Cancel(id=3))
        self.assertEqual(self.sent, [])
        self.outbox.resume()
        expected = [("Begin", 1), ("Begin", 2), ("Cancel", 3)]
        self.assertEqual(self.frames(), expected + [("Chunk", 1), ("Chunk", 2)] * 4)

    def test_paused_in_the_middle(self) -> None:
        real = self.sent.append

        def send(data: bytes) -> None:
            real(data)
            if isinstance(decode_frame(data), Chunk):
                self.outbox.pause()

        self.outbox = Outbox(send, MIB, self.overflow)
        self.stream(1)
        self.outbox.push(Cancel(id=2))
        self.assertEqual(self.frames(), [("Begin", 1), ("Chunk", 1)])
        self.outbox.resume()
        self.assertEqual(self.frames()[2:], [("Cancel", 2), ("Chunk", 1)])

    def test_dropped(self) -> None:
        self.outbox.pause()
        self.stream(1)
        self.stream(2)
        self.assertTrue(self.outbox.drop((1, False)))
        self.assertFalse(self.outbox.drop((1, False)))
        self.outbox.resume()
        self.assertNotIn(("Chunk", 1), self.frames())
        self.assertEqual(self.frames().count(("Chunk", 2)), 4)

    def test_credit(self) -> None:
        self.stream(1, MIB)
        self.assertEqual(self.frames().count(("Chunk", 1)), FIRST_CREDIT // CHUNK)
        self.assertTrue(self.outbox.allow((1, False), MIB))
        self.assertEqual(self.frames().count(("Chunk", 1)), MIB // CHUNK)
        self.assertFalse(self.outbox.allow((1, False), MIB))

    def test_too_much_waits(self) -> None:
        self.outbox.pause()
        for number in range(300_000):
            self.outbox.push(Cancel(id=number))
        self.assertEqual(self.overflows, 1)
        self.assertEqual(self.outbox.queued, 0)

    def test_drained(self) -> None:
        self.assertTrue(self.outbox.drained().called)
        self.outbox.pause()
        waiting = self.outbox.drained()
        self.assertFalse(waiting.called)
        self.outbox.resume()
        self.assertTrue(waiting.called)

    def test_drained_when_asked_in_the_middle_of_sending(self) -> None:
        waiting: list[Any] = []

        def send(_: bytes) -> None:
            if not waiting:
                self.outbox.push(Cancel(id=2))
                waiting.append(self.outbox.drained())

        self.outbox = Outbox(send, MIB, self.overflow)
        self.outbox.push(Cancel(id=1))
        self.assertTrue(waiting[0].called)

    def test_the_last_word(self) -> None:
        self.outbox.pause()
        self.outbox.push(Cancel(id=1))
        self.outbox.last(Cancel(id=2))
        self.outbox.push(Cancel(id=3))
        self.outbox.resume()
        self.assertEqual(self.frames(), [("Cancel", 2)])
