"""Counters of one process."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mailsrv.counters.interfaces import ICounters
from mailsrv.counters.make import make_counters
from mailsrv.counters.memory import MemoryCounters


class MemoryTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.counters = MemoryCounters(self.clock, remembered=100)

    def add(self, key: str, amount: int = 1, seconds: int = 60, renew: bool = False) -> int:
        return self.successResultOf(self.counters.add(key, amount, seconds, renew))

    def read(self, key: str) -> int:
        return self.successResultOf(self.counters.read(key))

    def test_interface(self) -> None:
        verifyObject(ICounters, self.counters)
        self.assertIsNone(self.successResultOf(self.counters.close()))

    def test_a_window_begins_with_the_first_addition(self) -> None:
        self.assertEqual([self.add("a"), self.add("a", 5), self.add("b")], [1, 6, 1])
        self.clock.advance(59)
        self.assertEqual([self.read("a"), self.add("a")], [6, 7])
        self.clock.advance(1)
        self.assertEqual([self.read("a"), self.add("a")], [0, 1])

    def test_a_renewed_window_begins_with_each_addition(self) -> None:
        for expected in (1, 2, 3):
            self.assertEqual(self.add("a", renew=True), expected)
            self.clock.advance(59)
        self.clock.advance(1)
        self.assertEqual(self.read("a"), 0)

    def test_clear(self) -> None:
        self.add("a")
        self.successResultOf(self.counters.clear("a"))
        self.successResultOf(self.counters.clear("never there"))
        self.assertEqual([self.read("a"), self.add("a")], [0, 1])

    def test_memory_is_bounded_and_what_is_used_stays(self) -> None:
        self.add("kept")
        for number in range(1000):
            self.add(f"key {number}")
            if number % 50 == 0:
                self.add("kept")
        self.assertEqual([self.add("key 999"), self.add("key 0"), self.add("kept")], [2, 1, 22])

    def test_keys_are_kept_by_nobody(self) -> None:
        self.add("login account alice@example.com")
        self.add("\udcff" * 100_000)
        self.assertNotIn("alice", repr(vars(self.counters)))

    def test_no_url_means_memory(self) -> None:
        self.assertIsInstance(make_counters("", self.clock), MemoryCounters)
