"""The mailbox: one open encrypted file, and every operation on it as one transaction.

What is acknowledged as stored (append, copy, move, expunge, folders) is on disk when the method
returns; changes of flags are safe from a crash of the process, and may be lost in a power cut.
A thread at a time may use a Mailbox; any number of them may be open on one file.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Self

import apsw

from mailsrv.errors import DiskFull, MailboxBusy, ReadOnlyVolume, SchemaMismatch
from mailsrv.keys.filekey import FileKey
from mailsrv.keys.sealing import generate_key_pair
from mailsrv.mailbox import changes as changing
from mailsrv.mailbox import check, contents, durability, folders, index, log, messages, schema, sql
from mailsrv.mailbox import connection as connections
from mailsrv.mailbox import fetch as fetching
from mailsrv.mailbox.connection import translated
from mailsrv.mailbox.criteria import Criteria, Found
from mailsrv.mailbox.digest import content_digest
from mailsrv.mailbox.recovery import Recovery
from mailsrv.mailbox.rekey import copy_under_new_key
from mailsrv.mailbox.search import Searcher
from mailsrv.mailbox.transaction import Database, Writer, iso
from mailsrv.mailbox.values import (
    SEEN,
    Appended,
    Changes,
    Copied,
    Expunged,
    FetchPage,
    FetchRequest,
    Folder,
    NewMessage,
    Section,
    Selected,
    StoreFlags,
    StoreResult,
    UidSet,
)
from mailsrv.mailbox.wal.keeper import LogKeepers

_META = "SELECT value FROM meta WHERE name = ?"
_CANNOT_WRITE_NOW = (DiskFull, MailboxBusy, ReadOnlyVolume)


class Mailbox(Recovery):
    """One open mailbox file. Errors are those of ``mailsrv.errors``."""

    def __init__(
        self,
        path: Path,
        connection: apsw.Connection,
        now: Callable[[], datetime],
        *,
        readonly: bool = False,
        keep_expunged: timedelta | None = None,
    ) -> None:
        """Use ``create`` or ``open``."""
        super().__init__(path, Database(connection, now, readonly=readonly), keep_expunged)
        self._searcher: Searcher | None = None

    @classmethod
    def create(
        cls,
        path: Path,
        key: FileKey,
        now: Callable[[], datetime],
        *,
        boot: str | None = None,
        keep_expunged: timedelta | None = None,
    ) -> Self:
        """Make a new file with INBOX and the folders of special use. AlreadyExists."""
        connection = connections.create(path, key)
        mailbox = cls(path, connection, now, keep_expunged=keep_expunged)
        try:
            with mailbox._database.writing(durable=True) as writer:
                schema.create(connection)
                private, public = generate_key_pair()
                meta = {"private": private, "public": public, "created": iso(writer.moment)}
                connection.executemany("INSERT INTO meta VALUES (?, ?)", list(meta.items()))
                durability.recover(connection, boot or durability.boot_id())
                folders.make_first(writer)
            connections.sync_file(path.parent)
        except BaseException:
            connection.close()
            connections.remove(path)
            raise
        return mailbox

    @classmethod
    def open(
        cls,
        path: Path,
        key: FileKey,
        now: Callable[[], datetime],
        *,
        readonly: bool = False,
        boot: str | None = None,
        logs: LogKeepers | None = None,
        keep_expunged: timedelta | None = None,
    ) -> Self:
        """Open a file and mend its schema.

        ``readonly`` is for who reads beside a writer, which may be another process: neither file
        nor log is changed, also not by closing, and what would have to write raises NeedsWriter.
        ``boot`` changes with each start of the operating system (found out when None). For
        ``keep_expunged`` what is expunged can be had back; what was expunged earlier is purged
        bit by bit. None keeps nothing and purges nothing. ``logs`` keep what is written for who
        ships it. WrongKey, MailboxDamaged, MailboxMissing, SchemaMismatch, ReadOnlyVolume,
        MailboxBusy.
        """
        connection = connections.connect(path, key, readonly=readonly)
        mailbox = cls(path, connection, now, readonly=readonly, keep_expunged=keep_expunged)
        try:
            with translated(connection):
                if logs is not None and not readonly:
                    mailbox._database.keeper = logs.attach(path, connection)
                mailbox._settle(boot or durability.boot_id(), readonly=readonly)
        except BaseException:
            mailbox.close()
            raise
        return mailbox

    # Folders

    def folders(self) -> list[Folder]:
        """All folders by name, INBOX first."""
        with self.reading() as connection:
            return folders.listing(connection)

    def subscriptions(self) -> list[str]:
        """Subscribed names in order, also of folders that are gone."""
        with self.reading() as connection:
            return folders.subscriptions(connection)

    def create_folder(
        self, name: str, special_use: str | None = None, write_id: str | None = None
    ) -> Folder:
        """Make a folder, and its parents as needed. AlreadyExists, InvalidInput."""
        with self.writing() as writer:
            return writer.once(write_id, Folder, lambda: folders.create(writer, name, special_use))

    def delete_folder(self, name: str, write_id: str | None = None) -> None:
        """Delete a folder with its messages. NoSuchFolder, InvalidInput."""
        with self.writing() as writer:
            self._purge_expired(writer)
            writer.once(
                write_id, type(None), lambda: folders.delete(writer, name, keep=self._keeps)
            )

    def rename_folder(self, old: str, new: str, write_id: str | None = None) -> None:
        """Rename a folder with all below it; INBOX gives its messages to the new folder."""
        with self.writing() as writer:
            writer.once(write_id, type(None), lambda: folders.rename(writer, old, new))

    def subscribe(self, name: str, subscribed: bool, write_id: str | None = None) -> None:
        """Add a name to the subscribed ones, or take it away."""
        with self.writing() as writer:
            writer.once(
                write_id,
                type(None),
                lambda: folders.subscribe(writer.connection, name, subscribed=subscribed),
            )

    def select(self, name: str, writable: bool) -> Selected:
        """What SELECT needs. ``writable`` takes the \\Recent messages for this session."""
        with self.reading() as connection:
            folder = folders.named(connection, name)
            first_recent = changing.first_recent(connection, folder.id)
            if not writable or first_recent >= folder.uidnext:
                return changing.select(connection, folder, first_recent)
        self._database.require_writer()
        try:
            with self.writing(durable=False) as writer:
                return self._selected(writer.connection, name, claim=True)
        except _CANNOT_WRITE_NOW:
            # Better recent twice than a folder that nobody can read.
            with self.reading() as connection:
                return self._selected(connection, name, claim=False)

    def _selected(self, connection: apsw.Connection, name: str, *, claim: bool) -> Selected:
        folder = folders.named(connection, name)
        first_recent = changing.first_recent(connection, folder.id)
        if claim:
            folders.claim_recent(connection, folder)
        return changing.select(connection, folder, first_recent)

    def changes(self, folder_id: int, since: int, claim_recent: bool) -> Changes:
        """What happened after modseq ``since``; new messages are taken as \\Recent if asked."""
        with self.reading() as connection:
            found = changing.changes(connection, folder_id, since)
            first_recent = changing.first_recent(connection, folder_id)
            if not claim_recent or first_recent >= found.uidnext:
                return found
        self._database.require_writer()
        try:
            with self.writing(durable=False) as writer:
                return changing.changes_with_recent(writer.connection, folder_id, since)
        except _CANNOT_WRITE_NOW:
            return found

    # Messages

    def append(
        self, folder: str, new: Sequence[NewMessage], write_id: str | None = None
    ) -> Appended:
        """Store messages at the end of a folder, all or none, on disk. NoSuchFolder."""
        connection = self.connection
        with translated(connection):
            prepared = [(one, contents.prepare(connection, one.content)) for one in new]
        with self.writing() as writer:
            return writer.once(
                write_id,
                Appended,
                lambda: messages.append(writer, folders.id_of(connection, folder), prepared),
            )

    def fetch(self, folder_id: int, request: FetchRequest) -> FetchPage:
        """One page of rows; ask again from ``next_uid``. NoSuchFolder."""
        if request.mark_seen and self._has_unseen(folder_id, request.uids):
            self._database.require_writer()
            try:
                return self._database.changing_flags(
                    folder_id, lambda writer: self._fetch_and_mark(writer, folder_id, request)
                )
            except _CANNOT_WRITE_NOW:
                # A full disk or a password change is no reason not to show the message.
                return self._fetched(folder_id, request)
        return self._fetched(folder_id, request)

    def read(self, folder_id: int, uid: int, section: Section) -> bytes | None:
        """One section of any size, or None."""
        with self.reading() as connection:
            return fetching.read(connection, folder_id, uid, section)

    def store_flags(
        self, folder_id: int, change: StoreFlags, write_id: str | None = None
    ) -> StoreResult:
        """Change flags; not waited for the disk."""
        return self._database.changing_flags(
            folder_id,
            lambda writer: writer.once(
                write_id, StoreResult, lambda: messages.store_flags(writer, folder_id, change)
            ),
        )

    def expunge(self, folder_id: int, uids: UidSet, write_id: str | None = None) -> Expunged:
        """Remove those of the messages that have \\Deleted, on disk."""
        with self.writing() as writer:
            self._purge_expired(writer)
            return writer.once(
                write_id,
                Expunged,
                lambda: messages.expunge(writer, folder_id, uids, keep=self._keeps),
            )

    def copy(self, folder_id: int, uids: UidSet, to: str, write_id: str | None = None) -> Copied:
        """Copy messages to a folder, all or none, on disk. NoSuchFolder."""
        return self._transfer(messages.copy, folder_id, uids, to, write_id)

    def move(self, folder_id: int, uids: UidSet, to: str, write_id: str | None = None) -> Copied:
        """Move messages to a folder, all or none, on disk. NoSuchFolder."""
        return self._transfer(messages.move, folder_id, uids, to, write_id)

    def search(self, folder_id: int, criteria: Criteria) -> Found:
        """UIDs of the messages that match, whatever is indexed. NoSuchFolder."""
        with self.reading() as connection:
            folders.require(connection, folder_id)
            if self._searcher is None:
                # Made here: see sql.Executor.
                inner = connection.cursor()
                self._searcher = Searcher(connection, lambda one: _octets(inner, one))
            return self._searcher.search(folder_id, criteria)

    def index_pending(self, limit: int) -> int:
        """Index the text of up to ``limit`` messages; how many are left."""
        with self.reading() as connection:
            batch = index.prepare(connection, limit, lambda one: _octets(connection, one))
            if not batch:
                return index.pending(connection)
        with self.writing(durable=False) as writer:
            return index.store(writer.connection, batch)

    # The whole file

    def keys(self) -> tuple[bytes, bytes]:
        """Private and public key of the mail that waits."""
        with self.reading() as connection:
            private: bytes = sql.value(connection, _META, ("private",))
            public: bytes = sql.value(connection, _META, ("public",))
        return private, public

    def digest(self) -> bytes:
        """What tells whether the content is another than before; see ``digest``."""
        with self.reading() as connection:
            return content_digest(connection)

    def check(self) -> None:
        """Read every page and count everything again. MailboxDamaged."""
        with self.reading() as connection:
            check.check(connection)

    def shorten_log(self, milliseconds: int) -> bool:
        """Begin the log anew, as ``log.shorten``."""
        return log.shorten(self.connection, milliseconds, self._database.keeper.empty)

    def copy_to(self, path: Path, new_key: FileKey) -> None:
        """Write a copy that ``new_key`` opens; see ``rekey``."""
        copy_under_new_key(self, path, new_key)

    def _settle(self, boot: str, *, readonly: bool) -> None:
        """Mend the schema and step over modseqs that a power cut may have taken."""
        connection = self.connection
        if not schema.is_current(connection):
            if readonly:
                raise SchemaMismatch("the tables need to be mended and the file is read only")
            with self.writing() as writer:
                if schema.mend(writer.connection):
                    check.recount(writer.connection)
        if durability.needs_recovery(connection, boot):
            if readonly and connections.is_unchanging(self.path):
                return
            with self.writing() as writer:
                durability.recover(writer.connection, boot)

    def _fetched(self, folder_id: int, request: FetchRequest) -> FetchPage:
        with self.reading() as connection:
            folders.require(connection, folder_id)
            return fetching.fetch(connection, folder_id, request)

    def _fetch_and_mark(self, writer: Writer, folder_id: int, request: FetchRequest) -> FetchPage:
        folders.require(writer.connection, folder_id)
        page = fetching.fetch(writer.connection, folder_id, request)
        changed = messages.mark_seen(writer, folder_id, [row[0] for row in page.rows])
        return fetching.with_flags(page, request, changed)

    def _has_unseen(self, folder_id: int, uids: UidSet) -> bool:
        with self.reading() as connection:
            return bool(
                messages.select_rows(
                    connection, "uid", folder_id, uids, f" AND flags & {SEEN} = 0", limit=1
                )
            )

    def _transfer(
        self,
        work: Callable[[Writer, int, UidSet, int], Copied],
        folder_id: int,
        uids: UidSet,
        to: str,
        write_id: str | None,
    ) -> Copied:
        with self.writing() as writer:
            return writer.once(
                write_id,
                Copied,
                lambda: work(writer, folder_id, uids, folders.id_of(writer.connection, to)),
            )


def _octets(connection: sql.Executor, content_id: int) -> bytes:
    return contents.whole(connection, contents.load(connection, content_id))
