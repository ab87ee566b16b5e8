"""One merge of an alias at a time, batch by batch, announced as it goes; reactor's thread."""

from collections.abc import Callable

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from mailsrv.errors import KeyGone, MailsrvError, WrongKey
from mailsrv.store.leases import Leases
from mailsrv.store.mailboxes import Mailboxes
from mailsrv.store.merge import Merged, Merger
from mailsrv.store.notifications import Notifications
from mailsrv.store.sessions import Sessions
from mailsrv.store.usage import Usages
from mailsrv.store.values import Access
from mailsrv.store.workers import Workers

log = Logger()


@attrs.define
class _Run:
    """A merge under way, and who waits for it."""

    mailbox: str
    asked: list[Deferred[int]]
    count: int = 0
    again: bool = False
    """Somebody asked after it began: what came since may have escaped its last look."""
    abandoned: bool = False
    """Its session logged out on the way or had no good key: who joined it goes on alone."""


class Merging:
    """Runs merges; who asks while one runs shares its result."""

    def __init__(
        self,
        *,
        workers: Workers,
        sessions: Sessions,
        leases: Leases,
        mailboxes: Mailboxes,
        merger: Merger,
        usages: Usages,
        notifications: Notifications,
        came: Callable[[str], None],
    ) -> None:
        self._workers = workers
        self._sessions = sessions
        self._leases = leases
        self._mailboxes = mailboxes
        self._merger = merger
        self._usages = usages
        self._notifications = notifications
        self._came = came
        self._running: dict[str, _Run] = {}

    async def merge(self, access: Access, most: int | None = None) -> int:
        """Merge what waits; how many messages came.

        With ``most`` it answers after about so many and goes on behind. A mailbox that takes
        no mail now (full disk, busy) leaves it waiting; that is logged and no error here.
        """
        while (running := self._running.get(access.alias)) is not None:
            end: Deferred[int] = Deferred()
            running.asked.append(end)
            running.again = True
            count = await end
            # one that fills the file before a password change or a new start is no help
            if running.mailbox == access.mailbox and not running.abandoned:
                return count
        enough: Deferred[int] = Deferred()
        self._workers.begin(lambda: self._run(access, most, enough)).addErrback(
            lambda _: None if enough.called else enough.callback(0)
        )
        return await enough

    async def _run(self, access: Access, most: int | None, enough: Deferred[int]) -> None:
        alias = access.alias
        running = self._running[alias] = _Run(access.mailbox, [enough])
        try:
            with self._leases.using(self._sessions.check(access)):
                await self._merge_all(access, most, running)
        except MailsrvError as error:
            running.abandoned = isinstance(error, KeyGone | WrongKey)
            log.info(
                "Mail of alias {alias} goes on waiting: {kind}",
                alias=alias,
                kind=type(error).__name__,
            )
        finally:
            del self._running[alias]
            _answer(running.asked, running.count)

    async def _merge_all(self, access: Access, most: int | None, running: _Run) -> None:
        more = True
        while more:
            running.again = False
            merged = await self._workers.run_for(access.alias, self._batch, access)
            running.count += merged.messages
            more = (merged.more or running.again) and not self._workers.closing
            if merged.messages:
                self._notifications.announce(access.alias, merged.folder_id, merged.modseq)
                self._came(access.alias)
            if most is not None and running.count >= most:
                _answer(running.asked, running.count)

    def _batch(self, access: Access) -> Merged:
        with self._mailboxes.of(access) as mailbox:
            self._usages.make_room(access.alias, mailbox)
            merged = self._merger.merge_batch(mailbox, access.alias)
            if merged.messages:
                self._usages.measure(access.alias, mailbox)
            return merged


def _answer(waiting: list[Deferred[int]], count: int) -> None:
    while waiting:
        deferred = waiting.pop()
        if not deferred.called:
            deferred.callback(count)
