"""The main process: which services the configured roles want, wired together.

Services start in the order in which they are added here, and stop in the reverse.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from prometheus_client import CollectorRegistry
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool

from mailsrv.backup.daily import Daily
from mailsrv.backup.erasing import stores_of
from mailsrv.backup.metrics import Metrics
from mailsrv.backup.stores import BackupStores
from mailsrv.counters.address import parse_url
from mailsrv.directory.directory import Directory
from mailsrv.errors import MailsrvError
from mailsrv.keys.vault import Vault
from mailsrv.mailbox.wal.keeper import LogKeepers
from mailsrv.service.backup_verification import Verification
from mailsrv.service.backup_watch import Watch
from mailsrv.service.backups import Backups
from mailsrv.service.erasing import EraseService
from mailsrv.service.far import FarStore, check_links
from mailsrv.service.front_ends import Counting, Surroundings, doors, services
from mailsrv.service.health import HealthFactory, Readiness, StoreProbe
from mailsrv.service.link import LinkService, serves_link
from mailsrv.service.listeners import Door, Listener, SharedDoors, guarded
from mailsrv.service.point_in_time import PointInTime, point_in_time
from mailsrv.service.process import Refused, RootService
from mailsrv.service.workers import Workers
from mailsrv.settings import Settings
from mailsrv.store.interfaces import IStore
from mailsrv.store.limits import Limits
from mailsrv.store.local import LocalStore
from mailsrv.store.secret import ServerSecret
from mailsrv.store.volume import Volume
from mailsrv.tls import ServerTls

log = Logger()


def build(settings: Settings, reactor: Any) -> RootService:
    """Wire the rooms together. MailsrvError names what stands in the way."""
    return _Building(settings, reactor).root


class _Building:
    def __init__(self, settings: Settings, reactor: Any) -> None:
        self._settings = settings
        self._reactor = reactor
        self._tls = ServerTls(settings.tls.certificate, settings.tls.private_key)
        self._readiness = Readiness()
        self.root = RootService(reactor, self._readiness.leave)
        self.root.reloads.append(self._reload)
        self._registry = CollectorRegistry()
        self._stores: BackupStores | None = None
        self._shipping: PointInTime | None = None
        self._health()
        primary = self._primary() if "primary" in settings.roles else None
        if primary is not None and serves_link(settings):
            self._link(primary)
        store: IStore | None = primary
        if settings.front_ends and not settings.workers and settings.needs_link:
            store = self._far()
        if primary is not None:
            self._backups(primary, store or primary)
        if settings.workers:
            self._workers()
        elif store is not None and settings.front_ends:
            self._front_ends(store)

    def _reload(self) -> None:
        self._tls.reload()
        log.info("certificates read again")

    def _add(self, service: Any) -> None:
        """Add a service; readiness waits for it if it can tell what is missing."""
        missing = getattr(service, "missing", None)
        if missing is not None:
            self._readiness.add(missing)
        self.root.addService(service)

    def _health(self) -> None:
        """First to start and last to stop: it tells of both."""
        factory = HealthFactory(self._readiness.missing, self._registry, self._reactor)
        for text in self._settings.health.listen:
            door = Door(key="health.listen", text=text, tls=False)
            self._add(Listener(door, factory, self._reactor))

    def _primary(self) -> LocalStore:
        settings = self._settings
        directory = Directory(settings.directory.url, _now)
        directory.migrate()
        directory.close()  # twistd may fork yet, and SQLite's locks stay with who took them
        self._directory = directory
        self._volume = Volume(settings.base, settings.store.mailboxes)
        shipping = None
        if settings.backup.point_in_time and settings.backup.to != "nowhere":
            shipping = self._shipping = self._point_in_time()
        logs = shipping.logs if shipping else None
        store = _local_store(settings, directory, self._volume, self._reactor, logs)
        self._add(StoreService(store, directory, shipping))
        self._add(self._erasing(store))
        if settings.health.listen:
            self._add(StoreProbe(store, self._reactor))
        return store

    def _point_in_time(self) -> PointInTime:
        return point_in_time(
            self._settings,
            self._directory,
            self._volume,
            self._backup_stores,
            self._reactor,
            _now,
        )

    def _link(self, primary: LocalStore) -> None:
        link = LinkService(self._settings, primary, self._reactor)
        self.root.prepares.append(link.listen)
        self.root.reloads.append(link.reload)
        self._add(link)
        for text in self._settings.link.listen:
            door = Door(key="link.listen", text=text, tls=True)
            factory = guarded(door, link.far_factory(self._tls), self._settings, self._reactor)
            self._add(Listener(door, factory, self._reactor))

    def _backup_stores(self) -> BackupStores:
        """Not while building: the server's key is the user's whom the process becomes."""
        if self._stores is None:
            secret = ServerSecret(self._volume.server_key())
            self._stores = BackupStores(self._settings.backup, self._directory, secret)
        return self._stores

    def _erasing(self, store: LocalStore) -> EraseService:
        grace = timedelta(days=self._settings.erase.grace_days)
        stores = stores_of(self._backup_stores)
        return EraseService(lambda: store.moves.place, stores, grace, _now, self._reactor)

    def _backups(self, primary: LocalStore, post: IStore) -> None:
        """``post`` brings mail to the operator, whose mailbox may be at another primary."""
        settings, directory = self._settings, self._directory

        def daily() -> Daily:
            stores = self._backup_stores()
            return Daily(directory, self._volume, stores, settings.backup, _now)

        metrics = Metrics(self._registry)
        watch = Watch(settings, post, metrics, self._reactor, _now)
        if self._shipping is not None:
            watch.add(self._shipping.problems, metrics.shipping)
        verification = Verification(settings, metrics, self._reactor, _now)
        self._add(
            Backups(primary, settings.backup, daily, watch, verification, metrics, self._reactor)
        )

    def _far(self) -> IStore:
        far = FarStore(self._settings, self._settings.hostname, self._reactor)
        self._add(far)
        return far.store

    def _workers(self) -> None:
        # what would end every worker at its start ends this process, with one line
        check_links(self._settings, self._reactor)
        if self._settings.redis_url:
            parse_url(self._settings.redis_url)
        shared = SharedDoors(doors(self._settings))
        workers = Workers(self._settings, shared, self._reactor)
        self.root.reloads.append(workers.reload)
        self._add(workers)
        self._add(shared)

    def _front_ends(self, store: IStore) -> None:
        counting = Counting(self._settings, self._reactor)
        self._add(counting)
        around = Surroundings(self._settings, store, self._tls, counting.counters, self._reactor)
        for service in services(
            around, lambda door, factory: Listener(door, factory, self._reactor)
        ):
            self._add(service)


def _now() -> datetime:
    return datetime.now(UTC)


def _local_store(
    settings: Settings,
    directory: Directory,
    volume: Volume,
    reactor: Any,
    logs: LogKeepers | None,
) -> LocalStore:
    threads = settings.store.threads
    return LocalStore(
        directory=directory,
        volume=volume,
        vault=Vault(),
        reactor=reactor,
        pool=ThreadPool(minthreads=1, maxthreads=threads, name="mailboxes"),
        now=_now,
        limits=Limits(
            message_octets=settings.limits.message_size,
            idle_seconds=settings.store.idle_seconds,
            undelete_days=settings.store.undelete_days,
            lease_seconds=settings.link.lease_seconds,
            logins_at_once=max(1, threads // 2),
        ),
        name=settings.link.name,
        logs=logs,
    )


class StoreService(Service):
    """Starts the store, and closes it and the directory when nobody needs them any more.

    ``shipping`` brings away what was written to it.
    """

    def __init__(
        self, store: LocalStore, directory: Directory, shipping: PointInTime | None = None
    ) -> None:
        self._store = store
        self._directory = directory
        self._shipping = shipping

    def startService(self) -> None:
        try:
            self._store.start()
        except MailsrvError as error:
            raise Refused(error) from None
        if self._shipping is not None:
            self._shipping.start()
        super().startService()

    async def _stop(self) -> None:
        await self._store.close()
        if self._shipping is not None:
            await self._shipping.stop()
        self._directory.close()

    def stopService(self) -> Deferred[None]:
        super().stopService()
        return Deferred.fromCoroutine(self._stop())
