"""A TestCase with a world, one mailbox and a running store."""

from pathlib import Path
from typing import Any, ClassVar

import attrs
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from mailsrv.store.values import ALL_UIDS, Access, FetchRequest, Section
from tests.store.conformance import Listener
from tests.store.world import World

ADDRESS = "hello@example.com"


class StoreCase(TestCase):
    limits: ClassVar[dict[str, Any]] = {}

    def setUp(self) -> None:
        self.world = World(Path(self.mktemp()))
        self.world.limits = attrs.evolve(self.world.limits, **self.limits)
        self.addCleanup(self.world.end)
        self.alias, self.password = self.world.mailbox(ADDRESS)
        self.store = self.world.store()

    async def enter(self, listener: Listener | None = None) -> Access:
        return await self.store.login(ADDRESS, self.password, "imap", listener)

    async def stored(self, access: Access) -> list[bytes]:
        inbox = (await self.store.folders(access))[0]
        page = await self.store.fetch(
            access,
            inbox.id,
            FetchRequest(uids=ALL_UIDS, sections=(Section(),), max_rows=10**6, max_bytes=10**9),
        )
        return [row[1] for row in page.rows]

    async def fails(self, error: type[Exception], asked: Deferred[Any]) -> Exception:
        return await self.assertFailure(asked, error)  # type: ignore[no-any-return]
