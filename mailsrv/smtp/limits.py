"""Limits on clients: how many connections there are, how often they come, how slow a message is.

Connections are counted by each process alone; rates by all that share counters.
"""

from collections import Counter

from twisted.internet.defer import Deferred, succeed

from mailsrv.counters.interfaces import ICounters
from mailsrv.networks import network_of, parse_host

MINUTE = 60


class Slots:
    """Counts connections in all and for each client."""

    def __init__(self, total: int, per_client: int) -> None:
        self._total = total
        self._per_client = per_client
        self._taken: Counter[str] = Counter()
        self._sum = 0

    @property
    def full(self) -> bool:
        """No slot is left for anybody."""
        return self._sum >= self._total

    def allows(self, key: str) -> bool:
        """Whether this client may have one more, were there one."""
        return self._taken.get(key, 0) < self._per_client

    def take(self, key: str) -> bool:
        """Take a slot, or return False when there is none."""
        if self.full or not self.allows(key):
            return False
        self._taken[key] += 1
        self._sum += 1
        return True

    def free(self, key: str) -> None:
        self._sum -= 1
        self._taken[key] -= 1
        if not self._taken[key]:
            del self._taken[key]


class Rates:
    """Tells what a client does too often. Limits are per minute, 0 for none.

    Whoever is on this machine is not limited: a gateway that hands over everybody's mail.
    """

    def __init__(self, counters: ICounters, connections: int, messages: int) -> None:
        self._counters = counters
        self._connections = connections
        self._messages = messages

    def connection(self, address: str | None) -> Deferred[bool]:
        """Note a connection; whether it is within the limit."""
        return self._within("connections", self._connections, address)

    def message(self, address: str | None) -> Deferred[bool]:
        """Note that a message begins; whether it is within the limit."""
        return self._within("messages", self._messages, address)

    def _within(self, what: str, limit: int, address: str | None) -> Deferred[bool]:
        if limit == 0 or _is_here(address):
            return succeed(True)
        counting = self._counters.add(f"mx {what} {network_of(address)}", 1, MINUTE)
        return counting.addCallback(lambda count: count <= limit)


def _is_here(address: str | None) -> bool:
    parsed = parse_host(address or "")
    if parsed is None:
        return address is None or address.startswith("/")
    return parsed.is_loopback


class Pace:
    """Tells whether a message comes too slowly; times in seconds."""

    def __init__(self, minimum_rate: float, grace: float) -> None:
        self._minimum_rate = minimum_rate
        self._grace = grace
        self._started = 0.0
        self._octets = 0

    def start(self, now: float) -> None:
        self._started = now
        self._octets = 0

    def too_slow(self, octets: int, now: float) -> bool:
        """Note that so many octets came."""
        self._octets += octets
        elapsed = now - self._started
        return elapsed > self._grace and self._octets < self._minimum_rate * elapsed
