"""Tell the sessions what another process wrote to their mailbox: an import, a restore.

Such a process raises a number of the alias in the directory when it has committed, and with it the
revision, which ``revocation`` polls. Sessions then hear of every folder, since which of them
changed is not said; they ask for what changed since the modseq that they know, mostly nothing.
"""

from collections.abc import Callable

from twisted.internet.defer import Deferred

from mailsrv.directory.directory import Directory
from mailsrv.errors import KeyGone, MailboxBusy, Unavailable
from mailsrv.keys.filekey import FileKey
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.mailbox.values import Folder
from mailsrv.store.at_hand import AtHand
from mailsrv.store.leases import Leases
from mailsrv.store.notifications import FOLDER_LIST, Notifications
from mailsrv.store.usage import Usages
from mailsrv.store.workers import Workers


class Touching:
    """Reactor's thread. ``came`` hears of aliases that may have got messages."""

    def __init__(
        self,
        workers: Workers,
        directory: Directory,
        at_hand: AtHand,
        leases: Leases,
        usages: Usages,
        notifications: Notifications,
        came: Callable[[str], None],
    ) -> None:
        self._workers = workers
        self._directory = directory
        self._at_hand = at_hand
        self._leases = leases
        self._usages = usages
        self._notifications = notifications
        self._came = came
        self._known: dict[str, int] = {}
        self.missed = False
        """Whether something is left to tell, though the directory does not change."""

    async def look(self) -> None:
        """Tell the sessions of all aliases that were touched since the last look.

        An alias that was not here at the last look counts as touched if it ever was: whether that
        was before its sessions looked into the mailbox is not known, and to be told twice does no
        harm.
        """
        self.missed = False
        aliases = self._at_hand.aliases()
        found = await self._workers.run(self._directory.touched, aliases) if aliases else {}
        news = [alias for alias, number in found.items() if number != self._known.get(alias)]
        self._known = found
        for alias in news:
            self.tell(alias)

    def tell(self, alias: str) -> None:
        """Tell the sessions of one alias, when a key of it is here."""
        if not self._workers.closing:
            self._open(alias).addCallbacks(
                lambda folders: self._announce(alias, folders),
                lambda failure: self._later(alias, failure.value),
            )

    def _open(self, alias: str) -> Deferred[list[Folder]]:
        def look(mailbox: Mailbox, _key: FileKey) -> list[Folder]:
            self._usages.measure(alias, mailbox)
            return mailbox.folders()

        return self._at_hand.run(alias, look)

    def _announce(self, alias: str, folders: list[Folder]) -> None:
        self._notifications.announce(alias, FOLDER_LIST, 0)
        for folder in folders:
            self._notifications.announce(alias, folder.id, folder.highestmodseq)
        self._came(alias)

    def _later(self, alias: str, error: BaseException) -> None:
        """Without a key it is done when one comes; what was busy is asked again."""
        if isinstance(error, KeyGone):
            self._leases.postpone(alias, self.tell)
        elif isinstance(error, (MailboxBusy, Unavailable)):
            self._known.pop(alias, None)
            self.missed = True
