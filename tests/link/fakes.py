"""A primary that exists in a test's hands only: it answers when, and what, the test says."""

from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from mailsrv.errors import LinkLost
from mailsrv.keys.sealing import generate_key_pair
from mailsrv.link.operations import (
    Resume,
)
from mailsrv.link.secondary.primary_link import ClientLimits, PrimaryLink
from mailsrv.link.wire.frames import VERSION, Lent, NoteBody, Operation, Welcome
from mailsrv.store.values import Access

PRIVATE, PUBLIC = generate_key_pair()


def access(session: str = "s1", **more: str) -> Access:
    """An access as the wire has it."""
    values = {
        "alias": "a" * 24,
        "address": "hello@example.com",
        "mailbox": "b" * 24,
        "credential": "c" * 24,
        "key": "",
    }
    return Access(session=session, **{**values, **more})


@attrs.define(eq=False)
class Call:
    """What was asked on one connection."""

    operation: Operation
    session: str | None
    lent: Lent | None
    answer: Deferred[Any]
    cancelled: bool = False
    timeout: float | None = None


class FakePeer:
    """Keeps calls for the test to answer."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.is_lost = False

    def call(
        self,
        operation: Operation,
        session: str | None = None,
        lent: Lent | None = None,
        timeout: float | None = None,
    ) -> Deferred[Any]:
        answer: Deferred[Any] = Deferred(lambda _: setattr(call, "cancelled", True))
        call = Call(operation, session, lent, answer, timeout=timeout)
        self.calls.append(call)
        if self.is_lost:
            call.answer.errback(LinkLost("lost"))
        return call.answer

    def lost(self) -> None:
        self.is_lost = True
        for call in self.calls:
            if not call.answer.called:
                call.answer.errback(LinkLost("lost"))

    def asked(self, kind: type[Operation]) -> list[Call]:
        return [call for call in self.calls if isinstance(call.operation, kind)]


class FakeConnection:
    """One connection to a fake primary."""

    def __init__(self, name: str, number: int, lease_seconds: float = 5.0) -> None:
        self.peer = FakePeer()
        self.welcome = Welcome(
            VERSION, name, PUBLIC, bytes([number]) * 16, 64, 10**6, lease_seconds
        )
        self.closed: Deferred[str] = Deferred()
        self.said = ""

    def lose(self, reason: str = "lost") -> None:
        """The connection ends, with what was under way."""
        if not self.closed.called:
            self.peer.lost()
            self.closed.callback(reason)

    def close(self, sentence: str) -> None:
        self.said = sentence
        self.lose(sentence)

    def abort(self, reason: str = "aborted") -> None:
        self.lose(reason)


class FakePrimary:
    """Connections of one link, in order. ``resumes`` answers Resume at once, as most tests want."""

    def __init__(
        self, clock: Clock, name: str = "primary", limits: ClientLimits | None = None
    ) -> None:
        self.clock = clock
        self.name = name
        self.reachable = True
        self.attempts: list[float] = []
        self.connections: list[FakeConnection] = []
        self.link = PrimaryLink(name, self._connect, clock, lambda: 1.0, limits or ClientLimits())

    def _connect(self, _handler: Any) -> Deferred[Any]:
        self.attempts.append(self.clock.seconds())
        opened: Deferred[Any] = Deferred()
        if not self.reachable:
            opened.errback(ConnectionRefusedError("nobody there"))
        else:
            self.connections.append(FakeConnection(self.name, len(self.connections) + 1))
            opened.callback(self.connections[-1])
        return opened

    @property
    def peer(self) -> FakePeer:
        """Of the newest connection."""
        return self.connections[-1].peer

    def lose(self) -> None:
        self.connections[-1].lose()

    def tell(self, note: NoteBody) -> None:
        self.link.told(note)

    def answer_resume(self, answers: Callable[[Access], Access | str] = lambda one: one) -> Resume:
        """Answer the Resume that waits."""
        call = next(one for one in self.peer.asked(Resume) if not one.answer.called)
        operation: Any = call.operation
        call.answer.callback([answers(one.access) for one in operation.sessions])
        return operation  # type: ignore[no-any-return]


class Outcome:
    """What became of a Deferred, to look at without waiting."""

    def __init__(self, deferred: Deferred[Any]) -> None:
        self.results: list[Any] = []
        self.errors: list[BaseException] = []
        self.deferred = deferred
        deferred.addCallbacks(self.results.append, lambda why: self.errors.append(why.value))

    @property
    def open(self) -> bool:
        return not self.results and not self.errors
