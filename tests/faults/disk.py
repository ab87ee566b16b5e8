"""The faulty disk of ``disk.c``, seen from the tests: compile it, cut the power, let it fail."""

import atexit
import os
import random
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from twisted.trial.unittest import SkipTest

KILL = 0
"""In place of an errno: the process dies."""

WRITES, GROWTH, SYNCS, CHANGES = "w", "g", "s", "c"
"""What fails: any write; only what needs room; syncs; whatever a read-only volume refuses."""

_SOURCE = Path(__file__).with_name("disk.c")
_SECTOR = 512


@cache
def compiled() -> Path:
    """The shim as a shared object; SkipTest where there is no C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise SkipTest("needs a C compiler (Debian: apt install gcc libc6-dev)")
    folder = Path(tempfile.mkdtemp(prefix="mailsrv-disk-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    target = folder / "disk.so"
    command = [compiler, "-shared", "-fPIC", "-O2", "-o", str(target), str(_SOURCE)]
    made = subprocess.run([*command, "-ldl", "-lpthread"], capture_output=True, check=False)
    if made.returncode:
        if b"No such file" in made.stderr:
            raise SkipTest("needs the C library's headers (Debian: apt install libc6-dev)")
        raise RuntimeError(made.stderr.decode())
    return target


class Disk:
    """The volume under ``root``, and in ``aside`` what of it is synced. Both on one file system."""

    def __init__(self, root: Path, aside: Path) -> None:
        self._library = compiled()
        self._root = root.resolve()
        aside.mkdir()
        self._shadow = aside / "shadow"
        self._control = aside / "control"
        self._hits = aside / "control.hits"
        self._boot = aside / "boot"
        self.remember()

    def environment(self) -> dict[str, str]:
        """What puts a process on this disk."""
        return {
            "LD_PRELOAD": str(self._library),
            "DISK_ROOT": str(self._root),
            "DISK_SHADOW": str(self._shadow),
            "DISK_CONTROL": str(self._control),
            "DISK_BOOT": str(self._boot),
        }

    def remember(self) -> None:
        """Take everything that is there now as synced."""
        shutil.rmtree(self._shadow, ignore_errors=True)
        for folder in ("inodes", "dirs", "grave"):
            (self._shadow / folder).mkdir(parents=True)
        self._boot.write_text(f"{uuid.uuid4()}\n")
        for folder, _, files in os.walk(self._root):
            lines = []
            with os.scandir(folder) as entries:
                for entry in entries:
                    kind = "d" if entry.is_dir() else "f"
                    lines.append(f"{entry.stat().st_ino} {kind} {entry.name}\n")
            (self._shadow / "dirs" / str(os.stat(folder).st_ino)).write_text("".join(lines))
            for name in files:
                path = Path(folder, name)
                shutil.copy(path, self._shadow / "inodes" / str(path.stat().st_ino))

    @property
    def syncs(self) -> int:
        """How many syncs there were since ``remember``."""
        return _size(self._shadow / "syncs")

    # Faults

    @property
    def hits(self) -> int:
        """How many operations failed since ``fail``."""
        return _size(self._hits)

    def fail(self, error: int, kind: str, first: int = 1, times: int = 0) -> None:
        """From the ``first`` operation of this kind on let ``times`` (0: all) fail."""
        self._hits.unlink(missing_ok=True)
        draft = self._control.with_name("draft")
        draft.write_text(f"{error} {kind} {first} {times}\n")
        draft.rename(self._control)

    def mend(self) -> None:
        """Let nothing fail any more."""
        self._control.unlink(missing_ok=True)

    @contextmanager
    def failing(self, error: int, kind: str, first: int = 1, times: int = 0) -> Iterator[None]:
        """``fail`` and at the end ``mend``."""
        self.fail(error, kind, first, times)
        try:
            yield
        finally:
            self.mend()

    # Power

    def cut(self, dice: random.Random | None = None) -> None:
        """Put what a power cut leaves in place of the volume; all its processes are dead.

        What was not synced is lost, or with ``dice`` some names and some sectors of it are not:
        a disk may write in any order.
        """
        self.mend()
        present = {
            path.stat().st_ino: path
            for folder in (self._root, self._shadow / "grave")
            for path in folder.rglob("*")
            if path.is_file()
        }
        after = self._root.with_name(f"{self._root.name}.after")
        self._restore(self._root, self._root.stat().st_ino, after, present, dice)
        shutil.rmtree(self._root)
        after.rename(self._root)
        self.remember()

    def _restore(
        self,
        folder: Path,
        inode: int,
        target: Path,
        present: dict[int, Path],
        dice: random.Random | None,
    ) -> None:
        target.mkdir(mode=0o700)
        for name, (number, kind) in self._names(folder, inode, dice).items():
            if kind == "d":
                self._restore(folder / name, number, target / name, present, dice)
            elif not name.endswith("-shm"):
                self._restore_file(number, target / name, present.get(number), dice)

    def _names(
        self, folder: Path, inode: int, dice: random.Random | None
    ) -> dict[str, tuple[int, str]]:
        synced: dict[str, tuple[int, str]] = {}
        listing = self._shadow / "dirs" / str(inode)
        if listing.exists():
            for line in listing.read_text().splitlines():
                number, kind, name = line.split(" ", 2)
                synced[name] = (int(number), kind)
        if dice is None or not folder.is_dir():
            return synced
        current = {
            path.name: (path.stat().st_ino, "d" if path.is_dir() else "f")
            for path in folder.iterdir()
        }
        mixed = {}
        for name in sorted(synced.keys() | current.keys()):
            one, other = synced.get(name), current.get(name)
            chosen = one if one == other else dice.choice((one, other))
            if chosen is not None:
                mixed[name] = chosen
        return mixed

    def _restore_file(
        self, inode: int, target: Path, present: Path | None, dice: random.Random | None
    ) -> None:
        synced = self._shadow / "inodes" / str(inode)
        if synced.exists():
            shutil.copy(synced, target)
        else:
            target.touch(0o600)
        if dice is not None and present is not None:
            target.write_bytes(_mixed(target.read_bytes(), present.read_bytes(), dice))


def _mixed(synced: bytes, current: bytes, dice: random.Random) -> bytes:
    """The synced octets with some of the sectors that were written since."""
    if synced == current:
        return synced
    share = dice.random()
    length = dice.choice((len(synced), len(current)))
    result = bytearray(synced.ljust(length, b"\0")[:length])
    for start in range(0, length, _SECTOR):
        if dice.random() < share:
            sector = current[start : min(start + _SECTOR, length)]
            result[start : start + len(sector)] = sector
    return bytes(result)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
