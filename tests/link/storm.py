"""Links in memory that pause, stall and break at any frame, on a fake clock, with tiny limits.

    storm = Storm(seed)
    storm.run()      # requests of all kinds while everything breaks; each must settle in time
    storm.calm()     # afterwards nothing is held, nothing waits and no timer is left

Everything random comes from the seed: what fails once fails again.
"""

import random
from collections import deque
from collections.abc import Mapping
from typing import Any, ClassVar

import attrs
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock

from mailsrv.errors import LinkLost, MailsrvError, NoSuchFolder, Unavailable
from mailsrv.link.operations import Changed, LendKey
from mailsrv.link.primary.announcer import Announcer
from mailsrv.link.secondary.line import Ask, Line
from mailsrv.link.secondary.primary_link import ClientLimits, PrimaryLink
from mailsrv.link.wire.connection import FrontEndSide, LinkConnection, PrimarySide, WelcomeParts
from mailsrv.link.wire.frames import VERSION, Hello, NoteBody, Operation
from mailsrv.link.wire.limits import LinkLimits
from mailsrv.link.wire.served import Received
from mailsrv.link.wire.streams import Budget
from tests.link.fakes import PUBLIC, Outcome
from tests.link.operations import Carry, Echo

SMALL_CHUNK, SMALL_CREDIT = 256, 1024
"""What ``CHUNK`` and ``FIRST_CREDIT`` are here, so that short bodies are long ones."""

LIMITS = LinkLimits(
    in_flight=3,
    unsent_octets=4000,
    body_octets=6000,
    stall_seconds=3.0,
    queued_octets=20_000,
    message_octets=20_000,
)
CLIENT = ClientLimits(
    patience=5.0,
    first_delay=0.05,
    longest_delay=0.5,
    settled=1.0,
    connect_seconds=1.0,
    resume_seconds=2.0,
    answer_seconds=600.0,
    requests=30,
    octets=60_000,
    sent_at_once=2,
)
NAMES = ("one", "two")
ALIAS = "a" * 24
LATEST = 300.0
"""Seconds after the storm in which every request must have settled, where the primary answers."""
SILENT = 10.0
"""The time limit of an answer where the primary sometimes gives none."""


class Lasting(Carry, frozen=True):
    """Goes on when its caller cancels."""

    name: ClassVar[str] = "lasting"
    lasting: ClassVar[bool] = True


@attrs.define(eq=False)
class Wire:
    """One end's transport. It is full over ``FULL`` octets until all of them have gone."""

    FULL: ClassVar[int] = 2000

    storm: "Storm"
    link: LinkConnection = attrs.field(init=False)
    other: "Wire" = attrs.field(init=False)
    waiting: deque[bytes] = attrs.Factory(deque)
    octets: int = 0
    full: bool = False
    moving: bool = False
    shut: bool = False
    ended: bool = False
    cut_after: int | None = None

    def transmit(self, data: bytes) -> None:
        if self.shut or self.ended:
            return
        self.waiting.append(data)
        self.octets += len(data)
        if self.octets > self.FULL and not self.full:
            self.full = True
            self.link.pause()
        self._move_later()

    def close(self) -> None:
        self.shut = True
        self.storm.later(1.0, self.abort, "closed")

    def abort(self, reason: str) -> None:
        """This end hears of it soon, the other perhaps much later."""
        dice = self.storm.dice
        self.shut = True
        self.storm.later(dice.uniform(0, 0.02), self.end, reason)
        self.storm.later(dice.choice((0.01, 0.1, 2.0)) * dice.random(), self.other.end, reason)

    def end(self, reason: str) -> None:
        if not self.ended:
            self.ended = self.shut = True
            self.waiting.clear()
            self.link.lost(reason)

    def _move_later(self) -> None:
        if not self.moving:
            self.moving = True
            self.storm.later(self.storm.latency(), self._move)

    def _move(self) -> None:
        self.moving = False
        for _ in range(self.storm.dice.randint(1, 6)):
            if not self.waiting or self.ended or self.other.ended:
                break
            data = self.waiting.popleft()
            self.octets -= len(data)
            if self.cut_after is not None:
                self.cut_after -= len(data)
                if self.cut_after < 0:
                    self.abort("cut")
                    return
            if not self.other.shut:
                self.other.link.received(data)
        if self.ended:
            return
        if self.waiting:
            self._move_later()
        elif self.full:
            self.full = False
            self.link.resume()


class Worker:
    """The primary's end: answers late, at once, with an error, or not at all."""

    accepts: ClassVar[Mapping[str, type[Operation]]] = {
        one.name: one for one in (Echo, Carry, Lasting)
    }
    notes: ClassVar[Mapping[str, type[NoteBody]]] = {}

    def __init__(self, storm: "Storm", connection: LinkConnection) -> None:
        self.storm = storm
        self.connection = connection
        self.announcer = Announcer(lambda: connection.peer)
        self.modseq = 0
        self.asks: list[Outcome] = []
        connection.closed.addBoth(lambda _: self.announcer.close())

    def told(self, note: NoteBody) -> None:
        raise AssertionError(note)

    def called(self, call: Received) -> Deferred[Any]:
        dice = self.storm.dice
        self._announce()
        kind = dice.random()
        if kind < 0.15:
            return fail(NoSuchFolder("there is none"))
        if kind < 0.4:
            return succeed(answer_to(call.operation))
        done: Deferred[Any] = Deferred()
        if kind < 0.97 or not self.storm.silent or call.operation.lasting:
            seconds = dice.choice((0.001, 0.05, 1.0, 8.0)) * dice.random()
            self.storm.later(seconds, finish, done, answer_to(call.operation))
        return done  # which the caller's time limit has to end

    def ask(self) -> None:
        """As a delivery asks for a key."""
        if not self.connection.closed.called:
            asked = self.connection.peer.call(LendKey(ALIAS, ALIAS, bytes(16)))
            self.asks.append(Outcome(asked))
            if self.storm.dice.random() < 0.3:
                self.storm.later(self.storm.dice.random(), asked.cancel)

    def _announce(self) -> None:
        for _ in range(self.storm.dice.choice((0, 1, 5))):
            self.modseq += 1
            self.announcer.changed("session", 1, self.modseq)


class Owner:
    """The front end's side of each link: enters sessions again, or fails to."""

    def __init__(self, storm: "Storm") -> None:
        self.storm = storm
        self.heard: dict[str, int] = {}

    def resume(self, link: PrimaryLink, line: Line) -> Deferred[None]:
        self.heard[link.name] = 0
        kind = self.storm.dice.random()
        if kind < 0.1 and not self.storm.quiet:
            return fail(Unavailable("not now"))
        if kind < 0.2 and not self.storm.quiet:
            return Deferred()
        entered = line.call(Ask(Echo("r" * self.storm.dice.choice((3, 3000)))))
        return entered.addErrback(self._refused)

    def _refused(self, failure: Any) -> Any:
        return None if failure.check(NoSuchFolder) else failure

    def resumed(self, link: PrimaryLink) -> None:
        """It is up."""

    def called(self, _link: PrimaryLink, _line: Line, call: Received) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.storm.later(self.storm.dice.random() / 10, finish, done, None)
        return done

    def told(self, link: PrimaryLink, note: NoteBody) -> None:
        assert isinstance(note, Changed)
        self.heard[link.name] = max(note.modseq, self.heard.get(link.name, 0))


class Storm:
    """Some links of one front end process to primaries that are one process too."""

    def __init__(self, seed: int, requests: int = 60, silent: bool = False) -> None:
        self.silent = silent
        self.dice = random.Random(seed)
        self.clock = Clock()
        self.quiet = False
        self.left = requests
        self.budgets = (Budget(LIMITS.body_octets), Budget(LIMITS.body_octets))
        self.connections: list[tuple[Wire, Wire]] = []
        self.workers: list[Worker] = []
        self.outcomes: list[tuple[Outcome, Operation, float]] = []
        self.owner = Owner(self)
        self.links = [
            PrimaryLink(
                name,
                lambda handler, name=name: self._connect(name, handler),  # type: ignore[misc]
                self.clock,
                self.dice.random,
                attrs.evolve(CLIENT, answer_seconds=SILENT) if silent else CLIENT,
            )
            for name in NAMES
        ]
        for link in self.links:
            link.owner = self.owner

    def later(self, seconds: float, function: Any, *arguments: Any) -> Any:
        return self.clock.callLater(seconds, function, *arguments)

    def latency(self) -> float:
        if self.quiet:
            return 0.001
        longest = self.dice.choices((0.002, 0.05, 0.5, 5.0), (60, 30, 8, 2))[0]
        return longest * self.dice.random()

    # What happens

    def run(self) -> None:
        for link in self.links:
            link.start()
        self._ask()
        self._break()
        while self.left:
            self.clock.advance(0.01)
        self.quiet = True
        for _ in range(int(LATEST / 0.1)):
            self.clock.advance(0.1)
        for outcome, ask, _ in self.outcomes:
            self._check(outcome, ask)
        late = [(ask, since) for outcome, ask, since in self.outcomes if outcome.open]
        assert not late, f"{len(late)} never settled, the first {late[0]}"

    def _ask(self) -> None:
        """A request of any kind, then the next."""
        if not self.left:
            return
        self.left -= 1
        dice = self.dice
        link = dice.choice(self.links)
        size = dice.choice((0, 10, SMALL_CHUNK, SMALL_CREDIT, 3000, 8000, 21_000))
        kind = dice.choice((Carry, Carry, Lasting))
        ask: Operation = kind(b"x" * size, dice.choice((0, 10, 300, 2000, 5000, 9000)))
        if dice.random() < 0.3:
            ask = Echo("y" * dice.choice((1, 400, 4000)))
        asked = link.ask(lambda _: Ask(ask), size)
        outcome = Outcome(asked)
        self.outcomes.append((outcome, ask, self.clock.seconds()))
        if dice.random() < 0.25:
            self.later(dice.choice((0.0, 0.01, 0.3, 5.0)) * dice.random(), asked.cancel)
        if dice.random() < 0.3:
            dice.choice(self.workers or [self]).ask()
        self.later(dice.choice((0.0, 0.0, 0.02, 0.4)), self._ask)

    def ask(self) -> None:
        """Nobody is there yet."""

    def _check(self, outcome: Outcome, ask: Operation) -> None:
        if outcome.results:
            assert outcome.results == [answer_to(ask)], f"a wrong answer to {ask.name}"
        for error in outcome.errors:
            assert isinstance(error, MailsrvError | CancelledError), repr(error)
            assert not isinstance(error, LinkLost), "a request saw the link go"
            assert self.silent or "no answer" not in str(error), str(error)

    def _break(self) -> None:
        if self.quiet:
            return
        dice = self.dice
        open_ones = [pair for pair in self.connections if not pair[0].ended or not pair[1].ended]
        if open_ones:
            wire = dice.choice(dice.choice(open_ones))
            if dice.random() < 0.2:
                wire.abort("broken")
            elif dice.random() < 0.1:
                wire.link.close("going")
            else:
                wire.cut_after = dice.randrange(6000)
        self.later(dice.choice((0.05, 1.0, 4.0)) * dice.random(), self._break)

    # Connections

    def _connect(self, name: str, handler: Any) -> Deferred[LinkConnection]:
        dice = self.dice
        near, far = Wire(self), Wire(self)
        opened: Deferred[LinkConnection] = Deferred(lambda _: near.abort("not wanted"))
        near.other, far.other = far, near
        near.link = front = FrontEndSide(
            near, "primary", lambda _: handler, self.clock, LIMITS, self.budgets[0]
        )
        far.link = primary = PrimarySide(
            far, "frontend", self._worker, self.clock, LIMITS, self.budgets[1]
        )
        primary.greet_with(WelcomeParts(name, PUBLIC, 5.0))
        front.opened = lambda: None if opened.called else opened.callback(front)
        front.closed.addBoth(lambda why: opened.called or opened.errback(Unavailable(why)))
        self.connections.append((near, far))
        hello = Hello(VERSION, "front", PUBLIC)
        if self.quiet or dice.random() < 0.8:
            self.later(dice.random() / 20, front.say_hello, hello)
        elif dice.random() < 0.5:
            near.abort("refused")
        return opened

    def _worker(self, connection: LinkConnection) -> Worker:
        self.workers.append(Worker(self, connection))
        return self.workers[-1]

    # Afterwards

    def calm(self) -> None:
        """Nothing is held and nothing waits, on links that are up and on those that were."""
        for link in self.links:
            assert link.up, f"{link.name} did not come back"
            assert (link.unanswered, link._octets, len(link._unsent)) == (0, 0, 0)
        for pair in self.connections:
            for wire in pair:
                # what has no answer and no caller any more is left to end
                if wire.link.open and not (self.silent and wire.ended):
                    at_rest(wire.link.peer)
        for budget in self.budgets:
            assert (budget.used, budget._let_in) == (0, 0), vars(budget)
            assert not budget._waiting
            assert not budget._held
        for worker in self.workers:
            assert not any(asked.open for asked in worker.asks), "an ask for a key is open"
            assert not worker.announcer.kept, "news that nobody was told"
        self._heard_all()
        self._end()

    def _heard_all(self) -> None:
        for worker in self.workers:
            if not worker.connection.closed.called:
                name = worker.connection.welcome.primary
                heard = self.owner.heard[name]
                assert heard == worker.modseq, f"{name}: {heard} of {worker.modseq}"

    def _end(self) -> None:
        stops = [Outcome(link.stop()) for link in self.links]
        for _ in range(100):
            self.clock.advance(0.1)
        assert not any(one.open for one in stops)
        assert not self.clock.getDelayedCalls(), self.clock.getDelayedCalls()


def at_rest(peer: Any) -> None:
    """Neither side of it has anything under way."""
    outbox, served, calls = peer._outbox, peer._served, peer._calls
    assert (outbox.queued, outbox.unsent) == (0, 0), vars(outbox)
    assert not outbox._small
    assert not outbox._streams
    assert not outbox._ready
    assert (calls.in_flight, calls.waiting) == (0, 0)
    assert (served.in_flight, served._under_way, len(served._heavy)) == (0, 0, 0), vars(served)


def finish(done: Deferred[Any], answer: Any) -> None:
    if not done.called:
        done.callback(answer)


def answer_to(operation: Any) -> Any:
    if isinstance(operation, Echo):
        return operation.text
    return len(operation.data).to_bytes(4, "big") + b"z" * operation.size
