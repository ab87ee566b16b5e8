"""What the other side has asked: calls that arrive, run and are answered.

Each call gets one Answer or one Failed. More calls at once than were agreed on are refused, not
queued: the other side queues. Calls with long answers begin only while not much of earlier ones
is unsent, so that a side that reads slowly costs no memory here.
"""

from collections import deque
from collections.abc import Awaitable, Mapping
from typing import Any, Protocol

import attrs
import msgspec
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from mailsrv.errors import InvalidInput, Unavailable
from mailsrv.link.wire.failures import describe
from mailsrv.link.wire.frames import (
    PLAIN,
    Answer,
    Begin,
    Call,
    Credit,
    Failed,
    Lent,
    NoteBody,
    Operation,
    decode_body,
    encode_body,
    encode_frame,
)
from mailsrv.link.wire.limits import CHUNK, LinkLimits
from mailsrv.link.wire.outbox import Outbox
from mailsrv.link.wire.streams import Budget, Incoming, Outgoing


class Received(msgspec.Struct, frozen=True):
    """One call as a handler sees it: decoded and allowed."""

    operation: Operation
    session: str | None
    lent: Lent | None


class IHandler(Protocol):
    """Who does what the other side asks."""

    def called(self, call: Received) -> Deferred[Any] | Awaitable[Any]:
        """Do it. Errors of ``mailsrv.errors`` reach the caller as they are."""

    def told(self, note: NoteBody) -> None:
        """Hear a note."""


@attrs.define(eq=False)
class _Served:
    call: Call
    incoming: Incoming | None = None
    stalled: IDelayedCall | None = None
    work: Deferred[Any] | None = None
    weight: int = 0
    cancelled: bool = False

    def arrived(self) -> None:
        """Nothing more is expected of its body."""
        if self.stalled is not None and self.stalled.active():
            self.stalled.cancel()


class Served:
    """The calls of the other side. ``accepts`` is all that it may ask for, by name."""

    def __init__(
        self,
        outbox: Outbox,
        budget: Budget,
        handler: IHandler,
        accepts: Mapping[str, type[Operation]],
        clock: IReactorTime,
        limits: LinkLimits,
    ) -> None:
        self._outbox = outbox
        self._budget = budget
        self._handler = handler
        self._accepts = accepts
        self._clock = clock
        self._stall_seconds = limits.stall_seconds
        self._in_flight = limits.in_flight
        self._body_limit = limits.body_limit
        self._unsent_limit = limits.unsent_octets
        self._served: dict[int, _Served] = {}
        self._heavy: deque[tuple[_Served, Received]] = deque()
        self._running_heavy = False
        self._under_way = 0
        outbox.less_unsent = self._run_heavy

    @property
    def in_flight(self) -> int:
        """Calls that have no answer yet."""
        return len(self._served)

    def called(self, call: Call) -> None:
        """A call came, whole."""
        served = self._admit(call)
        if served is not None:
            self._start(served, call.body)

    def begun(self, call: Call, size: int) -> None:
        """A call came whose body follows."""
        served = self._admit(call)
        if served is None:
            return
        kind = self._accepts[call.operation]
        most = self._body_limit if kind.carries else min(PLAIN, self._body_limit)
        if size > most:
            self._end(served)
            sentence = f"{call.operation} of {size} octets, at most {most}"
            self.refuse(call.id, InvalidInput(sentence))
        else:
            served.incoming = Incoming(
                size,
                self._budget,
                lambda octets: self._outbox.push(Credit(id=call.id, answer=False, octets=octets)),
                owner=self._outbox,
            )
            self._watch(served, served.incoming)

    def chunk(self, id_: int, data: bytes) -> bool:
        """A piece of a body; False when it belongs to no call."""
        served = self._served.get(id_)
        if served is None or served.incoming is None:
            return False
        served.incoming.add(data)
        if served.incoming.complete:
            served.arrived()
            self._start(served, served.incoming.take())
        return True

    def _watch(self, served: _Served, incoming: Incoming) -> None:
        """See that the body goes on coming: others wait for the room that is kept for it."""
        before = incoming.progress

        def look() -> None:
            if incoming.owed and incoming.progress == before:
                self._end(served)
                sentence = f"nothing of the body came for {self._stall_seconds:g} seconds"
                self.refuse(served.call.id, Unavailable(f"{served.call.operation}: {sentence}"))
            else:
                self._watch(served, incoming)

        served.stalled = self._clock.callLater(self._stall_seconds, look)

    def cancelled(self, id_: int) -> bool:
        """The caller waits no more; False when there is no such call any more."""
        served = self._served.get(id_)
        if served is None:
            return self._stop_answer(id_)
        served.cancelled = True
        if served.work is not None:
            if not self._accepts[served.call.operation].lasting:
                served.work.cancel()
        else:
            self._end(served)
            self._heavy = deque(one for one in self._heavy if one[0] is not served)
            self.refuse(id_, Unavailable("cancelled"))
            self._run_heavy()
        return True

    def refuse(self, id_: int, error: BaseException) -> None:
        """Answer with an error."""
        kind, sentence = describe(error)
        self._outbox.push(Failed(id=id_, kind=kind, sentence=sentence))

    def lost(self) -> None:
        """Nobody waits for answers any more. What runs is left to end."""
        for served in self._served.values():
            served.arrived()
            if served.incoming is not None:
                served.incoming.close()
        self._served.clear()
        self._heavy.clear()

    def _admit(self, call: Call) -> _Served | None:
        if call.id in self._served or self._outbox.sends((call.id, True)):
            raise InvalidInput(f"call {call.id} came twice")
        if call.operation not in self._accepts:
            self.refuse(call.id, InvalidInput(f"unknown operation '{call.operation}'"))
            return None
        if len(self._served) >= self._in_flight:
            sentence = f"{self._in_flight} calls are under way on this link: try again"
            self.refuse(call.id, Unavailable(sentence))
            return None
        served = self._served[call.id] = _Served(call)
        return served

    def _start(self, served: _Served, body: bytes | bytearray) -> None:
        call = served.call
        try:
            operation = decode_body(self._accepts[call.operation], body)
        except InvalidInput as error:
            self._end(served)
            self.refuse(call.id, InvalidInput(f"operation '{call.operation}': {error}"))
            return
        received = Received(operation, call.session, call.lent)
        served.weight = operation.weight
        if served.weight:
            self._heavy.append((served, received))
            self._run_heavy()
        else:
            self._run(served, received)

    def _run_heavy(self) -> None:
        # what runs may be answered at once and lead straight back here
        if self._running_heavy:
            return
        self._running_heavy = True
        try:
            while self._heavy and self._has_room(self._heavy[0][0].weight):
                served, received = self._heavy.popleft()
                self._under_way += served.weight
                self._run(served, received)
        finally:
            self._running_heavy = False

    def _has_room(self, weight: int) -> bool:
        in_memory = self._outbox.unsent + self._under_way
        return not in_memory or in_memory + weight <= self._unsent_limit

    def _run(self, served: _Served, received: Received) -> None:
        served.work = maybeDeferred(self._handler.called, received)
        served.work.addBoth(lambda result: self._done(served, result))

    def _done(self, served: _Served, result: Any) -> None:
        id_ = served.call.id
        self._under_way -= served.weight
        error = result.value if isinstance(result, Failure) else None
        if self._served.get(id_) is not served:  # the link was lost meanwhile
            if error is not None:
                describe(error)
            return
        self._end(served)
        if error is not None:
            self.refuse(id_, error)
        elif served.cancelled:
            self.refuse(id_, Unavailable("cancelled"))
        else:
            self._answer(served.call, result)
        self._run_heavy()

    def _answer(self, call: Call, result: Any) -> None:
        try:
            body = encode_body(result)
        except (TypeError, ValueError, OverflowError) as error:
            self.refuse(call.id, error)
            return
        if len(body) <= CHUNK:
            self._outbox.push(Answer(id=call.id, body=body))
        elif len(body) <= self._body_limit:
            head = encode_frame(Answer(id=call.id, body=b""))
            begin = Begin(id=call.id, answer=True, size=len(body), head=head)
            self._outbox.stream(begin, Outgoing((call.id, True), body))
        else:
            sentence = f"an answer of {len(body)} octets to {call.operation}"
            self.refuse(call.id, InvalidInput(f"{sentence}, at most {self._body_limit}"))

    def _stop_answer(self, id_: int) -> bool:
        """Cut a long answer off; the caller counts the call until it hears of that."""
        if not self._outbox.drop((id_, True)):
            return False
        self.refuse(id_, Unavailable("cancelled"))
        return True

    def _end(self, served: _Served) -> None:
        del self._served[served.call.id]
        served.arrived()
        if served.incoming is not None:
            served.incoming.close()
