"""All mailboxes of a primary whose volume was lost, back from their backups.

Nobody's password is needed: a copy of the file that the directory names has the same key, so all
credentials open it. It comes as a new file, and the first login gives its folders new UIDVALIDITYs
(``store.restored``). Each alias is a transaction of its own, under the lock that all changes of its
mailbox take: the work may be cut short, begun again, and run beside the server and itself.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import datetime
from pathlib import Path
from typing import Literal

import attrs

from mailsrv.backup.interfaces import IObjectStore
from mailsrv.backup.restore_sources import Backups, Fetched
from mailsrv.directory.directory import Alias, Directory, MailboxRecord
from mailsrv.directory.values import DEFAULT_PRIMARY
from mailsrv.errors import MailsrvError
from mailsrv.store.changing import Changing, iso
from mailsrv.store.volume import Volume, sync_folder

Stores = Callable[[Alias], Sequence[IObjectStore]]
"""Wherever backups of an alias may be."""

State = Literal["restored", "here", "password", "failed"]


@attrs.frozen
class Outcome:
    """What became of one mailbox.

    ``password``: there is a backup, but perhaps under another key: its owner has to restore it.
    ``problem`` is why it failed, or why what was restored is not the newest.
    """

    address: str
    state: State
    taken: str | None = None
    problem: str = ""


class Machine(Changing):
    """Over the one directory and the new volume. Blocking."""

    def __init__(
        self,
        directory: Directory,
        volume: Volume,
        now: Callable[[], datetime],
        stores: Stores,
        primary: str = DEFAULT_PRIMARY,
    ) -> None:
        super().__init__(directory, volume, now, primary)
        self._stores = stores

    def claim(self) -> None:
        """Make sure that this data directory is the primary of its name.

        InvalidInput when the directory knows another one as that, which may be alive.
        """
        self._volume.prepare()
        self._directory.claim_primary(self._primary, self._secret.volume())

    def missing(self) -> list[Alias]:
        """Aliases whose current file is not on the volume, by address."""
        return [
            alias
            for alias in self._directory.aliases()
            if alias.primary == self._primary and self._missing(alias) is not None
        ]

    def restore_all(self, aliases: list[Alias], at_once: int) -> Iterator[Outcome]:
        """What became of each, as it comes; so many at a time."""
        pool = ThreadPoolExecutor(at_once, thread_name_prefix="restore")
        try:
            for done in as_completed([pool.submit(self.restore, alias) for alias in aliases]):
                yield done.result()
        finally:
            pool.shutdown(cancel_futures=True)

    def restore(self, alias: Alias) -> Outcome:
        """Bring one back; what goes wrong is in the answer."""
        try:
            with self._changing(alias.address):
                return self._restore(alias)
        except (MailsrvError, OSError) as error:
            return Outcome(alias.address, "failed", problem=str(error))

    def _here(self, address: str) -> Alias:
        # one that was deleted can be had back for a while, and then must have its mailbox
        return self._served(address)

    def _restore(self, alias: Alias) -> Outcome:
        record = self._missing(alias)
        if record is None:
            return Outcome(alias.address, "here")
        stores = self._stores(alias)
        if not stores:
            return Outcome(alias.address, "failed", problem="its backups are kept nowhere")
        every = Backups.of(stores, alias.id, self._now())
        backups = every.only(self._same_key(alias, record))
        if backups is None:
            return Outcome(alias.address, "password", every.newest)
        fetched = self._bring(alias, record, backups)
        problem = fetched.problem
        if every.newest > fetched.taken and not problem:
            problem = f"there is a newer backup, of {every.newest}, with another password"
        return Outcome(alias.address, "restored", fetched.taken, problem)

    def _bring(self, alias: Alias, record: MailboxRecord, backups: Backups) -> Fetched:
        with self._new_file(alias) as file_id:
            fetched = self._fetch(backups, self._volume.mailbox(file_id))
            moment = iso(self._now())
            made = MailboxRecord(
                id=file_id,
                public_key=record.public_key,
                created=moment,
                primary=self._primary,
                restored=moment,
            )
            self._directory.put_back(alias.id, made, replaces=record.id)
        return fetched

    def _fetch(self, backups: Backups, path: Path) -> Fetched:
        fetched = backups.fetch(path)
        sync_folder(path.parent)
        return fetched

    def _missing(self, alias: Alias) -> MailboxRecord | None:
        """The current file, if it is not there."""
        record = self._directory.mailbox(alias.id)
        if record is None or self._volume.mailbox(record.id).exists():
            return None
        return record

    def _same_key(self, alias: Alias, record: MailboxRecord) -> set[str]:
        """Ids of files that have the key of this one.

        One that was put back, and not opened since, has the key of the one that it replaced: the
        newest of those that are archived.
        """
        found = {record.id}
        archived = self._directory.archived_mailboxes(alias.id)
        while record.restored is not None and archived:
            record = archived.pop()
            found.add(record.id)
        return found
