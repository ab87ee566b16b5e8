"""One merge of an alias at a time, batch by batch, announced as it goes; reactor's thread."""

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from mailsrv.errors import MailsrvError
from mailsrv.store.mailboxes import Mailboxes
from mailsrv.store.merge import Merged, Merger
from mailsrv.store.notifications import Notifications
from mailsrv.store.usage import Usages
from mailsrv.store.values import Access
from mailsrv.store.workers import Workers

log = Logger()


class Merging:
    """Runs merges; who asks while one runs shares its result."""

    def __init__(
        self,
        workers: Workers,
        mailboxes: Mailboxes,
        merger: Merger,
        usages: Usages,
        notifications: Notifications,
        came: Callable[[str], None],
    ) -> None:
        self._workers = workers
        self._mailboxes = mailboxes
        self._merger = merger
        self._usages = usages
        self._notifications = notifications
        self._came = came
        self._running: dict[str, list[Deferred[int]]] = {}

    async def merge(self, access: Access, most: int | None = None) -> int:
        """Merge what waits; how many messages came.

        With ``most`` it answers after about so many and goes on behind. A mailbox that takes
        no mail now (full disk, busy) leaves it waiting; that is logged and no error here.
        """
        joined = self._running.get(access.alias)
        if joined is not None:
            end: Deferred[int] = Deferred()
            joined.append(end)
            return await end
        enough: Deferred[int] = Deferred()
        self._workers.begin(lambda: self._run(access, most, enough)).addErrback(
            lambda _: None if enough.called else enough.callback(0)
        )
        return await enough

    async def _run(self, access: Access, most: int | None, enough: Deferred[int]) -> None:
        alias = access.alias
        joined = self._running[alias] = [enough]
        count = 0
        try:
            more = True
            while more:
                merged = await self._workers.run_for(alias, self._batch, access)
                count += merged.messages
                more = merged.more and not self._workers.closing
                if merged.messages:
                    self._notifications.announce(alias, merged.folder_id, merged.modseq)
                    self._came(alias)
                if most is not None and count >= most:
                    _answer(joined, count)
        except MailsrvError as error:
            log.info(
                "Mail of alias {alias} goes on waiting: {kind}",
                alias=alias,
                kind=type(error).__name__,
            )
        finally:
            del self._running[alias]
            _answer(joined, count)

    def _batch(self, access: Access) -> Merged:
        with self._mailboxes.of(access) as mailbox:
            merged = self._merger.merge_batch(mailbox, access.alias)
            if merged.messages:
                self._usages.measure(access.alias, mailbox)
            return merged


def _answer(waiting: list[Deferred[int]], count: int) -> None:
    while waiting:
        deferred = waiting.pop()
        if not deferred.called:
            deferred.callback(count)
