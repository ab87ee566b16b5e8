"""Blocking work on threads of its own, in one trip for each request.

Counts what is under way, so that a stop can wait for it; lets no alias hold more than its share
of the threads; and turns what nobody expected into Unavailable, logged without its text, since
that text may hold what a log must not.
"""

from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore, fail
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from mailsrv.errors import MailsrvError, Unavailable
from mailsrv.store.gate import Gate

P = ParamSpec("P")
T = TypeVar("T")

log = Logger()


class Workers:
    """Runs functions on ``pool`` and answers on the reactor's thread."""

    def __init__(
        self, reactor: IReactorFromThreads, pool: ThreadPool, per_alias: int, gate: Gate
    ) -> None:
        self._reactor = reactor
        self._pool = pool
        self._per_alias = per_alias
        self._gate = gate
        self._turns: dict[str, DeferredSemaphore] = {}
        self._under_way = 0
        self._drained: list[Deferred[None]] = []
        self.closing = False

    @property
    def busy(self) -> bool:
        """Whether anything is under way."""
        return self._under_way > 0

    def begin(self, work: Callable[[], Coroutine[Any, Any, T]]) -> Deferred[T]:
        """Start one request: Unavailable when closing, and for what nobody expected."""
        if self.closing:
            return refused()
        return Deferred.fromCoroutine(self._guarded(work))

    def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """One trip to a worker thread. Who cancels hears no more of it; the work goes on."""
        return self.run_then(lambda: None, function, *args, **kwargs)

    def run_then(
        self,
        ended: Callable[[], None],
        function: Callable[P, T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Deferred[T]:
        """The same; ``ended`` is called when the work has ended, whoever still waits for it.

        For turns: one that came free when its holder cancels would let work pile up on threads.
        """
        self._under_way += 1
        asked: Deferred[T] = Deferred()

        def answer(result: T | Failure) -> None:
            ended()
            self._finished()
            if not asked.called:
                asked.callback(result)

        deferToThreadPool(self._reactor, self._pool, function, *args, **kwargs).addBoth(answer)
        return asked

    async def run_for(
        self, alias: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """One trip, when the alias has a turn and its gate is open."""

        def inside() -> T:
            try:
                return function(*args, **kwargs)
            finally:
                # here, since who cancels is answered before the work has ended
                self._gate.leave(alias)

        turns = self._turns.get(alias)
        if turns is None:
            turns = self._turns[alias] = DeferredSemaphore(self._per_alias)

        def over() -> None:
            turns.release()
            if turns.tokens == turns.limit and self._turns.get(alias) is turns:
                del self._turns[alias]

        self._under_way += 1
        try:
            await turns.acquire()
            try:
                await self._gate.enter(alias)
            except BaseException:
                over()
                raise
            return await self.run_then(over, inside)
        finally:
            self._finished()

    def drained(self) -> Deferred[None]:
        """Deferred of None, when nothing is under way."""
        done: Deferred[None] = Deferred()
        if self._under_way:
            self._drained.append(done)
        else:
            done.callback(None)
        return done

    async def _guarded(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        self._under_way += 1
        try:
            return await work()
        except (MailsrvError, CancelledError):
            raise
        except Exception as error:  # noqa: BLE001
            log_unexpected(error)
            raise Unavailable("the mailbox cannot be reached now") from None
        finally:
            self._finished()

    def _finished(self) -> None:
        self._under_way -= 1
        if not self._under_way:
            drained, self._drained = self._drained, []
            for done in drained:
                done.callback(None)


def refused() -> Deferred[Any]:
    """The answer of a store that stops."""
    return fail(Unavailable("the server is shutting down"))


def log_failure(failure: Failure) -> None:
    """The errback of work that nobody waits for."""
    if failure.value is not None:
        log_unexpected(failure.value)


def log_unexpected(error: BaseException) -> None:
    """Log kind and place of an error. Not its text: statements and values would be in it."""
    places: list[str] = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        places.append(f"{code.co_qualname}:{trace.tb_lineno}")
        trace = trace.tb_next
    log.error(
        "Unexpected {kind} in the store, at {places}",
        kind=type(error).__qualname__,
        places=" > ".join(places[-12:]),
    )
