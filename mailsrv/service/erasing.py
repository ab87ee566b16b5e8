"""The janitor of a primary: erases aliases whose time of grace is over, and what was begun.

Once an hour also what commands left that were killed: files that never became a mailbox.
Looks for them at the start, every hour, and soon after the directory changed: a command may have
deleted an alias, here or on another machine.
"""

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailsrv.backup.erasing import Erased, Erasing, Stores
from mailsrv.errors import MailboxBusy, MailboxMoved, MailsrvError, NoSuchAlias
from mailsrv.store.moving import Place
from mailsrv.store.orphans import remove_orphans
from mailsrv.store.workers import log_unexpected

LOOK_SECONDS = 5.0
FULL_LOOK_SECONDS = 3600.0
FIRST_PAUSE = 60.0
"""Seconds before what failed is tried again; each time twice as many, up to a full look."""

log = Logger()


@attrs.define
class _Pause:
    until: float
    seconds: float


class EraseService(Service):
    """``place`` is asked for at the start; ``stores`` tells where an alias may have backups."""

    def __init__(
        self,
        place: Callable[[], Place],
        stores: Stores,
        grace: timedelta,
        now: Callable[[], datetime],
        reactor: Any,
    ) -> None:
        self._place = place
        self._stores = stores
        self._grace = grace
        self._now = now
        self._reactor = reactor
        self._pauses: dict[str, _Pause] = {}
        self._revision: int | None = None
        self._next = 0.0
        self._under_way: Deferred[None] = succeed(None)
        self._loop = LoopingCall(self._turn)
        self._loop.clock = reactor

    def startService(self) -> None:
        super().startService()
        place = self._place()
        self._directory, self._volume, self._name = place.directory, place.volume, place.name
        self._erasing = Erasing(
            place.directory, place.volume, place.files, self._stores, self._now, place.name
        )
        self._loop.start(LOOK_SECONDS)

    def stopService(self) -> Deferred[None]:
        super().stopService()
        if self._loop.running:
            self._loop.stop()
            self._erasing.stop()
        stopped: Deferred[None] = Deferred()
        self._under_way.addBoth(lambda _: stopped.callback(None))
        return stopped

    def _turn(self) -> Deferred[None]:
        self._under_way = deferToThreadPool(
            self._reactor, self._reactor.getThreadPool(), self._look, self._reactor.seconds()
        ).addErrback(self._failed)
        turn: Deferred[None] = Deferred()
        self._under_way.addBoth(lambda _: turn.callback(None))
        return turn

    def _failed(self, failure: Failure) -> None:
        self._revision = None
        if failure.check(MailsrvError):
            log.error("Nothing can be erased now: {why}", why=str(failure.value))
        elif failure.value is not None:
            log_unexpected(failure.value)

    def _look(self, now: float) -> None:
        """On a worker thread."""
        revision = self._directory.revision()
        if revision == self._revision and now < self._next:
            return
        full = now >= self._next
        self._revision = None
        with suppress(MailboxBusy):  # a command is at work: next time
            self._begin(now)
            self._go_on(now)
            if full:
                remove_orphans(self._directory, self._volume, self._now, self._name)
            self._revision = revision
            pauses = (pause.until for pause in self._pauses.values())
            self._next = min([now + FULL_LOOK_SECONDS, *pauses])

    def _begin(self, now: float) -> None:
        for alias in self._directory.due_erasures(self._grace, self._name):
            with suppress(MailboxMoved, NoSuchAlias):  # undeleted, or erased by a command
                self._note(alias.id, self._erasing.erase(alias, 0), now)

    def _go_on(self, now: float) -> None:
        left = self._directory.erasures(self._name)
        for gone in set(self._pauses) - {one.alias for one in left}:
            del self._pauses[gone]
        for erasure in left:
            pause = self._pauses.get(erasure.alias)
            if pause is None or now >= pause.until:
                self._note(erasure.alias, self._erasing.resume(erasure, 0), now)

    def _note(self, alias: str, erased: Erased | None, now: float) -> None:
        last = self._pauses.pop(alias, None)
        if erased is None:
            return
        if not erased.finished:
            seconds = FIRST_PAUSE if last is None else min(2 * last.seconds, FULL_LOOK_SECONDS)
            self._pauses[alias] = _Pause(now + seconds, seconds)
        _say(alias, erased)


def _say(alias: str, erased: Erased) -> None:
    log.info(
        "Erased of alias {alias}: {mailboxes} mailboxes, {messages} waiting messages, "
        "{objects} objects of backups",
        alias=alias,
        mailboxes=erased.mailboxes.count,
        messages=erased.messages,
        objects=sum(one.removed.count for one in erased.backups),
    )
    for problem in erased.problems:
        log.error("Alias {alias} is not erased yet: {why}", alias=alias, why=problem)
