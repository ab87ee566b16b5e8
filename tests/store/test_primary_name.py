"""A primary starts only on the volume that its name belongs to."""

import shutil
from pathlib import Path

from twisted.trial.unittest import TestCase

from mailsrv.errors import InvalidInput
from mailsrv.store.lifecycle import Lifecycle
from mailsrv.store.secret import ServerSecret
from mailsrv.store.volume import Volume
from tests.store.world import World, now


class TestPrimaryName(TestCase):
    def setUp(self) -> None:
        self.world = World(Path(self.mktemp()))
        self.addCleanup(self.world.end)

    def another(self) -> Volume:
        base = Path(self.mktemp())
        base.mkdir()
        return Volume(base)

    async def test_a_name_is_that_of_one_volume(self) -> None:
        await self.world.store().close()
        first, self.world.volume = self.world.volume, self.another()
        for _ in range(2):
            caught = self.assertRaises(InvalidInput, self.world.store)
            self.assertIn("link.name: primary 'primary' of this directory is", str(caught))
            self.world.volume.hold().release()
        await self.world.store(name="b").close()
        await self.world.store(name="b").close()
        self.world.volume = first
        await self.world.store().close()

    async def test_a_volume_that_was_moved_is_the_same(self) -> None:
        await self.world.store().close()
        restored = self.another()
        shutil.copy(self.world.base / "server.key", restored.base)
        self.world.volume = restored
        await self.world.store().close()

    async def test_commands_change_passwords_without_a_start(self) -> None:
        await self.world.store().close()
        self.world.alias("hello@example.com")
        Lifecycle(self.world.directory, self.another(), now).set_first_password("hello@example.com")

    def test_what_the_directory_knows_of_the_secret_opens_nothing(self) -> None:
        key = bytes(range(32))
        told = bytes.fromhex(ServerSecret(key).volume())
        self.assertEqual(len(told), 16)
        self.assertNotEqual(told, bytes.fromhex(ServerSecret(bytes(32)).volume()))
        self.assertNotIn(told, ServerSecret(key).waiting_key(b"").pack())
        self.assertNotIn(told, key)
