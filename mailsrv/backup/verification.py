"""Whether the copies of a mailbox that are kept are good: with a password all of it can be told.

Without one: that the store gives back the octets that it got, and that they look like a mailbox.
What turns out to be damaged is noted, so that the operator hears of it and another copy is made.
"""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import attrs

from mailsrv.backup.copies import (
    Kept,
    copy_at,
    damaged_manifests,
    fetch_copy,
    has_manifest,
    list_copies,
)
from mailsrv.backup.daily import Daily
from mailsrv.backup.layout import CopyManifest
from mailsrv.backup.restore_sources import key_of
from mailsrv.directory.directory import Alias
from mailsrv.errors import BackupDamaged, MailboxDamaged, NoSuchBackup, WrongKey
from mailsrv.keys.filekey import FileKey
from mailsrv.mailbox import snapshot
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.mailbox.shape import check_shape
from mailsrv.store.volume import require_room


@attrs.frozen
class Verified:
    """``opened`` tells whether it was opened, and so everything in it read and counted."""

    manifest: CopyManifest
    opened: bool


def open_and_verify(path: Path, key: FileKey, now: Callable[[], datetime]) -> snapshot.Snapshot:
    """Read all of a copy, wherever it came from. It is brought to today's version before.

    WrongKey, MailboxDamaged, SchemaMismatch.
    """
    Mailbox.open(path, key, now).close()
    return snapshot.verify(path, key)


class Copies:
    """The copies of one alias, wherever they are. Blocking."""

    def __init__(self, daily: Daily, alias: Alias) -> None:
        self._daily = daily
        self._alias = alias
        self._stores = daily.stores.everywhere(alias)

    def all(self) -> list[Kept]:
        """Newest last. BackupStoreFailed."""
        found = [Kept(one, copy) for one in self._stores for copy in list_copies(one, self._id)]
        return sorted(found, key=lambda one: one.manifest.taken)

    def damaged(self) -> list[str]:
        """Names of manifests that cannot be read. BackupStoreFailed."""
        return [name for store in self._stores for name in damaged_manifests(store, self._id)]

    def at(self, moment: datetime | None) -> Kept:
        """The newest that is not younger than this. NoSuchBackup."""
        every = self.all()
        manifest = copy_at([one.manifest for one in every], moment)
        return next(one for one in every if one.manifest is manifest)

    def verify(self, moment: datetime | None, password: str | None) -> Verified:
        """Fetch a copy and check it. BackupDamaged is noted; WrongKey, NoSuchBackup, DiskFull."""
        try:
            kept = self._newest() if moment is None else self.at(moment)
            self._check(kept, password)
        except BackupDamaged as error:
            self._daily.directory.note_backup_damaged(self._id, str(error))
            raise
        return Verified(kept.manifest, opened=password is not None)

    @property
    def _id(self) -> str:
        return self._alias.id

    def _newest(self) -> Kept:
        """The newest. BackupDamaged when the directory knows a newer one, which has gone."""
        record = self._daily.directory.backup(self._id)
        try:
            kept = self.at(None)
        except NoSuchBackup:
            if record.taken is None:
                raise
            raise BackupDamaged(f"the backup of {record.taken} is not there any more") from None
        if record.taken is not None and kept.manifest.taken < record.taken:
            raise BackupDamaged(f"the backup of {record.taken} is not there any more")
        return kept

    def _check(self, kept: Kept, password: str | None) -> None:
        manifest = kept.manifest
        with self._daily.place(f"{self._id}-verify") as path:
            require_room(self._daily.folder, manifest.octets)
            try:
                fetch_copy(kept.store, manifest, path)
                check_shape(path)
                if password is None:
                    return
                key = key_of(path, password)
                digest = snapshot.digest_of(path, key)
                found = open_and_verify(path, key, self._daily.now)
            except NoSuchBackup:
                if not has_manifest(kept.store, manifest):
                    raise  # removed meanwhile, as one that is no longer kept
                raise BackupDamaged(f"{manifest.name}: only its manifest is there") from None
            except WrongKey:
                raise WrongKey(
                    "this password does not open the backup: expected the main password of "
                    f"{self._alias.address} of {manifest.taken}"
                ) from None
            except MailboxDamaged as error:
                raise BackupDamaged(f"{manifest.name}: {error}") from None
            if (digest.hex(), found.messages) != (manifest.digest, manifest.messages):
                raise BackupDamaged(f"{manifest.name}: it holds something else than it should")
