"""Ask those who may have the key of an alias: the links to secondaries where its owner may be.

All are asked at once and the first who has it wins. One that lets its time pass is asked no more
until it has answered, so that a secondary in trouble delays mail once and not each message.
"""

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import attrs
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from mailsrv.errors import MailsrvError
from mailsrv.store.home import Home
from mailsrv.store.interfaces import IKeeper
from mailsrv.store.sessions import Session, Sessions
from mailsrv.store.values import Access
from mailsrv.store.workers import Workers, log_unexpected

Find = Callable[[str], Coroutine[Any, Any, Session | None]]
"""The session of an alias whose key is at hand."""


@attrs.define(eq=False)
class _Question:
    """One question to many, until one has the key, all have answered or time is up."""

    answer: Deferred[Access | None] = attrs.Factory(Deferred)
    asked: dict[IKeeper, Deferred[Any]] = attrs.Factory(dict)
    late: IDelayedCall | None = None

    def end(self, access: Access | None) -> None:
        if self.late is not None and self.late.active():
            self.late.cancel()
        if not self.answer.called:
            self.answer.callback(access)


class Keepers:
    """Reactor's thread. Nobody waits longer than ``seconds``."""

    def __init__(self, clock: IReactorTime, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._keepers: dict[IKeeper, set[_Question]] = {}
        self._slow: set[IKeeper] = set()

    def __len__(self) -> int:
        return len(self._keepers)

    def add(self, keeper: IKeeper) -> None:
        """Ask this one too."""
        self._keepers.setdefault(keeper, set())

    def remove(self, keeper: IKeeper) -> None:
        """Ask it no more, and wait for none of its answers."""
        questions = self._keepers.pop(keeper, set())
        self._slow.discard(keeper)
        # all of them forget it first: ending one may end others
        asked = [(question, question.asked.pop(keeper)) for question in questions]
        for question, answer in asked:
            answer.cancel()
            self._end_if_answered(question)

    def ask(self, alias: str, mailbox: str) -> Deferred[Access | None]:
        """Deferred of the access of a session whose key was brought; None if there is none."""
        question = _Question()
        for keeper in [one for one in self._keepers if one not in self._slow]:
            question.asked[keeper] = maybeDeferred(keeper.ask, alias, mailbox)
            self._keepers[keeper].add(question)
        self._end_if_answered(question)
        for keeper, asked in list(question.asked.items()):
            asked.addBoth(partial(self._answered, question, keeper))
        if not question.answer.called:
            question.late = self._clock.callLater(self._seconds, self._give_up, question)
        return question.answer

    def close(self) -> None:
        """Wait for nobody any more."""
        for keeper in list(self._keepers):
            self.remove(keeper)

    def _answered(
        self, question: _Question, keeper: IKeeper, answer: Access | Failure | None
    ) -> None:
        if question.asked.pop(keeper, None) is None:
            return  # removed, or outrun by another
        self._keepers[keeper].discard(question)
        self._slow.discard(keeper)
        if isinstance(answer, Failure):
            error = answer.value
            if error is not None and not isinstance(error, MailsrvError):
                log_unexpected(error)
        elif answer is not None and not question.answer.called:
            self._end(question, answer)
        self._end_if_answered(question)

    def _end(self, question: _Question, access: Access) -> None:
        """The others need not go on looking."""
        outrun, question.asked = question.asked, {}
        for keeper, asked in outrun.items():
            self._keepers[keeper].discard(question)
            asked.cancel()
        question.end(access)

    def _end_if_answered(self, question: _Question) -> None:
        if not question.asked:
            question.end(None)

    def _give_up(self, question: _Question) -> None:
        self._slow.update(question.asked)
        question.end(None)


class KeyHolders:
    """Finds a session with its key: one that is here, else one that a keeper has."""

    def __init__(self, sessions: Sessions, keepers: Keepers, workers: Workers, home: Home) -> None:
        self._sessions = sessions
        self._keepers = keepers
        self._workers = workers
        self._home = home

    async def find(self, alias: str) -> Session | None:
        """The session; its key may be gone again after the next turn of the reactor.

        MailboxNotReady, NoSuchAlias, Elsewhere, where keepers have to be asked.
        """
        holder = self._sessions.holder(alias)
        if holder is not None or not self._keepers or self._workers.closing:
            return holder
        record = await self._workers.run(self._home.mailbox, alias)
        await self._keepers.ask(alias, record.id)
        return self._sessions.holder(alias)
