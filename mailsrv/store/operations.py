"""What a session does in its mailbox: one trip to a worker thread, then the announcement."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TypeVar

from mailsrv.errors import KeyGone, MailboxBusy, MessageTooLarge, OverQuota
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.mailbox.values import (
    Appended,
    Copied,
    Expunged,
    ExpungedQuery,
    FetchPage,
    FetchRequest,
    Folder,
    NewMessage,
    Purged,
    StoreFlags,
    StoreResult,
    UidSet,
    Undeleted,
)
from mailsrv.store.leases import Leases
from mailsrv.store.mailboxes import Mailboxes
from mailsrv.store.merge import INBOX
from mailsrv.store.notifications import FOLDER_LIST, Notifications
from mailsrv.store.sessions import Session, Sessions
from mailsrv.store.usage import Usages
from mailsrv.store.values import Access
from mailsrv.store.workers import Workers

T = TypeVar("T")

BUSY_TRIES = 12
"""Each lasts the 5 s of ``busy_timeout``: a password change of a large mailbox holds writers."""

_SIZES_AT_ONCE = 10_000
_AFTER_ALL = 2**63 - 1
"""No modseq is greater (rfc7162:300)."""


class Operations:
    """The methods are those of ``IStore``. Reactor's thread; ``came`` hears of aliases that got
    messages."""

    def __init__(
        self,
        *,
        workers: Workers,
        mailboxes: Mailboxes,
        sessions: Sessions,
        leases: Leases,
        usages: Usages,
        notifications: Notifications,
        came: Callable[[str], None],
        message_octets: int,
    ) -> None:
        self._workers = workers
        self._mailboxes = mailboxes
        self._sessions = sessions
        self._leases = leases
        self._usages = usages
        self._notifications = notifications
        self._came = came
        self._message_octets = message_octets

    async def work(self, access: Access, function: Callable[[Mailbox], T]) -> T:
        """Run ``function`` on the session's mailbox.

        KeyGone when the session has ended, LeaseEnded when its key is not here, Elsewhere.
        """
        with self._leases.using(self._sessions.check(access)):
            try:
                return await self._trips(access, function)
            except KeyGone:
                self._sessions.check(access)  # Elsewhere, where that is why the key has gone
                raise

    async def behind(self, session: Session, function: Callable[[Mailbox], T]) -> T:
        """The same, for what the session has not asked for: its key stays no longer for it."""
        with self._leases.borrowing(session):
            return await self._trips(session.access, function)

    async def _trips(self, access: Access, function: Callable[[Mailbox], T]) -> T:
        """Busy means that nothing of the write was done: it waits its turn again."""

        def trip() -> T:
            with self._mailboxes.of(access) as mailbox:
                return function(mailbox)

        for _ in range(BUSY_TRIES - 1):
            with suppress(MailboxBusy):
                return await self._workers.run_for(access.alias, trip)
        return await self._workers.run_for(access.alias, trip)

    async def create_folder(
        self, access: Access, name: str, special_use: str | None, write_id: str | None
    ) -> Folder:
        folder = await self.work(access, lambda box: box.create_folder(name, special_use, write_id))
        self._list_changed(access)
        return folder

    async def delete_folder(self, access: Access, name: str, write_id: str | None) -> None:
        def delete(mailbox: Mailbox) -> list[Folder]:
            before = mailbox.folders()
            mailbox.delete_folder(name, write_id)
            self._usages.measure(access.alias, mailbox)
            left = {folder.id for folder in mailbox.folders()}
            return [folder for folder in before if folder.id not in left]

        for folder in await self.work(access, delete):
            # sessions that have it selected ask what changed, and hear that it has gone
            self._announce(access, folder.id, folder.highestmodseq + 1)
        self._list_changed(access)

    async def rename_folder(self, access: Access, old: str, new: str, write_id: str | None) -> None:
        def rename(mailbox: Mailbox) -> list[Folder]:
            mailbox.rename_folder(old, new, write_id)
            # the messages of INBOX move, and its sessions have to hear of that
            return [one for one in mailbox.folders() if one.name == INBOX == old.upper()]

        for folder in await self.work(access, rename):
            self._announce(access, folder.id, folder.highestmodseq)
        self._list_changed(access)

    async def subscribe(
        self, access: Access, name: str, subscribed: bool, write_id: str | None
    ) -> None:
        await self.work(access, lambda box: box.subscribe(name, subscribed, write_id))
        self._list_changed(access)

    async def append(
        self, access: Access, folder: str, messages: Sequence[NewMessage], write_id: str | None
    ) -> Appended:
        sizes = [len(message.content) for message in messages]
        if any(size > self._message_octets for size in sizes):
            raise MessageTooLarge(f"a message has at most {self._message_octets} octets")

        def append(mailbox: Mailbox) -> Appended:
            with self._reserved(access.alias, mailbox, sizes):
                appended = mailbox.append(folder, list(messages), write_id)
                self._usages.measure(access.alias, mailbox)
                return appended

        appended = await self.work(access, append)
        self._announce(access, appended.folder_id, appended.modseq)
        self._came(access.alias)
        return appended

    async def fetch(self, access: Access, folder_id: int, request: FetchRequest) -> FetchPage:
        def fetch(mailbox: Mailbox) -> tuple[FetchPage, int]:
            page = mailbox.fetch(folder_id, request)
            return page, _modseq(mailbox, folder_id) if page.newly_seen else 0

        page, modseq = await self.work(access, fetch)
        if modseq:
            self._announce(access, folder_id, modseq)
        return page

    async def store_flags(
        self, access: Access, folder_id: int, change: StoreFlags, write_id: str | None
    ) -> StoreResult:
        result = await self.work(access, lambda box: box.store_flags(folder_id, change, write_id))
        if result.modseq > result.base:
            self._announce(access, folder_id, result.modseq)
        return result

    async def expunge(
        self, access: Access, folder_id: int, uids: UidSet, write_id: str | None
    ) -> Expunged:
        def expunge(mailbox: Mailbox) -> Expunged:
            expunged = mailbox.expunge(folder_id, uids, write_id)
            if expunged.uids:
                self._usages.measure(access.alias, mailbox)
            return expunged

        expunged = await self.work(access, expunge)
        if expunged.modseq > expunged.base:
            self._announce(access, folder_id, expunged.modseq)
        return expunged

    async def copy(
        self, access: Access, folder_id: int, uids: UidSet, to: str, write_id: str | None
    ) -> Copied:
        def copy(mailbox: Mailbox) -> Copied:
            sizes: list[int] = []
            if self._usages.limited(access.alias):
                sizes = [sum(_sizes(mailbox, folder_id, uids))]
            with self._reserved(access.alias, mailbox, sizes):
                copied = mailbox.copy(folder_id, uids, to, write_id)
                if copied.source:
                    self._usages.measure(access.alias, mailbox)
                return copied

        copied = await self.work(access, copy)
        if copied.source:
            self._announce(access, copied.folder_id, copied.destination_modseq)
        return copied

    async def move(
        self, access: Access, folder_id: int, uids: UidSet, to: str, write_id: str | None
    ) -> Copied:
        moved = await self.work(access, lambda box: box.move(folder_id, uids, to, write_id))
        if moved.source:
            self._announce(access, folder_id, moved.modseq)
            self._announce(access, moved.folder_id, moved.destination_modseq)
        return moved

    async def undelete(
        self, access: Access, which: ExpungedQuery, to: str | None, write_id: str | None
    ) -> Undeleted:
        def undelete(mailbox: Mailbox) -> Undeleted:
            undeleted = mailbox.undelete(which, to, write_id)
            self._usages.measure(access.alias, mailbox)
            return undeleted

        undeleted = await self.work(access, undelete)
        if undeleted.made:
            self._list_changed(access)
        for folder in undeleted.folders:
            self._announce(access, folder.id, folder.modseq)
        return undeleted

    async def purge(self, access: Access, which: ExpungedQuery, write_id: str | None) -> Purged:
        def purge(mailbox: Mailbox) -> Purged:
            purged = mailbox.purge(which, write_id)
            self._usages.measure(access.alias, mailbox)
            return purged

        return await self.work(access, purge)

    @contextmanager
    def _reserved(self, alias: str, mailbox: Mailbox, sizes: Sequence[int]) -> Iterator[None]:
        """Room for all of it or OverQuota; on a worker thread."""
        fits = self._usages.reserve(alias, sizes)
        held = sum(size for size, fit in zip(sizes, fits, strict=True) if fit)
        try:
            if not all(fits):
                raise OverQuota("the mailbox is full")
            self._usages.make_room(alias, mailbox)
            yield
        finally:
            self._usages.release(alias, held)

    def _announce(self, access: Access, folder_id: int, modseq: int) -> None:
        self._notifications.announce(access.alias, folder_id, modseq)

    def _list_changed(self, access: Access) -> None:
        self._notifications.announce(access.alias, FOLDER_LIST, 0)


def _modseq(mailbox: Mailbox, folder_id: int) -> int:
    return mailbox.changes(folder_id, _AFTER_ALL, claim_recent=False).modseq


def _sizes(mailbox: Mailbox, folder_id: int, uids: UidSet) -> Iterator[int]:
    start: int | None = 1
    while start is not None:
        span = tuple((max(first, start), last) for first, last in uids if last >= start)
        page = mailbox.fetch(
            folder_id, FetchRequest(uids=span, columns=("size",), max_rows=_SIZES_AT_ONCE)
        )
        yield from (size for _, size in page.rows)
        start = page.next_uid
