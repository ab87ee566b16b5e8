"""Looks from time to time how all backups stand, and tells: metrics, log and a mail.

The log names aliases by their ids; the mail, which goes to the operator alone, by their addresses.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from prometheus_client import Gauge
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from mailsrv.backup.alarms import Alarms, Problem, message_id, problems, write_mail
from mailsrv.backup.daily import Daily
from mailsrv.backup.metrics import Metrics
from mailsrv.directory.base import iso
from mailsrv.directory.directory import BackupStanding
from mailsrv.errors import MailsrvError
from mailsrv.service.threads import in_thread
from mailsrv.settings import Settings
from mailsrv.store.interfaces import IStore
from mailsrv.store.values import Delivery
from mailsrv.store.workers import log_failure

log = Logger()

SECONDS = 60.0


class Watch:
    """``post`` is the store that brings mail to the operator."""

    def __init__(
        self,
        settings: Settings,
        post: IStore,
        metrics: Metrics,
        reactor: Any,
        now: Callable[[], datetime],
    ) -> None:
        self._settings = settings
        self._post = post
        self._metrics = metrics
        self._reactor = reactor
        self._now = now
        self._alarms = Alarms()
        self._looking = False
        self._others: list[tuple[Callable[[], list[Problem]], Gauge]] = []
        self._loop = LoopingCall(self.look)
        self._loop.clock = reactor

    def add(self, problems: Callable[[], list[Problem]], gauge: Gauge) -> None:
        """Tell of these too, which are found on a thread, and count them."""
        self._others.append((problems, gauge))

    def start(self, daily: Daily) -> None:
        """Look now, and every minute."""
        self._daily = daily
        self._loop.start(SECONDS)

    def stop(self) -> None:
        """Look no more."""
        if self._loop.running:
            self._loop.stop()

    def look(self) -> None:
        """Look now, unless it is being done."""
        if not self._looking and self._loop.running:
            self._looking = True
            Deferred.fromCoroutine(self._look()).addErrback(log_failure)

    async def _look(self) -> None:
        try:
            pending = await in_thread(
                self._reactor, lambda: self._daily.pending(self._settings.link.name)
            )
            now = self._now()
            found = problems(pending, timedelta(hours=self._settings.backup.late_hours), now)
            self._measure(pending, found, now)
            for problems_of, gauge in self._others:
                more = await in_thread(self._reactor, problems_of)
                gauge.set(len(more))
                found += more
            for one in self._alarms.news(found):
                log.error("Backups of alias {alias}: {what}", alias=one.alias, what=one.sentence)
            if self._settings.operator.mail_to and self._alarms.due(found, now):
                await self._send(found, now)
        except MailsrvError as error:
            log.error("How the backups stand cannot be told: {reason}", reason=str(error))
        finally:
            self._looking = False

    def _measure(
        self, pending: Sequence[BackupStanding], found: Sequence[Problem], now: datetime
    ) -> None:
        since = [datetime.fromisoformat(one.record.wanted) for one in pending if one.record.wanted]
        self._metrics.wanted.set((now - min(since)).total_seconds() if since else 0)
        self._metrics.late.set(sum(one.late for one in found))
        self._metrics.failing.set(sum(one.record.problem is not None for one in pending))

    async def _send(self, found: Sequence[Problem], now: datetime) -> None:
        try:
            await self._deliver(found, now)
        except MailsrvError as error:
            self._alarms.postponed(now)
            log.error("operator.mail_to cannot be told: {reason}", reason=str(error))
        else:
            self._alarms.told(found, now)

    async def _deliver(self, found: Sequence[Problem], now: datetime) -> None:
        to = self._settings.operator.mail_to
        recipient = await self._post.resolve(to)
        await self._post.deliver(
            recipient.alias,
            Delivery(
                content=write_mail(found, to, self._settings.hostname, now),
                delivery_id=f"{message_id(now)}@{self._settings.hostname}",
                received=iso(now),
            ),
        )
