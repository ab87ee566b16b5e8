"""A link that is kept up, and requests that are asked again until they are answered."""

from itertools import pairwise
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from mailsrv.errors import KeyGone, NoSuchFolder, Unavailable
from mailsrv.link.mailbox_operations import (
    Folders,
    Poll,
    Subscriptions,
)
from mailsrv.link.operations import (
    Logout,
)
from mailsrv.link.secondary.line import Ask, Line
from mailsrv.link.secondary.primary_link import AWAY, STOPPED, ClientLimits
from mailsrv.settings import Link
from tests.link.fakes import FakePrimary, Outcome


class Owner:
    """Has no sessions; counts what it is asked."""

    def __init__(self) -> None:
        self.resuming: Deferred[None] | None = None
        self.resumes = 0
        self.ups = 0

    def resume(self, _link: Any, _line: Line) -> Deferred[None]:
        self.resumes += 1
        return self.resuming or succeed(None)

    def resumed(self, _link: Any) -> None:
        self.ups += 1


def _noting(begin: str, said: list[str]) -> ILogObserver:
    def note(event: LogEvent) -> None:
        if (text := formatEvent(event)).startswith(begin):
            said.append(text)

    return note


class ClientCase(SynchronousTestCase):
    limits = ClientLimits()

    def setUp(self) -> None:
        self.clock = Clock()
        self.primary = FakePrimary(self.clock, limits=self.limits)
        self.link = self.primary.link
        self.link.owner = self.owner = Owner()  # type: ignore[assignment]

    def ask(self, operation: Any = None, **more: Any) -> Outcome:
        return Outcome(self.link.ask(lambda _: Ask(operation or Folders()), **more))

    def names(self) -> list[str]:
        return [call.operation.name for call in self.primary.peer.calls]

    def unavailable(self, outcome: Outcome, text: str = AWAY) -> None:
        (error,) = outcome.errors
        self.assertIsInstance(error, Unavailable)
        self.assertEqual(str(error), text)


class TestAsking(ClientCase):
    def test_asks_and_answers(self) -> None:
        self.link.start()
        self.assertTrue(self.link.up)
        one, two = self.ask(), self.ask(Poll())
        self.primary.peer.calls[1].answer.callback(3)
        self.primary.peer.calls[0].answer.errback(NoSuchFolder("none"))
        self.assertEqual(two.results, [3])
        self.assertIsInstance(one.errors[0], NoSuchFolder)
        self.assertEqual(self.link.unanswered, 0)

    def test_an_answer_has_a_time_limit(self) -> None:
        self.link.start()
        self.ask()
        (call,) = self.primary.peer.calls
        self.assertEqual(call.timeout, self.limits.answer_seconds)

    def test_waits_for_the_first_connection(self) -> None:
        self.primary.reachable = False
        outcome = self.ask()
        self.link.start()
        self.clock.pump([1.0] * 5)
        self.primary.reachable = True
        self.clock.advance(5)
        self.primary.peer.calls[0].answer.callback([])
        self.assertEqual(outcome.results, [[]])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_what_has_no_answer_is_sent_again_in_order(self) -> None:
        self.link.start()
        outcomes = [self.ask(one) for one in (Folders(), Poll(), Subscriptions())]
        self.primary.peer.calls[1].answer.callback(0)
        self.primary.lose()
        self.assertFalse(self.link.up)
        outcomes.append(self.ask(Logout()))
        self.clock.advance(0.1)
        self.assertEqual(self.names(), ["folders", "subscriptions", "logout"])
        for call in self.primary.peer.calls:
            call.answer.callback("done")
        self.assertEqual([one.results for one in outcomes], [["done"], [0], ["done"], ["done"]])

    def test_each_connection_gets_a_call_of_its_own(self) -> None:
        lines: list[Line] = []

        def compose(line: Line) -> Ask:
            lines.append(line)
            return Ask(Folders())

        self.link.start()
        Outcome(self.link.ask(compose))
        self.primary.lose()
        self.clock.advance(0.1)
        first, second = lines
        self.assertNotEqual(first.sealer.nonce, second.sealer.nonce)

    def test_nothing_is_sent_before_the_owner_has_entered_again(self) -> None:
        self.link.start()
        self.ask()
        self.primary.lose()
        self.owner.resuming = Deferred()
        self.clock.advance(0.1)
        self.assertEqual((self.names(), self.link.up), ([], False))
        self.ask(Poll())
        self.owner.resuming.callback(None)
        self.assertEqual(self.names(), ["folders", "poll"])
        self.assertEqual((self.owner.resumes, self.owner.ups), (2, 2))

    def test_cancelled_it_is_asked_no_more(self) -> None:
        self.link.start()
        one, two = self.ask(), self.ask(Poll())
        one.deferred.cancel()
        self.assertTrue(self.primary.peer.calls[0].cancelled)
        self.primary.lose()
        self.clock.advance(0.1)
        self.assertEqual(self.names(), ["poll"])
        two.deferred.cancel()
        self.assertIsInstance(two.errors[0], CancelledError)
        self.assertEqual(self.link.unanswered, 0)

    def test_what_cannot_be_composed_fails_alone(self) -> None:
        def gone(_: Line) -> Ask:
            raise KeyGone("logged out")

        self.link.start()
        one, two = Outcome(self.link.ask(gone)), self.ask()
        self.assertIsInstance(one.errors[0], KeyGone)
        self.assertTrue(two.open)

    def test_an_accident_in_composing_is_unavailable(self) -> None:
        self.link.start()
        self.unavailable(Outcome(self.link.ask(lambda _: 1 / 0)))  # type: ignore[arg-type]

    def test_thousands_are_sent_again_in_turns_and_in_order(self) -> None:
        self.link.start()
        for _ in range(200):
            self.ask()
        self.primary.lose()
        turns: list[int] = []
        later = self.clock.callLater

        def call_later(delay: float, *call: Any) -> Any:
            if delay == 0:
                turns.append(len(self.primary.peer.calls))
                if len(turns) == 1:
                    self.ask(Poll())
            return later(delay, *call)

        self.clock.callLater = call_later  # type: ignore[method-assign]
        self.clock.advance(0.1)
        self.assertEqual(turns, [64, 128, 192])
        self.assertEqual(self.names(), ["folders"] * 200 + ["poll"])

    def test_a_loss_between_turns_sends_each_once_more(self) -> None:
        self.link.start()
        for _ in range(100):
            self.ask()
        self.primary.lose()
        later = self.clock.callLater
        self.clock.callLater = lambda *_: later(9, self.primary.lose)  # type: ignore[method-assign]
        self.clock.advance(0.1)
        self.assertEqual(len(self.primary.peer.calls), 64)
        self.clock.callLater = later  # type: ignore[method-assign]
        self.clock.advance(9)
        self.clock.advance(1)
        self.assertEqual(len(self.primary.peer.calls), 100)


class TestPatience(ClientCase):
    def test_without_a_link_it_ends(self) -> None:
        self.primary.reachable = False
        self.link.start()
        outcome = self.ask()
        self.clock.pump([1.0] * 29)
        self.assertTrue(outcome.open)
        self.clock.pump([1.0] * 2)
        self.unavailable(outcome)
        self.assertEqual(self.link.unanswered, 0)

    def test_what_is_configured_outlasts_a_restart_of_half_a_minute(self) -> None:
        """Whenever in the pauses the primary comes back, and if entering again takes seconds."""
        for late in range(20):
            limits = ClientLimits(patience=Link().patience_seconds)
            primary = FakePrimary(self.clock, limits=limits)
            primary.link.owner = owner = Owner()  # type: ignore[assignment]
            primary.link.start()
            primary.reachable = False
            primary.lose()
            outcome = Outcome(primary.link.ask(lambda _: Ask(Folders())))
            self.clock.pump([0.1] * (281 + late))
            primary.reachable, owner.resuming = True, Deferred()
            self.clock.pump([0.1] * 21)
            self.assertEqual(len(primary.connections), 2)
            self.clock.pump([0.1] * 20)
            owner.resuming.callback(None)
            self.assertTrue(outcome.open)
            self.assertTrue(primary.link.up)
            self.assertEqual(len(primary.peer.calls), 1)

    def test_it_counts_from_the_loss_not_from_the_request(self) -> None:
        self.link.start()
        outcome = self.ask()
        self.clock.advance(100)
        self.primary.reachable = False
        self.primary.lose()
        self.clock.pump([1.0] * 29)
        self.assertTrue(outcome.open)
        self.clock.pump([1.0] * 2)
        self.unavailable(outcome)

    def test_attempts_do_not_begin_it_anew(self) -> None:
        self.link.start()
        outcome = self.ask()
        self.owner.resuming = Deferred()
        self.primary.lose()
        for _ in range(6):  # every connection ends before it is of use
            self.clock.advance(5)
            self.owner.resuming = Deferred()
            self.primary.lose()
        self.clock.advance(1)
        self.unavailable(outcome)

    def test_time_without_a_link_adds_up(self) -> None:
        self.link.start()
        outcome = self.ask()
        for _ in range(2):
            self.primary.reachable = False
            self.primary.lose()
            self.clock.advance(9)
            self.primary.reachable = True
            self.clock.advance(0)
            self.clock.advance(5)
            self.assertTrue(self.link.up)
            self.clock.advance(60)
        self.assertTrue(outcome.open)
        self.primary.reachable = False
        self.primary.lose()
        self.clock.advance(3)
        self.unavailable(outcome)

    def test_while_linked_it_may_take_minutes(self) -> None:
        self.link.start()
        outcome = self.ask()
        self.clock.advance(500)
        self.assertTrue(outcome.open)


class TestConnecting(ClientCase):
    def test_the_pauses_grow_and_have_a_limit(self) -> None:
        self.primary.reachable = False
        self.link.start()
        for _ in range(3000):
            self.clock.advance(0.01)
        times = self.primary.attempts
        pauses = [round(b - a, 1) for a, b in pairwise(times)]
        self.assertEqual(pauses[:7], [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0])
        self.assertEqual(set(pauses[6:]), {2.0})

    def test_why_there_is_no_link_is_said_once(self) -> None:
        said: list[str] = []
        self.addCleanup(globalLogPublisher.removeObserver, note := _noting("No link", said))
        globalLogPublisher.addObserver(note)
        self.primary.reachable = False
        self.link.start()
        self.clock.pump([1.0] * 20)
        self.assertGreater(len(self.primary.attempts), 5)
        self.assertEqual(said, ["No link to primary: ConnectionRefusedError"])
        self.primary.reachable = True
        self.clock.pump([1.0] * 5)
        self.assertTrue(self.link.up)
        self.primary.reachable = False
        self.primary.lose()
        self.clock.pump([1.0] * 20)
        self.assertEqual(len(said), 2)

    def test_the_pauses_differ_between_front_ends(self) -> None:
        primary = FakePrimary(self.clock)
        primary.link._random = lambda: 0.0
        primary.reachable = False
        primary.link.start()
        self.clock.advance(0.05)
        self.assertEqual(primary.attempts, [0.0, 0.05])

    def test_a_connection_that_settled_begins_them_anew(self) -> None:
        self.link.start()
        for _ in range(4):
            self.primary.lose()
            self.clock.advance(5)
        last = len(self.primary.attempts)
        self.clock.advance(10)
        self.primary.lose()
        self.clock.advance(0.1)
        self.assertEqual(len(self.primary.attempts), last + 1)

    def test_one_that_never_settles_does_not(self) -> None:
        self.link.start()
        for _ in range(1000):
            if self.link.up:
                self.primary.lose()
            self.clock.advance(0.01)
        self.assertLessEqual(len(self.primary.attempts), 9)

    def test_an_attempt_has_a_time_limit(self) -> None:
        endless: list[Deferred[Any]] = []

        def connect(_: Any) -> Deferred[Any]:
            endless.append(Deferred())
            return endless[-1]

        self.link._connect = connect
        self.link.start()
        self.clock.advance(10)
        self.clock.advance(0.1)
        self.assertEqual(len(endless), 2)

    def test_so_has_entering_again(self) -> None:
        self.owner.resuming = Deferred()
        self.link.start()
        self.clock.advance(30)
        self.assertTrue(self.primary.connections[0].closed.called)
        self.owner.resuming = None
        self.clock.advance(0.1)
        self.assertTrue(self.link.up)

    def test_entering_that_fails_is_tried_again(self) -> None:
        self.owner.resuming = Deferred()
        self.link.start()
        self.owner.resuming.errback(Unavailable("not yet"))
        self.assertTrue(self.primary.connections[0].closed.called)
        self.owner.resuming = None
        self.clock.advance(0.1)
        self.assertTrue(self.link.up)

    def test_a_primary_of_another_name_is_not_used(self) -> None:
        self.primary.name = "other"
        self.link.start()
        self.assertFalse(self.link.up)
        self.assertTrue(self.primary.connections[0].closed.called)


class TestLimits(ClientCase):
    limits = ClientLimits(requests=3, octets=100)

    def test_more_requests_are_refused(self) -> None:
        for _ in range(3):
            self.ask()
        self.unavailable(self.ask(), "too much waits for the mailbox server: try again")

    def test_more_octets_are_refused_but_one_always_goes(self) -> None:
        first = self.ask(size=1000)
        refused = self.ask(size=1)
        self.assertTrue(first.open)
        self.assertIsInstance(refused.errors[0], Unavailable)
        first.deferred.cancel()
        self.assertTrue(self.ask(size=60).open)
        self.assertTrue(self.ask(size=40).open)
        self.assertFalse(self.ask(size=1).open)


class TestStop(ClientCase):
    def test_what_waits_fails_and_goodbye_is_said(self) -> None:
        self.link.start()
        sent = self.ask()
        stopped = Outcome(self.link.stop())
        self.assertEqual(stopped.results, [None])
        self.unavailable(sent, STOPPED)
        self.unavailable(self.ask(), STOPPED)
        self.assertEqual(self.primary.connections[0].said, STOPPED)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_while_it_is_away(self) -> None:
        self.primary.reachable = False
        self.link.start()
        waiting = self.ask()
        self.assertEqual(Outcome(self.link.stop()).results, [None])
        self.unavailable(waiting, STOPPED)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_while_entering_again(self) -> None:
        self.owner.resuming = Deferred()
        self.link.start()
        self.assertEqual(Outcome(self.link.stop()).results, [None])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_while_connecting(self) -> None:
        opening: Deferred[Any] = Deferred()
        self.link._connect = lambda _: opening
        self.link.start()
        self.assertEqual(Outcome(self.link.stop()).results, [None])
        self.assertEqual(self.clock.getDelayedCalls(), [])
