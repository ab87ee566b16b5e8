"""Whatever is done to a mailbox, and whenever: restored at T it is what it was at T."""

import os
import random
import shutil
import time
from pathlib import Path
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from mailsrv.backup import shipping
from mailsrv.mailbox import blocks
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.mailbox.wal import frames
from tests.backup.shipped import Shipped, content_of
from tests.faults.common import SOAK

SEED = int(os.environ.get("MAILSRV_SEED", time.time_ns() % 10**9))
ROUNDS = 150 if SOAK else 3
STEPS = 60 if SOAK else 40
LARGE = 2_500_000


class BusyReader(blocks.FileReader):
    """Others write to the file while it is read."""

    work = staticmethod(lambda: None)

    def read(self, number: int) -> bytes:
        self.work()
        return super().read(number)


class Case(SynchronousTestCase):
    def begin(self, seed: int) -> Shipped:
        folder = Path(self.mktemp())
        folder.mkdir()
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        world = Shipped(folder, seed)
        self.addCleanup(world.end)
        self.patch(blocks, "BLOCK", 16 * 1024)
        self.patch(shipping, "FileReader", BusyReader)
        return world

    def make_base(self, world: Shipped, step: object) -> bool:
        """With writes, and all that may happen besides, between the blocks that are copied."""

        steps = iter(range(6))

        def work() -> None:
            if world.dice.random() < 0.3 and next(steps, None) is not None:
                step()

        with mock.patch.object(BusyReader, "work", staticmethod(work)):
            return world.make_base()

    def earliest(self, world: Shipped) -> int:
        manifests = [
            shipping.layout.decode_base(world.store.read(name))
            for name in world.store.names(".base.json")
        ]
        return min(one.milliseconds for one in manifests)

    def instants(self, world: Shipped, count: int) -> list[int]:
        first, last = self.earliest(world), world.history[-1][0]
        some = [world.dice.randint(first, last) for _ in range(count)]
        return [first, *some, last]


class TestPointInTime(Case):
    def one_round(self, seed: int) -> None:
        world = self.begin(seed)
        quiet = [
            *[world.write] * 20,
            *(world.close, world.close_one, world.open, world.ship, world.ship),
            *(world.give_up_a_write, world.copy_log),
            lambda: world.box.shorten_log(50),
            lambda: self.append_large(world),
        ]
        loud = [world.kill, lambda: self.make_base(world, self.chosen(world, quiet))]
        world.write()
        # while what was given up stands at the end of the log there is none
        while not self.make_base(world, self.chosen(world, quiet)):
            world.write()
        chain = world.keeper.state.chain
        for _ in range(STEPS):
            world.dice.choice(quiet + loud)()
        world.ship()
        self.assertEqual(world.keeper.state.chain, chain, world.keeper.problem)
        for instant in self.instants(world, 6):
            restored, found = world.restore(instant)
            self.assertTrue(found == world.at(instant), f"at {instant}: it was not so")
            self.assertLessEqual(restored.reached, world.ticks.moment(instant))

    @staticmethod
    def append_large(world: Shipped) -> None:
        """More than SQLite keeps in memory; once, since each look at the mailbox reads it."""
        if world.store.most < LARGE:
            world.append(world.box, 2 * LARGE)
            world.store.most = LARGE
            world.record()

    @staticmethod
    def chosen(world: Shipped, actions: list) -> object:
        return lambda: world.dice.choice(actions)()

    def test_restored_at_any_instant_it_is_what_it_was(self) -> None:
        dice = random.Random(SEED)
        for _ in range(ROUNDS):
            seed = dice.randrange(10**9)
            try:
                self.one_round(seed)
            except BaseException:
                print(f"\nseed {seed}")
                raise


class TestOthersWrite(Case):
    """Other processes write beside us, power cuts take the end of the log."""

    def write_beside(self, world: Shipped) -> None:
        with Mailbox.open(world.path, world.key, world.ticks.moment, boot=world.boot) as box:
            for _ in range(world.dice.randrange(4)):
                world.write(box)
            if world.dice.random() < 0.3:
                box.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            if world.dice.random() < 0.3:
                world.write()

    def cut_power(self, world: Shipped) -> None:
        """What did not wait for the disk is lost: of the log, and of what was captured."""

        def lose(volume: Path) -> None:
            log = volume / f"{world.path.name}-wal"
            if world.boxes:
                least = frames.offset(world.copied() + 1)
                os.truncate(log, world.dice.randint(least, max(least, log.stat().st_size)))
            for segment in volume.rglob("*.frames"):
                os.truncate(segment, 100)

        world.boot += "+"
        world.kill(lose)
        world.record()

    def one_round(self, seed: int) -> None:
        world = self.begin(seed)
        world.modseqs = False
        world.history[0] = (world.history[0][0], content_of(world.box, modseqs=False))
        actions = [
            *[world.write] * 12,
            *(world.close, world.close_one, world.open, world.ship, world.ship),
            *(world.give_up_a_write, world.copy_log, world.kill),
            lambda: self.write_beside(world),
            lambda: self.cut_power(world),
            lambda: world.box.shorten_log(50),
        ]
        for _ in range(STEPS):
            world.dice.choice(actions)()
            if not world.keeper.state.base and world.dice.random() < 0.3:
                self.make_base(world, lambda: world.dice.choice(actions[:15])())
        world.ship()
        world.box.check()
        if not world.store.names(".base.json"):
            return
        for instant in self.instants(world, 6):
            _, found = world.restore(instant)
            states = [state for since, state in world.history if since <= instant]
            self.assertTrue(found in states, f"at {instant}: it never was so")

    def test_what_never_was_is_never_restored(self) -> None:
        dice = random.Random(SEED)
        for _ in range(ROUNDS):
            seed = dice.randrange(10**9)
            try:
                self.one_round(seed)
            except BaseException:
                print(f"\nseed {seed}")
                raise
