"""Backups in a folder: another disk, a mounted share.

An object is a file of its name. It is written under another name, synced, read back from the disk
and compared, then renamed: a crash leaves a ``.part`` file that nobody takes for an object.
"""

import hashlib
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from zope.interface import implementer

from mailsrv.backup.interfaces import IObjectStore, StoredObject
from mailsrv.backup.objects.files import digest_of, new_file, pieces
from mailsrv.backup.objects.names import (
    READ_LIMIT,
    checked_name,
    checked_prefix,
    is_name,
)
from mailsrv.errors import BackupStoreFailed, NoSuchBackup
from mailsrv.store.volume import naming, sync_folder

_PART = ".part"
_ATTEMPTS = 3


@implementer(IObjectStore)
class FolderStore:
    """The folder is made when it is missing; the one around it is not: a disk may be away."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def __repr__(self) -> str:
        return f"<FolderStore {self._root}>"

    def __str__(self) -> str:
        return f"folder {self._root}"

    def put(self, name: str, path: Path) -> None:
        with naming(path), path.open("rb") as file:
            self._write(name, _watched(pieces(file), lambda: naming(path)))

    def write(self, name: str, data: bytes) -> None:
        self._write(name, iter((data,)))

    def get(self, name: str, path: Path) -> None:
        with self._opened(name) as (file, octets), new_file(path) as target:
            got = 0
            for piece in self._pieces(name, file):
                target.write(piece)
                got += len(piece)
            if got != octets:
                raise BackupStoreFailed(f"{self._path(name)}: {octets} octets, but {got} came")

    def read(self, name: str) -> bytes:
        with self._opened(name) as (file, octets):
            if octets > READ_LIMIT:
                raise BackupStoreFailed(f"{self._path(name)}: {octets} octets are too many to read")
            return b"".join(self._pieces(name, file))

    def list(self, prefix: str) -> Iterator[StoredObject]:
        self._require_disk()
        folder = checked_prefix(prefix).rpartition("/")[0]
        return self._walk(f"{folder}/" if folder else "", prefix)

    def remove(self, names: Iterable[str]) -> int:
        self._require_disk()
        removed = 0
        for name in names:
            path = self._path(name)
            with self._failing(path):
                try:
                    path.unlink()
                    sync_folder(path.parent)
                except (FileNotFoundError, NotADirectoryError):
                    continue
            removed += 1
            self._prune(path.parent)
        return removed

    def tidy(self, before: datetime, prefix: str = "") -> int:
        self._require_disk()
        removed = 0
        for folder, _, files in os.walk(self._root / checked_prefix(prefix)):
            for name in files:
                path = Path(folder, name)
                if not (name.startswith(".") and name.endswith(_PART)):
                    continue
                with self._failing(path), suppress(FileNotFoundError):
                    if path.stat().st_mtime < before.timestamp():
                        path.unlink()
                        removed += 1
            self._prune(Path(folder))
        return removed

    def _require_disk(self) -> None:
        """A folder that was never made is empty; of one on a disk that is away nothing is known."""
        if not self._root.parent.is_dir():
            raise BackupStoreFailed(
                f"{self._root}: expected the directory {self._root.parent} with the folder of "
                "backups: is its disk mounted?"
            )

    # Writing

    def _write(self, name: str, source: Iterator[bytes]) -> None:
        path = self._path(name)
        part = path.with_name(f".{path.name}.{secrets.token_hex(8)}{_PART}")
        with self._failing(path):
            descriptor = self._create(part)
            try:
                with os.fdopen(descriptor, "wb+") as target:
                    _compare(_copy(source, target), target, path)
                part.replace(path)
            except BaseException:
                with suppress(OSError):
                    part.unlink()
                raise
            sync_folder(path.parent)

    def _create(self, part: Path) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        for attempt in range(_ATTEMPTS):
            try:
                self._make_folder(part.parent)
                return os.open(part, flags, 0o600)
            except FileNotFoundError:
                # who removes the last object of a folder removes it too
                if attempt == _ATTEMPTS - 1:
                    raise
        raise AssertionError("not reached")

    def _make_folder(self, folder: Path) -> None:
        if folder.is_dir():
            return
        if folder == self._root:
            self._require_disk()
        else:
            self._make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
        sync_folder(folder.parent)

    def _prune(self, folder: Path) -> None:
        """Folders that hold nothing would still tell of an alias that has gone."""
        while folder != self._root:
            try:
                folder.rmdir()
            except OSError:
                return
            folder = folder.parent

    # Reading

    @contextmanager
    def _opened(self, name: str) -> Iterator[tuple[BinaryIO, int]]:
        self._require_disk()
        path = self._path(name)
        with self._failing(path):
            try:
                file = path.open("rb")
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                raise NoSuchBackup(f"{path}: there is no such backup") from None
        with file:
            yield file, os.fstat(file.fileno()).st_size

    def _pieces(self, name: str, file: BinaryIO) -> Iterator[bytes]:
        return _watched(pieces(file), lambda: self._failing(self._path(name)))

    def _walk(self, folder: str, prefix: str) -> Iterator[StoredObject]:
        """By name: below a folder every name has a slash more, and the slash counts."""
        with self._failing(self._root / folder):
            try:
                with os.scandir(self._root / folder) as entries:
                    found = sorted(
                        f"{folder}{entry.name}{'/' if entry.is_dir() else ''}" for entry in entries
                    )
            except (FileNotFoundError, NotADirectoryError):
                return
        for name in found:
            if not is_name(name.rstrip("/")):
                continue
            if name.endswith("/") and (name.startswith(prefix) or prefix.startswith(name)):
                yield from self._walk(name, prefix)
            elif name.startswith(prefix):
                yield from self._stored(name)

    def _stored(self, name: str) -> Iterator[StoredObject]:
        with self._failing(self._path(name)):
            try:
                status = self._path(name).stat()
            except FileNotFoundError:
                return
        modified = datetime.fromtimestamp(status.st_mtime, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        yield StoredObject(name, status.st_size, modified)

    def _path(self, name: str) -> Path:
        return self._root / checked_name(name)

    @contextmanager
    def _failing(self, path: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise BackupStoreFailed(f"{path}: {error.strerror or 'input/output error'}") from None


def _watched(
    reading: Iterator[bytes], watch: Callable[[], AbstractContextManager[None]]
) -> Iterator[bytes]:
    """What is read under ``watch``: what one disk refuses must not be said of another."""
    while True:
        with watch():
            piece = next(reading, None)
        if piece is None:
            return
        yield piece


def _copy(source: Iterator[bytes], target: BinaryIO) -> bytes:
    """SHA-256 of what is on the disk then."""
    digest = hashlib.sha256()
    for piece in source:
        target.write(piece)
        digest.update(piece)
    target.flush()
    os.fsync(target.fileno())
    return digest.digest()


def _compare(expected: bytes, target: BinaryIO, path: Path) -> None:
    # so that the disk is read, and not the memory that holds what was written
    os.posix_fadvise(target.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    target.seek(0)
    if digest_of(target) != expected:
        raise BackupStoreFailed(f"{path}: the disk gives back other octets")
