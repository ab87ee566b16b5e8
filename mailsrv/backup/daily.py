"""One backup of one mailbox, in two parts: with its owner's key, and without.

The copy is taken into a folder of the data directory, encrypted like the mailbox, and goes to the
store afterwards, when neither key nor mailbox are needed any more. Nothing is copied when nothing
has changed since the last time: the digests of the contents tell, since the octets of two copies
of one mailbox always differ. Blocking, any thread.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal, Protocol

import attrs
from twisted.logger import Logger

from mailsrv.backup.copies import (
    LEFTOVER_AGE,
    find_copy,
    list_copies,
    put_copy,
    remove_copy,
    remove_leftovers,
)
from mailsrv.backup.generations import Generations, kept
from mailsrv.backup.interfaces import IObjectStore
from mailsrv.backup.layout import CopyManifest, copies_of, iso
from mailsrv.directory.directory import Alias, BackupRecord, BackupStanding, Directory
from mailsrv.errors import (
    InvalidInput,
    MailboxBusy,
    MailsrvError,
    NoSuchAlias,
    NoSuchBackup,
    Unavailable,
)
from mailsrv.keys.filekey import FileKey
from mailsrv.mailbox import snapshot
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.settings import Backup
from mailsrv.store.volume import Volume, naming, octets_of, require_room

FOLDER = "backups.tmp"
"""In the data directory: copies on their way to the store."""

TURN_PATIENCE = 0.5
"""Seconds to wait for the turn of an alias: who looks for leftovers has it for a moment."""

_BY_NAME = re.compile(r"([0-9a-f]{24}(?:-[a-z]+)?)\..+")

log = Logger()


def turns(volume: Volume) -> Volume:
    """Whose locks are held while backups are made: that of an alias from before its mailbox is
    copied until nothing of it is on its way any more."""
    return Volume(volume.base, volume.base / FOLDER)


class IStores(Protocol):
    """Where the backups of each alias are kept: see ``BackupStores``."""

    default: IObjectStore | None

    def of(self, alias: Alias) -> IObjectStore | None:
        """Where they are put; None where no backups are made."""

    def kept(self, standings: Sequence[BackupStanding]) -> list[BackupStanding]:
        """Those of these whose backups are kept anywhere."""

    def everywhere(self, alias: Alias) -> list[IObjectStore]:
        """Where they may be: that, and where they were put before."""


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
        self._turns = turns(volume)

    def prepare(self) -> None:
        """Make the folder, and remove from it what a crash left, of which nobody is at work."""
        self._turns.prepare()
        with naming(self.folder):
            names = [path.name for path in self.folder.iterdir()]
        for name in {found[1] for found in map(_BY_NAME.fullmatch, names) if found}:
            with suppress(MailboxBusy), self.place(name):
                pass  # which removes what is there

    def standings(self, aliases: Sequence[str]) -> list[BackupStanding]:
        """How the backups of these stand, of those that are to be backed up."""
        return self.stores.kept(self.directory.backup_standings(aliases))

    def all_standings(self, primary: str) -> list[BackupStanding]:
        """The same of all of a primary."""
        return self.stores.kept(self.directory.all_backup_standings(primary))

    def pending(self, primary: str) -> list[BackupStanding]:
        """The same of those of a primary of which a backup is wanted, or failed."""
        return self.stores.kept(self.directory.pending_backups(primary))

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
            path = stack.enter_context(self.place(alias_id, TURN_PATIENCE))
            record = self.directory.backup(alias_id)
            if record.failed is not None:
                # rather than after the work of a copy, while it refuses
                next(iter(store.list(copies_of(alias_id))), None)
            since = None if pause is None else iso(self.now() - pause)
            return Turn(self, alias, store, record, since, path, stack.pop_all())

    def tidy(self) -> None:
        """Remove what transfers to the common store left that broke off. BackupStoreFailed."""
        if self.stores.default is not None:
            self.stores.default.tidy(self.now() - LEFTOVER_AGE)

    def failed(self, alias_id: str, error: MailsrvError) -> None:
        """Note that a backup could not be made, and why."""
        self.directory.note_backup_failed(alias_id, str(error))

    @contextmanager
    def place(self, name: str, patience: float = 0) -> Iterator[Path]:
        """A path for a copy on its way, which is nobody else's and gone at the end. MailboxBusy."""
        path = self.folder / f"{name}.sqlite"
        with self._turns.exclusive(name, patience):
            try:
                yield path
            finally:
                with naming(path):
                    for left in self.folder.glob(f"{path.name}*"):
                        left.unlink(missing_ok=True)


@attrs.define
class Turn:
    """One backup: ``copy`` with mailbox and key, then ``keep`` and ``prune``; and ``end``."""

    _daily: Daily
    alias: Alias
    _store: IObjectStore
    _record: BackupRecord
    _since: str | None
    _path: Path
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
        require_room(daily.folder, octets_of(mailbox.path))
        taken = self._moment()
        made = snapshot.take(mailbox, key, self._path)
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

        BackupStoreFailed; Unavailable, and nothing is kept, when the turn has ended meanwhile;
        NoSuchBackup when the last copy has gone from the store: then it is
        noted that another one is wanted; NoSuchAlias, and nothing is kept, when it was erased.
        """
        made = self._manifest
        if made is None:
            return self._unchanged()
        put_copy(self._store, self._path, made)
        if self.ended:
            # nobody waits for what is on its way any more: by now the alias may have been erased
            remove_copy(self._store, made)
            raise Unavailable("the backup was given up")
        self._note(made)
        return Outcome("taken", made.taken, made.octets)

    def prune(self) -> int:
        """Remove copies that are no longer kept, and what crashes left; how many copies.

        BackupStoreFailed.
        """
        daily, alias = self._daily, self.alias
        now = daily.now()
        stores = daily.stores.everywhere(alias)
        copies = [(store, one) for store in stores for one in list_copies(store, alias.id)]
        taken = [datetime.fromisoformat(one.taken) for _, one in copies]
        staying = kept(taken, Generations.configured(daily.backup))
        gone = [one for one in copies if datetime.fromisoformat(one[1].taken) not in staying]
        for store, manifest in gone:
            remove_copy(store, manifest)
        for store in stores:
            remove_leftovers(store, alias.id, now)
            if store is not daily.stores.default:
                store.tidy(now - LEFTOVER_AGE)
        return len(gone)

    def end(self) -> None:
        """Remove the copy from here and give the turn back. May be called twice."""
        self.ended = True
        self._stack.close()

    def _note(self, made: CopyManifest) -> None:
        digest = bytes.fromhex(made.digest)
        try:
            self._daily.directory.note_backup(self.alias.id, made.mailbox, digest, made.taken)
        except NoSuchAlias:
            # erased meanwhile: nobody would remove it later
            remove_copy(self._store, made)
            raise

    def _unchanged(self) -> Outcome:
        """Nobody compares with a copy that somebody has taken away."""
        record, directory = self._record, self._daily.directory
        mailbox, taken = record.mailbox or "", record.taken or ""
        last = find_copy(self._store, self.alias.id, mailbox, taken) if taken else None
        if last is None:
            sentence = "the newest copy is not in the store any more, or not whole"
            directory.note_backup_damaged(self.alias.id, sentence)
            raise NoSuchBackup(sentence)
        if self._recent:
            return Outcome("recent", last.taken, last.octets)
        directory.note_backup_checked(self.alias.id)
        return Outcome("unchanged", last.taken, last.octets)

    def _moment(self) -> str:
        """Now, in a second in which no copy was made yet: names must not meet."""
        taken = iso(self._daily.now())
        if self._record.taken is None or taken > self._record.taken:
            return taken
        last = datetime.fromisoformat(self._record.taken)
        return iso(last + timedelta(seconds=1))
