"""The store over a link does what every store must."""

from pathlib import Path

from twisted.trial.unittest import TestCase

from mailsrv.store.interfaces import IStore
from tests.link.world import LinkWorld
from tests.store.conformance import StoreConformance


class TestRemoteStore(StoreConformance, TestCase):
    async def make_store(self) -> IStore:
        self.world = LinkWorld(Path(self.mktemp()))
        self.addCleanup(self.world.end)
        return (await self.world.frontend()).store

    async def new_alias(self, address: str, quota: int | None = None) -> tuple[str, str]:
        return self.world.world.mailbox(address, quota)
