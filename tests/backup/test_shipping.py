"""What is shipped when, what happens when the store is away, and what is kept."""

import contextlib
import os
import shutil
import threading
import tracemalloc
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from mailsrv.backup import chains, layout, shipping
from mailsrv.backup.chains import list_chains
from mailsrv.backup.shipping_limits import ShippingLimits
from mailsrv.backup.troubles import Troubles
from mailsrv.errors import BackupDamaged, BackupStoreFailed, MailboxBusy, NoSuchBackup
from mailsrv.mailbox import log, snapshot
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.mailbox.values import NewMessage
from mailsrv.mailbox.wal.capture import Capture
from tests.backup.shipped import ALIAS, FILE, Shipped, content_of
from tests.mailbox.support import message


class Case(SynchronousTestCase):
    limits = ShippingLimits()

    def setUp(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        self.world = Shipped(folder, 1, self.limits)
        self.addCleanup(self.world.end)
        self.world.open()

    def put(self, count: int = 1, octets: int = 3000) -> None:
        for _ in range(count):
            self.world.append(self.world.box, octets)
            self.world.record()

    def now(self) -> int:
        return self.world.ticks.milliseconds

    def check(self, instant: int | None = None) -> None:
        at = self.now() if instant is None else instant
        _, found = self.world.restore(at)
        self.assertTrue(found == self.world.at(at))

    @property
    def chain(self) -> str:
        return self.world.keeper.state.chain


class TestShipping(Case):
    def test_what_was_written_is_uploaded_and_nothing_waits(self) -> None:
        self.assertTrue(self.world.make_base())
        self.put(3)
        self.world.ship()
        self.assertEqual(self.world.keeper.spool.waiting(), [])
        before = self.world.store.names()
        self.world.ship()
        self.assertEqual(self.world.store.names(), before)
        self.check()

    def test_what_was_captured_with_nothing_behind_is_uploaded(self) -> None:
        self.world.make_base()
        self.put(1)
        self.world.ship()
        self.assertEqual(self.world.shipper.pending(), [])
        self.put(1)
        with self.world.keeper.held() as capture:
            capture.capture()
        self.world.ship()
        self.assertEqual(self.world.shipper.pending(), [])
        self.check()

    def test_nobody_has_to_look_after_a_log_that_is_shipped(self) -> None:
        self.world.make_base()
        self.put(3)
        self.world.close()
        self.assertEqual(log.octets(self.world.path), 0)
        self.assertFalse(Path(f"{self.world.path}-wal").exists())
        self.world.ship()
        self.assertEqual(self.world.keepers.all(), [])
        chain = self.world.store.names(".frames")[-1]
        self.put(2)
        self.world.ship()
        self.assertEqual(
            os.path.dirname(self.world.store.names(".frames")[-1]), os.path.dirname(chain)
        )
        self.check()

    def test_a_long_log_is_copied_to_the_main_file_after_it_was_captured(self) -> None:
        self.world.make_base()
        size = self.world.path.stat().st_size
        self.put(40, 300_000)
        self.assertGreater(self.world.path.stat().st_size, size + 4_000_000)
        self.assertLess(log.octets(self.world.path), 12_000_000)
        self.assertGreater(len(self.world.keeper.spool.waiting()), 1)
        self.world.ship()
        self.check()
        self.check(self.world.history[20][0])

    def test_files_are_for_their_owner_alone_and_say_nothing(self) -> None:
        self.world.make_base()
        self.put(2)
        self.world.keeper.spool.folder.chmod(0o700)
        with self.world.keeper.held() as capture:
            capture.capture()
        for path in self.world.keeper.spool.folder.iterdir():
            self.assertEqual(path.stat().st_mode & 0o777, 0o600, path.name)
            self.assertNotIn(b"Message-ID", path.read_bytes())

    def test_a_mailbox_of_nobody_is_not_shipped(self) -> None:
        self.world.alias = None
        self.assertFalse(self.world.make_base())
        self.put(2)
        self.world.close()
        self.world.ship()
        self.assertEqual(self.world.store.names(), [])
        self.assertEqual(self.world.keepers.all(), [])

    def test_what_is_left_of_a_file_that_is_gone_is_shipped_and_removed(self) -> None:
        self.world.make_base()
        self.put(2)
        self.world.close()
        self.world.path.unlink()
        self.world.ship()
        self.assertFalse(self.world.keeper.spool.folder.exists())
        self.check()

    def test_another_writer_is_not_waited_for_without_end(self) -> None:
        self.world.make_base()
        with self.world.box.writing():
            pass
        with mock.patch.object(self.world.keeper, "held", side_effect=MailboxBusy("busy")):
            self.world.ship()
        self.assertEqual(self.world.problems, [])


class TestStoreAway(Case):
    limits = ShippingLimits(spool_octets=2_000_000)

    def test_it_is_tried_again_and_everything_comes(self) -> None:
        self.world.make_base()
        self.world.store.failing = True
        for _ in range(5):
            self.put(1)
            self.world.ship()
        self.assertEqual(len(self.world.keeper.spool.waiting()), 5)
        self.assertEqual(self.world.problems, ["changes are not shipped: the folder refuses"])
        tries: list[str] = []
        self.world.store.before = tries.append
        self.world.ship()
        self.assertEqual(tries, [], "not again at once")
        self.world.store.failing = False
        self.world.ticks.milliseconds += 61_000
        self.world.ship()
        self.assertEqual(self.world.keeper.spool.waiting(), [])
        self.assertEqual(self.world.problems, [])
        self.check()
        self.check(self.world.history[3][0])

    def test_one_that_stays_away_does_not_fill_the_volume(self) -> None:
        self.world.make_base()
        chain = self.chain
        self.world.store.failing = True
        for _ in range(12):
            self.put(1, 400_000)
            self.world.ship()
        self.assertLess(self.world.keeper.spool.octets(), 2_500_000)
        self.assertEqual(self.chain, "")
        self.assertIn("a point in time will be missing", " ".join(self.world.problems))
        self.world.store.failing = False
        self.world.ticks.milliseconds += 4_000_000
        self.assertIs(self.world.shipper.base_due(), self.world.keeper)
        self.assertTrue(self.world.make_base())
        self.assertNotEqual(self.chain, chain)
        self.put(1)
        self.world.ship()
        self.check()

    def test_a_base_that_could_not_be_uploaded_is_none(self) -> None:
        def fail(name: str) -> None:
            if name.endswith(".json"):
                raise BackupStoreFailed("no more")

        self.world.store.before = fail
        self.assertFalse(self.world.make_base())
        self.assertRaises(NoSuchBackup, self.world.restore, self.now())
        self.world.store.before = lambda _name: None
        self.world.ticks.milliseconds += 10_000
        self.assertTrue(self.world.make_base())
        self.check()

    def test_one_that_failed_is_tried_by_one_at_a_time(self) -> None:
        troubles = Troubles(lambda: self.now() / 1000, 2.0)
        self.assertTrue(troubles.may_try("store") and troubles.may_try("store"))
        self.assertEqual([troubles.failed("store", 5.0) for _ in range(3)], [2.0, 4.0, 5.0])
        self.assertFalse(troubles.may_try("store"))
        self.world.ticks.milliseconds += 5000
        self.assertEqual([troubles.may_try("store") for _ in range(2)], [True, False])
        troubles.over("store")
        self.assertTrue(troubles.may_try("store") and troubles.may_try("store"))

    def test_what_others_cause_for_a_while_is_no_trouble(self) -> None:
        with mock.patch.object(Capture, "end_base", return_value=None):
            tries = 0
            while not self.world.problems:
                self.assertFalse(self.world.make_base())
                tries += 1
        self.assertGreater(tries, 5)
        self.assertIn("no base for a point in time: others wrote", self.world.problems[0])
        self.assertTrue(self.world.make_base())
        self.assertEqual(self.world.problems, [])

    def test_without_room_for_a_copy_there_is_no_base(self) -> None:
        usage = shutil.disk_usage("/")._replace(free=1000)
        with mock.patch.object(shipping.shutil, "disk_usage", return_value=usage):
            self.assertFalse(self.world.make_base())
        self.assertIn("no room", self.world.problems[-1])

    def test_a_full_volume_stops_no_mail(self) -> None:
        self.world.make_base()
        with mock.patch.object(
            type(self.world.keeper.spool), "put", side_effect=OSError(28, "full")
        ):
            self.put(40, 200_000)
            self.world.ship()
        self.assertEqual(self.chain, "")
        self.world.ticks.milliseconds += 10_000
        self.assertTrue(self.world.make_base())
        self.put(1)
        self.world.ship()
        self.check()


class TestBases(Case):
    limits = ShippingLimits(base_octets=500_000)

    def test_a_new_one_is_due_after_much_was_written(self) -> None:
        self.assertIs(self.world.shipper.base_due(), self.world.keeper)
        self.world.make_base()
        self.assertIsNone(self.world.shipper.base_due())
        self.put(5, 400_000)
        self.world.ship()
        self.assertIs(self.world.shipper.base_due(), self.world.keeper)
        chain = self.chain
        self.world.make_base()
        self.assertEqual(self.chain, chain)
        self.put(1)
        self.world.ship()
        [listed] = list_chains(self.world.store, ALIAS)
        self.assertEqual((listed.mailbox, listed.name, listed.bases), (FILE, chain, 2))
        for instant, _ in self.world.history[1:]:
            if self.world.ticks.moment(instant) >= listed.earliest:
                self.check(instant)

    def test_a_new_one_is_due_after_days_if_anything_changed(self) -> None:
        self.world.make_base()
        self.world.ticks.milliseconds += 8 * 86_400_000
        self.assertIsNone(self.world.shipper.base_due())
        self.put(1)
        self.world.ship()
        self.assertIs(self.world.shipper.base_due(), self.world.keeper)

    def test_what_is_older_than_can_be_restored_goes(self) -> None:
        self.world.make_base()
        for _ in range(4):
            self.world.ticks.milliseconds += 5 * 86_400_000
            self.put(2)
            self.restart_log()
            self.world.ship()
            self.assertTrue(self.world.make_base())
        self.put(1)
        self.world.ship()
        [listed] = list_chains(self.world.store, ALIAS)
        self.assertEqual(listed.bases, 3)
        week_ago = self.now() - 7 * 86_400_000
        self.assertLess(listed.earliest, self.world.ticks.moment(week_ago))
        self.check(week_ago)
        self.check()
        first = min(int(Path(name).name[:10]) for name in self.world.store.names())
        self.assertGreater(first, 1)

    def restart_log(self) -> None:
        self.assertTrue(self.world.box.shorten_log(1000))

    def tend(self) -> None:
        """As from time to time, and what follows."""
        self.world.shipper.tend()
        keeper = self.world.shipper.base_due()
        if keeper is not None:
            self.world.shipper.make_base(keeper)
        self.world.ship()

    def test_what_is_too_old_goes_also_when_nobody_comes(self) -> None:
        self.world.make_base()
        self.put(2)
        first = self.world.store.names()
        self.world.ticks.milliseconds += 3 * 86_400_000
        self.put(3, 400_000)
        self.world.ship()
        self.assertIs(self.world.shipper.base_due(), self.world.keeper)
        self.world.make_base()
        self.world.close()
        self.world.ship()
        self.assertEqual(self.world.keepers.all(), [])
        self.tend()
        self.assertLessEqual(set(first), set(self.world.store.names()))
        self.world.ticks.milliseconds += 7 * 86_400_000 + 2000
        self.tend()
        self.assertFalse(set(first) & set(self.world.store.names()))
        self.assertEqual(self.world.keepers.all(), [])
        self.check()
        before = self.world.store.names()
        with mock.patch.object(chains, "prune") as prune:
            self.tend()
        prune.assert_not_called()
        self.assertEqual(self.world.store.names(), before)

    def test_a_base_that_is_due_is_made_also_when_nobody_comes(self) -> None:
        self.world.make_base()
        self.put(2)
        self.world.close()
        self.world.ship()
        self.world.ticks.milliseconds += 8 * 86_400_000
        self.tend()
        [listed] = list_chains(self.world.store, ALIAS)
        self.assertEqual(listed.bases, 2)
        self.world.ticks.milliseconds += 8 * 86_400_000
        self.tend()
        [listed] = list_chains(self.world.store, ALIAS)
        self.assertEqual((listed.bases, listed.segments), (1, 0))
        self.check()

    def test_an_ended_chain_goes_when_the_next_is_old_enough(self) -> None:
        self.world.make_base()
        with self.world.keeper.held() as capture:
            capture.break_off("test")
        self.put(1)
        self.world.make_base()
        self.assertEqual(len(list_chains(self.world.store, ALIAS)), 2)
        since = self.world.ticks.moment() + timedelta(days=1)
        self.assertEqual(chains.prune(self.world.store, ALIAS, since, self.chain), 2)
        [left] = list_chains(self.world.store, ALIAS)
        self.assertEqual(left.name, self.chain)


class TestThreads(Case):
    """All that a server's threads do to a mailbox at a time ends no chain and blocks nobody."""

    def write(self, name: int) -> None:
        world = self.world
        for count in range(12):
            with Mailbox.open(
                world.path, world.key, world.ticks.moment, boot=world.boot, logs=world.keepers
            ) as box:
                new = NewMessage(message(name, str(count) * 20_000))
                for _ in range(count % 3 + 1):
                    with contextlib.suppress(MailboxBusy):  # so slow a machine may be
                        box.append("INBOX", [new])
                if count % 4 == name:
                    box.shorten_log(20)
        self.written.release()

    def copy(self) -> None:
        world, number = self.world, 0
        while not self.over.is_set():
            number += 1
            with contextlib.suppress(MailboxBusy):
                target = world.folder / f"copy-{number}.sqlite"
                snapshot.take(world.boxes[0], world.key, target)
                target.unlink()

    def ship(self) -> None:
        while not self.over.is_set():
            self.world.ship()

    def base(self) -> None:
        while not self.over.is_set():
            self.world.make_base()

    def test_they_get_along(self) -> None:
        self.put()
        self.assertTrue(self.world.make_base())
        chain, problems = self.chain, list[BaseException]()
        self.over, self.written = threading.Event(), threading.Semaphore(0)

        def running(work: Callable[[], None]) -> None:
            try:
                work()
            except Exception as error:  # noqa: BLE001 - told by the test
                problems.append(error)
                self.written.release()

        works = [*(partial(self.write, name) for name in range(3)), self.copy, self.ship, self.base]
        threads = [threading.Thread(target=running, args=(work,)) for work in works]
        for thread in threads:
            thread.start()
        for _ in range(3):
            self.assertTrue(self.written.acquire(timeout=60))
        self.over.set()
        for thread in threads:
            thread.join(60)
        self.assertEqual(problems, [])
        self.assertEqual(self.chain, chain, self.world.keeper.problem)
        self.world.ship()
        _, found = self.world.restore(self.now() + 10**9)
        self.assertTrue(found == content_of(self.world.box))


class TestRestore(Case):
    def test_before_everything_the_earliest_time_is_told(self) -> None:
        self.assertRaises(NoSuchBackup, self.world.restore, self.now())
        self.world.make_base()
        error = self.assertRaises(NoSuchBackup, self.world.restore, self.now() - 10**7)
        self.assertIn("the earliest time is 2026-11-23T", str(error))

    def test_a_gap_ends_it_and_damage_is_an_error(self) -> None:
        self.world.make_base()
        for _ in range(4):
            self.put(1)
            self.world.ship()
        names = self.world.store.names(".frames")
        middle, path = self.world.history[-2][0], self.world.store.folder / names[-2]
        data = path.read_bytes()
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        error = self.assertRaises(BackupDamaged, self.world.restore, middle)
        self.assertIn(names[-2], str(error))
        path.unlink()
        restored, found = self.world.restore(self.now())
        self.assertTrue(found == self.world.at(int(restored.reached.timestamp() * 1000)))

    def test_a_damaged_base_is_an_error_and_leaves_nothing(self) -> None:
        self.world.make_base()
        path = self.world.store.folder / self.world.store.names(".sqlite")[0]
        path.write_bytes(path.read_bytes()[:-1] + b"?")
        target = self.world.folder / "target"
        with self.assertRaises(BackupDamaged):
            chains.restore_at(self.world.store, ALIAS, self.world.ticks.moment(), target)
        self.assertFalse(target.exists())

    def test_a_missing_first_segment_is_an_error(self) -> None:
        self.put(1)
        self.world.make_base()
        for name in self.world.store.names(".frames"):
            (self.world.store.folder / name).unlink()
        error = self.assertRaises(BackupDamaged, self.world.restore, self.now())
        self.assertIn("needs segments", str(error))

    def test_the_file_of_another_password_is_restored_for_its_time(self) -> None:
        self.world.make_base()
        self.put(2)
        self.world.ship()
        name = self.world.store.names(".json")[0]
        manifest = layout.decode_base(self.world.store.read(name))
        self.assertEqual(manifest.mailbox, FILE)
        restored, _ = self.world.restore(self.now())
        self.assertEqual(restored.mailbox, FILE)


class TestMemory(Case):
    def peak(self, work: Callable[[], object]) -> int:
        tracemalloc.start()
        try:
            work()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    def test_it_does_not_grow_with_mailbox_and_log(self) -> None:
        self.world.make_base()
        self.world.append(self.world.box, 40_000_000)
        self.assertLess(self.peak(self.world.ship), 8_000_000)
        self.assertGreater(self.world.store.most, 15_000_000)
        self.assertLess(self.peak(self.world.make_base), 8_000_000)
        target, moment = self.world.folder / "target", self.world.ticks.moment()

        def restore() -> None:
            chains.restore_at(self.world.store, ALIAS, moment, target)

        self.assertLess(self.peak(restore), 8_000_000)
