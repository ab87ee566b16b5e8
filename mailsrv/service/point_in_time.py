"""Ships the logs of open mailboxes while the server runs, and what a crash left when it starts."""

from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, DeferredSemaphore
from twisted.internet.task import LoopingCall

from mailsrv.backup.alarms import Problem
from mailsrv.backup.shipping import FOLDER, Shipper, uploads
from mailsrv.backup.shipping_limits import ShippingLimits
from mailsrv.backup.stores import BackupStores
from mailsrv.directory.directory import Directory
from mailsrv.errors import NoSuchAlias
from mailsrv.mailbox.durability import boot_id
from mailsrv.mailbox.wal.keeper import LogKeeper, LogKeepers
from mailsrv.service.threads import in_thread
from mailsrv.settings import Settings
from mailsrv.store.volume import Volume
from mailsrv.store.workers import log_failure

SHIP_SECONDS = 5.0
"""Between two uploads of a mailbox: what a volume takes along that dies is not much older."""

TEND_SECONDS = 3600.0
"""Between two looks at mailboxes where nobody is."""

AT_ONCE = 8
"""Mailboxes whose changes are uploaded at a time."""

LAST_SECONDS = 10.0
"""What cannot be uploaded in this time when the server stops waits on the volume."""


class PointInTime:
    """Reactor's thread. ``start`` when the volume is held, ``stop`` when all mailboxes are closed.

    Nobody waits for its threads: what they have not uploaded waits on the volume.
    """

    def __init__(
        self, logs: LogKeepers, shipper: Shipper, directory: Directory, reactor: Any
    ) -> None:
        self.logs = logs
        self._shipper = shipper
        self._directory = directory
        self._reactor = reactor
        self._shipping: dict[LogKeeper, Deferred[None]] = {}
        self._turns = DeferredSemaphore(AT_ONCE)
        self._basing = False
        self._stopped = False
        self._loop = LoopingCall(self._turn)
        self._tending = LoopingCall(self._tend)
        for loop in (self._loop, self._tending):
            loop.clock = reactor

    def start(self) -> None:
        """Begin with what was left."""
        recovered = in_thread(self._reactor, self._shipper.recover)
        recovered.addErrback(log_failure)
        recovered.addCallback(self._recovered)

    async def stop(self) -> None:
        """Upload what was written last."""
        self._stopped = True
        for loop in (self._loop, self._tending):
            if loop.running:
                loop.stop()
        # what runs has mailboxes in hand that the last turn has to see
        await self._in_time(list(self._shipping.values()))
        await self._in_time([self._ship(keeper) for keeper in self._shipper.pending()])

    def problems(self) -> list[Problem]:
        """What the operator has to hear of. Blocking, any thread."""
        found = []
        for trouble in self._shipper.troubles():
            with suppress(NoSuchAlias):
                address = self._directory.alias_by_id(trouble.alias).address
                found.append(Problem(trouble.alias, address, trouble.sentence))
        return found

    def _recovered(self, _result: object) -> None:
        if not self._stopped:
            self._loop.start(SHIP_SECONDS)
            self._tending.start(TEND_SECONDS)

    def _tend(self) -> Deferred[None]:
        return in_thread(self._reactor, self._shipper.tend).addErrback(log_failure)

    def _turn(self) -> None:
        for keeper in self._shipper.pending():
            if keeper not in self._shipping:
                self._ship(keeper)
        if not self._basing:
            self._basing = True
            in_thread(self._reactor, self._make_base).addErrback(log_failure).addBoth(self._made)

    def _ship(self, keeper: LogKeeper) -> Deferred[None]:
        def work() -> Deferred[None]:
            return in_thread(self._reactor, lambda: self._shipper.ship(keeper))

        done = self._shipping[keeper] = self._turns.run(work)

        def shipped(result: Any) -> Any:
            self._shipping.pop(keeper, None)
            return result

        return done.addBoth(shipped).addErrback(log_failure)

    def _make_base(self) -> None:
        """On a thread: one at a time of this volume."""
        keeper = self._shipper.base_due()
        if keeper is not None:
            self._shipper.make_base(keeper)

    def _made(self, _result: object) -> None:
        self._basing = False

    async def _in_time(self, running: list[Deferred[None]]) -> None:
        ended = DeferredList(running)
        ended.addTimeout(LAST_SECONDS, self._reactor, lambda *_: None)
        await ended


def point_in_time(
    settings: Settings,
    directory: Directory,
    volume: Volume,
    stores: Callable[[], BackupStores],
    reactor: Any,
    now: Callable[[], datetime],
) -> PointInTime:
    """What ships the logs of this volume's mailboxes."""
    logs = LogKeepers(folder(volume), lambda: int(now().timestamp() * 1000), boot_id())

    def store_of(alias: str) -> Any:
        try:
            return stores().of(directory.alias_by_id(alias))
        except NoSuchAlias:
            return None

    def exclusive(name: str) -> AbstractContextManager[None]:
        place = uploads(volume)
        place.prepare()
        return place.exclusive(name)

    days = settings.backup.point_in_time_days
    shipper = Shipper(
        keepers=logs,
        mailbox=volume.mailbox,
        alias_of=directory.alias_of_mailbox,
        store_of=store_of,
        now=now,
        seconds=reactor.seconds,
        exclusive=exclusive,
        limits=ShippingLimits(keep_days=days, base_days=min(days, 7.0)),
    )
    return PointInTime(logs, shipper, directory, reactor)


def folder(volume: Volume) -> Path:
    """Where captured frames wait."""
    return volume.base / FOLDER
