"""What one network address may do at all its connections together.

Failed logins make every further failure slower: those of one network, and more gently those at one
account, which may be guessed at from many. A right password is never delayed, so nobody can lock an
owner out by guessing from elsewhere. Failures are counted where ``ICounters`` keeps them, for all
processes and machines together when that is Redis; connections are counted by each process alone.
"""

import unicodedata
from collections import Counter

from twisted.internet.defer import Deferred

from mailsrv.counters.interfaces import ICounters
from mailsrv.networks import network_of

FORGET_AFTER = 15 * 60
LONGEST_DELAY = 15.0
ACCOUNT_FAILURES = 10
"""Failures at one account, from anywhere, that slow nobody down: an owner and his old telephone."""


def account_of(text: str) -> str:
    """One name for the many spellings of an address: only ever too coarse, never refused.

    The directory alone knows which spellings are one account; a guesser must not get a fresh count
    for each of them.
    """
    plain = unicodedata.normalize("NFKC", text).casefold()
    local, _, domain = plain.rpartition("@")
    return f"{local.translate(_QUOTING)}@{domain.encode('ascii', 'ignore').decode().strip('. ')}"


_QUOTING = dict.fromkeys(map(ord, '"\\ '))


class Addresses:
    """Connections in this process, and failed logins, by address."""

    def __init__(self, counters: ICounters, connections: int, per_address: int) -> None:
        self._counters = counters
        self._connections = connections
        self._per_address = per_address
        self._open: Counter[str] = Counter()

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

    def failed(self, host: str, account: str) -> Deferred[float]:
        """Note a failed login; answers the seconds to wait before saying so: 2, 4, 8, 15.

        ``account`` is what the client called itself, empty if it did not come to that.
        """
        return Deferred.fromCoroutine(self._failed(host, account))

    async def _failed(self, host: str, account: str) -> float:
        counting = self._count(_network(host))
        beyond = 0
        if account:
            beyond = await self._count(f"login account {account_of(account)}") - ACCOUNT_FAILURES
        return min(LONGEST_DELAY, 2.0 ** min(max(await counting, beyond), 10))

    def _count(self, key: str) -> Deferred[int]:
        return self._counters.add(key, 1, FORGET_AFTER, renew=True)

    def succeeded(self, host: str) -> None:
        """A login worked: this address is no guesser. Nobody waits for that to be noted.

        What failed at the account stays: its owner, whose right passwords are never delayed, must
        not give those who guess at it a fresh count each time he looks for mail.
        """
        self._counters.clear(_network(host))


def _network(host: str) -> str:
    return f"login network {network_of(host)}"
