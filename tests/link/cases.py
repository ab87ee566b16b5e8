"""A TestCase with a primary, one mailbox and a front end whose link is up."""

from pathlib import Path
from typing import ClassVar

from twisted.trial.unittest import TestCase

from mailsrv.store.values import ALL_UIDS, Access, FetchRequest, Section
from tests.link.world import FrontEnd, LinkWorld
from tests.store.conformance import ADDRESS, Listener


class RemoteCase(TestCase):
    timeout = 30
    lease_seconds: ClassVar[float] = 5.0

    async def setUp(self) -> None:
        self.world = LinkWorld(Path(self.mktemp()), self.lease_seconds)
        self.addCleanup(self.world.end)
        self.alias, self.password = self.world.world.mailbox(ADDRESS)
        self.front = await self.world.frontend()
        self.store = self.front.store

    async def enter(
        self, listener: Listener | None = None, front: FrontEnd | None = None
    ) -> Access:
        store = (front or self.front).store
        return await store.login(ADDRESS, self.password, "imap", listener)

    async def contents(self, access: Access, name: str = "INBOX") -> list[bytes]:
        selected = await self.store.select(access, name, False)
        request = FetchRequest(uids=ALL_UIDS, sections=(Section(),))
        page = await self.store.fetch(access, selected.folder.id, request)
        return [row[1] for row in page.rows]
