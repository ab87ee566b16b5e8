"""What an export says beside the messages, so that nothing is lost on the way back.

``mailsrv-export.json`` lists the folders; it is written last, so an export that has it is whole.
Each folder has an index of JSON lines, one for each message in order: where it is, flags, keywords,
internal date, size and SHA-256 of its octets. Nothing here depends on when or from which mailbox
the export was made: two exports of equal mailboxes are equal.
"""

import ctypes
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, BinaryIO, Literal

import msgspec
from msgspec import Meta

from mailsrv.backup.exchange.formats.reading import NotRead, open_file, read_file
from mailsrv.backup.exchange.formats.values import Mail
from mailsrv.errors import BackupDamaged
from mailsrv.mailbox.keywords import acceptable
from mailsrv.mailbox.values import DATE, SYSTEM_FLAGS, Flags
from mailsrv.store.volume import sync_folder

MANIFEST = "mailsrv-export.json"

_MANY = 32
_LONGEST_LINE = 1024 * 1024
_LONGEST_MANIFEST = 64 * 1024 * 1024

Format = Literal["mbox", "maildir", "eml"]

_Octets = Annotated[int, Meta(ge=0, lt=2**62)]


class FolderEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One folder; ``path`` is relative to the export, without the format's endings."""

    name: str
    path: str
    special_use: str | None
    subscribed: bool
    messages: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """``subscriptions`` are of folders that are not there."""

    mailsrv_export: Literal[1] = 1
    format: Format
    folders: Sequence[FolderEntry]
    subscriptions: Sequence[str]


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One message. ``file`` is its name in the folder's directory, or ``offset`` and ``stored``
    are where its text is in the folder's one file, and ``newline`` says how lines end in there."""

    file: str | None = None
    offset: _Octets | None = None
    stored: _Octets | None = None
    newline: Literal["lf", "as is"] | None = None
    flags: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()
    date: Annotated[str, Meta(pattern=DATE)]
    size: _Octets
    sha256: Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]

    @classmethod
    def of(cls, mail: Mail, sha256: bytes, **place: object) -> "Entry":
        """What is said of a message, and where it is."""
        return cls(
            **place,  # type: ignore[arg-type]
            flags=tuple(name for name, bit in SYSTEM_FLAGS.items() if mail.flags.system & bit),
            keywords=tuple(mail.flags.keywords.split()),
            date=mail.date,
            size=len(mail.content),
            sha256=sha256.hex(),
        )

    def mail(self, content: bytes, flags: int | None = None) -> Mail:
        """The message; ``flags`` where they are known better than from here."""
        mine = sum(SYSTEM_FLAGS.get(name, 0) for name in self.flags)
        system = mine if flags is None else flags
        return Mail(content, Flags(system, acceptable(self.keywords)), self.date)


class IndexWriter:
    """Appends lines to an index, which is cut to ``octets`` first."""

    def __init__(self, path: Path, octets: int) -> None:
        self._file = open_at(path, octets)

    def add(self, entry: Entry) -> None:
        """Write one line."""
        self._file.write(msgspec.json.encode(entry) + b"\n")

    def flush(self) -> int:
        """Let others see all of it; octets of the index."""
        self._file.flush()
        return self._file.tell()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def open_at(path: Path, octets: int) -> BinaryIO:
    """A file to write to, made if it is missing, cut to its first ``octets``."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    file = os.fdopen(descriptor, "r+b")
    file.truncate(octets)
    file.seek(octets)
    return file


def entries(path: Path) -> Iterator[Entry]:
    """The lines of an index. FileNotFoundError, NotRead, BackupDamaged."""
    decoder = msgspec.json.Decoder(Entry)
    try:
        with open_file(path) as file:
            while line := file.readline(_LONGEST_LINE):
                yield decoder.decode(line)
    except msgspec.MsgspecError:
        raise BackupDamaged(f"{path}: a line of this index cannot be read") from None


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write it whole or not at all; it is on disk then."""
    data = msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"
    replace_file(folder / MANIFEST, data)


def read_manifest(folder: Path) -> Manifest | None:
    """None when there is none. BackupDamaged."""
    try:
        octets, _ = read_file(folder / MANIFEST, _LONGEST_MANIFEST)
        return msgspec.json.decode(octets, type=Manifest)
    except FileNotFoundError:
        return None
    except (NotRead, msgspec.MsgspecError):
        raise BackupDamaged(f"{folder / MANIFEST}: expected the manifest of an export") from None


def replace_file(path: Path, data: bytes) -> None:
    """Write a small file whole or not at all; it is on disk then."""
    draft = path.with_name(f"{path.name}.new")
    with open_at(draft, 0) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    sync_folder(path.parent)


def make_folders(root: Path, levels: tuple[str, ...]) -> None:
    """Make the directories of these levels for their owner alone."""
    for depth in range(1, len(levels) + 1):
        root.joinpath(*levels[:depth]).mkdir(mode=0o700, exist_ok=True)


def sync_files(paths: Sequence[Path]) -> None:
    """Have files and their names on disk: one by one, or all of the file system for many."""
    if len(paths) > _MANY and _sync_file_system(paths[0].parent):
        return
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    for folder in {path.parent for path in paths}:
        sync_folder(folder)


def _sync_file_system(folder: Path) -> bool:
    """Whether that could be done: Linux has it (syncfs), and Python no name for it."""
    syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if syncfs is None:
        return False
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return bool(syncfs(descriptor) == 0)
    finally:
        os.close(descriptor)


def prune(root: Path, levels: tuple[str, ...]) -> None:
    """Remove the directories of these levels that are empty."""
    with suppress(OSError):
        for depth in range(len(levels), 0, -1):
            root.joinpath(*levels[:depth]).rmdir()
