"""The faulty disk itself: it loses and refuses what it should, or other tests mean nothing."""

import errno
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.faults.disk import GROWTH, KILL, SYNCS, WRITES, Disk

INSERTS = """
import apsw, os, sys
connection = apsw.Connection(sys.argv[1] + "/file.sqlite")
connection.pragma("cipher", "chacha20")
connection.pragma("key", "correct horse")
connection.pragma("journal_mode", "WAL")
connection.pragma("synchronous", sys.argv[2])
connection.execute("CREATE TABLE t(x)")
print("ready", flush=True)
sys.stdin.readline()
for number in range(20):
    connection.execute("INSERT INTO t VALUES (?)", (number,))
print("done", flush=True)
sys.stdin.readline()
os.kill(os.getpid(), 9)
"""

COUNT = """
import apsw, sys
connection = apsw.Connection(sys.argv[1] + "/file.sqlite")
connection.pragma("cipher", "chacha20")
connection.pragma("key", "correct horse")
assert connection.pragma("integrity_check") == "ok"
print(connection.execute("SELECT count(*) FROM t").fetchone()[0])
"""

NAMES = """
import os, sys
os.chdir(sys.argv[1])
def write(name, octets, sync):
    with open(name, "wb") as file:
        file.write(octets)
        file.flush()
        if sync:
            os.fsync(file.fileno())
def sync_names():
    descriptor = os.open(".", os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
write("known", b"new", True)
write("half known", b"lost", False)
sync_names()
write("known", b"newer", False)
write("unknown", b"x", True)
os.rename("known", "renamed")
os.unlink("old")
os.kill(os.getpid(), 9)
"""

RETRY = """
import os, sys
os.chdir(sys.argv[1])
descriptor = os.open("old", os.O_RDWR)
os.pwrite(descriptor, b"A" * 8192, 0)
try:
    os.fsync(descriptor)
except OSError as error:
    print(error.errno, flush=True)
os.pwrite(descriptor, b"B" * 4096, 4096)
os.fsync(descriptor)
os.kill(os.getpid(), 9)
"""


class DiskTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name).resolve() / "volume"
        self.root.mkdir()
        (self.root / "old").write_bytes(b"old")
        self.disk = Disk(self.root, self.root.with_name("aside"))

    def start(self, script: str, *words: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(self.root), *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=self.disk.environment(),
        )
        self.addCleanup(process.communicate)
        return process

    def run_script(self, script: str, *words: str) -> tuple[int, str]:
        process = self.start(script, *words)
        printed, _ = process.communicate()
        return process.returncode, printed


class PowerTests(DiskTestCase):
    def survivors(self, synchronous: str, dice: random.Random | None = None) -> tuple[int, int]:
        """How many of 20 acknowledged rows a power cut leaves, and how many syncs they took."""
        process = self.start(INSERTS, synchronous)
        self.assertEqual(process.stdout.readline(), "ready\n")
        before = self.disk.syncs
        process.stdin.write("\n")
        process.stdin.flush()
        self.assertEqual(process.stdout.readline(), "done\n")
        syncs = self.disk.syncs - before
        process.communicate("\n")
        self.assertEqual(process.returncode, -signal.SIGKILL)
        copy = self.root.with_name("copy")
        shutil.copytree(self.root, copy)
        self.assertEqual(self.count(copy), 20)  # a kill alone loses nothing
        self.disk.cut(dice)
        return self.count(self.root), syncs

    def count(self, folder: Path) -> int:
        """How many rows there are, -1 when there is no table."""
        done = subprocess.run(
            [sys.executable, "-c", COUNT, str(folder)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            self.assertIn("no such table", done.stderr)
        return -1 if done.returncode else int(done.stdout)

    def test_synchronous_off_loses_everything(self) -> None:
        self.assertEqual(self.survivors("OFF"), (-1, 0))

    def test_synchronous_normal_loses_the_last(self) -> None:
        self.assertEqual(self.survivors("NORMAL"), (-1, 0))

    def test_synchronous_full_loses_nothing(self) -> None:
        self.assertEqual(self.survivors("FULL"), (20, 20))

    def test_what_reached_the_disk_by_chance_does_no_harm(self) -> None:
        self.assertEqual(self.survivors("FULL", random.Random(1)), (20, 20))

    def test_names_and_contents_as_of_their_last_sync(self) -> None:
        status, _ = self.run_script(NAMES)
        self.assertEqual(status, -signal.SIGKILL)
        self.assertTrue((self.root / "renamed").exists())
        self.disk.cut()
        found = {path.name: path.read_bytes() for path in self.root.iterdir()}
        self.assertEqual(found, {"old": b"old", "known": b"new", "half known": b""})

    def test_unsynced_sectors_may_survive(self) -> None:
        found = set()
        for seed in range(20):
            (self.root / "old").write_bytes(b"a" * 2048)
            self.disk.remember()
            script = "import os, sys; open(sys.argv[1] + '/old', 'r+b').write(b'b' * 2048)"
            self.assertEqual(self.run_script(script)[0], 0)
            self.disk.cut(random.Random(seed))
            found.add((self.root / "old").read_bytes()[::512])
        self.assertGreater(len(found), 3)
        self.assertTrue(any(b"a" in one and b"b" in one for one in found))


class FaultsTests(DiskTestCase):
    def test_what_a_failed_sync_lost_stays_lost(self) -> None:
        self.disk.fail(errno.EIO, SYNCS, first=1, times=1)
        status, printed = self.run_script(RETRY)
        self.assertEqual((status, printed), (-signal.SIGKILL, f"{errno.EIO}\n"))
        self.assertEqual(self.disk.hits, 1)
        self.disk.cut()
        content = (self.root / "old").read_bytes()
        self.assertEqual(content[:4096].rstrip(b"\0"), b"old")
        self.assertEqual(content[4096:], b"B" * 4096)

    def test_nth_write_finds_no_room(self) -> None:
        script = (
            "import os, sys\n"
            "descriptor = os.open(sys.argv[1] + '/old', os.O_RDWR)\n"
            "for offset in (8, 16, 24, 32, 0):\n"
            "    try: print(os.pwrite(descriptor, b'12345678', offset))\n"
            "    except OSError as error: print(-error.errno)\n"
        )
        for kind, expected in ((WRITES, "8 4 -28 -28 -28"), (GROWTH, "8 4 -28 -28 8")):
            self.disk.remember()
            with self.disk.failing(errno.ENOSPC, kind, first=2):
                status, printed = self.run_script(script)
            self.assertEqual((status, printed.split()), (0, expected.split()))
            (self.root / "old").write_bytes(b"x" * 8)

    def test_killed_at_a_sync(self) -> None:
        self.disk.fail(KILL, SYNCS, first=2)
        status, _ = self.run_script(NAMES)
        self.assertEqual(status, -signal.SIGKILL)
        self.disk.cut()
        self.assertEqual({path.name for path in self.root.iterdir()}, {"old"})
