"""Work in a mailbox whose owner has not asked for it, while the owner is there."""

from mailsrv.errors import KeyGone
from mailsrv.keys.filekey import FileKey
from mailsrv.mailbox.mailbox import Mailbox
from tests.store.cases import StoreCase
from tests.store.world import now


def look(mailbox: Mailbox, key: FileKey) -> int:
    """Open it once more with the key."""
    with Mailbox.open(mailbox.path, key, now) as again:
        return len(again.folders())


class AtHandTests(StoreCase):
    async def test_only_while_a_session_is_there(self) -> None:
        came: list[str] = []
        at_hand = self.store.at_hand
        at_hand.watch(came.append)
        with self.assertRaises(KeyGone):
            await at_hand.run(self.alias, look)
        access = await self.enter()
        self.assertEqual(came, [self.alias])
        self.assertEqual(at_hand.aliases(), [self.alias])
        self.assertEqual(await at_hand.run(self.alias, look), 6)
        self.store.logout(access)
        self.assertEqual(at_hand.aliases(), [])
        with self.assertRaises(KeyGone):
            await at_hand.run(self.alias, look)
