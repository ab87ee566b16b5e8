"""Backups of this primary's mailboxes: who is due is backed up while the owner's key is at hand.

The first part of a backup runs on a thread of the store, in a turn of the alias; what follows, and
may last long, on threads of its own that nobody waits for when the server stops.
"""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import attrs
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, DeferredList, DeferredSemaphore
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from mailsrv.backup.daily import Daily, Outcome, Turn
from mailsrv.backup.metrics import Metrics
from mailsrv.backup.schedule import Schedule
from mailsrv.errors import (
    BackupStoreFailed,
    Elsewhere,
    InvalidInput,
    KeyGone,
    MailboxBusy,
    MailboxMoved,
    MailboxNotReady,
    MailsrvError,
    NoSuchAlias,
    NoSuchBackup,
    Unavailable,
)
from mailsrv.service.backup_verification import Verification
from mailsrv.service.backup_watch import Watch
from mailsrv.service.process import Refused
from mailsrv.service.threads import in_thread
from mailsrv.settings import Backup
from mailsrv.store.interfaces import IBackups
from mailsrv.store.local import LocalStore
from mailsrv.store.values import BackupState
from mailsrv.store.workers import log_failure, log_unexpected

T = TypeVar("T")

log = Logger()

LOOK_SECONDS = 30.0
"""How often who is due is looked for, beside those who come."""

TIDY_SECONDS = 86400.0

ASK_PAUSE = timedelta(minutes=5)
"""A changed mailbox is copied no sooner after its last copy, however often its owner asks."""

MISSED = (KeyGone, MailboxMoved)
"""Errors of a session that had gone, or had the key of an earlier file."""

PASSING = (
    *MISSED,
    Elsewhere,
    MailboxBusy,
    MailboxNotReady,
    NoSuchAlias,
    NoSuchBackup,
    Unavailable,
)
"""Errors that tell of no trouble: the backup is made another time."""

_STOPPING = "the server is shutting down"


@attrs.define(eq=False)
class _Job:
    """A backup under way, and who waits for it."""

    waiting: list[Deferred[BackupState]] = attrs.Factory(list)
    step: Deferred[Any] | None = None
    """What it waits for, where that is not worth waiting for when the server stops."""
    done: Deferred[None] = attrs.Factory(Deferred)


@implementer(IBackups)
class Backups(Service):
    """Added after the service of the store, so that it stops before that. ``store`` has started
    when this does, and then ``daily`` is asked for."""

    def __init__(
        self,
        store: LocalStore,
        backup: Backup,
        daily: Callable[[], Daily],
        watch: Watch,
        verification: Verification,
        metrics: Metrics,
        reactor: Any,
    ) -> None:
        self._store = store
        self._make_daily = daily
        self._watch = watch
        self._verification = verification
        self._metrics = metrics
        self._reactor = reactor
        self._schedule = Schedule(timedelta(hours=backup.every_hours))
        self._copies = DeferredSemaphore(backup.at_once)
        # while one is brought away the next may be copied; more would fill the disk
        self._places = DeferredSemaphore(2 * backup.at_once)
        self._jobs: dict[str, _Job] = {}
        self._looking = False
        self._again = False
        self._loop = LoopingCall(self._look_around)
        self._loop.clock = reactor
        self._tidying = LoopingCall(self._tidy)
        self._tidying.clock = reactor

    def startService(self) -> None:
        try:
            self._daily = self._make_daily()
        except MailsrvError as error:
            raise Refused(error) from None
        super().startService()
        self._store.backups = self
        self._store.at_hand.watch(self._came)
        self._tidying.start(TIDY_SECONDS)
        self._loop.start(LOOK_SECONDS)
        self._watch.start(self._daily)
        self._verification.start(self._daily)

    def stopService(self) -> Deferred[None]:
        """Deferred of None, when no mailbox is being copied any more; what is being brought away
        is given up."""
        super().stopService()
        self._store.backups = None
        for loop in (self._loop, self._tidying):
            if loop.running:
                loop.stop()
        self._watch.stop()
        self._verification.stop()
        jobs = list(self._jobs.values())
        for job in jobs:
            if job.step is not None:
                job.step.cancel()
        return DeferredList([job.done for job in jobs]).addCallback(lambda _: None)

    def back_up(self, alias: str) -> Deferred[BackupState]:
        asked: Deferred[BackupState] = Deferred()
        job = self._jobs.get(alias) or self._begin(alias, ASK_PAUSE)
        job.waiting.append(asked)
        return asked

    def _tidy(self) -> None:
        self._in_thread(self._remove_leftovers).addErrback(log_failure)

    def _remove_leftovers(self) -> None:
        """On a thread of its own: what crashes have left, here and in the store."""
        try:
            self._daily.prepare()
            self._daily.tidy()
        except MailsrvError as error:
            self._metrics.refusals.inc(isinstance(error, BackupStoreFailed))
            log.error("What crashes left of backups stays: {reason}", reason=str(error))

    # Who is due

    def _came(self, alias: str) -> None:
        if self._schedule.came(alias):
            self._look_around()

    def _look_around(self) -> None:
        """Once more, if it is under way already: visits may be short."""
        self._again = True
        if not self._looking and self.running:
            self._looking = True
            Deferred.fromCoroutine(self._look()).addErrback(log_failure)

    async def _look(self) -> None:
        try:
            while self._again and self.running:
                self._again = False
                await self._learn()
                self._begin_due()
                await self._note_wanted()
        except MailsrvError as error:
            log.error("Who is to be backed up is not known: {reason}", reason=str(error))
        finally:
            self._looking = False

    async def _learn(self) -> None:
        present = self._store.at_hand.aliases()
        self._schedule.keep(present)
        wanted = self._schedule.to_learn(present)
        if wanted:
            try:
                found = await self._in_thread(lambda: self._daily.standings(wanted))
            except MailsrvError:
                for alias in wanted:
                    self._schedule.came(alias)
                raise
            for standing in found:
                self._schedule.learn(standing)

    def _begin_due(self) -> None:
        for alias in self._schedule.due(self._daily.now()):
            if not self._places.tokens or not self.running:
                return
            if alias not in self._jobs:
                self._begin(alias, None)

    async def _note_wanted(self) -> None:
        wanted = self._schedule.newly_wanted(self._daily.now(), self._jobs)
        if wanted and self.running:
            directory = self._daily.directory
            await self._in_thread(lambda: directory.note_backups_wanted(wanted))

    # One backup

    def _begin(self, alias: str, pause: timedelta | None) -> _Job:
        job = self._jobs[alias] = _Job()
        ended = partial(self._ended, alias, job)
        Deferred.fromCoroutine(self._run(alias, job, pause)).addBoth(ended)
        return job

    def _ended(self, alias: str, job: _Job, result: BackupState | Failure) -> None:
        del self._jobs[alias]
        for asked in job.waiting:
            if not asked.called:
                asked.callback(result)
        job.done.callback(None)
        self._look_around()

    async def _run(self, alias: str, job: _Job, pause: timedelta | None) -> BackupState:
        try:
            await self._step(job, self._places.acquire)
            try:
                outcome = await self._twice(alias, job, pause)
            finally:
                self._places.release()
        except MailsrvError as error:
            if self.running:
                await self._failed(alias, error)
            raise
        except CancelledError:
            raise Unavailable(_STOPPING) from None
        except Exception as error:  # noqa: BLE001
            log_unexpected(error)
            self._schedule.postponed(alias, self._daily.now())
            raise Unavailable("the backup could not be made") from None
        self._metrics.outcomes.labels(outcome.what).inc()
        self._schedule.made(alias)
        return BackupState(outcome.what, outcome.taken, outcome.octets)

    async def _twice(self, alias: str, job: _Job, pause: timedelta | None) -> Outcome:
        try:
            return await self._once(alias, job, pause)
        except NoSuchBackup:  # nothing has changed, and what it was compared with has gone
            return await self._once(alias, job, None)

    async def _once(self, alias: str, job: _Job, pause: timedelta | None) -> Outcome:
        begin = partial(self._in_thread, lambda: self._daily.begin(alias, pause), Turn.end)
        turn: Turn = await self._step(job, begin)
        try:
            await self._copy(alias, job, turn)
            keep = partial(self._in_thread, lambda: self._keep(turn))
            return await self._step(job, keep)
        finally:
            turn.end()

    async def _copy(self, alias: str, job: _Job, turn: Turn) -> None:
        """With the key, of which nothing is left here afterwards."""
        await self._step(job, self._copies.acquire)
        try:
            with self._metrics.seconds.labels("copy").time():
                await self._store.at_hand.run(alias, turn.copy)
        finally:
            self._copies.release()

    def _keep(self, turn: Turn) -> Outcome:
        """On a thread of its own."""
        with self._metrics.seconds.labels("keep").time():
            outcome = turn.keep()
            if outcome.what == "taken" and not turn.ended:
                self._metrics.octets.inc(outcome.octets)
                self._prune(turn)
        return outcome

    def _prune(self, turn: Turn) -> None:
        """The backup is there, whatever becomes of older ones; next time is another try."""
        try:
            self._metrics.removed.inc(turn.prune())
        except BackupStoreFailed as error:
            self._metrics.refusals.inc()
            log.error(
                "Old backups of alias {alias} are not removed: {reason}",
                alias=turn.alias.id,
                reason=str(error),
            )

    async def _failed(self, alias: str, error: MailsrvError) -> None:
        if isinstance(error, MISSED):
            self._schedule.missed(alias, self._daily.now())
        else:
            self._schedule.postponed(alias, self._daily.now())
        directory = self._daily.directory
        if isinstance(error, InvalidInput):
            return  # none are made of this mailbox
        if isinstance(error, PASSING):
            if not isinstance(error, Elsewhere):
                await self._noted(lambda: directory.note_backups_wanted([alias]))
            return
        self._metrics.outcomes.labels("failed").inc()
        if isinstance(error, BackupStoreFailed):
            self._metrics.refusals.inc()
        await self._noted(lambda: self._daily.failed(alias, error))
        self._watch.look()

    async def _noted(self, note: Callable[[], None]) -> None:
        try:
            await self._in_thread(note)
        except MailsrvError as error:
            log.error("What became of a backup is not noted: {reason}", reason=str(error))

    async def _step(self, job: _Job, begin: Callable[[], Deferred[T]]) -> T:
        """Do what a stop of the server does not wait for."""
        if not self.running:
            raise Unavailable(_STOPPING)
        job.step = step = begin()
        try:
            return await step
        finally:
            job.step = None

    def _in_thread(
        self, work: Callable[[], T], late: Callable[[T], object] | None = None
    ) -> Deferred[T]:
        return in_thread(self._reactor, work, late)
