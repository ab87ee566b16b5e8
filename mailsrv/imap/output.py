"""What goes to the client: joined into large writes, and no more than it reads.

One write costs as much as a hundred short lines, so chunks are gathered to about 64 KiB. The
transport says when its own buffer is full; who produces much waits in ``drain``, so that a client
that does not read makes the server hold two buffers and not a folder. A long answer also gives
way to other connections every 256 KiB.
"""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from zope.interface import implementer

JOIN = 64 * 1024
TURN = 256 * 1024


@implementer(IPushProducer)
class Output:
    """The push producer of one connection.

    ``on_stall`` is called once when the client has read nothing for ``patience`` seconds although
    there is something to read.
    """

    def __init__(self, clock: IReactorTime, patience: float, on_stall: Callable[[], None]) -> None:
        self._clock = clock
        self._patience = patience
        self._on_stall = on_stall
        self._transport: Any = None
        self._chunks: list[bytes] = []
        self._size = 0
        self._turn = 0
        self._paused = False
        self._waiter: Deferred[None] | None = None
        self._stall: IDelayedCall | None = None
        self._resume: IDelayedCall | None = None

    def attach(self, transport: Any) -> None:
        """Take over a transport's outgoing side."""
        self._transport = transport
        transport.registerProducer(self, True)

    def detach(self) -> None:
        """Send what is gathered and let go, so that the transport can close."""
        transport = self._transport
        if transport is None:
            return
        self.flush()
        self._transport = None
        self.stopProducing()
        transport.unregisterProducer()

    @property
    def held(self) -> int:
        """Octets gathered and not yet given to the transport."""
        return self._size

    def write(self, data: bytes) -> None:
        """Add to the answer. Follow large amounts with ``drain``."""
        self._chunks.append(data)
        self._size += len(data)
        if self._size >= JOIN and not self._paused:
            self.flush()

    def flush(self) -> None:
        """Give everything gathered to the transport."""
        if self._chunks and self._transport is not None:
            data = b"".join(self._chunks)
            self._chunks.clear()
            self._size = 0
            self._turn += len(data)
            self._transport.write(data)

    @property
    def full(self) -> bool:
        """Whether a producer of much should wait in ``drain`` now."""
        return self._paused or self._turn + self._size >= TURN

    async def drain(self) -> None:
        """Wait until the client has taken what it was given, and others had their turn."""
        if self.full and self._transport is not None:
            self._waiter = Deferred(lambda _: None)
            if not self._paused:
                self._resume = self._clock.callLater(0, self._continue)
            await self._waiter

    def _continue(self) -> None:
        self._resume = None
        self.flush()
        self._turn = 0
        if not self._paused:
            self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.called:
            waiter.callback(None)

    def pauseProducing(self) -> None:
        """The transport's buffer is full."""
        self._paused = True
        if self._stall is None:
            self._stall = self._clock.callLater(self._patience, self._stalled)

    def _stalled(self) -> None:
        self._stall = None
        self._on_stall()

    def resumeProducing(self) -> None:
        """The transport's buffer is empty."""
        self._paused = False
        self._cancel_stall()
        if self._resume is None:
            self._resume = self._clock.callLater(0, self._continue)

    def _cancel_stall(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def stopProducing(self) -> None:
        """The connection is gone: nothing more will be read."""
        self._transport = None
        self._chunks.clear()
        self._size = 0
        self._cancel_stall()
        if self._resume is not None:
            self._resume.cancel()
            self._resume = None
        self._wake()
