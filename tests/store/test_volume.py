"""The data directory: one holder, one secret, errors with names, locks that die with holders."""

import errno
import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mailsrv.errors import (
    DiskFull,
    InvalidInput,
    MailboxBusy,
    ReadOnlyVolume,
    StorageFailed,
    VolumeInUse,
)
from mailsrv.keys.sealing import generate_key_pair
from mailsrv.store.secret import ServerSecret
from mailsrv.store.volume import Volume, naming

HOLD = """
import sys
from pathlib import Path
from mailsrv.store.volume import Volume
hold = Volume(Path(sys.argv[1])).hold()
print("held", flush=True)
sys.stdin.read()
"""


class TestVolume(SynchronousTestCase):
    def setUp(self) -> None:
        self.base = Path(self.mktemp())
        self.base.mkdir()
        self.volume = Volume(self.base)

    def test_prepare_makes_the_folder_for_its_user_alone(self) -> None:
        self.volume.prepare()
        self.volume.prepare()
        self.assertEqual(self.volume.mailboxes.stat().st_mode & 0o777, 0o700)

    def test_a_missing_base_is_named(self) -> None:
        error = self.assertRaises(StorageFailed, Volume(self.base / "none").prepare)
        self.assertIn("none", str(error))

    def test_what_stands_in_the_way_is_named(self) -> None:
        (self.base / "file").touch()
        error = self.assertRaises(StorageFailed, Volume(self.base, self.base / "file/x").prepare)
        self.assertIn("file/x", str(error))

    def test_refusals_have_their_own_errors(self) -> None:
        for number, expected in (
            (errno.EROFS, ReadOnlyVolume),
            (errno.EACCES, ReadOnlyVolume),
            (errno.ENOSPC, DiskFull),
            (errno.EIO, StorageFailed),
        ):
            with self.assertRaises(expected), naming(self.base):
                raise OSError(number, "no")

    def test_one_holder_at_a_time(self) -> None:
        hold = self.volume.hold()
        error = self.assertRaises(VolumeInUse, self.volume.hold)
        self.assertIn(str(self.base), str(error))
        hold.release()
        hold.release()
        self.volume.hold().release()

    def test_a_killed_holder_lets_go(self) -> None:
        child = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(self.base)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert child.stdout is not None
        self.assertEqual(child.stdout.readline(), b"held\n")
        self.assertRaises(VolumeInUse, self.volume.hold)
        child.kill()
        child.communicate()
        self.volume.hold().release()

    def test_the_secret_is_made_once_and_private(self) -> None:
        first = self.volume.server_key()
        self.assertEqual(len(first), 32)
        self.assertEqual(self.volume.server_key(), first)
        self.assertEqual((self.base / "server.key").stat().st_mode & 0o777, 0o600)
        self.assertEqual(sorted(os.listdir(self.base)), ["server.key"])

    def test_a_cut_secret_is_an_error(self) -> None:
        (self.base / "server.key").write_bytes(b"short")
        self.assertRaises(StorageFailed, self.volume.server_key)

    def test_file_names_are_checked(self) -> None:
        for name in ("", "../server", "a" * 23, "A" * 24, "a" * 24 + "\n"):
            self.assertRaises(InvalidInput, self.volume.mailbox, name)

    def test_exclusive_excludes_and_leaves_nothing(self) -> None:
        self.volume.prepare()
        with self.volume.exclusive("one"):
            with self.volume.exclusive("two"):
                pass
            with self.assertRaises(MailboxBusy), self.volume.exclusive("one", patience=0.05):
                pass
        self.assertEqual(os.listdir(self.volume.mailboxes), [])
        with self.volume.exclusive("one", patience=0):
            pass

    def test_a_lock_left_by_a_crash_does_not_hold(self) -> None:
        self.volume.prepare()
        (self.volume.mailboxes / "one.lock").touch()
        with self.volume.exclusive("one", patience=0):
            pass

    def test_remove_mailbox_takes_what_sqlite_left(self) -> None:
        self.volume.prepare()
        name = "0" * 24
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self.volume.mailbox(name)}{suffix}").touch()
        self.volume.remove_mailbox(name)
        self.volume.remove_mailbox(name)
        self.assertEqual(os.listdir(self.volume.mailboxes), [])


class TestServerSecret(SynchronousTestCase):
    def setUp(self) -> None:
        self.secret = ServerSecret(bytes(range(32)))

    def test_waiting_keys_differ_by_mailbox_and_secret(self) -> None:
        _, one = generate_key_pair()
        _, two = generate_key_pair()
        keys = {
            self.secret.waiting_key(one).raw,
            self.secret.waiting_key(two).raw,
            ServerSecret(bytes(32)).waiting_key(one).raw,
        }
        self.assertEqual(len(keys), 3)
        self.assertEqual(self.secret.waiting_key(one), self.secret.waiting_key(one))

    def test_invented_counts_are_those_that_real_ones_have(self) -> None:
        counts = [self.secret.invented(f"{n}@example.com").iterations for n in range(200)]
        self.assertEqual(set(counts), {4096, 64007})
        self.assertEqual(self.secret.invented("a"), self.secret.invented("a"))
        self.assertNotEqual(self.secret.invented("a").salt, self.secret.invented("b").salt)

    def test_repr_shows_nothing(self) -> None:
        self.assertNotIn(bytes(range(4)).hex(), repr(self.secret))
        self.assertNotIn("\\x01", repr(self.secret))
