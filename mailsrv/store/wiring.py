"""The parts of the store, wired together, started, kept and stopped."""

from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.python.threadpool import ThreadPool

from mailsrv.directory.directory import Directory
from mailsrv.directory.values import DEFAULT_PRIMARY
from mailsrv.errors import Elsewhere
from mailsrv.keys.vault import Vault
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.mailbox.wal.keeper import LogKeepers
from mailsrv.store.at_hand import AtHand
from mailsrv.store.authentication import Authentication, Opened
from mailsrv.store.connections import Connections
from mailsrv.store.delivery import Arrival, Deliveries
from mailsrv.store.entrance import Entrance
from mailsrv.store.freezing import Freezing
from mailsrv.store.gate import Gate
from mailsrv.store.home import Home
from mailsrv.store.indexing import Indexing
from mailsrv.store.interfaces import IBackups
from mailsrv.store.keepers import Keepers, KeyHolders
from mailsrv.store.leases import Leases
from mailsrv.store.limits import Limits
from mailsrv.store.mailboxes import Mailboxes
from mailsrv.store.merge import Merger
from mailsrv.store.merging import Merging
from mailsrv.store.moving import Moves, Place
from mailsrv.store.notifications import Notifications
from mailsrv.store.operations import Operations
from mailsrv.store.orphans import remove_orphans
from mailsrv.store.receive import Receiver
from mailsrv.store.resumption import Resumption
from mailsrv.store.revocation import Revocation
from mailsrv.store.secret import ServerSecret
from mailsrv.store.sessions import Session, Sessions
from mailsrv.store.touching import Touching
from mailsrv.store.usage import Usages
from mailsrv.store.verifying import Verifying
from mailsrv.store.volume import Hold, Volume
from mailsrv.store.waiting import WaitingFiles
from mailsrv.store.workers import Workers, log_unexpected

WRONG_KEY = "the key of this session does not open the mailbox"


class Wiring:
    """Call ``start`` before the first request and ``close`` after the last, on the reactor.

    ``pool`` is this store's own: started and stopped with it. ``now`` tells the time in UTC.
    ``name`` is what the directory calls this primary. ``logs`` keep what is written to
    mailboxes for who ships it.
    """

    def __init__(
        self,
        directory: Directory,
        volume: Volume,
        vault: Vault,
        reactor: Any,
        pool: ThreadPool,
        now: Callable[[], datetime],
        limits: Limits | None = None,
        name: str = DEFAULT_PRIMARY,
        logs: LogKeepers | None = None,
    ) -> None:
        self.name = name
        self._directory = directory
        self._volume = volume
        self._vault = vault
        self._reactor = reactor
        self._pool = pool
        self._now = now
        self._limits = limits or Limits()
        self._logs = logs
        self._hold: Hold | None = None
        self.backups: IBackups | None = None
        """Who makes the backups that owners ask for; None where nobody does."""

    def start(self) -> None:
        """Take the volume and begin. VolumeInUse, ReadOnlyVolume, StorageFailed, DiskFull.

        InvalidInput when ``name`` is that of another volume; what the directory raises.
        """
        self._volume.prepare()
        self._hold = self._volume.hold()
        try:
            secret = ServerSecret(self._volume.server_key())
            self._directory.claim_primary(self.name, secret.volume())
        except BaseException:
            self._hold.release()
            raise
        self._wire(secret)
        self._pool.start()
        self._revocation.start(self._limits.poll_seconds)
        self._housekeeping.start(self._limits.poll_seconds, now=False)
        self._behind(self._sweep)
        self._verifying.start(self._limits.moves_seconds)

    def _wire(self, secret: ServerSecret) -> None:
        limits, directory, reactor = self._limits, self._directory, self._reactor
        self._home = Home(directory, self.name)
        self._gate = Gate(reactor, limits.frozen_seconds)
        self._workers = Workers(reactor, self._pool, limits.work_per_alias, self._gate)
        self._sessions = Sessions()
        self._files = WaitingFiles(self._volume, secret)
        self._usages = Usages(directory, self._files)
        self._notifications = Notifications(reactor, self._sessions)
        self._connections = Connections(
            reactor.seconds,
            self._now,
            most=limits.open_connections,
            idle_seconds=limits.idle_seconds,
            keep_expunged=timedelta(days=limits.undelete_days),
            log_octets=limits.log_octets,
            log_patience=limits.log_patience,
            logs=self._logs,
        )
        self._mailboxes = Mailboxes(self._home, self._volume, self._vault, self._connections)
        self._housekeeping = LoopingCall(self._keep_house)
        self._housekeeping.clock = reactor
        self._wire_keys()
        self.at_hand = AtHand(
            self._workers, self._sessions, self._leases, self._mailboxes, self._holders.find
        )
        self._wire_watching()
        self._wire_mail()
        self._wire_sessions(secret)
        self._wire_resumption()
        self._wire_moving()

    def _wire_keys(self) -> None:
        limits = self._limits
        self._leases = Leases(
            self._reactor,
            self._vault,
            self._sessions,
            limits.lease_seconds,
            ended=self._lease_ended,
            wrong=lambda session: self._end(session, WRONG_KEY),
        )
        self._keepers = Keepers(self._reactor, limits.ask_seconds)
        self._holders = KeyHolders(self._sessions, self._keepers, self._workers, self._home)

    def _wire_watching(self) -> None:
        touching = Touching(
            self._workers,
            self._directory,
            self.at_hand,
            self._leases,
            self._usages,
            self._notifications,
            self._came,
        )
        self._revocation = Revocation(
            self._reactor,
            self._workers,
            self._directory,
            self.name,
            self._sessions,
            self._end,
            touching,
        )

    def _wire_mail(self) -> None:
        limits = self._limits
        self._indexing = Indexing(
            self._reactor, self._workers, self._sessions, self._leases, limits, self._tend
        )
        self._merging = Merging(
            workers=self._workers,
            sessions=self._sessions,
            leases=self._leases,
            mailboxes=self._mailboxes,
            merger=Merger(self._files, limits.batch_messages, limits.batch_octets),
            usages=self._usages,
            notifications=self._notifications,
            came=self._came,
        )
        self._deliveries = Deliveries(
            reactor=self._reactor,
            workers=self._workers,
            gate=self._gate,
            receiver=Receiver(self._home, self._files, self._usages, self._mailboxes.of),
            find=self._holders.find,
            leases=self._leases,
            notifications=self._notifications,
            limits=limits,
            arrived=self._arrived,
        )

    def _wire_sessions(self, secret: ServerSecret) -> None:
        self._operations = Operations(
            workers=self._workers,
            mailboxes=self._mailboxes,
            sessions=self._sessions,
            leases=self._leases,
            usages=self._usages,
            notifications=self._notifications,
            came=self._came,
            message_octets=self._limits.message_octets,
        )
        self._entrance = Entrance(
            reactor=self._reactor,
            workers=self._workers,
            directory=self._directory,
            authentication=Authentication(self._directory, secret),
            vault=self._vault,
            mailboxes=self._mailboxes,
            files=self._files,
            usages=self._usages,
            sessions=self._sessions,
            leases=self._leases,
            gate=self._gate,
            merging=self._merging,
            revocation=self._revocation,
            entered=self._entered,
            now=self._now,
            limits=self._limits,
        )

    def _wire_resumption(self) -> None:
        self._resumption = Resumption(
            workers=self._workers,
            directory=self._directory,
            name=self.name,
            volume=self._volume,
            files=self._files,
            sessions=self._sessions,
            leases=self._leases,
            entrance=self._entrance,
            waits=self._bring_in_soon,
        )

    def _wire_moving(self) -> None:
        self._freezing = Freezing(
            reactor=self._reactor,
            workers=self._workers,
            gate=self._gate,
            home=self._home,
            volume=self._volume,
            connections=self._connections,
            files=self._files,
            usages=self._usages,
            seconds=self._limits.frozen_seconds,
            departed=self._departed,
        )
        place = Place(self._directory, self._volume, self._files, self.name)
        self.moves = Moves(
            place,
            self._workers.run,
            lambda alias, patience: self._workers.begin(
                lambda: self._freezing.freeze(alias, patience)
            ),
        )
        self._verifying = Verifying(
            self._reactor,
            self._workers,
            place,
            self._sessions,
            self._operations.behind,
            self._mailboxes.just_opened,
        )

    async def _sweep(self) -> None:
        await self._workers.run(remove_orphans, self._directory, self._volume, self._now, self.name)

    def close(self) -> Deferred[None]:
        """Deferred of None: refuse new work, let what is under way end, then forget all keys."""
        return Deferred.fromCoroutine(self._close())

    async def _close(self) -> None:
        if self._hold is None or self._workers.closing:
            return
        self._workers.closing = True
        self._revocation.stop()
        self._indexing.stop()
        self._verifying.stop()
        self._keepers.close()
        self._gate.close()
        if self._housekeeping.running:
            self._housekeeping.stop()
        await self._workers.drained()
        await self._freezing.close()
        for session in self._sessions.all():
            self._entrance.logout(session.access)
        self._leases.stop()
        await self._workers.drained()
        try:
            await self._workers.run(self._usages.flush)
        except Exception as error:  # noqa: BLE001
            log_unexpected(error)
        await self._workers.run(self._connections.close)
        await self._workers.run(self._files.close_kept, 0)
        self._vault.close()
        self._pool.stop()
        self._hold.release()

    async def _tend(self, session: Session) -> int:
        """Do some of what need not be done at once; how much is left."""
        alias = session.access.alias

        def tend(mailbox: Mailbox) -> int:
            purged = mailbox.purge_expired()
            if purged:
                self._usages.measure(alias, mailbox)
            return mailbox.index_pending(self._limits.index_messages) + purged

        return await self._operations.behind(session, tend)

    def _entered(self, opened: Opened) -> None:
        self._verifying.entered(opened)
        self._indexing.want(opened.alias)
        self.at_hand.came(opened.alias)

    def _end(self, session: Session, reason: str) -> None:
        self._entrance.end(session, reason)

    def _lease_ended(self, session: Session) -> None:
        self._entrance.close_unused(session)

    def _departed(self, alias: str, primary: str) -> None:
        for session in self._sessions.of_alias(alias):
            self._end(session, str(Elsewhere(primary)))

    def _came(self, alias: str) -> None:
        self._indexing.want(alias)
        self.at_hand.came(alias)

    def _arrived(self, alias: str, arrival: Arrival) -> None:
        if arrival.live:
            self._came(alias)
        elif self._sessions.of_alias(alias):
            # its owner is here, or came while it was sealed: bring it in without being asked
            self._bring_in_soon(alias, arrival.merge_after)

    def _bring_in_soon(self, alias: str, seconds: float = 0.0) -> None:
        self._reactor.callLater(seconds, self._bring_in, alias)

    def _bring_in(self, alias: str) -> None:
        if self._sessions.of_alias(alias) and not self._workers.closing:
            self._behind(lambda: self._merge_for(alias))

    async def _merge_for(self, alias: str) -> None:
        session = await self._holders.find(alias)
        if session is None:
            self._leases.postpone(alias, self._bring_in)
            return
        with self._leases.borrowing(session):
            await self._entrance.merge(session.access)

    def _keep_house(self) -> Deferred[None]:
        return self._workers.begin(self._house_work).addErrback(lambda _: None)

    async def _house_work(self) -> None:
        if self._connections.idle or self._usages.dirty or self._files.kept:
            await self._workers.run(self._tidy)

    def _tidy(self) -> None:
        self._connections.expire()
        self._files.close_kept(self._limits.idle_seconds)
        self._usages.flush()
        self._connections.shorten()

    def _behind(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        """Work that nobody waits for; its errors are logged where they are not expected."""
        self._workers.begin(work).addErrback(lambda _: None)
