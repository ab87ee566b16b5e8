"""An alias is erased: all of it goes, from everywhere, and nothing else."""

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from mailsrv.backup import erasing
from mailsrv.backup.daily import turns
from mailsrv.backup.erasing import Erased, Removed, remove_objects, stores_of
from mailsrv.backup.interfaces import IObjectStore
from mailsrv.backup.layout import copies_of, logs_of
from mailsrv.backup.objects.folder import FolderStore
from mailsrv.backup.objects.s3 import S3Store
from mailsrv.backup.shipping import uploads
from mailsrv.backup.stores import BackupStores
from mailsrv.directory.values import MailboxRecord
from mailsrv.errors import (
    BackupStoreFailed,
    MailboxBusy,
    MailboxMoved,
    NoSuchAlias,
    ReadOnlyVolume,
)
from mailsrv.keys.vault import Vault
from mailsrv.settings import Backup, BucketPlace
from mailsrv.store.orphans import remove_orphans
from mailsrv.store.secret import ServerSecret
from mailsrv.store.values import Delivery
from tests.backup.erasure_scene import ADDRESS, OTHER, Scene, traces
from tests.backup.moto_service import service
from tests.backup.strict_service import ACCESS_KEY, SECRET
from tests.store.crashes import receiver
from tests.store.world import World, now

ROOT = Path(__file__).parents[2]


class ErasingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.scene = Scene(Path(self.mktemp()))
        self.scene.base.mkdir()
        self.scene.make()
        self.world = self.enter_context(self.scene.world())
        self.directory = self.world.directory
        self.alias = self.directory.alias(ADDRESS).id
        self.gone = self.scene.ids(self.world, ADDRESS)
        self.kept = self.scene.ids(self.world, OTHER)
        self.before = self.scene.files_of(self.kept)

    def enter_context(self, manager):
        value = manager.__enter__()
        self.addCleanup(manager.__exit__, None, None, None)
        return value

    def check_gone(self) -> None:
        self.assertEqual(traces(self.scene.base, [*self.gone, ADDRESS]), [])
        self.assertEqual(self.directory.erasures_of(self.alias), [])
        self.check_others()

    def check_others(self) -> None:
        self.assertEqual(self.scene.files_of(self.kept), self.before)
        self.assertEqual(self.scene.ids(self.world, OTHER), self.kept)

    def resume(self) -> Erased | None:
        (erasure,) = self.directory.erasures("primary")
        return self.scene.erasing(self.world).resume(erasure, 0)

    def test_everything_goes_and_is_counted(self) -> None:
        self.assertGreater(len(self.scene.files_of(self.gone)), 12)
        octets = sum(
            path.stat().st_size
            for name in self.gone[1:3]
            for path in self.world.volume.mailboxes.glob(f"{name}.sqlite*")
        )
        erased = self.scene.erase(self.world)
        self.check_gone()
        self.assertTrue(erased.finished)
        self.assertEqual(erased.address, ADDRESS)
        self.assertEqual(erased.mailboxes, Removed(2, octets))
        self.assertEqual((erased.messages, erased.waiting.count), (4, 3))
        self.assertEqual(erased.shipping, Removed(2, 12))
        bucket, folder = erased.backups
        self.assertEqual((bucket.store, bucket.removed), ("bucket", Removed(4, 12)))
        self.assertEqual((folder.store, folder.removed), ("backups", Removed(7, 27)))
        self.assertEqual((erased.problems, erased.elsewhere), ((), ()))

    def test_the_address_is_new_afterwards(self) -> None:
        self.scene.erase(self.world)
        alias, _ = self.world.mailbox(ADDRESS)
        self.assertNotEqual(alias, self.alias)
        self.assertEqual(self.directory.usage(alias).messages, 0)
        self.check_others()

    def test_a_store_that_refuses_is_asked_again(self) -> None:
        for method in ("list", "remove"):
            with self.subTest(method):
                self.scene.bucket.refuses = {method}
                erased = self.resume() if self.directory.erasures("primary") else None
                erased = erased or self.scene.erase(self.world)
                self.assertEqual(erased.problems, (f"bucket: refuses to {method}",))
                self.assertFalse(erased.finished)
                self.assertEqual(list(self.scene.folder.list(f"mailboxes/{self.alias}/")), [])
                self.assertEqual(self.world.files(f"{self.gone[1]}*"), [])
        self.scene.bucket.refuses = set()
        erased = self.resume()
        self.assertEqual(erased and erased.backups[0].removed.count, 4)
        self.check_gone()

    def test_no_store_at_all(self) -> None:
        with mock.patch.object(self.scene, "stores", side_effect=BackupStoreFailed("no secret")):
            self.assertEqual(self.scene.erase(self.world).problems, ("no secret",))
        self.resume()
        self.check_gone()

    def test_a_volume_that_refuses(self) -> None:
        refused = mock.patch.object(
            type(self.world.volume), "remove_mailbox", side_effect=ReadOnlyVolume("read only")
        )
        with refused:
            self.assertEqual(self.scene.erase(self.world).problems, ("read only",))
        self.assertEqual(list(self.scene.bucket.list(f"mailboxes/{self.alias}/")), [])
        self.resume()
        self.check_gone()

    def test_waiting_mail_that_cannot_be_read_goes_too(self) -> None:
        (self.world.volume.mailboxes / f"{self.gone[3]}.waiting.sqlite").write_bytes(b"x" * 9000)
        self.assertTrue(self.scene.erase(self.world).finished)
        self.check_gone()

    def test_waiting_mail_that_another_mailbox_needs_stays(self) -> None:
        """A backup restored into another alias has the key pair of the original."""
        (current,) = [self.directory.mailbox(self.alias)]
        assert current is not None
        twin = self.world.alias("twin@example.com")
        self.directory.set_mailbox(
            twin,
            MailboxRecord("e" * 24, current.public_key, current.created),
            credentials=[],
            salt=bytes(16),
            iterations=1,
            replaces=None,
            archive=False,
        )
        erased = self.scene.erase(self.world)
        self.assertTrue(erased.finished)
        self.assertEqual(erased.messages, 2)
        self.assertTrue(self.world.volume.waiting(current.public_key).exists())
        self.check_others()

    def test_only_what_is_marked(self) -> None:
        alias = self.directory.alias(ADDRESS)
        marked = self.directory.mark_deleted(alias.id)
        self.directory.undelete_alias(alias.id)
        erase = self.scene.erasing(self.world).erase
        self.assertRaises(MailboxMoved, erase, marked, 0)
        self.assertEqual(self.directory.alias(ADDRESS), alias)
        self.scene.erase(self.world)
        self.assertRaises(NoSuchAlias, erase, marked, 0)

    def test_one_at_a_time(self) -> None:
        marked = self.directory.mark_deleted(self.alias)
        one = self.scene.erasing(self.world)
        with self.world.volume.exclusive(erasing.LOCK):
            self.assertRaises(MailboxBusy, one.erase, marked, 0)
            self.directory.undelete_alias(self.alias)
            self.assertRaises(MailboxBusy, one.erase_now, self.alias, 0)
        self.assertIsNone(self.directory.alias(ADDRESS).deleted)

    def test_what_is_on_its_way_to_a_store_is_removed_too(self) -> None:
        """Whoever brings it may be killed before finding that nobody wants it any more."""
        late = f"{copies_of(self.alias)}20261123T101501Z-{self.gone[1]}.sqlite"
        held = turns(self.world.volume)
        held.prepare()
        self.patch(erasing, "TURN_PATIENCE", 0)
        with held.exclusive(self.alias):
            erased = self.scene.erase(self.world)
            self.assertEqual(
                erased.problems, ("a backup of it is being made: it is removed later",)
            )
            self.assertEqual(list(self.scene.bucket.list(copies_of(self.alias))), [])
            self.scene.bucket.write(late, b"copy")
        self.assertTrue(self.resume().finished)
        self.check_gone()

    def test_what_a_crash_left_of_a_transfer_goes_at_once(self) -> None:
        folder = self.scene.folder._root / copies_of(self.alias)
        (folder / ".20261123T101501Z.sqlite.0123456789abcdef.part").write_bytes(b"half a copy")
        self.assertTrue(self.scene.erase(self.world).finished)
        self.check_gone()

    def test_changes_on_their_way_to_a_store_are_removed_too(self) -> None:
        """Whoever brings them may be killed before finding that nobody wants them any more."""
        late = f"{logs_of(self.alias)}{self.gone[1]}/20261123T101501Z-1a2b3c4d/0000000009.frames"
        self.patch(erasing, "TURN_PATIENCE", 0)
        with uploads(self.world.volume).exclusive(f"{self.alias}-log"):
            erased = self.scene.erase(self.world)
            self.assertEqual(erased.problems, ("changes are on their way: they are removed later",))
            self.scene.bucket.write(late, b"frames")
        self.assertTrue(self.resume().finished)
        self.check_gone()

    def test_when_its_time_is_over(self) -> None:
        marked = self.directory.mark_deleted(self.alias)
        self.assertTrue(self.scene.erasing(self.world).erase(marked, 0).finished)
        self.check_gone()

    def test_what_nobody_expected_stops_nothing_else(self) -> None:
        with mock.patch.object(self.scene.bucket, "list", side_effect=ZeroDivisionError):
            erased = self.scene.erase(self.world)
        self.assertEqual(erased.problems, ("unexpected ZeroDivisionError, see the log",))
        self.assertEqual(erased.backups[1].removed.count, 7)
        self.resume()
        self.check_gone()

    def test_what_somebody_else_finished(self) -> None:
        self.scene.bucket.refuses = {"list"}
        self.scene.erase(self.world)
        (erasure,) = self.directory.erasures("primary")
        self.scene.bucket.refuses = set()
        self.resume()
        self.assertIsNone(self.scene.erasing(self.world).resume(erasure, 0))
        self.check_gone()

    def test_a_stop_leaves_the_rest_for_later(self) -> None:
        marked = self.directory.mark_deleted(self.alias)
        stopped = self.scene.erasing(self.world)
        stopped.stop()
        self.assertEqual(set(stopped.erase(marked, 0).problems), {"the server is shutting down"})
        self.resume()
        self.check_gone()

    def test_each_primary_does_its_part(self) -> None:
        for name in ("primary", "b"):
            self.directory.claim_primary(name, name * 8)
        self.assertEqual(self.scene.erase(self.world).elsewhere, ("b",))
        (erasure,) = self.directory.erasures("b")
        erased = self.scene.erasing(self.world, "b").resume(erasure, 0)
        self.assertEqual(erased and erased.mailboxes, Removed())
        self.check_gone()

    def test_from_another_primary(self) -> None:
        marked = self.directory.mark_deleted(self.alias)
        erased = self.scene.erasing(self.world, "b").erase(marked, 0)
        self.assertEqual((erased.mailboxes, erased.elsewhere), (Removed(), ("primary",)))
        self.resume()
        self.check_gone()

    def test_a_file_that_is_being_copied_is_left_to_the_server(self) -> None:
        coming = self.directory.begin_move(self.alias, self.gone[1], "b")
        marked = self.directory.mark_deleted(self.alias)
        (self.world.volume.mailboxes / f"{coming.id}.sqlite").write_bytes(b"half a copy")
        at_b = self.scene.erasing(self.world, "b")
        self.assertRegex(at_b.erase(marked, 0).problems[0], "move")
        self.assertEqual(self.world.files(f"{coming.id}*"), [])
        self.directory.forget_left(coming.id)
        (erasure,) = self.directory.erasures("b")
        finished = at_b.resume(erasure, 0)
        self.assertTrue(finished and finished.finished)
        self.resume()
        self.check_gone()

    def test_after_the_sweep_at_a_start(self) -> None:
        """The server removes discarded files when it starts, whosever they were."""
        self.directory.delete_alias(self.alias)
        remove_orphans(self.directory, self.world.volume, now)
        self.assertEqual(self.world.files(f"{self.gone[1]}*"), [])
        erased = self.resume()
        self.assertEqual(erased and erased.shipping.count, 2)
        self.check_gone()

    def test_mail_that_comes_in_the_same_moment(self) -> None:
        receiving = receiver(self.world, Vault())
        add = receiving._files.add

        def erased_meanwhile(*arguments) -> None:
            self.scene.erase(self.world)
            add(*arguments)

        delivery = Delivery(b"late", "late", "2026-11-23T10:00:00Z")
        with mock.patch("mailsrv.store.waiting.WaitingFiles.add", side_effect=erased_meanwhile):
            self.assertRaises(NoSuchAlias, receiving.receive, self.alias, None, [delivery])
        self.check_gone()


class StoresTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.scene = Scene(Path(self.mktemp()))
        self.scene.base.mkdir()
        self.world = World(self.scene.base)
        self.addCleanup(self.world.directory.close)
        self.directory = self.world.directory
        self.world.alias(ADDRESS)
        self.directory.delete_alias(self.directory.alias(ADDRESS).id)
        (self.erasure,) = self.directory.erasures("primary")

    def stores(self, to: str = "folder") -> Iterable[IObjectStore]:
        backup = Backup(to=to, folder=self.scene.base / "backups")
        secret = ServerSecret(bytes(32))
        return stores_of(lambda: BackupStores(backup, self.directory, secret))(self.erasure)

    def test_the_configured_one(self) -> None:
        (store,) = self.stores()
        self.assertIn("backups", str(store))
        self.assertEqual(list(self.stores("nowhere")), [])

    def test_the_domains_own_too(self) -> None:
        """Even one that this server cannot open keeps nothing from being removed elsewhere."""
        self.directory.set_bucket("example.com", BucketPlace("mine", "me"), b"\x80")
        found = iter(self.stores())
        self.assertIn("backups", str(next(found)))
        self.assertRaises(BackupStoreFailed, next, found)


class RemoveObjectsTests(SynchronousTestCase):
    def make_store(self) -> IObjectStore:
        return FolderStore(Path(self.mktemp()))

    def setUp(self) -> None:
        self.store = self.make_store()
        self.mine, self.other = "a" * 24, "b" * 24
        for alias in (self.mine, self.other):
            for number in range(7):
                self.store.write(f"mailboxes/{alias}/logs/{number}", b"12")
            self.store.write(f"mailboxes/{alias}/copies/x.json", b"1")

    def test_in_parts_manifests_first(self) -> None:
        with mock.patch.object(erasing, "_AT_ONCE", 3):
            parts = remove_objects(self.store, self.mine)
            self.assertEqual(next(parts), Removed(1, 1))
            self.assertFalse(any(".json" in name for name in self.names(self.mine)))
            self.assertEqual(sum(parts, Removed()), Removed(7, 14))
        self.assertEqual(self.names(self.mine), [])
        self.assertEqual(len(self.names(self.other)), 8)

    def test_a_store_that_does_not_do_what_it_says(self) -> None:
        with mock.patch.object(type(self.store), "remove", return_value=0):
            self.assertRaises(BackupStoreFailed, list, remove_objects(self.store, self.mine))

    def names(self, alias: str) -> list[str]:
        return [one.name for one in self.store.list(f"mailboxes/{alias}/")]


class RemoveFromBucketTests(RemoveObjectsTests):
    def make_store(self) -> IObjectStore:
        place = BucketPlace(
            bucket=service().new_bucket(),
            access_key_id=ACCESS_KEY,
            endpoint=f"http://127.0.0.1:{service().port}",
            prefix="mail",
        )
        return S3Store(place, SECRET)


class CrashTests(SynchronousTestCase):
    def test_killed_at_any_line(self) -> None:
        stride = "1" if os.environ.get("MAILSRV_SOAK") else "131"
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "tests.backup.erasure_scene",
                os.path.abspath(self.mktemp()),
                stride,
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stderr[-3000:])
        self.assertGreater(int(done.stdout), 9)
