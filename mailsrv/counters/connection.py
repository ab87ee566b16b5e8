"""One connection to Redis that comes back by itself.

Of txredisapi only the protocol is used. Its pools stop for good when the connection breaks while a
password is checked (its issue 126), keep everyone waiting without limit while there is no server,
and log each try. A single connection is enough, since requests on it do not wait for each other.

The module is imported only where Redis is configured: txredisapi names the global reactor.
"""

import re
from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure
from txredisapi import RedisError, RedisProtocol

log = Logger()

OPEN_SECONDS = 2.0
"""For a connection to be made, and again for it to be proven."""
SHORTEST_PAUSE = 0.1
LONGEST_PAUSE = 5.0
STEADY_SECONDS = 10.0
"""A connection that lasted so long was a good one: after it the pauses begin anew."""

_WORD = re.compile(r"[A-Z]+\b")


class _Connections(Factory):
    noisy = False
    protocol = RedisProtocol


class Connection:
    """Keeps a connection up from ``start`` to ``close``; ``protocol`` is None while there is none.

    ``prove`` is awaited with each new connection: it logs in and makes sure that requests work, so
    that a server that takes connections and no requests counts as away. ``place`` is for the log.
    ``random`` gives numbers from 0 to 1, so that processes do not all come back at one moment.
    """

    def __init__(
        self,
        endpoint: IStreamClientEndpoint,
        place: str,
        prove: Callable[[RedisProtocol], Coroutine[Any, Any, None]],
        clock: IReactorTime,
        random: Callable[[], float],
    ) -> None:
        self.protocol: RedisProtocol | None = None
        self._endpoint = endpoint
        self._place = place
        self._prove = prove
        self._clock = clock
        self._random = random
        self._opened: RedisProtocol | None = None
        self._running: Deferred[None] | None = None
        self._away = False

    def start(self) -> None:
        """Begin to connect; once."""
        self._running = Deferred.fromCoroutine(self._keep())
        self._running.addErrback(_cancelled)

    async def close(self) -> None:
        """Hang up and do not come back; returns when the connection is gone."""
        running, self._running = self._running, None
        self.protocol = None
        if running is not None:
            running.cancel()
        opened, self._opened = self._opened, None
        if opened is not None and opened.connected:
            gone = opened.whenDisconnected()
            opened.transport.abortConnection()
            await gone

    def drop(self, protocol: RedisProtocol, error: Exception) -> None:
        """This connection failed us: go without Redis until another one is proven."""
        if self.protocol is protocol:
            self.protocol = None
            self._tell_away(_reason(error))
        protocol.transport.abortConnection()

    async def _keep(self) -> None:
        pause = SHORTEST_PAUSE
        while True:
            began = self._clock.seconds()
            try:
                await self._stay()
            except CancelledError:
                raise
            except Exception as error:  # noqa: BLE001
                self._tell_away(_reason(error))
            if self._clock.seconds() - began > STEADY_SECONDS:
                pause = SHORTEST_PAUSE
            await self._wait(pause * (0.5 + self._random() / 2))
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _stay(self) -> None:
        """From a new connection to its end."""
        connecting = self._endpoint.connect(_Connections())
        protocol: Any = await connecting.addTimeout(OPEN_SECONDS, self._clock)
        self._opened = protocol
        gone = protocol.whenDisconnected()
        proof = Deferred.fromCoroutine(self._prove(protocol))
        try:
            await proof.addTimeout(OPEN_SECONDS, self._clock)
        except Exception:
            protocol.transport.abortConnection()
            raise
        self.protocol = protocol
        if self._away:
            self._away = False
            log.info("counters: Redis at {place} is back", place=self._place)
        await gone
        self.protocol = None
        self._tell_away("connection lost")

    async def _wait(self, seconds: float) -> None:
        over: Deferred[None] = Deferred(lambda _: timer.cancel())
        timer = self._clock.callLater(seconds, over.callback, None)
        await over

    def _tell_away(self, reason: str) -> None:
        if not self._away:
            self._away = True
            log.error(
                "counters: Redis at {place} is away ({reason}); each process counts for itself",
                place=self._place,
                reason=reason,
            )


def _cancelled(failure: Failure) -> None:
    failure.trap(CancelledError)  # type: ignore[no-untyped-call]


def _reason(error: Exception) -> str:
    """What went wrong, without what the server says: that may repeat a password."""
    word = _WORD.match(str(error)) if isinstance(error, RedisError) else None
    return f"{type(error).__name__} {word[0]}" if word else type(error).__name__
