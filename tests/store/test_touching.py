"""What another process writes to a mailbox reaches the sessions that are there."""

from mailsrv.errors import NoSuchAlias
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.mailbox.values import Appended, NewMessage
from mailsrv.store.authentication import Authentication
from mailsrv.store.notifications import FOLDER_LIST
from mailsrv.store.secret import ServerSecret
from tests.store.cases import ADDRESS, StoreCase
from tests.store.conformance import Listener
from tests.store.world import now
from tests.waiting import until

MESSAGE = b"Subject: from elsewhere\r\n\r\nhello\r\n"


class TouchingTests(StoreCase):
    def write(self, folder: str = "INBOX") -> Appended:
        """As the command line does it: with a connection of its own."""
        world = self.world
        secret = ServerSecret(world.volume.server_key())
        opened = Authentication(world.directory, secret).with_password(ADDRESS, self.password, None)
        with Mailbox.open(world.volume.mailbox(opened.mailbox), opened.key, now) as mailbox:
            return mailbox.append(folder, [NewMessage(MESSAGE)])

    async def test_a_listener_hears_of_it(self) -> None:
        listener = Listener()
        access = await self.enter(listener)
        appended = self.write()
        self.assertEqual(listener.heard, [])
        self.world.directory.touch(self.alias)
        await until(lambda: (appended.folder_id, appended.modseq) in listener.heard)
        self.assertIn((FOLDER_LIST, 0), listener.heard)
        self.assertEqual(await self.stored(access), [MESSAGE])

    async def test_usage_is_measured(self) -> None:
        access = await self.enter()
        self.assertEqual((await self.store.quota(access)).messages, 0)
        self.write()
        self.world.directory.touch(self.alias)
        await until(lambda: self.world.directory.usage(self.alias).messages == 1)
        quota = await self.store.quota(access)
        self.assertEqual((quota.messages, quota.used_octets), (1, len(MESSAGE)))

    async def test_each_time(self) -> None:
        listener = Listener()
        await self.enter(listener)
        for _ in range(3):
            appended = self.write("Sent")
            self.world.directory.touch(self.alias)
            told = (appended.folder_id, appended.modseq)
            await until(lambda told=told: told in listener.heard)

    async def test_others_hear_nothing(self) -> None:
        _, password = self.world.mailbox("other@example.com")
        listener, other = Listener(), Listener()
        await self.enter(listener)
        await self.store.login("other@example.com", password, "imap", other)
        appended = self.write()
        self.world.directory.touch(self.alias)
        await until(lambda: (appended.folder_id, appended.modseq) in listener.heard)
        self.assertEqual(other.heard, [])

    def test_the_directory_counts(self) -> None:
        directory = self.world.directory
        self.assertEqual(directory.touched([self.alias]), {})
        before = directory.revision()
        directory.touch(self.alias)
        directory.touch(self.alias)
        self.assertEqual(directory.touched([self.alias, "0" * 24]), {self.alias: 2})
        self.assertEqual(directory.revision(), before + 2)
        self.assertRaises(NoSuchAlias, directory.touch, "0" * 24)

    async def test_a_session_that_comes_later(self) -> None:
        self.world.directory.touch(self.alias)
        listener = Listener()
        await self.enter(listener)
        appended = self.write()
        self.world.directory.touch(self.alias)
        await until(lambda: (appended.folder_id, appended.modseq) in listener.heard)
