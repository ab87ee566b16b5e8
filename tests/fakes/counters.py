"""Counters that answer when the test says so."""

from twisted.internet.defer import Deferred
from zope.interface import implementer

from mailsrv.counters.interfaces import ICounters


@implementer(ICounters)
class SlowCounters:
    """``asked`` holds an unanswered Deferred for each request, by what it asks."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Deferred]] = []

    def _ask(self, what: str) -> Deferred:
        answer: Deferred = Deferred()
        self.asked.append((what, answer))
        return answer

    def answer(self, count: int) -> None:
        """Give everybody who waits this number."""
        asked, self.asked = self.asked, []
        for _, answer in asked:
            answer.callback(count)

    def add(self, key: str, amount: int, seconds: int, renew: bool = False) -> Deferred[int]:
        return self._ask(f"add {key}")

    def read(self, key: str) -> Deferred[int]:
        return self._ask(f"read {key}")

    def clear(self, key: str) -> Deferred[None]:
        return self._ask(f"clear {key}")

    def close(self) -> Deferred[None]:
        return self._ask("close")
