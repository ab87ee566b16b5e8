"""One link of a front end: kept up, and what was asked of it asked again until it is answered.

A request waits while there is no connection. After a reconnect the owner's sessions are entered
again first; then everything that has no answer is sent again, in its order, for what was sent and
not answered may have been done or not. That it is done once is the store's part: writes have ids.
"""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol

import attrs
from twisted.internet import defer
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailsrv.errors import LinkLost, MailsrvError, Unavailable
from mailsrv.link.operations import (
    NOTES,
    SECONDARY_OPERATIONS,
)
from mailsrv.link.secondary.line import Ask, Compose, Line
from mailsrv.link.wire.connection import ILinkHandler, LinkConnection
from mailsrv.link.wire.frames import NoteBody, Operation
from mailsrv.link.wire.served import Received
from mailsrv.store.workers import log_unexpected

log = Logger()

MIB = 1024 * 1024

STOPPED = "the server is shutting down"
AWAY = "the mailbox server cannot be reached now"


@attrs.frozen(kw_only=True)
class ClientLimits:
    """Seconds, octets and counts of one link."""

    patience: float = 30.0
    """For so long altogether a request waits for a link; then it fails with Unavailable."""
    first_delay: float = 0.1
    longest_delay: float = 2.0
    """Between attempts: the first, doubled each time, up to the longest; all with jitter."""
    settled: float = 5.0
    """A connection that lasted so long begins the delays anew when it is lost."""
    connect_seconds: float = 10.0
    resume_seconds: float = 30.0
    answer_seconds: float = 600.0
    """A primary that is there and has not answered after so long is not waited for."""
    requests: int = 20_000
    octets: int = 256 * MIB
    """Unanswered at once: more are refused."""
    sent_at_once: int = 64
    """Requests that one turn of the reactor sends again."""


class IOwner(Protocol):
    """Whose sessions go over the link."""

    def resume(self, link: "PrimaryLink", line: Line) -> Deferred[None]:
        """Enter the sessions again on a new connection; nothing else is sent before."""

    def resumed(self, link: "PrimaryLink") -> None:
        """The link is up."""

    def called(self, link: "PrimaryLink", line: Line, call: Received) -> Deferred[Any]:
        """The primary asks."""

    def told(self, link: "PrimaryLink", note: NoteBody) -> None:
        """The primary tells."""


@attrs.define(eq=False)
class _Asked:
    compose: Compose
    size: int
    answer: Deferred[Any]
    line: Line | None = None
    """Where it was sent and can still be answered."""
    call: Deferred[Any] | None = None
    timer: IDelayedCall | None = None
    since: float = 0.0
    waited: float = 0.0


class PrimaryLink:
    """The link to one primary, called ``name``.

    ``connect`` gets the handler for what the primary asks and answers a Deferred of an open
    connection. ``random`` answers numbers from 0 to 1.
    """

    accepts: ClassVar[Mapping[str, type[Operation]]] = SECONDARY_OPERATIONS
    notes: ClassVar[Mapping[str, type[NoteBody]]] = NOTES

    def __init__(
        self,
        name: str,
        connect: Callable[[ILinkHandler], Deferred[LinkConnection]],
        clock: IReactorTime,
        random: Callable[[], float],
        limits: ClientLimits | None = None,
    ) -> None:
        self.name = name
        self.owner: IOwner | None = None
        self.limits = limits or ClientLimits()
        self._connect = connect
        self._clock = clock
        self._random = random
        self._asked: dict[_Asked, None] = {}
        self._octets = 0
        self._unsent: deque[_Asked] = deque()
        self._pumping: IDelayedCall | None = None
        self._line: Line | None = None
        self._up_since: float | None = None
        self._attempts = 0
        self._why = ""
        self._retry: IDelayedCall | None = None
        self._opening: Deferred[Any] | None = None
        self._stopped = False

    @property
    def up(self) -> bool:
        """Whether requests go out at once."""
        return self._up_since is not None

    @property
    def unanswered(self) -> int:
        """Requests that have no answer yet."""
        return len(self._asked)

    def start(self) -> None:
        """Begin to connect."""
        self._attempt()

    def stop(self) -> Deferred[None]:
        """Deferred of None: fail what waits with Unavailable, say goodbye and close."""
        self._stopped = True
        line, self._line = self._line, None
        self._up_since = None
        for timer in (self._retry, self._pumping):
            if timer is not None and timer.active():
                timer.cancel()
        opening, self._opening = self._opening, None
        if opening is not None:
            opening.cancel()
        for asked in list(self._asked):
            self._settle(asked, Unavailable(STOPPED))
        if line is None:
            return succeed(None)
        return _closing(line.connection)

    def ask(self, compose: Compose, size: int = 0) -> Deferred[Any]:
        """Ask, as often as it takes. Deferred of the answer, or of the primary's error.

        ``size`` is what the request holds in memory. Unavailable when the link stops, was away
        for longer than the patience, or has too much to do. Cancelled, it is asked no more.
        """
        limits = self.limits
        if self._stopped:
            return fail(Unavailable(STOPPED))
        crowded = bool(self._octets) and self._octets + size > limits.octets
        if crowded or len(self._asked) >= limits.requests:
            return fail(Unavailable("too much waits for the mailbox server: try again"))
        asked = _Asked(compose, size, Deferred(lambda _: self._forget(asked)))
        self._asked[asked] = None
        self._octets += size
        if not self.up:
            self._wait(asked)
        elif self._unsent:
            self._unsent.append(asked)
        else:
            self._send(asked)
        return asked.answer

    def hint(self, operation: Operation, session: str) -> None:
        """Say something to the connection of now, if there is one; it is not said again."""
        if self._line is not None:
            self._line.call(Ask(operation, session)).addErrback(lambda _: None)

    # ILinkHandler: what the primary asks and tells

    def called(self, call: Received) -> Deferred[Any]:
        """As IHandler.called."""
        if self.owner is None or self._line is None:
            return fail(Unavailable("not ready"))
        return self.owner.called(self, self._line, call)

    def told(self, note: NoteBody) -> None:
        """As IHandler.told."""
        if self.owner is not None:
            self.owner.told(self, note)

    # Connecting

    def _attempt(self) -> None:
        self._retry = None
        opening = self._opening = maybeDeferred(self._connect, self)
        opening.addTimeout(self.limits.connect_seconds, self._clock)
        opening.addCallbacks(self._connected, self._refused)

    def _refused(self, failure: Failure) -> None:
        self._opening = None
        if not self._stopped:
            error = failure.value
            # the text of others may say anything
            why = error if isinstance(error, MailsrvError) else type(error).__name__
            if str(why) != self._why:
                log.info("No link to {name}: {why}", name=self.name, why=why)
            self._why = str(why)
            self._again()

    def _connected(self, connection: LinkConnection) -> None:
        self._opening = None
        if self._stopped:
            connection.abort()
            return
        line = self._line = Line(connection)
        connection.closed.addBoth(lambda reason: self._lost(line, reason))
        if self._line is not line:
            return
        if connection.welcome.primary != self.name:
            log.error(
                "The primary configured as {name} calls itself {other}",
                name=self.name,
                other=connection.welcome.primary,
            )
            connection.abort()
            return
        resuming = succeed(None) if self.owner is None else self.owner.resume(self, line)
        self._opening = resuming
        resuming.addTimeout(self.limits.resume_seconds, self._clock)
        resuming.addCallbacks(lambda _: self._ready(line), lambda why: self._not_ready(line, why))

    def _not_ready(self, line: Line, failure: Failure) -> None:
        self._opening = None
        error = failure.value
        if self._line is line and not isinstance(error, MailsrvError | defer.TimeoutError | None):
            log_unexpected(error)
        line.connection.abort()

    def _ready(self, line: Line) -> None:
        self._opening = None
        if self._line is not line:
            return
        self._why = ""
        now = self._up_since = self._clock.seconds()
        for asked in self._asked:
            if asked.timer is not None:
                asked.timer.cancel()
                asked.timer = None
                asked.waited += now - asked.since
        self._unsent.extend(self._asked)
        log.info("Linked to {name}", name=self.name)
        self._pump()
        if self.owner is not None:
            self.owner.resumed(self)

    def _lost(self, line: Line, reason: object) -> object:
        if self._line is line:
            now = self._clock.seconds()
            if self._up_since is not None and now - self._up_since >= self.limits.settled:
                self._attempts = 0
            self._line = self._up_since = None
            self._unsent.clear()
            opening, self._opening = self._opening, None
            if opening is not None:
                opening.cancel()
            for asked in list(self._asked):
                self._wait(asked)
            log.info("The link to {name} was lost", name=self.name)
            self._again()
        return None if isinstance(reason, Failure) else reason

    def _again(self) -> None:
        """Try again after a pause that differs from front end to front end."""
        limits = self.limits
        longest = min(limits.longest_delay, limits.first_delay * 2.0 ** min(self._attempts, 30))
        self._attempts += 1
        self._retry = self._clock.callLater(longest * (0.5 + self._random() / 2), self._attempt)

    # Asking

    def _pump(self) -> None:
        self._pumping = None
        for _ in range(min(self.limits.sent_at_once, len(self._unsent))):
            asked = self._unsent.popleft()
            if asked in self._asked:
                self._send(asked)
            if not self.up:
                return
        if self._unsent:
            self._pumping = self._clock.callLater(0, self._pump)

    def _send(self, asked: _Asked) -> None:
        line = self._line
        if line is None:
            return
        try:
            call = line.call(asked.compose(line), self.limits.answer_seconds)
        except MailsrvError as error:
            self._settle(asked, error)
            return
        except Exception as error:  # noqa: BLE001 - one request's fault is not the link's
            log_unexpected(error)
            self._settle(asked, Unavailable(AWAY))
            return
        asked.line, asked.call = line, call
        call.addCallbacks(
            lambda answer: self._settle(asked, answer),
            lambda failure: self._failed(asked, line, failure),
        )

    def _failed(self, asked: _Asked, line: Line, failure: Failure) -> None:
        if asked not in self._asked or asked.line is not line:
            return
        if not isinstance(failure.value, LinkLost):
            self._settle(asked, failure.value)
            return
        # the connection's end is being told of, and then this waits
        asked.call = asked.line = None

    def _wait(self, asked: _Asked) -> None:
        asked.call = asked.line = None
        if asked.timer is not None:
            return
        asked.since = self._clock.seconds()
        left = max(0.0, self.limits.patience - asked.waited)
        asked.timer = self._clock.callLater(left, self._give_up, asked)

    def _give_up(self, asked: _Asked) -> None:
        asked.timer = None
        self._settle(asked, Unavailable(AWAY))

    def _forget(self, asked: _Asked) -> None:
        if asked in self._asked:
            del self._asked[asked]
            self._octets -= asked.size
        if asked.timer is not None:
            asked.timer.cancel()
            asked.timer = None
        call, asked.call = asked.call, None
        if call is not None and not call.called:
            call.addErrback(lambda _: None)
            call.cancel()

    def _settle(self, asked: _Asked, result: Any) -> None:
        if asked not in self._asked:
            return
        self._forget(asked)
        if isinstance(result, BaseException):
            asked.answer.errback(result)
        else:
            asked.answer.callback(result)


def _closing(connection: LinkConnection) -> Deferred[None]:
    done: Deferred[None] = Deferred()

    def closed(reason: object) -> object:
        done.callback(None)
        return None if isinstance(reason, Failure) else reason

    connection.closed.addBoth(closed)
    connection.close(STOPPED)
    return done
