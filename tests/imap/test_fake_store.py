"""The stand-in keeps the same rules as the real store."""

from twisted.trial.unittest import TestCase

from mailsrv.store.interfaces import IStore
from tests.fakes.store import FakeStore
from tests.store.conformance import StoreConformance


class FakeStoreTests(StoreConformance, TestCase):
    async def make_store(self) -> IStore:
        self.fake = FakeStore()
        return self.fake

    async def new_alias(self, address: str, quota: int | None = None) -> tuple[str, str]:
        password = f"password of {address}"
        return self.fake.add_alias(address, password, quota), password
