"""The gate before a mailbox: who is inside is waited for, who comes waits, nobody for ever."""

import threading
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailsrv.errors import Elsewhere, Unavailable
from mailsrv.store.gate import Gate


class Time(Clock):
    def callFromThread(self, call: Any, *given: Any) -> None:
        self.callLater(0, call, *given)


class TestGate(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Time()
        self.gate = Gate(self.clock, 60.0)

    def come(self, alias: str = "a") -> Deferred[None]:
        return Deferred.fromCoroutine(self.gate.enter(alias))

    def test_open_it_delays_nobody(self) -> None:
        self.successResultOf(self.come())
        self.gate.leave("a")
        self.assertEqual(self.gate._inside, {})

    def test_shut_it_waits_for_who_is_inside_and_keeps_others_out(self) -> None:
        self.successResultOf(self.come())
        self.successResultOf(self.come())
        empty = self.gate.shut("a")
        late, other = self.come(), self.come("b")
        self.gate.leave("a")
        self.clock.advance(0)
        self.assertNoResult(empty)
        thread = threading.Thread(target=self.gate.leave, args=("a",))
        thread.start()
        thread.join()
        self.clock.advance(0)
        self.successResultOf(empty)
        self.assertNoResult(late)
        self.successResultOf(other)
        self.assertFalse(self.gate.try_enter("a"))
        self.gate.open("a")
        self.successResultOf(late)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_it_is_empty_at_once_where_nobody_is_inside(self) -> None:
        self.successResultOf(self.gate.shut("a"))

    def test_who_waits_is_sent_to_the_other_primary(self) -> None:
        self.gate.shut("a")
        waits = self.come()
        self.gate.open("a", "b")
        self.assertEqual(self.failureResultOf(waits, Elsewhere).value.primary, "b")
        self.successResultOf(self.come())

    def test_nobody_waits_for_ever(self) -> None:
        self.gate.shut("a")
        early = self.come()
        self.clock.advance(30)
        late = self.come()
        self.clock.advance(30)
        self.failureResultOf(early, Unavailable)
        self.assertNoResult(late)
        self.gate.open("a")
        self.successResultOf(late)

    def test_who_gives_up_is_forgotten(self) -> None:
        self.gate.shut("a")
        waits = self.come()
        waits.cancel()
        self.failureResultOf(waits, CancelledError)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.gate.open("a")
        self.assertEqual(self.gate._inside, {})

    def test_a_stop_sends_all_away_and_lets_nobody_in(self) -> None:
        self.gate.shut("a")
        waits = self.come()
        self.gate.close()
        self.failureResultOf(waits, Unavailable)
        self.failureResultOf(self.come(), Unavailable)
        self.assertTrue(self.gate.is_shut("a"))

    def test_shut_again_before_who_waited_came_in(self) -> None:
        self.gate.shut("a")
        first, second = self.come(), self.come()
        first.addCallback(lambda _: self.gate.leave("a"))
        first.addCallback(lambda _: self.gate.shut("a"))
        self.gate.open("a")
        self.successResultOf(first)
        self.assertNoResult(second)
        self.gate.open("a")
        self.successResultOf(second)
