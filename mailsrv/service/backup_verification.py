"""Looks over time whether the newest backups still are what was put there: what keeps them may rot.

Each alias has a moment of its own in ``backup.verify_days``, told by its id, at which its newest
copy is fetched and compared with its SHA-256. That needs no key, so nobody has to be there.
"""

from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from mailsrv.backup.daily import Daily
from mailsrv.backup.metrics import Metrics
from mailsrv.backup.schedule import slot_after
from mailsrv.backup.verification import Copies, Verified
from mailsrv.errors import BackupDamaged, BackupStoreFailed, DiskFull, MailsrvError
from mailsrv.service.threads import in_thread
from mailsrv.settings import Settings
from mailsrv.store.workers import log_failure

log = Logger()

LOOK_SECONDS = 3600.0

_POSTPONE = (BackupStoreFailed, DiskFull)
"""Errors that tell nothing of the copy: it is tried again at the next look."""


class Verification:
    """One copy at a time, on a thread that nobody waits for when the server stops."""

    def __init__(
        self, settings: Settings, metrics: Metrics, reactor: Any, now: Callable[[], datetime]
    ) -> None:
        self._every = timedelta(days=settings.backup.verify_days)
        self._primary = settings.link.name
        self._metrics = metrics
        self._reactor = reactor
        self._now = now
        self._due: deque[str] = deque()
        self._step: Deferred[Any] | None = None
        self._loop = LoopingCall(self.look)
        self._loop.clock = reactor

    def start(self, daily: Daily) -> None:
        """Look now, and every hour; unless nothing is to be verified."""
        self._daily = daily
        # a restart shall not leave those out whose moment it is
        self._until = self._now() - timedelta(seconds=LOOK_SECONDS)
        if self._every:
            self._loop.start(LOOK_SECONDS)

    def stop(self) -> None:
        """Look no more; what is under way is given up."""
        if self._loop.running:
            self._loop.stop()
        if self._step is not None:
            self._step.cancel()

    def look(self) -> None:
        """Look now, unless that is being done."""
        if self._step is None and self._loop.running:
            Deferred.fromCoroutine(self._look()).addErrback(log_failure)

    async def _look(self) -> None:
        try:
            await self._learn()
            for _ in range(len(self._due)):
                if not self._loop.running:
                    return
                await self._verify(self._due.popleft())
        except MailsrvError as error:
            log.error("Which backups are to be verified is not known: {reason}", reason=str(error))
        except CancelledError:
            return

    async def _learn(self) -> None:
        after, until = self._until, self._now()
        found = await self._in_thread(lambda: self._moments(after, until))
        self._due.extend(one for one in found if one not in self._due)
        self._until = until

    def _moments(self, after: datetime, until: datetime) -> Sequence[str]:
        """On a thread of its own: aliases with backups whose moment is then."""
        standings = self._daily.all_standings(self._primary)
        return [
            one.alias
            for one in standings
            if one.record.taken is not None and slot_after(one.alias, after, self._every) <= until
        ]

    async def _verify(self, alias: str) -> None:
        try:
            await self._in_thread(lambda: self._newest(alias))
        except _POSTPONE as error:
            self._due.append(alias)
            self._metrics.refusals.inc(isinstance(error, BackupStoreFailed))
            self._failed(alias, "failed", error)
        except MailsrvError as error:
            # of one that is damaged the operator is told by what is noted in the directory
            self._failed(alias, "damaged" if isinstance(error, BackupDamaged) else "failed", error)
        else:
            self._metrics.verifications.labels("good").inc()

    def _newest(self, alias: str) -> Verified:
        known = self._daily.directory.alias_by_id(alias)
        return Copies(self._daily, known).verify(None, None)

    def _failed(self, alias: str, outcome: str, error: MailsrvError) -> None:
        self._metrics.verifications.labels(outcome).inc()
        log.error(
            "The newest backup of alias {alias} is not verified: {reason}",
            alias=alias,
            reason=str(error),
        )

    async def _in_thread(self, work: Callable[[], Any]) -> Any:
        self._step = in_thread(self._reactor, work)
        try:
            return await self._step
        finally:
            self._step = None
