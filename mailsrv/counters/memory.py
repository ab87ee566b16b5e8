"""Counters of one process."""

from collections import OrderedDict
from hashlib import blake2b

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from mailsrv.counters.interfaces import ICounters

REMEMBERED = 50_000
"""Counters that are kept, some 15 MiB; above that those go that were not added to for longest."""


def digest(key: str) -> bytes:
    """Under which a counter is kept: short, and not readable at a glance.

    No secret goes into it, so whoever reads the counters can test a guess at a key.
    """
    return blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16, person=b"mailsrv").digest()


@attrs.define
class _Counter:
    count: int
    ends: float


@implementer(ICounters)
class MemoryCounters:
    """Answers at once."""

    def __init__(self, clock: IReactorTime, remembered: int = REMEMBERED) -> None:
        self._clock = clock
        self._remembered = remembered
        self._counters: OrderedDict[bytes, _Counter] = OrderedDict()

    def add(self, key: str, amount: int, seconds: int, renew: bool = False) -> Deferred[int]:
        name, now = digest(key), self._clock.seconds()
        counter = self._counters.pop(name, None)
        if counter is None or counter.ends <= now:
            counter = _Counter(0, now + seconds)
        elif renew:
            counter.ends = now + seconds
        counter.count += amount
        self._counters[name] = counter
        if len(self._counters) > self._remembered:
            self._counters.popitem(last=False)
        return succeed(counter.count)

    def read(self, key: str) -> Deferred[int]:
        counter = self._counters.get(digest(key))
        if counter is None or counter.ends <= self._clock.seconds():
            return succeed(0)
        return succeed(counter.count)

    def clear(self, key: str) -> Deferred[None]:
        self._counters.pop(digest(key), None)
        return succeed(None)

    def close(self) -> Deferred[None]:
        return succeed(None)
