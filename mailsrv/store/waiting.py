"""Mail that waits, sealed, until its owner logs in.

Each message is compressed, then sealed to the mailbox's public key and bound to alias and
delivery id; the file around it has a key of the server's. The server can add and cannot read.
"""

import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import attrs
import zstandard

from mailsrv.errors import SealBroken
from mailsrv.keys.sealing import seal, unseal
from mailsrv.mailbox.values import NewMessage
from mailsrv.mailbox.waiting import WaitingMail
from mailsrv.store.secret import ServerSecret
from mailsrv.store.values import Delivery
from mailsrv.store.volume import Volume, naming, sync_folder

LARGEST = 1024 * 1024 * 1024
"""Octets that a waiting message may unpack to: more is not ours."""

_STRIPES = 64


_KEPT_AT_MOST = 64


@attrs.frozen
class _Kept:
    waiting: WaitingMail
    identity: tuple[int, int]
    """Device and inode: a file that was taken away must not be written to."""
    since: float


@attrs.frozen
class WaitingFiles:
    """Opens the waiting file of a public key; blocking, for any worker thread.

    Adding excludes removing: a file may be deleted only when nobody is about to add to it. A file
    that is added to stays open for a moment, since closing it waits for the disk.
    """

    volume: Volume
    secret: ServerSecret
    _locks: tuple[threading.Lock, ...] = attrs.field(
        init=False, repr=False, factory=lambda: tuple(threading.Lock() for _ in range(_STRIPES))
    )
    _kept: dict[bytes, _Kept] = attrs.field(init=False, repr=False, factory=dict)

    def exist(self, public_key: bytes) -> bool:
        """Whether mail waits (or the empty file is about to go)."""
        return self.volume.waiting(public_key).exists()

    @contextmanager
    def locked(self, public_key: bytes) -> Iterator[None]:
        """Exclude the others that add to or delete this file."""
        with self._locks[zlib.crc32(public_key) % _STRIPES]:
            yield

    @contextmanager
    def open(self, public_key: bytes) -> Iterator[WaitingMail]:
        """The waiting file, made when it is missing."""
        with self._opened(self.volume.waiting(public_key), public_key) as waiting:
            yield waiting

    @contextmanager
    def open_aside(self, public_key: bytes) -> Iterator[WaitingMail]:
        """The file of what could not be merged."""
        with self._opened(self.volume.set_aside(public_key), public_key) as aside:
            yield aside

    def add(self, public_key: bytes, alias: str, deliveries: Sequence[Delivery]) -> None:
        """Seal and store, on disk when this returns."""
        rows = [
            (one.delivery_id, pack(public_key, alias, one), one.received, len(one.content))
            for one in deliveries
        ]
        with self.locked(public_key):
            waiting = self._to_add(public_key)
            try:
                waiting.add(rows)
            except BaseException:
                # after a failed sync SQLite may believe what the disk does not have
                self._let_go(public_key)
                raise
            finally:
                if public_key not in self._kept:
                    waiting.close()

    def delete_if_empty(self, public_key: bytes, waiting: WaitingMail) -> bool:
        """Delete the file, which the caller has open and locked, when nothing waits in it."""
        self._let_go(public_key)
        return waiting.delete_if_empty()

    def remove(self, public_key: bytes) -> None:
        """Remove the waiting file, which the caller has locked, and what was set aside.

        For a volume that the mailbox has left, or never came to.
        """
        self._let_go(public_key)
        folder = self.volume.mailboxes
        with naming(folder):
            for path in (self.volume.waiting(public_key), self.volume.set_aside(public_key)):
                for suffix in ("", "-wal", "-shm", "-journal"):
                    Path(f"{path}{suffix}").unlink(missing_ok=True)
            sync_folder(folder)

    @property
    def kept(self) -> bool:
        """Whether any file is open to be added to."""
        return bool(self._kept)

    def close_kept(self, seconds: float) -> None:
        """Close what was opened to be added to so many seconds ago or earlier."""
        now = time.monotonic()
        for public_key, kept in list(self._kept.items()):
            if now - kept.since >= seconds:
                with self.locked(public_key):
                    self._let_go(public_key)

    def close(self, public_key: bytes) -> None:
        """Close what is open of this file to be added to."""
        with self.locked(public_key):
            self._let_go(public_key)

    def _to_add(self, public_key: bytes) -> WaitingMail:
        path = self.volume.waiting(public_key)
        kept = self._kept.get(public_key)
        if kept is not None and kept.identity == _identity(path):
            return kept.waiting
        self._let_go(public_key)
        waiting = WaitingMail.open_or_create(path, self.secret.waiting_key(public_key))
        identity = _identity(path)
        if identity is not None and len(self._kept) < _KEPT_AT_MOST:
            self._kept[public_key] = _Kept(waiting, identity, time.monotonic())
        return waiting

    def _let_go(self, public_key: bytes) -> None:
        kept = self._kept.pop(public_key, None)
        if kept is not None:
            kept.waiting.close()

    @contextmanager
    def _opened(self, path: Path, public_key: bytes) -> Iterator[WaitingMail]:
        waiting = WaitingMail.open_or_create(path, self.secret.waiting_key(public_key))
        try:
            yield waiting
        finally:
            waiting.close()


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def pack(public_key: bytes, alias: str, delivery: Delivery) -> bytes:
    """Compress and seal one message."""
    compressed = zstandard.ZstdCompressor(level=3).compress(delivery.content)
    return seal(public_key, compressed, _context(alias, delivery.delivery_id))


def unpack(
    private_key: bytes, alias: str, delivery_id: str, sealed: bytes, received: str
) -> NewMessage:
    """Undo ``pack``. SealBroken when it was sealed to another key, moved or damaged."""
    compressed = unseal(private_key, sealed, _context(alias, delivery_id))
    try:
        if zstandard.frame_content_size(compressed) not in range(LARGEST + 1):
            raise SealBroken("a waiting message claims an impossible size")
        content = zstandard.ZstdDecompressor().decompress(compressed)
    except zstandard.ZstdError:
        raise SealBroken("a waiting message does not unpack") from None
    return NewMessage(content=content, internal_date=received, delivery_id=delivery_id)


def _context(alias: str, delivery_id: str) -> bytes:
    return b"mailsrv waiting mail\0" + alias.encode() + b"\0" + delivery_id.encode()
