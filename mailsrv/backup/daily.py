"""One backup of one mailbox, in two parts: with its owner's key, and without.

The copy is taken into a folder of the data directory, encrypted like the mailbox, and goes to the
store afterwards, when neither key nor mailbox are needed any more. Nothing is copied when nothing
has changed since the last time: the digests of the contents tell, since the octets of two copies
of one mailbox always differ. Blocking, any thread.
"""

import re
import shutil
from collections.abc import Callable
from contextlib import ExitStack, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal, Protocol

import attrs
from twisted.logger import Logger

from mailsrv.backup import generations
from mailsrv.backup.copies import find_copy, list_copies, put_copy, remove_copy, remove_leftovers
from mailsrv.backup.interfaces import IObjectStore
from mailsrv.backup.layout import CopyManifest, copies_of, iso
from mailsrv.directory.directory import Alias, BackupRecord, Directory
from mailsrv.errors import DiskFull, InvalidInput, MailsrvError, NoSuchBackup
from mailsrv.keys.filekey import FileKey
from mailsrv.mailbox import snapshot
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.settings import Backup
from mailsrv.store.volume import Volume, naming

FOLDER = "backups.tmp"
"""In the data directory: copies on their way to the store."""

MARGIN = 64 * 1024 * 1024
"""Octets that a copy leaves free on the disk."""

_BY_ALIAS = re.compile(r"([0-9a-f]{24})\..+")

log = Logger()


class IStores(Protocol):
    """Where the backups of each alias are kept."""

    def of(self, alias: Alias) -> IObjectStore | None:
        """The store; None where no backups are made."""


@attrs.frozen
class Outcome:
    """What became of a backup: ``octets`` and ``taken`` are those of the newest copy now.

    Unchanged: the mailbox holds what it held when that was made. Recent: it does not, and is not
    copied again so soon.
    """

    what: Literal["taken", "unchanged", "recent"]
    taken: str
    octets: int


class Daily:
    """Makes backups of the mailboxes of one volume. ``now`` tells the time in UTC."""

    def __init__(
        self,
        directory: Directory,
        volume: Volume,
        stores: IStores,
        backup: Backup,
        now: Callable[[], datetime],
    ) -> None:
        self.directory = directory
        self.stores = stores
        self.backup = backup
        self.now = now
        self.folder = volume.base / FOLDER
        self._turns = Volume(volume.base, self.folder)

    def prepare(self) -> None:
        """Make the folder, and remove from it what a crash left, of which nobody is at work."""
        self._turns.prepare()
        with naming(self.folder):
            names = [path.name for path in self.folder.iterdir()]
        for alias in {found[1] for found in map(_BY_ALIAS.fullmatch, names) if found}:
            with suppress(MailsrvError), self._turns.exclusive(alias, patience=0):
                self._remove_files(alias)

    def begin(self, alias_id: str, pause: timedelta | None = None) -> "Turn":
        """Have the turn of this alias, which ``Turn.end`` gives back. No key is needed yet.

        Within ``pause`` after the last copy no other one is made. MailboxBusy when another process
        has the turn; InvalidInput where no backups are made; BackupStoreFailed when the last
        attempt failed and the store does not answer now; NoSuchAlias.
        """
        alias = self.directory.alias_by_id(alias_id)
        store = self.stores.of(alias)
        if store is None:
            raise InvalidInput("no backups are made of this mailbox: see [backup] of the settings")
        with ExitStack() as stack:
            stack.enter_context(self._turns.exclusive(alias_id, patience=0))
            stack.callback(self._remove_files, alias_id)
            record = self.directory.backup(alias_id)
            if record.failed is not None:
                # rather than after the work of a copy, while it refuses
                next(iter(store.list(copies_of(alias_id))), None)
            since = None if pause is None else iso(self.now() - pause)
            return Turn(self, alias, store, record, since, stack.pop_all())

    def failed(self, alias_id: str, error: MailsrvError) -> None:
        """Note that a backup could not be made, and why."""
        self.directory.note_backup_failed(alias_id, f"{type(error).__name__}: {error}")

    def path(self, alias_id: str) -> Path:
        """Where a copy of this alias lies until it is in the store."""
        return self.folder / f"{alias_id}.sqlite"

    def _remove_files(self, alias_id: str) -> None:
        with naming(self.folder):
            for path in self.folder.glob(f"{alias_id}.sqlite*"):
                path.unlink(missing_ok=True)


@attrs.define
class Turn:
    """One backup: ``copy`` with mailbox and key, then ``keep`` and ``prune``; and ``end``."""

    _daily: Daily
    alias: Alias
    _store: IObjectStore
    _record: BackupRecord
    _since: str | None
    _stack: ExitStack
    _manifest: CopyManifest | None = None
    _recent: bool = False
    ended: bool = False

    def copy(self, mailbox: Mailbox, key: FileKey) -> bool:
        """Copy the mailbox if need be, and check the copy; whether it was copied.

        DiskFull, and what ``snapshot.take`` raises.
        """
        record, daily = self._record, self._daily
        if (record.mailbox, record.digest) == (mailbox.id, mailbox.digest()):
            return False
        if self._since is not None and record.taken is not None and record.taken >= self._since:
            self._recent = True
            return False
        path = daily.path(self.alias.id)
        _require_room(mailbox.path, path.parent)
        taken = self._moment()
        made = snapshot.take(mailbox, key, path)
        self._manifest = CopyManifest(
            alias=self.alias.id,
            mailbox=mailbox.id,
            taken=taken,
            octets=made.octets,
            sha256=made.sha256.hex(),
            digest=made.digest.hex(),
            messages=made.messages,
        )
        return True

    def keep(self) -> Outcome:
        """Bring the copy into the store, or see that the last one is there, and note it.

        BackupStoreFailed; NoSuchBackup when the last copy has gone from the store: then it is
        noted that another one is wanted.
        """
        made, directory = self._manifest, self._daily.directory
        if made is None:
            return self._unchanged()
        put_copy(self._store, self._daily.path(self.alias.id), made)
        if not self.ended:
            directory.note_backup(
                self.alias.id, made.mailbox, bytes.fromhex(made.digest), made.taken
            )
        return Outcome("taken", made.taken, made.octets)

    def prune(self) -> int:
        """Remove copies that are no longer kept, and what crashes left; how many copies.

        BackupStoreFailed.
        """
        now = self._daily.now()
        copies = list_copies(self._store, self.alias.id)
        gone = generations.to_remove(copies, self._daily.backup, now)
        for manifest in gone:
            remove_copy(self._store, manifest)
        remove_leftovers(self._store, self.alias.id, now)
        return len(gone)

    def end(self) -> None:
        """Remove the copy from here and give the turn back. May be called twice."""
        self.ended = True
        self._stack.close()

    def _unchanged(self) -> Outcome:
        """Nobody compares with a copy that somebody has taken away."""
        record, directory = self._record, self._daily.directory
        mailbox, taken = record.mailbox or "", record.taken or ""
        kept = find_copy(self._store, self.alias.id, mailbox, taken) if taken else None
        if kept is None:
            sentence = "the newest copy is not in the store any more, or not whole"
            directory.note_backup_damaged(self.alias.id, sentence)
            raise NoSuchBackup(sentence)
        if self._recent:
            return Outcome("recent", kept.taken, kept.octets)
        directory.note_backup_checked(self.alias.id)
        return Outcome("unchanged", kept.taken, kept.octets)

    def _moment(self) -> str:
        """Now, in a second in which no copy was made yet: names must not meet."""
        taken = iso(self._daily.now())
        if self._record.taken is None or taken > self._record.taken:
            return taken
        last = datetime.fromisoformat(self._record.taken)
        return iso(last + timedelta(seconds=1))


def _require_room(mailbox: Path, folder: Path) -> None:
    """DiskFull where a copy of the file would fill the disk."""
    needed = MARGIN + sum(
        path.stat().st_size for path in (mailbox, Path(f"{mailbox}-wal")) if path.exists()
    )
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DiskFull(f"{folder}: a copy needs {needed} octets of free disk, there are {free}")
