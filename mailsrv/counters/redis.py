"""Counters that processes and machines share in Redis.

An addition is one script, so that a crash leaves no counter without an end. Each process counts
along for itself: while Redis is away its own numbers stand in, and no login or message waits longer
than ``ANSWER_SECONDS`` or fails because of it. Only digests of keys go to Redis.
"""

import random as random_
from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from txredisapi import InvalidResponse, RedisProtocol
from zope.interface import implementer

from mailsrv.counters.address import RedisAddress
from mailsrv.counters.connection import Connection
from mailsrv.counters.interfaces import ICounters
from mailsrv.counters.memory import MemoryCounters, digest

ANSWER_SECONDS = 0.5
PREFIX = "mailsrv:"

_ADD = """
local count = redis.call('INCRBY', KEYS[1], ARGV[1])
if ARGV[3] == '1' or redis.call('PTTL', KEYS[1]) < 0 then
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return count
"""
_READ = "return tonumber(redis.call('GET', KEYS[1]) or 0)"
_CLEAR = "return redis.call('DEL', KEYS[1])"


@implementer(ICounters)
class RedisCounters:
    """Connects from ``start`` on; until there is a connection it counts in the process."""

    def __init__(
        self,
        endpoint: IStreamClientEndpoint,
        address: RedisAddress,
        clock: IReactorTime,
        random: Callable[[], float] = random_.random,
    ) -> None:
        self._address = address
        self._clock = clock
        self._own = MemoryCounters(clock)
        self._connection = Connection(endpoint, str(address), self._log_in, clock, random)

    def start(self) -> None:
        """Begin to connect; once."""
        self._connection.start()

    @property
    def shared(self) -> bool:
        """Whether Redis is there now."""
        return self._connection.protocol is not None

    def add(self, key: str, amount: int, seconds: int, renew: bool = False) -> Deferred[int]:
        own = self._own.add(key, amount, seconds, renew)
        return Deferred.fromCoroutine(
            self._answer(own, _ADD, key, amount, seconds * 1000, int(renew))
        )

    def read(self, key: str) -> Deferred[int]:
        return Deferred.fromCoroutine(self._answer(self._own.read(key), _READ, key))

    async def _clear(self, key: str) -> None:
        await self._ask(_CLEAR, key)

    def clear(self, key: str) -> Deferred[None]:
        self._own.clear(key)
        return Deferred.fromCoroutine(self._clear(key))

    def close(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._connection.close())

    async def _answer(self, own: Deferred[int], script: str, key: str, *arguments: int) -> int:
        """The shared number, or the process's own."""
        shared = await self._ask(script, key, *arguments)
        return await own if shared is None else shared

    async def _ask(self, script: str, key: str, *arguments: int) -> int | None:
        protocol = self._connection.protocol
        if protocol is None:
            return None
        running = Deferred.fromCoroutine(_run(protocol, script, key, *arguments))
        try:
            return await running.addTimeout(ANSWER_SECONDS, self._clock)
        except CancelledError:
            # nobody waits for the number any more, which is not Redis's fault
            raise
        except Exception as error:  # noqa: BLE001
            self._connection.drop(protocol, error)
            return None

    async def _log_in(self, protocol: RedisProtocol) -> None:
        address = self._address
        if address.password is not None:
            await protocol.auth(address.password, address.user)
        if address.database:
            await protocol.select(address.database)
        await _run(protocol, _ADD, "proof", 1, 1000, 0)


async def _run(protocol: RedisProtocol, script: str, key: str, *arguments: int) -> int:
    answer = await protocol.eval(script, [PREFIX + digest(key).hex()], list(arguments))
    if not isinstance(answer, int):
        raise InvalidResponse("expected a number")
    return answer
