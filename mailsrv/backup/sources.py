"""Where a mailbox comes from when it is restored: a store of backups, a file, or an archived file.

Whatever it is, it becomes a new file on the volume, encrypted as it came; its owner's password
opens that, or nothing.
"""

import re
import shutil
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol, Self

import attrs

from mailsrv.backup.copies import fetch_copy, list_copies
from mailsrv.backup.interfaces import IObjectStore
from mailsrv.backup.layout import CopyManifest, iso
from mailsrv.backup.objects.files import PIECE, new_file
from mailsrv.errors import BackupDamaged, InvalidInput, NoSuchBackup
from mailsrv.keys.filekey import SALT_LENGTH, FileKey, derive_file_key
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.mailbox.rekey import copy_under_new_key
from mailsrv.store.volume import Volume, naming

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class Source(Protocol):
    """One backup. Blocking."""

    @property
    def mailbox(self) -> str | None:
        """Id of the file that it is a backup of, where that is known before it is here."""

    def fetch(self, path: Path) -> str | None:
        """Write it to a new file at ``path``; when it was taken (ISO 8601 UTC), if known.

        NoSuchBackup, BackupDamaged, BackupStoreFailed, DiskFull and what opening a mailbox raises;
        nothing is left then.
        """

    def check(self, digest: bytes) -> None:
        """Compare the digest of the content with that of the original. BackupDamaged."""


@attrs.frozen
class Fetched:
    """What came: of which file, and when it was taken. The digest is that of a copy's content."""

    mailbox: str
    taken: str
    digest: str | None = None


@attrs.frozen
class Backups:
    """What is kept of an alias up to a moment."""

    store: IObjectStore
    alias: str
    moment: datetime
    copies: tuple[CopyManifest, ...]
    """Newest last."""

    @classmethod
    def of(
        cls,
        store: IObjectStore,
        alias: str,
        moment: datetime,
        files: Collection[str] | None = None,
    ) -> Self:
        """Look it up. ``files``: only backups of these files. NoSuchBackup says what there is."""
        known = [one for one in list_copies(store, alias) if files is None or one.mailbox in files]
        copies = [one for one in known if one.taken <= iso(moment)]
        if not copies:
            raise NoSuchBackup(_none(known, moment))
        return cls(store, alias, moment, tuple(copies))

    @property
    def newest(self) -> str:
        """When the newest was taken."""
        return self.copies[-1].taken

    def fetch(self, path: Path) -> Fetched:
        """Write the newest to a new file at ``path``: a copy, or what was shipped since."""
        copy = self.copies[-1]
        fetch_copy(self.store, copy, path)
        return Fetched(copy.mailbox, copy.taken, copy.digest)


def _none(known: list[CopyManifest], moment: datetime) -> str:
    if not known:
        return "no backup of this mailbox is kept"
    return f"no backup of {iso(moment)} or before is kept: the oldest is of {known[0].taken}"


@attrs.define
class FromStore:
    """What a store has of an alias at a moment."""

    backups: Backups
    _fetched: Fetched | None = None

    @property
    def mailbox(self) -> str | None:
        copies = self.backups.copies
        return copies[-1].mailbox if copies else None

    def fetch(self, path: Path) -> str | None:
        self._fetched = self.backups.fetch(path)
        return self._fetched.taken

    def check(self, digest: bytes) -> None:
        if self._fetched is None or self._fetched.digest is None:
            return
        if self._fetched.digest != digest.hex():
            raise BackupDamaged("the backup holds something else than the mailbox did")


@attrs.frozen
class FromFile:
    """A file that was downloaded, wherever it lies; it is not touched."""

    path: Path
    mailbox: str | None = None

    def fetch(self, path: Path) -> str | None:
        """With the log beside it, if there is one: it may be a copy of a file that was in use."""
        made: list[Path] = []
        try:
            for suffix in ("", "-wal"):
                source = Path(f"{self.path}{suffix}")
                if not suffix or source.exists():
                    made.append(Path(f"{path}{suffix}"))
                    _copy(source, made[-1])
        except BaseException:
            for one in made:
                one.unlink(missing_ok=True)
            raise
        return None

    def check(self, digest: bytes) -> None:
        """Nothing is known of it."""


@attrs.frozen
class FromArchive:
    """A file on the volume that another one took the place of."""

    volume: Volume
    mailbox: str
    password: str = attrs.field(repr=False)
    now: Callable[[], datetime]

    def fetch(self, path: Path) -> str | None:
        source = self.volume.mailbox(self.mailbox)
        key = key_of(source, self.password)
        # not copied octet by octet: a session that has not ended yet may be writing
        with Mailbox.open(source, key, self.now) as mailbox:
            copy_under_new_key(mailbox, path, key)
        return None

    def check(self, digest: bytes) -> None:
        """It was compared while it was copied."""


def key_of(path: Path, password: str) -> FileKey:
    """The key that a file has if this is the password of its owner. BackupDamaged."""
    with naming(path), path.open("rb") as file:
        salt = file.read(SALT_LENGTH)
    if len(salt) < SALT_LENGTH:
        raise BackupDamaged("the backup is cut short")
    return derive_file_key(password, salt)


def parse_moment(text: str, now: datetime) -> datetime:
    """A moment that an owner asks for: ISO 8601 with Z or an offset; a date is the end of its day.

    InvalidInput, also when it has not come yet.
    """
    expected = f"--at: expected a time such as {iso(now)}, or a date, got {text}"
    try:
        if _DATE.fullmatch(text):
            day = datetime.fromisoformat(f"{text}T00:00:00Z")
            moment = min(day + timedelta(days=1, seconds=-1), max(now, day))
        else:
            moment = datetime.fromisoformat(text)
    except (OverflowError, ValueError):
        raise InvalidInput(expected) from None
    if moment.tzinfo is None:
        raise InvalidInput(f"{expected}: without Z or an offset it may mean several moments")
    if moment > now:
        raise InvalidInput(f"--at: {text} has not come yet: now it is {iso(now)}")
    return moment.astimezone(UTC)


def _copy(source: Path, target: Path) -> None:
    with naming(source), source.open("rb") as octets, new_file(target) as file:
        shutil.copyfileobj(octets, file, PIECE)
