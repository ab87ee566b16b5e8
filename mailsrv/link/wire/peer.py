"""One side of an open link: asks, answers, tells. Both sides are alike; no I/O happens here.

Bytes come in by ``received`` and go out by ``send``. Whatever the other side sends, the worst
that happens is ProtocolViolation, after which the connection must be closed. A call that is wrong
is answered with an error that names what was wrong, and the link goes on.
"""

from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from mailsrv.errors import InvalidInput
from mailsrv.link.wire.calls import Calls
from mailsrv.link.wire.failures import SENTENCE_LENGTH, describe, printable
from mailsrv.link.wire.frames import (
    Answer,
    BadFrame,
    Begin,
    Call,
    Cancel,
    Chunk,
    Credit,
    Failed,
    Frame,
    Goodbye,
    Lent,
    Note,
    NoteBody,
    Operation,
    decode_body,
    decode_frame,
    encode_body,
)
from mailsrv.link.wire.limits import CHUNK, LinkLimits
from mailsrv.link.wire.outbox import Outbox
from mailsrv.link.wire.served import IHandler, Received, Served
from mailsrv.link.wire.streams import Budget

__all__ = ["IHandler", "Peer", "ProtocolViolation", "Received"]


class ProtocolViolation(Exception):
    """The other side does not speak the protocol: close the connection. The text may be logged."""


class Peer:
    """One side. ``accepts`` and ``notes`` are all that the other side may ask and tell.

    ``budget`` is shared by the links of a process. ``overflow`` is called when the other side
    asks on and on without reading: the connection must be aborted.
    """

    def __init__(
        self,
        send: Callable[[bytes], None],
        handler: IHandler,
        accepts: Mapping[str, type[Operation]],
        notes: Mapping[str, type[NoteBody]],
        clock: IReactorTime,
        limits: LinkLimits,
        budget: Budget | None = None,
        overflow: Callable[[], None] = lambda: None,
    ) -> None:
        budget = Budget(limits.body_octets) if budget is None else budget
        self._handler = handler
        self._notes = notes
        self._outbox = Outbox(send, limits.queued_octets, overflow)
        self._calls = Calls(self._outbox, budget, clock, limits.in_flight, limits.body_limit)
        self._served = Served(self._outbox, budget, handler, accepts, clock, limits)
        self._takes: dict[type[Frame], Callable[[Any], bool]] = {
            Call: self._take_call,
            Answer: lambda frame: self._calls.answered(frame.id, frame.body),
            Failed: lambda frame: self._calls.failed(frame.id, frame.kind, frame.sentence),
            Cancel: lambda frame: self._served.cancelled(frame.id),
            Begin: self._take_begin,
            Chunk: self._take_chunk,
            Credit: lambda frame: self._outbox.allow((frame.id, frame.answer), frame.octets),
            Note: self._take_note,
            Goodbye: self._take_goodbye,
        }
        self.goodbye: str | None = None
        """Why the other side closes, once it has said so."""
        self.strays = 0
        """Frames that belonged to nothing: late ones, or of a peer that is wrong."""

    @property
    def in_flight(self) -> int:
        """Own calls whose answer has not come."""
        return self._calls.in_flight

    @property
    def serving(self) -> int:
        """Calls of the other side that are not answered yet."""
        return self._served.in_flight

    @property
    def full(self) -> bool:
        """Whether a note told now would wait for the transport."""
        return self._outbox.full

    def drained(self) -> Deferred[None]:
        """Deferred of None when notes would go out at once; it never fires on a lost link."""
        return self._outbox.drained()

    def call(
        self,
        operation: Operation,
        session: str | None = None,
        lent: Lent | None = None,
        timeout: float | None = None,
    ) -> Deferred[Any]:
        """Ask. Deferred of ``operation.answer``, or the error that the other side met.

        Calls beyond what the other side works on at once wait here. LinkLost: the answer is not
        known. Unavailable: none came within ``timeout`` seconds. Cancelling tells the other side.
        """
        return self._calls.call(operation, session, lent, timeout)

    def tell(self, note: NoteBody) -> None:
        """Send a note. Look at ``full`` first where notes can be put together.

        InvalidInput when it is longer than ``CHUNK``: notes travel whole.
        """
        body = encode_body(note)
        if len(body) > CHUNK:
            raise InvalidInput(f"note {note.name} of {len(body)} octets, at most {CHUNK}")
        self._outbox.push(Note(kind=note.name, body=body))

    def say_goodbye(self, sentence: str) -> None:
        """Tell why this side is about to close; nothing is sent after it."""
        self._outbox.last(Goodbye(sentence=sentence[:SENTENCE_LENGTH]))

    def received(self, data: bytes) -> None:
        """Take one message of the transport. ProtocolViolation: close the connection."""
        try:
            frame = decode_frame(data)
        except BadFrame as error:
            if error.call is None:
                raise ProtocolViolation(str(error)) from None
            self._served.refuse(error.call, error)
            return
        take = self._takes.get(type(frame))
        if take is None:
            raise ProtocolViolation(f"{type(frame).__name__} on an open link")
        try:
            if not take(frame):
                self.strays += 1
        except InvalidInput as error:
            raise ProtocolViolation(f"{type(frame).__name__}: {error}") from None

    def lost(self) -> None:
        """The transport is gone: own calls fail with LinkLost, answers of others are dropped."""
        self._outbox.close()
        self._served.lost()
        self._calls.lost()

    def pause(self) -> None:
        """The transport is full."""
        self._outbox.pause()

    def resume(self) -> None:
        """The transport has room again."""
        self._outbox.resume()

    def _take_call(self, call: Call) -> bool:
        self._served.called(call)
        return True

    def _take_begin(self, begin: Begin) -> bool:
        head = decode_frame(begin.head)
        if not isinstance(head, Answer if begin.answer else Call):
            raise InvalidInput(f"the head of a long body is a {type(head).__name__}")
        if head.id != begin.id or head.body or not begin.size:
            raise InvalidInput("the head of a long body does not match it")
        if isinstance(head, Call):
            self._served.begun(head, begin.size)
            return True
        return self._calls.begun(begin.id, begin.size)

    def _take_chunk(self, chunk: Chunk) -> bool:
        side = self._calls if chunk.answer else self._served
        return side.chunk(chunk.id, chunk.data)

    def _take_note(self, note: Note) -> bool:
        kind = self._notes.get(note.kind)
        if kind is None:
            raise InvalidInput(f"unknown note '{note.kind}'")
        body = decode_body(kind, note.body)
        try:
            self._handler.told(body)
        except Exception as error:  # noqa: BLE001 - a handler's fault is not the link's
            describe(error)
        return True

    def _take_goodbye(self, frame: Goodbye) -> bool:
        self.goodbye = printable(frame.sentence)
        return True
