"""A store of objects in a folder, that fails when told to."""

import shutil
import threading
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import attrs
from zope.interface import implementer

from mailsrv.backup.interfaces import IObjectStore, StoredObject
from mailsrv.directory.directory import Alias, BackupStanding
from mailsrv.errors import BackupStoreFailed, NoSuchBackup


@implementer(IObjectStore)
@attrs.define(eq=False)
class FakeStore:
    """``refuses`` names the methods that fail; ``wait`` holds ``put`` until it is set."""

    root: Path
    refuses: set[str] = attrs.field(factory=set)
    calls: list[str] = attrs.field(factory=list)
    wait: threading.Event | None = None
    began: threading.Event = attrs.field(factory=threading.Event)

    def __attrs_post_init__(self) -> None:
        self.root.mkdir(exist_ok=True)

    def put(self, name: str, path: Path) -> None:
        self._called("put")
        self.began.set()
        if self.wait is not None:
            self.wait.wait(60)
        target = self._path(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(f"{target.name}.draft")
        shutil.copyfile(path, draft)
        draft.rename(target)

    def write(self, name: str, data: bytes) -> None:
        self._called("write")
        target = self._path(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(f"{target.name}.draft")
        draft.write_bytes(data)
        draft.rename(target)

    def get(self, name: str, path: Path) -> None:
        self._called("get")
        self._require(name)
        shutil.copyfile(self._path(name), path)

    def read(self, name: str) -> bytes:
        self._called("read")
        self._require(name)
        return self._path(name).read_bytes()

    def list(self, prefix: str) -> Iterator[StoredObject]:
        self._called("list")
        for path in sorted(self.root.rglob("*")):
            name = str(path.relative_to(self.root))
            if path.is_file() and name.startswith(prefix) and not name.endswith(".draft"):
                status = path.stat()
                modified = datetime.fromtimestamp(status.st_mtime, UTC)
                yield StoredObject(name, status.st_size, modified.strftime("%Y-%m-%dT%H:%M:%SZ"))

    def remove(self, names: Iterable[str]) -> int:
        self._called("remove")
        found = [self._path(name) for name in names if self._path(name).exists()]
        for path in found:
            path.unlink()
        return len(found)

    def tidy(self, before: datetime, prefix: str = "") -> int:
        self._called("tidy")
        return 0

    def names(self) -> Sequence[str]:
        """Of all objects, without asking as others do."""
        return sorted(
            str(path.relative_to(self.root))
            for path in self.root.rglob("*")
            if path.is_file() and path.suffix != ".draft"
        )

    def _path(self, name: str) -> Path:
        return self.root / name

    def _require(self, name: str) -> None:
        if not self._path(name).exists():
            raise NoSuchBackup(f"{name} is not there")

    def _called(self, method: str) -> None:
        self.calls.append(method)
        if method in self.refuses:
            raise BackupStoreFailed(f"the store refuses to {method}")


@attrs.define
class FakeStores:
    """One store for all."""

    default: FakeStore | None

    def of(self, alias: Alias) -> FakeStore | None:
        return self.default

    def kept(self, standings: Sequence[BackupStanding]) -> list[BackupStanding]:
        return [] if self.default is None else list(standings)

    def everywhere(self, alias: Alias) -> list[FakeStore]:
        return [] if self.default is None else [self.default]
