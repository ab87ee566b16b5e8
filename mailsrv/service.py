"""The front door: settings -> store and listeners -> one service, as twistd and twist want it.

This module and the command line are the only ones that name the global reactor.
"""

import os
import resource
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Protocol

from OpenSSL import SSL
from twisted.application.internet import StreamServerEndpointService
from twisted.application.service import IService, MultiService, Service
from twisted.application.strports import service as listener_service
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IProtocolFactory, IReactorTime
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python import usage
from twisted.python.threadpool import ThreadPool

from mailsrv import settings as settings_
from mailsrv.directory.directory import Directory
from mailsrv.errors import InvalidInput, MailsrvError
from mailsrv.imap.options import ImapOptions
from mailsrv.imap.server import ImapFactory
from mailsrv.keys.vault import Vault
from mailsrv.smtp.options import MxOptions
from mailsrv.smtp.server import MxFactory
from mailsrv.store.limits import Limits
from mailsrv.store.local import LocalStore
from mailsrv.store.volume import Volume
from mailsrv.tls import ServerTls

log = Logger()

CONFIG_VARIABLE = "MAILSRV_CONFIG"

FAREWELL_SECONDS = 10.0
"""What a stop waits for clients to finish their command."""


class Options(usage.Options):
    """What ``twistd mailsrv`` takes. Everything else is in the configuration file."""

    optParameters = [  # noqa: RUF012
        ["config", "c", None, f"The configuration file (or {CONFIG_VARIABLE})."]
    ]
    longdesc = "A mail server whose every mailbox is an encrypted SQLite file."

    settings: settings_.Settings
    file: Path

    def postOptions(self) -> None:
        name = self["config"] or os.environ.get(CONFIG_VARIABLE)
        if not name:
            raise usage.UsageError(f"expected --config FILE or {CONFIG_VARIABLE}")
        self.file = Path(name)
        try:
            self.settings = settings_.load(self.file)
        except MailsrvError as error:
            raise usage.UsageError(str(error)) from None


class StoppableFactory(Protocol):
    """A front end's factory: says goodbye to its clients at the end."""

    def shut_down(self) -> Deferred[None]: ...


def makeService(options: Options) -> IService:
    """Called by twistd and twist. Whatever stands in the way is one line and exit status 1."""
    from twisted.internet import reactor

    _keep_to_ourselves()
    try:
        return build(options.settings, reactor)
    except InvalidInput as error:
        raise SystemExit(f"mailsrv: {options.file}: {error}") from None
    except MailsrvError as error:
        raise SystemExit(f"mailsrv: {error}") from None


def _keep_to_ourselves() -> None:
    """Let nobody else read the files that we make, and memory with keys go into none."""
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def build(settings: settings_.Settings, reactor: Any) -> MultiService:
    """Wire the rooms together. MailsrvError names what stands in the way."""
    tls = ServerTls(settings.tls.certificate, settings.tls.private_key)
    directory = Directory(settings.directory.url, _now)
    directory.migrate()
    store = _local_store(settings, directory, reactor)
    imap = ImapFactory(store, _imap_options(settings, tls), reactor)
    mx = MxFactory(store, _mx_options(settings, tls), reactor)

    root = RootService(tls.reload)
    # started in this order, stopped in the reverse: listeners, clients, store
    root.addService(StoreService(store, directory))
    root.addService(FrontEndService([imap, mx], reactor))
    listeners: list[tuple[str, str, IProtocolFactory]] = [
        *(("imap.listen", endpoint, imap) for endpoint in settings.imap.listen),
        *(
            ("imap.listen_tls", endpoint, _over_tls(tls, imap))
            for endpoint in settings.imap.listen_tls
        ),
        *(("mx.listen", endpoint, mx) for endpoint in settings.mx.listen),
    ]
    for key, endpoint, factory in listeners:
        root.addService(Listener(key, endpoint, factory, reactor))
    return root


def _now() -> datetime:
    return datetime.now(UTC)


def _local_store(settings: settings_.Settings, directory: Directory, reactor: Any) -> LocalStore:
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


def _imap_options(settings: settings_.Settings, tls: ServerTls) -> ImapOptions:
    return ImapOptions(
        tls=tls,
        cleartext_login_from=tuple(map(ip_network, settings.imap.cleartext_login_from)),
        append_limit=settings.limits.message_size,
        connections_per_address=settings.imap.connections_per_address,
    )


def _mx_options(settings: settings_.Settings, tls: ServerTls) -> MxOptions:
    return MxOptions(
        hostname=settings.hostname,
        tls=tls,
        message_limit=settings.limits.message_size,
        recipient_limit=settings.mx.recipients,
        connections=settings.mx.connections,
        connections_per_client=settings.mx.connections_per_address,
    )


def _over_tls(tls: ServerTls, factory: IProtocolFactory) -> TLSMemoryBIOFactory:
    return TLSMemoryBIOFactory(tls, False, factory)


class RootService(MultiService):
    """All of it; reads the certificates again on SIGHUP."""

    def __init__(self, reload: Callable[[], None]) -> None:
        super().__init__()
        self._reload = reload

    def startService(self) -> None:
        # twist knows no privileged start: whatever cannot be had stops it before threads begin
        self.privilegedStartService()
        super().startService()
        signal.signal(signal.SIGHUP, self._hangup)

    def _hangup(self, _number: int, _frame: object) -> None:
        from twisted.internet import reactor

        reactor.callFromThread(self._reload_safely)  # type: ignore[attr-defined]

    def _reload_safely(self) -> None:
        try:
            self._reload()
        except MailsrvError as error:
            log.error("certificates stay as they were: {reason}", reason=str(error))
        else:
            log.info("certificates read again")


class StoreService(Service):
    """Starts the store, and closes it and the directory last of all."""

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


class FrontEndService(Service):
    """Lets the front ends finish what they do and say goodbye."""

    def __init__(self, factories: list[StoppableFactory], clock: IReactorTime) -> None:
        self._factories = factories
        self._clock = clock

    async def _stop(self) -> None:
        stopping = [factory.shut_down() for factory in self._factories]
        for stopped in stopping:
            try:
                await stopped.addTimeout(FAREWELL_SECONDS, self._clock)
            except TimeoutError:
                log.info("clients did not finish within {seconds} s", seconds=FAREWELL_SECONDS)

    def stopService(self) -> Deferred[None]:
        super().stopService()
        return Deferred.fromCoroutine(self._stop())


class Listener(Service):
    """One listening endpoint. A port that cannot be had stops the start with one line.

    :raises InvalidInput: when the endpoint string is none.
    """

    def __init__(self, key: str, endpoint: str, factory: IProtocolFactory, reactor: Any) -> None:
        self._name = f"{key} {endpoint!r}"
        self._listening = False
        try:
            self._listener: StreamServerEndpointService = listener_service(
                endpoint, factory, reactor
            )
        except (ValueError, TypeError, LookupError, OSError, SSL.Error) as error:
            raise InvalidInput(
                f"{key}: expected an endpoint such as tcp:143, got {endpoint!r} ({error})"
            ) from None

    def privilegedStartService(self) -> None:
        if self._listening:
            return
        try:
            self._listener.privilegedStartService()
        except CannotListenError as error:
            raise SystemExit(f"mailsrv: {self._name}: cannot listen: {error.socketError}") from None
        except (OSError, OverflowError) as error:
            raise SystemExit(f"mailsrv: {self._name}: cannot listen: {error}") from None
        self._listening = True

    def startService(self) -> None:
        self._listener.startService()
        super().startService()

    def stopService(self) -> Deferred[None]:
        super().stopService()
        stopping: Deferred[None] = self._listener.stopService()
        return stopping
