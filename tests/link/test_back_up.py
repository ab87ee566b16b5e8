"""An owner asks for a backup at a front end far away; the primary makes it."""

from twisted.internet.defer import Deferred
from zope.interface import implementer
from zope.interface.verify import verifyObject

from mailsrv.errors import BackupStoreFailed
from mailsrv.keys.filekey import FileKey
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.store.interfaces import IBackups
from mailsrv.store.local import LocalStore
from mailsrv.store.values import BackupState
from tests.link.cases import RemoteCase
from tests.waiting import pause


@implementer(IBackups)
class FakeBackups:
    """Opens the mailbox with the key that the front end has, and answers."""

    def __init__(self, store: LocalStore) -> None:
        self.store = store
        self.refuses = False

    def back_up(self, alias: str) -> Deferred[BackupState]:
        def look(mailbox: Mailbox, key: FileKey) -> BackupState:
            if self.refuses:
                raise BackupStoreFailed("the bucket refuses")
            return BackupState("taken", "2026-11-23T10:15:00Z", mailbox.path.stat().st_size)

        return self.store.at_hand.run(alias, look)


class BackUpTests(RemoteCase):
    lease_seconds = 0.1

    async def setUp(self) -> None:
        await super().setUp()
        local = self.world.primary.store
        assert local is not None
        self.backups = FakeBackups(local)
        verifyObject(IBackups, self.backups)
        local.backups = self.backups

    async def test_the_key_is_asked_for_when_it_has_gone(self) -> None:
        access = await self.enter()
        await pause(4 * self.lease_seconds)
        state = await self.store.back_up(access)
        self.assertEqual((state.what, state.time), ("taken", "2026-11-23T10:15:00Z"))
        self.assertGreater(state.octets, 4096)

    async def test_what_went_wrong_is_told(self) -> None:
        access = await self.enter()
        self.backups.refuses = True
        error = await self.assertFailure(self.store.back_up(access), BackupStoreFailed)
        self.assertEqual(str(error), "the bucket refuses")
