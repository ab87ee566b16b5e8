"""The main process: which services the configured roles want, wired together.

Services start in the order in which they are added here, and stop in the reverse.
"""

from datetime import UTC, datetime
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.python.threadpool import ThreadPool

from mailsrv.directory.directory import Directory
from mailsrv.errors import MailsrvError
from mailsrv.keys.vault import Vault
from mailsrv.service.front_ends import FRONT_ENDS, Farewell, Surroundings, doors, wrapped
from mailsrv.service.health import HealthFactory, Readiness, StoreProbe
from mailsrv.service.listeners import Door, Listener
from mailsrv.service.process import RootService
from mailsrv.settings import Settings
from mailsrv.store.interfaces import IStore
from mailsrv.store.limits import Limits
from mailsrv.store.local import LocalStore
from mailsrv.store.volume import Volume
from mailsrv.tls import ServerTls


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
        self.root.reloads.append(self._tls.reload)
        self._health()
        store: IStore = self._primary()
        self._front_ends(store)

    def _health(self) -> None:
        """First to start and last to stop: it tells of both."""
        factory = HealthFactory(self._readiness.missing, self._reactor)
        for text in self._settings.health.listen:
            door = Door(key="health.listen", text=text, tls=False)
            self.root.addService(Listener(door, factory, self._reactor))

    def _primary(self) -> LocalStore:
        settings = self._settings
        directory = Directory(settings.directory.url, _now)
        directory.migrate()
        store = _local_store(settings, directory, self._reactor)
        self.root.addService(StoreService(store, directory))
        if settings.health.listen:
            probe = StoreProbe(store, self._reactor)
            self._readiness.add(probe.missing)
            self.root.addService(probe)
        return store

    def _front_ends(self, store: IStore) -> None:
        around = Surroundings(self._settings, store, self._tls, self._reactor)
        factories = {role: FRONT_ENDS[role].make(around) for role in self._settings.front_ends}
        self.root.addService(Farewell(factories.values(), self._reactor))
        for door in doors(self._settings):
            listener = Listener(door, wrapped(door, factories[door.role], around), self._reactor)
            self._readiness.add(listener.missing)
            self.root.addService(listener)


def _now() -> datetime:
    return datetime.now(UTC)


def _local_store(settings: Settings, directory: Directory, reactor: Any) -> LocalStore:
    threads = settings.store.threads
    return LocalStore(
        directory=directory,
        volume=Volume(settings.base, settings.store.mailboxes),
        vault=Vault(),
        reactor=reactor,
        pool=ThreadPool(minthreads=1, maxthreads=threads, name="mailboxes"),
        now=_now,
        limits=Limits(
            message_octets=settings.limits.message_size,
            idle_seconds=settings.store.idle_seconds,
            logins_at_once=max(1, threads // 2),
        ),
    )


class StoreService(Service):
    """Starts the store, and closes it and the directory when nobody needs them any more."""

    def __init__(self, store: LocalStore, directory: Directory) -> None:
        self._store = store
        self._directory = directory

    def startService(self) -> None:
        try:
            self._store.start()
        except MailsrvError as error:
            raise SystemExit(f"mailsrv: {error}") from None
        super().startService()

    async def _stop(self) -> None:
        await self._store.close()
        self._directory.close()

    def stopService(self) -> Deferred[None]:
        super().stopService()
        return Deferred.fromCoroutine(self._stop())
