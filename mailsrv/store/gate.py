"""A gate before each mailbox, open but for the moments when its file must lie still.

Who works on a mailbox or its waiting mail is inside. Once the gate is shut nobody comes in any
more; when the last has left, nothing touches the files.
"""

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from mailsrv.errors import Elsewhere, Unavailable


@attrs.define
class _Shut:
    empty: Deferred[None] = attrs.Factory(Deferred)
    waiting: list[Deferred[None]] = attrs.Factory(list)


class Gate:
    """``try_enter`` and ``leave`` on any thread, the others on the reactor's.

    Nobody waits longer than ``seconds`` for an alias.
    """

    def __init__(self, reactor: Any, seconds: float) -> None:
        self._reactor = reactor
        self._seconds = seconds
        self._lock = threading.Lock()
        self._inside: dict[str, int] = {}
        self._shut: dict[str, _Shut] = {}
        self._closed = False

    def try_enter(self, alias: str) -> bool:
        """Go in, unless the gate is shut; then ``leave``."""
        with self._lock:
            if alias in self._shut:
                return False
            self._inside[alias] = self._inside.get(alias, 0) + 1
            return True

    def leave(self, alias: str) -> None:
        """Come out."""
        with self._lock:
            self._inside[alias] -= 1
            if self._inside[alias]:
                return
            del self._inside[alias]
            shut = self._shut.get(alias)
        if shut is not None:
            self._reactor.callFromThread(_fire, shut.empty)

    async def enter(self, alias: str) -> None:
        """Go in when the gate is open. Unavailable when that takes too long; Elsewhere."""
        while not self.try_enter(alias):
            await self.opened(alias)

    @asynccontextmanager
    async def inside(self, alias: str) -> AsyncIterator[None]:
        """Be inside for the length of an ``async with`` block, on the reactor's thread."""
        await self.enter(alias)
        try:
            yield
        finally:
            self.leave(alias)

    def opened(self, alias: str) -> Deferred[None]:
        """Deferred of None, when the gate is open. Unavailable, Elsewhere."""
        shut = self._shut.get(alias)
        if shut is None:
            return succeed(None)
        waits: Deferred[None] = Deferred()
        if self._closed:
            waits.errback(Unavailable("the server is shutting down"))
            return waits
        shut.waiting.append(waits)
        late = self._reactor.callLater(self._seconds, self._give_up, shut, waits)

        def over(result: Failure | None) -> Failure | None:
            if late.active():
                late.cancel()
            if waits in shut.waiting:  # cancelled
                shut.waiting.remove(waits)
            return result

        return waits.addBoth(over)

    def is_shut(self, alias: str) -> bool:
        """Whether somebody holds the alias still."""
        return alias in self._shut

    def shut(self, alias: str) -> Deferred[None]:
        """Let nobody in; Deferred of None, when nobody is inside."""
        shut = _Shut()
        with self._lock:
            self._shut[alias] = shut
            empty = alias not in self._inside
        if empty:
            shut.empty.callback(None)
        return shut.empty

    def open(self, alias: str, primary: str | None = None) -> None:
        """Let those who wait go in, or send them to another ``primary``."""
        with self._lock:
            shut = self._shut.pop(alias)
        while shut.waiting:
            waits = shut.waiting.pop(0)
            if primary is None:
                waits.callback(None)
            else:
                waits.errback(Elsewhere(primary))

    def close(self) -> None:
        """Nobody waits any more: Unavailable. What is shut stays shut."""
        self._closed = True
        for shut in self._shut.values():
            while shut.waiting:
                shut.waiting.pop(0).errback(Unavailable("the server is shutting down"))

    def _give_up(self, shut: _Shut, waits: Deferred[None]) -> None:
        if waits in shut.waiting:
            shut.waiting.remove(waits)
            waits.errback(Unavailable("the mailbox is being moved: try again"))


def _fire(empty: Deferred[None]) -> None:
    if not empty.called:
        empty.callback(None)
