"""The store on this machine does what every store must."""

from pathlib import Path

from twisted.trial.unittest import TestCase

from mailsrv.store.interfaces import IStore
from tests.store.conformance import StoreConformance
from tests.store.world import World


class TestLocalStore(StoreConformance, TestCase):
    async def make_store(self) -> IStore:
        self.world = World(Path(self.mktemp()))
        self.addCleanup(self.world.end)
        return self.world.store()

    async def new_alias(self, address: str, quota: int | None = None) -> tuple[str, str]:
        return self.world.mailbox(address, quota)
