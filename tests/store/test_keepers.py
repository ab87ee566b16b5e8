"""Asking those who may have a key: all at once, the first wins, the slow ones are let be."""

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from mailsrv.errors import LinkLost
from mailsrv.store.interfaces import IKeeper
from mailsrv.store.keepers import Keepers
from mailsrv.store.values import Access

ACCESS = Access("s", "a", "a@example.com", "box", "credential", "handle")


@implementer(IKeeper)
class Keeper:
    """Answers when the test says so."""

    def __init__(self) -> None:
        self.asked: list[Deferred[Access | None]] = []
        self.cancelled = 0

    def ask(self, alias: str, mailbox: str) -> Deferred[Access | None]:
        answer: Deferred[Access | None] = Deferred(self._cancel)
        self.asked.append(answer)
        return answer

    def _cancel(self, _answer: object) -> None:
        self.cancelled += 1


@implementer(IKeeper)
class Prompt:
    """Answers at once."""

    def __init__(self, answer: Access | Exception | None) -> None:
        self._answer = answer

    def ask(self, alias: str, mailbox: str) -> Deferred[Access | None]:
        if isinstance(self._answer, Exception):
            return fail(self._answer)
        return succeed(self._answer)


class TestKeepers(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.keepers = Keepers(self.clock, 1.0)

    def add(self, *keepers: Keeper | Prompt) -> None:
        for keeper in keepers:
            verifyObject(IKeeper, keeper)
            self.keepers.add(keeper)

    def tearDown(self) -> None:
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_nobody_to_ask(self) -> None:
        self.assertIsNone(self.successResultOf(self.keepers.ask("a", "box")))

    def test_the_first_who_has_it_wins(self) -> None:
        one, two, three = Keeper(), Keeper(), Keeper()
        self.add(one, two, three)
        asked = self.keepers.ask("a", "box")
        one.asked[0].callback(None)
        self.assertNoResult(asked)
        three.asked[0].callback(ACCESS)
        self.assertEqual(self.successResultOf(asked), ACCESS)
        self.assertEqual((one.cancelled, two.cancelled), (0, 1))

    def test_nobody_has_it(self) -> None:
        one, two = Keeper(), Keeper()
        self.add(one, two)
        asked = self.keepers.ask("a", "box")
        one.asked[0].callback(None)
        two.asked[0].errback(LinkLost("gone"))
        self.assertIsNone(self.successResultOf(asked))

    def test_answers_that_come_at_once(self) -> None:
        last = Keeper()
        self.add(Prompt(None), Prompt(LinkLost("gone")), Prompt(ACCESS), last)
        self.assertEqual(self.successResultOf(self.keepers.ask("a", "box")), ACCESS)
        self.assertEqual(last.cancelled, 1)

    def test_a_broken_keeper_is_logged_and_is_no_obstacle(self) -> None:
        self.add(Prompt(ZeroDivisionError("broken")), Prompt(ACCESS))
        self.assertEqual(self.successResultOf(self.keepers.ask("a", "box")), ACCESS)

    def test_a_slow_one_is_let_be_until_it_answers(self) -> None:
        slow, quick = Keeper(), Keeper()
        self.add(slow, quick)
        asked = self.keepers.ask("a", "box")
        quick.asked[0].callback(None)
        self.clock.advance(0.9)
        self.assertNoResult(asked)
        self.clock.advance(0.1)
        self.assertIsNone(self.successResultOf(asked))
        again = self.keepers.ask("a", "box")
        quick.asked[1].callback(None)
        self.assertIsNone(self.successResultOf(again))
        self.assertEqual(len(slow.asked), 1)
        slow.asked[0].callback(ACCESS)
        self.keepers.ask("a", "box")
        self.assertEqual(len(slow.asked), 2)
        self.keepers.close()

    def test_who_is_removed_while_asked_is_not_waited_for(self) -> None:
        one, two = Keeper(), Keeper()
        self.add(one, two)
        asked, other = self.keepers.ask("a", "box"), self.keepers.ask("b", "box")
        self.keepers.remove(one)
        self.keepers.remove(one)
        self.assertNoResult(asked)
        two.asked[0].callback(ACCESS)
        self.assertEqual(self.successResultOf(asked), ACCESS)
        self.keepers.remove(two)
        self.assertIsNone(self.successResultOf(other))
        self.assertEqual((one.cancelled, two.cancelled), (2, 1))
        self.assertEqual(len(self.keepers), 0)

    def test_answers_that_come_while_it_is_removed(self) -> None:
        one = Keeper()
        self.add(one)
        asked = [self.keepers.ask("a", "box"), self.keepers.ask("b", "box")]
        for question in asked:
            question.addCallback(lambda _: [a.called or a.callback(None) for a in one.asked])
        self.keepers.remove(one)
        for question in asked:
            self.successResultOf(question)

    def test_a_slow_one_that_comes_back_begins_anew(self) -> None:
        slow = Keeper()
        self.add(slow)
        asked = self.keepers.ask("a", "box")
        self.clock.advance(1)
        self.assertIsNone(self.successResultOf(asked))
        self.keepers.remove(slow)
        self.keepers.add(slow)
        self.keepers.ask("a", "box")
        self.assertEqual(len(slow.asked), 2)
        self.keepers.close()

    def test_a_stop_waits_for_nobody(self) -> None:
        self.add(Keeper(), Keeper())
        asked = self.keepers.ask("a", "box")
        self.keepers.close()
        self.assertIsNone(self.successResultOf(asked))
