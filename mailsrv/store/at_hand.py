"""Mailboxes whose owner's key is at hand now, for work that the owner has not asked for: backups.

While a session of an alias is there its key can be had: from our own vault, or from the secondary
that keeps it, which is asked as for a delivery.
"""

from collections.abc import Callable
from typing import TypeVar

from twisted.internet.defer import Deferred

from mailsrv.errors import KeyGone
from mailsrv.keys.filekey import FileKey
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.store.keepers import Find
from mailsrv.store.leases import Leases
from mailsrv.store.mailboxes import Mailboxes
from mailsrv.store.sessions import Sessions
from mailsrv.store.values import Access
from mailsrv.store.workers import Workers

T = TypeVar("T")


class AtHand:
    """Reactor's thread. ``find`` finds a session of an alias with its key."""

    def __init__(
        self,
        workers: Workers,
        sessions: Sessions,
        leases: Leases,
        mailboxes: Mailboxes,
        find: Find,
    ) -> None:
        self._workers = workers
        self._sessions = sessions
        self._leases = leases
        self._mailboxes = mailboxes
        self._find = find
        self._watchers: list[Callable[[str], None]] = []

    def watch(self, came: Callable[[str], None]) -> None:
        """Have ``came`` called with each alias (ObjectID) whose owner logs in or gets mail."""
        self._watchers.append(came)

    def came(self, alias: str) -> None:
        """The key of this alias can be had now."""
        for watcher in self._watchers:
            watcher(alias)

    def aliases(self) -> list[str]:
        """Aliases (ObjectIDs) that have sessions."""
        return self._sessions.aliases()

    def run(self, alias: str, function: Callable[[Mailbox, FileKey], T]) -> Deferred[T]:
        """Deferred of what ``function`` answers, on a worker thread, with the mailbox and its key.

        It takes one of the alias's turns and keeps the mailbox from being moved meanwhile. KeyGone
        when no session is there, MailboxMoved, Elsewhere, and what opening raises.
        """

        def trip(access: Access) -> T:
            with self._mailboxes.with_key(access) as (mailbox, key):
                return function(mailbox, key)

        async def work() -> T:
            session = await self._find(alias)
            if session is None:
                raise KeyGone("nobody is there who has the key of this mailbox")
            with self._leases.borrowing(session):
                return await self._workers.run_for(alias, trip, session.access)

        return self._workers.begin(work)
