"""What waits for the transport: small frames first, then long bodies in turn, a chunk each.

While the transport is full nothing is written to it. Chunks then wait with their bodies; small
frames queue up to a limit, which only a peer that asks without reading can pass.
"""

from collections import deque
from collections.abc import Callable

from twisted.internet.defer import Deferred

from mailsrv.link.wire.frames import Begin, Frame, encode_frame
from mailsrv.link.wire.streams import Key, Outgoing


class Outbox:
    """Frames and bodies of one side of a link.

    ``overflow`` is called once, when more than ``queued_octets`` of small frames wait.
    """

    def __init__(
        self, send: Callable[[bytes], None], queued_octets: int, overflow: Callable[[], None]
    ) -> None:
        self._send = send
        self._limit = queued_octets
        self._overflow = overflow
        self._small: deque[bytes] = deque()
        self._streams: dict[Key, Outgoing] = {}
        self._ready: deque[Outgoing] = deque()
        self._drained: list[Deferred[None]] = []
        self._pumping = False
        self._closed = False
        self._paused = False
        self.queued = 0
        """Octets of small frames that wait."""
        self.unsent = 0
        """Octets of long bodies that wait."""
        self.less_unsent: Callable[[], None] = lambda: None
        """Called when there are fewer."""

    @property
    def full(self) -> bool:
        """Whether what is pushed now would wait."""
        return self._paused or bool(self._small)

    def drained(self) -> Deferred[None]:
        """Deferred of None when the transport takes frames again."""
        waiter: Deferred[None] = Deferred()
        if self.full:
            self._drained.append(waiter)
        else:
            waiter.callback(None)
        return waiter

    def push(self, frame: Frame) -> None:
        """Send a small frame as soon as the transport takes it."""
        if self._closed:
            return
        data = encode_frame(frame)
        self._small.append(data)
        self.queued += len(data)
        self._pump()
        if self.queued > self._limit and not self._closed:
            self.close()
            self._overflow()

    def stream(self, begin: Begin, outgoing: Outgoing) -> None:
        """Announce a long body and send it as credit and transport allow."""
        if self._closed:
            return
        self._streams[outgoing.key] = outgoing
        self._ready.append(outgoing)
        self.unsent += outgoing.unsent
        self.push(begin)

    def sends(self, key: Key) -> bool:
        """Whether octets of that body are still here."""
        return key in self._streams

    def allow(self, key: Key, octets: int) -> bool:
        """Credit for a body; False when there is none of that key."""
        outgoing = self._streams.get(key)
        if outgoing is None:
            return False
        waited = not outgoing.ready
        outgoing.allow(octets)
        if waited and outgoing.ready:
            self._ready.append(outgoing)
        self._pump()
        return True

    def drop(self, key: Key) -> bool:
        """Send no more of a body; False when there is none of that key."""
        outgoing = self._streams.pop(key, None)
        if outgoing is None:
            return False
        if outgoing.ready:
            self._ready.remove(outgoing)
        self.unsent -= outgoing.unsent
        self.less_unsent()
        return True

    def pause(self) -> None:
        """The transport is full."""
        self._paused = True

    def resume(self) -> None:
        """The transport has room."""
        self._paused = False
        self._pump()

    def last(self, frame: Frame) -> None:
        """Send this at once, ahead of everything, and nothing after it."""
        if not self._closed:
            self.close()
            self._send(encode_frame(frame))

    def close(self) -> None:
        """Forget everything that was to be sent."""
        self._closed = True
        self._small.clear()
        self._streams.clear()
        self._ready.clear()
        self.queued = self.unsent = 0

    def _pump(self) -> None:
        # sending may lead straight back here: what it adds is sent by the outer loop
        if self._pumping:
            return
        self._pumping = True
        try:
            while not self._paused and self._send_next():
                pass
        finally:
            self._pumping = False
        # who asked in the middle of this found frames that had already been sent by now
        if self._drained and not self.full and not self._closed:
            waiting, self._drained = self._drained, []
            for waiter in waiting:
                waiter.callback(None)

    def _send_next(self) -> bool:
        if self._small:
            data = self._small.popleft()
            self.queued -= len(data)
            self._send(data)
            return True
        if not self._ready:
            return False
        outgoing = self._ready.popleft()
        chunk = outgoing.next_chunk()
        if outgoing.ready:
            self._ready.append(outgoing)
        elif not outgoing.unsent:
            del self._streams[outgoing.key]
        self.unsent -= len(chunk.data)
        self._send(encode_frame(chunk))
        self.less_unsent()
        return True
