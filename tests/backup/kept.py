"""A folder as a store of backups, plain, which can be told to fail."""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from zope.interface import implementer

from mailsrv.backup.interfaces import IObjectStore, StoredObject
from mailsrv.errors import BackupStoreFailed, NoSuchBackup


@implementer(IObjectStore)
class Kept:
    """``before`` hears of each object that is about to be put, and may raise."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.failing = False
        self.before: Callable[[str], None] = lambda _name: None
        self.most = 0
        """Octets of the largest object so far."""

    def names(self, end: str = "") -> list[str]:
        """Of all objects, or of those that end so."""
        found = (path for path in self.folder.rglob("*") if path.is_file())
        names = sorted(str(path.relative_to(self.folder)) for path in found)
        return [name for name in names if name.endswith(end) and not name.endswith(".draft")]

    def put(self, name: str, path: Path) -> None:
        self._may(name)
        self.most = max(self.most, path.stat().st_size)
        draft = self._place(name)
        shutil.copyfile(path, draft)
        os.replace(draft, self.folder / name)

    def write(self, name: str, data: bytes) -> None:
        self._may(name)
        draft = self._place(name)
        draft.write_bytes(data)
        os.replace(draft, self.folder / name)

    def get(self, name: str, path: Path) -> None:
        try:
            shutil.copyfile(self.folder / name, path)
        except FileNotFoundError:
            raise NoSuchBackup(f"{name}: is not there") from None

    def read(self, name: str) -> bytes:
        try:
            return (self.folder / name).read_bytes()
        except FileNotFoundError:
            raise NoSuchBackup(f"{name}: is not there") from None

    def list(self, prefix: str) -> Iterator[StoredObject]:
        for name in self.names():
            if name.startswith(prefix):
                status = (self.folder / name).stat()
                moment = datetime.fromtimestamp(status.st_mtime, UTC)
                yield StoredObject(name, status.st_size, moment.strftime("%Y-%m-%dT%H:%M:%SZ"))

    def remove(self, names: Iterable[str]) -> int:
        removed = 0
        for name in names:
            if (self.folder / name).exists():
                (self.folder / name).unlink()
                removed += 1
        return removed

    def _may(self, name: str) -> None:
        self.before(name)
        if self.failing:
            raise BackupStoreFailed("the folder refuses")

    def _place(self, name: str) -> Path:
        path = self.folder / f"{name}.draft"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path
