"""What one network address may do at all its connections together.

Failed logins make every further failure slower, and connections are counted. A right password is
never delayed, so nobody can lock an owner out by guessing from elsewhere.
"""

from collections import Counter, OrderedDict
from ipaddress import ip_address

import attrs
from twisted.internet.interfaces import IReactorTime

REMEMBERED = 10_000
FORGET_AFTER = 15 * 60
LONGEST_DELAY = 15.0


def network_of(host: str) -> str:
    """The address itself, or the /64 of an IPv6 address: what one client can pick from."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if address.version == 4:
        return host
    mapped = address.ipv4_mapped
    return str(mapped) if mapped else address.packed[:8].hex()


@attrs.define
class _Failures:
    count: int
    last: float


class Addresses:
    """Connections and failed logins, by address."""

    def __init__(self, clock: IReactorTime, connections: int, per_address: int) -> None:
        self._clock = clock
        self._connections = connections
        self._per_address = per_address
        self._open: Counter[str] = Counter()
        self._failures: OrderedDict[str, _Failures] = OrderedDict()

    def enter(self, host: str) -> bool:
        """Count a new connection; False when it is one too many and was not counted."""
        network = network_of(host)
        if self._open[network] >= self._per_address or self._open.total() >= self._connections:
            return False
        self._open[network] += 1
        return True

    def leave(self, host: str) -> None:
        """A counted connection ended."""
        network = network_of(host)
        self._open[network] -= 1
        if self._open[network] <= 0:
            del self._open[network]

    def failed(self, host: str) -> float:
        """Note a failed login; answers the seconds to wait before saying so: 2, 4, 8, 15."""
        network, now = network_of(host), self._clock.seconds()
        known = self._failures.pop(network, None)
        if known is None or now - known.last > FORGET_AFTER:
            known = _Failures(0, now)
        known.count, known.last = known.count + 1, now
        self._failures[network] = known
        while len(self._failures) > REMEMBERED:
            self._failures.popitem(last=False)
        return min(LONGEST_DELAY, 2.0 ** min(known.count, 10))

    def succeeded(self, host: str) -> None:
        """A login worked: this address is no guesser."""
        self._failures.pop(network_of(host), None)
