"""Where a mailbox comes from when it is restored: a store of backups, a file, or an archived file.

Whatever it is, it becomes a new file on the volume, encrypted as it came; its owner's password
opens that, or nothing.
"""

import shutil
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol, Self

import attrs

from mailsrv.backup.chains import Chain, list_chains, restore_at
from mailsrv.backup.copies import Kept, fetch_copy, list_copies
from mailsrv.backup.interfaces import IObjectStore
from mailsrv.backup.layout import iso
from mailsrv.backup.objects.files import PIECE, new_file
from mailsrv.errors import BackupDamaged, NoSuchBackup
from mailsrv.keys.filekey import SALT_LENGTH, FileKey, derive_file_key
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.mailbox.rekey import copy_under_new_key
from mailsrv.store.volume import Volume, naming, octets_of


class Source(Protocol):
    """One backup. Blocking."""

    @property
    def mailbox(self) -> str | None:
        """Id of the file that it is a backup of, where that is known before it is here."""

    @property
    def name(self) -> str:
        """What its owner calls it, in a sentence."""

    @property
    def octets(self) -> int:
        """How large it will be, where that is known before it is here; else 0."""

    def fetch(self, path: Path, password: str, /) -> "Fetched | None":
        """Write it to a new file at ``path``; what it is, if that is known.

        ``password`` is its owner's, where it has to be opened for that.

        NoSuchBackup, BackupDamaged, BackupStoreFailed, DiskFull and what opening a mailbox raises;
        nothing is left then.
        """


@attrs.frozen
class Fetched:
    """What came: of which file, and as it was when."""

    mailbox: str
    taken: str
    problem: str = ""
    """Why it is not younger, when what came later could not be used."""


@attrs.frozen
class _Chain:
    store: IObjectStore
    chain: Chain


@attrs.frozen
class Backups:
    """What is kept of an alias up to a moment, wherever: copies, and the log between them."""

    alias: str
    moment: datetime
    copies: tuple[Kept, ...]
    chains: tuple[_Chain, ...]

    @classmethod
    def of(cls, stores: Sequence[IObjectStore], alias: str, moment: datetime) -> Self:
        """Look it up. NoSuchBackup says what there is."""
        copies = [Kept(store, one) for store in stores for one in list_copies(store, alias)]
        chains = [_Chain(store, one) for store in stores for one in list_chains(store, alias)]
        found = cls(
            alias,
            moment,
            tuple(one for one in copies if one.manifest.taken <= iso(moment)),
            tuple(one for one in chains if one.chain.earliest <= moment),
        )
        if not found.copies and not found.chains:
            raise NoSuchBackup(_none(copies, chains, moment))
        return found

    def only(self, files: Collection[str]) -> "Backups | None":
        """Those of these files; None when there are none."""
        found = attrs.evolve(
            self,
            copies=tuple(one for one in self.copies if one.manifest.mailbox in files),
            chains=tuple(one for one in self.chains if one.chain.mailbox in files),
        )
        return found if found.copies or found.chains else None

    @property
    def copy(self) -> Kept | None:
        """The newest."""
        return max(self.copies, key=lambda one: one.manifest.taken, default=None)

    @property
    def chain(self) -> _Chain | None:
        """The newest, which may reach further than the copy, or not so far."""
        return max(self.chains, key=lambda one: one.chain.earliest, default=None)

    @property
    def mailbox(self) -> str | None:
        """Of which file all that may come is; None when it may be one of several."""
        found = {one.manifest.mailbox for one in (self.copy,) if one is not None}
        found |= {one.chain.mailbox for one in (self.chain,) if one is not None}
        return found.pop() if len(found) == 1 else None

    @property
    def newest(self) -> str:
        """When the newest copy was taken, or the newest chain began: what comes is not older."""
        times = [one.manifest.taken for one in self.copies]
        return max(times + [iso(one.chain.earliest) for one in self.chains])

    def fetch(self, path: Path) -> Fetched:
        """Write what is closest to the moment to a new file at ``path``."""
        copy, problem = self.copy, ""
        try:
            found = self._fetch_log(path)
        except (BackupDamaged, NoSuchBackup) as error:
            if copy is None:
                raise
            found, problem = None, str(error)
        if found is not None and (copy is None or found.taken >= copy.manifest.taken):
            return found
        path.unlink(missing_ok=True)
        if copy is None:
            raise NoSuchBackup("what is kept is of another file")
        manifest = copy.manifest
        fetch_copy(copy.store, manifest, path)
        return Fetched(manifest.mailbox, manifest.taken, problem)

    def _fetch_log(self, path: Path) -> Fetched | None:
        """By the chain, unless that turns out to be of another file."""
        newest = self.chain
        if newest is None:
            return None
        log = restore_at(newest.store, self.alias, self.moment, path)
        if log.mailbox != newest.chain.mailbox:
            return None
        return Fetched(log.mailbox, iso(log.reached))


def _none(copies: list[Kept], chains: list[_Chain], moment: datetime) -> str:
    oldest = [one.manifest.taken for one in copies] + [iso(one.chain.earliest) for one in chains]
    if not oldest:
        return "no backup of this mailbox is kept"
    return f"no backup of {iso(moment)} or before is kept: the oldest is of {min(oldest)}"


@attrs.frozen
class FromStore:
    """What is kept of an alias at a moment."""

    backups: Backups

    @property
    def mailbox(self) -> str | None:
        return self.backups.mailbox

    @property
    def name(self) -> str:
        # a chain of the log has one password from its beginning on
        copy, newest = self.backups.copy, self.backups.newest
        if copy is None or copy.manifest.taken != newest:
            return f"the changes shipped since {newest}"
        return f"the backup of {newest}"

    @property
    def octets(self) -> int:
        copy = self.backups.copy
        return 0 if copy is None else copy.manifest.octets

    def fetch(self, path: Path, _password: str) -> Fetched:
        return self.backups.fetch(path)


@attrs.frozen
class FromFile:
    """A file that was downloaded, wherever it lies; it is not touched."""

    path: Path
    mailbox: str | None = None

    @property
    def name(self) -> str:
        return str(self.path)

    @property
    def octets(self) -> int:
        with naming(self.path):
            return octets_of(self.path)

    def fetch(self, path: Path, _password: str) -> None:
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


@attrs.frozen
class FromArchive:
    """A file on the volume that another one took the place of."""

    volume: Volume
    mailbox: str
    now: Callable[[], datetime]

    @property
    def name(self) -> str:
        return f"the archived file {self.mailbox}"

    @property
    def octets(self) -> int:
        return octets_of(self.volume.mailbox(self.mailbox))

    def fetch(self, path: Path, password: str) -> None:
        source = self.volume.mailbox(self.mailbox)
        key = key_of(source, password)
        # not copied octet by octet: a session that has not ended yet may be writing
        with Mailbox.open(source, key, self.now) as mailbox:
            copy_under_new_key(mailbox, path, key)


def key_of(path: Path, password: str) -> FileKey:
    """The key that a file has if this is the password of its owner. BackupDamaged."""
    with naming(path), path.open("rb") as file:
        salt = file.read(SALT_LENGTH)
    if len(salt) < SALT_LENGTH:
        raise BackupDamaged("the backup is cut short")
    return derive_file_key(password, salt)


def _copy(source: Path, target: Path) -> None:
    with naming(source), source.open("rb") as octets, new_file(target) as file:
        shutil.copyfileobj(octets, file, PIECE)
