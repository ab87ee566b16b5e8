"""Which mailboxes are at home here: several primaries share a directory, each its own volume."""

from mailsrv.directory.directory import Alias, Directory, MailboxRecord
from mailsrv.errors import Elsewhere, MailboxMoved, MailboxNotReady

NOT_READY = "the owner of this address has not set a password yet"


class Home:
    """Asks the directory; blocking, for worker threads. ``name`` is that of this primary."""

    def __init__(self, directory: Directory, name: str) -> None:
        self._directory = directory
        self.name = name

    def check(self, served: Alias | MailboxRecord) -> None:
        """Elsewhere, unless this primary serves it."""
        if served.primary != self.name:
            raise Elsewhere(served.primary)

    def mailbox(self, alias: str) -> MailboxRecord:
        """The current file of an alias. NoSuchAlias, MailboxNotReady, Elsewhere."""
        record = self._directory.mailbox(alias)
        if record is None:
            self.check(self._directory.alias_by_id(alias))
            raise MailboxNotReady(NOT_READY)
        self.check(record)
        return record

    def check_current(self, alias: str, mailbox: str) -> None:
        """MailboxMoved or Elsewhere, unless this file is the current one of the alias."""
        record = self._directory.mailbox(alias)
        if record is not None:
            self.check(record)
        if record is None or record.id != mailbox:
            raise MailboxMoved("the mailbox was replaced: log in again")

    def needs_waiting_mail(self, public_key: bytes) -> bool:
        """Whether a mailbox that is here may have mail waiting for this key."""
        return self._directory.needs_waiting_mail(public_key, self.name)
