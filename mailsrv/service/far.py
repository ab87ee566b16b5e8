"""The store of front ends that reach their mailboxes over links: in a worker, or on a machine
without mailboxes. Workers are on the primary's own machine and read the files themselves.
"""

import random
from datetime import UTC, datetime
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.python.threadpool import ThreadPool

from mailsrv.errors import InvalidInput
from mailsrv.keys.vault import Vault
from mailsrv.link.sealed import LinkKeys
from mailsrv.link.secondary.near_store import NearStore, served_by
from mailsrv.link.secondary.primary_link import ClientLimits, PrimaryLink
from mailsrv.link.secondary.store import RemoteStore
from mailsrv.link.transport.endpoints import client_endpoint
from mailsrv.link.transport.tokens import FRONTEND, Tokens
from mailsrv.link.transport.websocket import connect
from mailsrv.link.wire.connection import ILinkHandler
from mailsrv.link.wire.frames import VERSION, Hello
from mailsrv.link.wire.limits import LinkLimits
from mailsrv.link.wire.streams import Budget
from mailsrv.settings import Primary, Settings
from mailsrv.store.interfaces import IStore
from mailsrv.store.limits import Limits
from mailsrv.store.volume import Volume


def primaries(settings: Settings) -> dict[str, Primary]:
    """Every primary that front ends here reach, by name; the own one by its unix socket."""
    link = settings.link
    known = dict(link.primaries)
    if "primary" in settings.roles:
        known[link.name] = Primary(endpoint=f"unix:{link.socket}", token_file=link.token_file)
    return known


def check_links(settings: Settings, reactor: Any) -> None:
    """InvalidInput when authority or token of a primary cannot be used."""
    for name, primary in primaries(settings).items():
        try:
            client_endpoint(primary, reactor)
            _token(primary)
        except InvalidInput as error:
            raise InvalidInput(f"link.primaries.{name}: {error}") from None


def _token(primary: Primary) -> str:
    # read for each connection, so that a new one is taken up without a restart
    if primary.token_file is None:
        raise InvalidInput("token_file: expected the file with the token")
    return Tokens.load(primary.token_file).token(FRONTEND)


class FarStore(Service):
    """``store`` for the front ends of this process, which calls itself ``node`` on its links.

    ``reads_files`` is for a process that is on the machine of the primary and not the primary.

    :raises InvalidInput: when authority or token of a primary cannot be used.
    """

    store: IStore

    def __init__(
        self, settings: Settings, node: str, reactor: Any, *, reads_files: bool = False
    ) -> None:
        check_links(settings, reactor)
        self._settings = settings
        self._reactor = reactor
        self._keys = LinkKeys.generate()
        self._hello = Hello(VERSION, node, self._keys.public)
        self._limits = LinkLimits(message_octets=settings.limits.message_size)
        self._budget = Budget(self._limits.body_octets)
        self._vault = Vault()
        self._links = {
            name: self._link(name, primary) for name, primary in primaries(settings).items()
        }
        own = settings.link.name if settings.link.name in self._links else None
        self._remote = RemoteStore(self._links, self._keys, self._vault, reactor, own)
        self._near = self._reader() if reads_files else None
        self.store = self._near or self._remote

    def _reader(self) -> NearStore:
        settings = self._settings
        return NearStore(
            self._remote,
            Volume(settings.base, settings.store.mailboxes),
            self._vault,
            self._reactor,
            ThreadPool(minthreads=1, maxthreads=settings.store.threads, name="mailboxes"),
            lambda: datetime.now(UTC),
            served_by(self._remote, self._links[settings.link.name]),
            Limits(idle_seconds=settings.store.idle_seconds),
        )

    def _link(self, name: str, primary: Primary) -> PrimaryLink:
        endpoint = client_endpoint(primary, self._reactor)

        def open_link(handler: ILinkHandler) -> Deferred[Any]:
            return connect(
                endpoint,
                _token(primary),
                self._hello,
                lambda _: handler,
                self._reactor,
                self._limits,
                self._budget,
            )

        patience = ClientLimits(patience=self._settings.link.patience_seconds)
        return PrimaryLink(name, open_link, self._reactor, random.random, patience)

    def missing(self) -> list[str]:
        """What keeps this from being ready."""
        return [f"link to {name}" for name, link in self._links.items() if not link.up]

    def startService(self) -> None:
        super().startService()
        if self._near is not None:
            self._near.start()
        self._remote.start()

    def stopService(self) -> Deferred[None]:
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if self._near is not None:
            await self._near.close()
        await self._remote.stop()
