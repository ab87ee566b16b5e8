"""The data directory: what lies where, who may hold it, and the server's own secret.

One server at a time owns the directory (``Volume.hold``, an advisory lock that dies with its
process). File names are ObjectIDs and digests, so that a listing tells nobody whose they are.
"""

import errno
import fcntl
import hashlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mailsrv.errors import (
    DiskFull,
    InvalidInput,
    MailboxBusy,
    MailsrvError,
    ReadOnlyVolume,
    StorageFailed,
    VolumeInUse,
)

SECRET_OCTETS = 32
MARGIN = 64 * 1024 * 1024
"""Octets that a copy of a mailbox leaves free on the disk: mail comes meanwhile."""

LOCK_NAME = re.compile(r"([0-9a-f]{24})\.lock")
_OBJECT_ID = re.compile(r"[0-9a-f]{24}")
_FULL = {errno.ENOSPC, errno.EDQUOT}
_REFUSED = {errno.EROFS, errno.EACCES, errno.EPERM}


class Hold:
    """The lock on a data directory; ``release`` or the end of the process gives it back."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    def release(self) -> None:
        """Let another server have the directory. May be called twice."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class Volume:
    """Paths of one data directory. ``mailboxes`` may lie elsewhere, by configuration."""

    def __init__(self, base: Path, mailboxes: Path | None = None) -> None:
        self.base = base
        self.mailboxes = mailboxes or base / "mailboxes"

    def prepare(self) -> None:
        """Make what is missing. StorageFailed, ReadOnlyVolume, DiskFull name the path."""
        with naming(self.mailboxes):
            if not self.base.is_dir():
                raise StorageFailed(f"{self.base}: expected a data directory, there is none")
            self.mailboxes.mkdir(mode=0o700, exist_ok=True)

    def mailbox(self, file_id: str) -> Path:
        """Path of a mailbox file. InvalidInput unless ``file_id`` is an ObjectID."""
        if not _OBJECT_ID.fullmatch(file_id):
            raise InvalidInput("expected an ObjectID of 24 hexadecimal digits")
        return self.mailboxes / f"{file_id}.sqlite"

    def waiting(self, public_key: bytes) -> Path:
        """Where mail waits for the mailbox that ``public_key`` belongs to.

        Named by the key, not by the alias: a password change keeps the key pair and so the
        waiting mail, and after starting over what was sealed to the old key stays with it.
        """
        return self.mailboxes / f"{_digest(public_key)}.waiting.sqlite"

    def set_aside(self, public_key: bytes) -> Path:
        """Where waiting mail is kept that could not be merged."""
        return self.mailboxes / f"{_digest(public_key)}.aside.sqlite"

    def hold(self) -> Hold:
        """Take the directory for this server. VolumeInUse when another one has it."""
        path = self.base / "lock"
        with naming(path):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                raise VolumeInUse(f"{self.base}: another mailsrv serves it already") from None
        return Hold(descriptor)

    def server_key(self) -> bytes:
        """The server's secret of 32 octets, made at first use, readable by its user alone."""
        path = self.base / "server.key"
        with naming(path):
            if not path.exists():
                _create_secret(path)
            secret = path.read_bytes()
        if len(secret) != SECRET_OCTETS:
            raise StorageFailed(f"{path}: expected {SECRET_OCTETS} octets, found {len(secret)}")
        return secret

    @contextmanager
    def exclusive(self, name: str, patience: float = 5.0) -> Iterator[None]:
        """Hold the lock ``name`` among all processes; MailboxBusy after ``patience`` seconds.

        The lock is a file that goes with its holder: removed at the end. One that a crash leaves
        behind locks nobody out, and tells what the holder was at work on (``orphans``).
        """
        path = self.mailboxes / f"{name}.lock"
        with naming(path):
            descriptor = _wait_for(path, time.monotonic() + patience)
        try:
            yield
        finally:
            with suppress(OSError):
                path.unlink()
            os.close(descriptor)

    def remove_mailbox(self, file_id: str) -> None:
        """Remove a mailbox file and what is beside it by its name; missing ones do not matter."""
        path = self.mailbox(file_id)
        with naming(path):
            for suffix in (".part", "", "-wal", "-shm", "-journal"):
                Path(f"{path}{suffix}").unlink(missing_ok=True)
            sync_folder(self.mailboxes)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turn what the operating system refuses into an error that names the path."""
    try:
        yield
    except OSError as error:
        raise _named(error, path) from None


def octets_of(mailbox: Path) -> int:
    """Of a mailbox file and the log beside it; 0 where it is not there."""
    return sum(path.stat().st_size for path in (mailbox, Path(f"{mailbox}-wal")) if path.exists())


def require_room(folder: Path, octets: int) -> None:
    """DiskFull where so many octets more would fill the disk."""
    needed = MARGIN + octets
    with naming(folder):
        free = shutil.disk_usage(folder).free
    if free < needed:
        raise DiskFull(f"{folder}: expected {needed} octets of free disk, there are {free}")


def sync_folder(folder: Path) -> None:
    """Make names made or removed in ``folder`` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _named(error: OSError, path: Path) -> MailsrvError:
    sentence = f"{path}: {os.strerror(error.errno or errno.EIO)}"
    if error.errno in _FULL:
        return DiskFull(sentence)
    if error.errno in _REFUSED:
        return ReadOnlyVolume(sentence)
    return StorageFailed(sentence)


def _digest(public_key: bytes) -> str:
    return hashlib.sha256(public_key).hexdigest()[:24]


def _create_secret(path: Path) -> None:
    # written whole under another name, then linked: two starting processes agree on one secret
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(SECRET_OCTETS))
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()
    sync_folder(path.parent)


def _wait_for(path: Path, deadline: float) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # the holder before us removes the file: only a lock on the present one counts
            if os.fstat(descriptor).st_ino == _inode(path):
                return descriptor
        except BlockingIOError:
            if time.monotonic() >= deadline:
                os.close(descriptor)
                raise MailboxBusy("another change of this mailbox is under way") from None
            time.sleep(0.02)
        os.close(descriptor)


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None
