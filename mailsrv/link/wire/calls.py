"""What this side has asked: ids, the order of waiting, answers, time limits, cancelling.

A call holds its place until its one Answer or Failed has come, also when nobody waits for it any
more: so both sides always count the same calls.
"""

from collections import deque
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from mailsrv.errors import InvalidInput, LinkLost, MailsrvError, Unavailable
from mailsrv.link.wire.failures import rebuild
from mailsrv.link.wire.frames import (
    Begin,
    Call,
    Cancel,
    Credit,
    Lent,
    Operation,
    decode_body,
    encode_body,
    encode_frame,
)
from mailsrv.link.wire.limits import CHUNK
from mailsrv.link.wire.outbox import Outbox
from mailsrv.link.wire.streams import Budget, Incoming, Outgoing


@attrs.define(eq=False, kw_only=True)
class _Asked:
    operation: Operation
    session: str | None
    lent: Lent | None
    answer: Deferred[Any]
    id: int | None = None
    timer: IDelayedCall | None = None
    incoming: Incoming | None = None
    over: bool = False
    """Whether the caller has heard, or wants to hear no more."""


class Calls:
    """The calls of one side. ``allowance`` is how many the other side works on at once."""

    def __init__(
        self, outbox: Outbox, budget: Budget, clock: IReactorTime, allowance: int, body_limit: int
    ) -> None:
        self._outbox = outbox
        self._budget = budget
        self._clock = clock
        self._body_limit = body_limit
        self._next_id = 1
        self._waiting: deque[_Asked] = deque()
        self._asked: dict[int, _Asked] = {}
        self._lost = False
        self.allowance = allowance

    @property
    def in_flight(self) -> int:
        """Calls whose answer has not come."""
        return len(self._asked)

    @property
    def waiting(self) -> int:
        """Calls that were not sent yet: the other side has enough to do."""
        return len(self._waiting)

    def call(
        self, operation: Operation, session: str | None, lent: Lent | None, timeout: float | None
    ) -> Deferred[Any]:
        """Ask. See ``Peer.call``."""
        asked = _Asked(
            operation=operation,
            session=session,
            lent=lent,
            answer=Deferred(lambda _: self._cancelled(asked)),
        )
        if self._lost:
            asked.answer.errback(LinkLost("the link was lost"))
            return asked.answer
        if timeout is not None:
            asked.timer = self._clock.callLater(timeout, self._timed_out, asked, timeout)
        self._waiting.append(asked)
        self._fill()
        return asked.answer

    def begun(self, id_: int, size: int) -> bool:
        """A long answer was announced; False when nothing of that id was asked."""
        asked = self._asked.get(id_)
        if asked is None:
            return False
        if asked.incoming is not None:
            raise InvalidInput(f"two answers to call {id_}")
        if size > self._body_limit and not asked.over:
            sentence = f"an answer of {size} octets to {asked.operation.name}"
            self._give_up(asked, InvalidInput(f"{sentence}, at most {self._body_limit}"))
        asked.incoming = Incoming(
            size,
            self._budget,
            lambda octets: self._outbox.push(Credit(id=id_, answer=True, octets=octets)),
            owner=self._outbox,
        )
        if asked.over:
            asked.incoming.close()
        return True

    def chunk(self, id_: int, data: bytes) -> bool:
        """A piece of a long answer; False when there is none under way."""
        asked = self._asked.get(id_)
        if asked is None or asked.incoming is None:
            return False
        asked.incoming.add(data)
        if asked.incoming.complete:
            self.answered(id_, asked.incoming.take())
        return True

    def answered(self, id_: int, body: bytes | bytearray) -> bool:
        """The answer came; False when nothing of that id was asked."""
        asked = self._end(id_)
        if asked is None:
            return False
        if not asked.over:
            try:
                answer = decode_body(asked.operation.answer, body)
            except InvalidInput as error:
                wrong = f"the answer to {asked.operation.name} cannot be read: {error}"
                self._finish(asked, Unavailable(wrong))
            else:
                self._finish(asked, answer)
        self._fill()
        return True

    def failed(self, id_: int, kind: str, sentence: str) -> bool:
        """The error came; False when nothing of that id was asked."""
        asked = self._end(id_)
        if asked is None:
            return False
        if not asked.over:
            self._finish(asked, rebuild(kind, sentence))
        self._fill()
        return True

    def lost(self) -> None:
        """Nothing will come any more."""
        self._lost = True
        everything = [*self._asked.values(), *self._waiting]
        self._asked.clear()
        self._waiting.clear()
        for asked in everything:
            if asked.incoming is not None:
                asked.incoming.close()
            if not asked.over:
                self._finish(asked, LinkLost("the link was lost"))

    def _end(self, id_: int) -> _Asked | None:
        asked = self._asked.pop(id_, None)
        if asked is not None:
            self._outbox.drop((id_, False))
            if asked.incoming is not None:
                asked.incoming.close()
        return asked

    def _finish(self, asked: _Asked, result: object) -> None:
        asked.over = True
        if asked.timer is not None and asked.timer.active():
            asked.timer.cancel()
        if isinstance(result, MailsrvError):
            asked.answer.errback(result)
        else:
            asked.answer.callback(result)

    def _fill(self) -> None:
        while self._waiting and len(self._asked) < self.allowance:
            self._send(self._waiting.popleft())

    def _send(self, asked: _Asked) -> None:
        name = asked.operation.name
        try:
            body = encode_body(asked.operation)
        except (TypeError, ValueError, OverflowError) as error:
            self._finish(asked, InvalidInput(f"{name} cannot be sent: {type(error).__name__}"))
            return
        if len(body) > self._body_limit:
            sentence = f"{name} of {len(body)} octets, at most {self._body_limit}"
            self._finish(asked, InvalidInput(sentence))
            return
        id_ = asked.id = self._next_id
        self._next_id += 1
        self._asked[id_] = asked
        long = len(body) > CHUNK
        call = Call(
            id=id_,
            operation=name,
            session=asked.session,
            lent=asked.lent,
            body=b"" if long else body,
        )
        if long:
            begin = Begin(id=id_, answer=False, size=len(body), head=encode_frame(call))
            self._outbox.stream(begin, Outgoing((id_, False), body))
        else:
            self._outbox.push(call)

    def _timed_out(self, asked: _Asked, seconds: float) -> None:
        sentence = f"no answer to {asked.operation.name} in {seconds:g} seconds"
        self._give_up(asked, Unavailable(sentence))

    def _cancelled(self, asked: _Asked) -> None:
        self._give_up(asked, None)

    def _give_up(self, asked: _Asked, error: MailsrvError | None) -> None:
        """Tell the other side that nobody waits. Without an error the Deferred knows already."""
        asked.over = True
        if asked.id is None:
            if not self._lost:  # then nothing waits here any more
                self._waiting.remove(asked)
        else:
            self._outbox.drop((asked.id, False))
            self._outbox.push(Cancel(id=asked.id))
            if asked.incoming is not None:
                asked.incoming.close()
        if error is not None:
            self._finish(asked, error)
        elif asked.timer is not None and asked.timer.active():
            asked.timer.cancel()
