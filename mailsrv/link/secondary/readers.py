"""Which sessions of a front end read which mailbox files; see ``near_store``."""

from collections.abc import Callable

import attrs
from zope.interface import implementer

from mailsrv.store.interfaces import IListener
from mailsrv.store.values import Access


@attrs.define(eq=False)
class Reader:
    """One session."""

    access: Access
    """As the front end has it."""
    mailbox: str
    """The file last read for it, which is another one after a move."""


class Readers:
    """The registry. ``unread`` hears of files that no session reads any more."""

    def __init__(self, unread: Callable[[str], None]) -> None:
        self._unread = unread
        self._readers: dict[str, Reader] = {}
        self._files: dict[str, set[Reader]] = {}

    def add(self, access: Access) -> Reader:
        """Enter a session that has just logged in."""
        reader = self._readers[access.session] = Reader(access, access.mailbox)
        self._files.setdefault(reader.mailbox, set()).add(reader)
        return reader

    def of(self, access: Access) -> Reader | None:
        """The session of exactly this access."""
        reader = self._readers.get(access.session)
        return reader if reader is not None and reader.access == access else None

    def reads(self, reader: Reader, mailbox: str) -> None:
        """From now on it reads this file."""
        if reader.mailbox != mailbox:
            self._leave(reader)
            reader.mailbox = mailbox
            self._files.setdefault(mailbox, set()).add(reader)

    def remove(self, reader: Reader) -> None:
        """Forget a session; may be called twice."""
        if self._readers.get(reader.access.session) is reader:
            del self._readers[reader.access.session]
            self._leave(reader)

    def clear(self) -> None:
        """Forget all of them."""
        for reader in list(self._readers.values()):
            self.remove(reader)

    def _leave(self, reader: Reader) -> None:
        readers = self._files[reader.mailbox]
        readers.discard(reader)
        if not readers:
            del self._files[reader.mailbox]
            self._unread(reader.mailbox)


@implementer(IListener)
@attrs.define(eq=False)
class Listener:
    """Hears of the end of a session before the front end does."""

    front: IListener | None
    end: Callable[[Reader], None]
    reader: Reader | None = None
    """None before the login is answered."""
    ended: bool = False

    def changed(self, folder_id: int, modseq: int) -> None:
        if self.front is not None:
            self.front.changed(folder_id, modseq)

    def revoked(self, reason: str) -> None:
        self.ended = True
        if self.reader is not None:
            self.end(self.reader)
        if self.front is not None:
            self.front.revoked(reason)
