"""Two peers back to back in memory: what one sends the other receives, when ``flush`` is called.

    pipe = Pipe(LEFT, RIGHT)
    asked = pipe.left.peer.call(Echo(text="x"))
    pipe.flush()

``immediate=True`` delivers at once, as far as reentrancy allows.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from mailsrv.link.wire.frames import NoteBody, Operation
from mailsrv.link.wire.limits import LinkLimits
from mailsrv.link.wire.peer import IHandler, Peer, Received


class Recorder:
    """A handler that remembers what came and answers with ``answer``."""

    def __init__(self, answer: Callable[[Received], Any] = lambda call: None) -> None:
        self.answer = answer
        self.calls: list[Received] = []
        self.notes: list[NoteBody] = []

    def called(self, call: Received) -> Deferred[Any] | Awaitable[Any]:
        self.calls.append(call)
        return self.answer(call)

    def told(self, note: NoteBody) -> None:
        self.notes.append(note)


@attrs.define(eq=False)
class End:
    """One end: what its side accepts, and the peer once it is connected."""

    handler: IHandler = attrs.Factory(Recorder)
    accepts: Mapping[str, type[Operation]] = attrs.Factory(dict)
    notes: Mapping[str, type[NoteBody]] = attrs.Factory(dict)
    limits: LinkLimits = attrs.Factory(LinkLimits)
    peer: Peer = attrs.field(init=False)
    inbox: deque[bytes] = attrs.field(init=False, factory=deque)
    overflowed: bool = attrs.field(init=False, default=False)

    def overflow(self) -> None:
        self.overflowed = True


class Pipe:
    """Connects two ends; ``clock`` is theirs."""

    def __init__(self, left: End, right: End, *, immediate: bool = False) -> None:
        self.left, self.right, self.clock = left, right, Clock()
        self._immediate = immediate
        self._delivering = False
        self.frames = 0
        for end, other in ((left, right), (right, left)):
            end.peer = Peer(
                self._sender(other),
                end.handler,
                end.accepts,
                end.notes,
                self.clock,
                end.limits,
                overflow=end.overflow,
            )

    def flush(self, frames: int | None = None) -> None:
        """Deliver until nothing is on the way, or so many frames."""
        if self._delivering:
            return
        self._delivering = True
        try:
            while frames is None or frames > 0:
                end = next((one for one in (self.left, self.right) if one.inbox), None)
                if end is None:
                    return
                end.peer.received(end.inbox.popleft())
                frames = None if frames is None else frames - 1
        finally:
            self._delivering = False

    def cut(self) -> None:
        """Lose the link with all that is on the way."""
        for end in (self.left, self.right):
            end.inbox.clear()
        for end in (self.left, self.right):
            end.peer.lost()

    def _sender(self, other: End) -> Callable[[bytes], None]:
        def send(data: bytes) -> None:
            self.frames += 1
            other.inbox.append(data)
            if self._immediate:
                self.flush()

        return send
