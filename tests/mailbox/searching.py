"""A mailbox on disk for the tests of searching, and its messages as plain values."""

from datetime import UTC, datetime
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mailsrv.keys.filekey import FileKey
from mailsrv.mailbox.criteria import Criteria, Found
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.mailbox.uids import unpack
from mailsrv.mailbox.values import MAX_UID, FetchRequest, Flags, NewMessage, Section
from tests.mailbox.naive import Message

KEY = FileKey(raw=bytes(range(32)), salt=bytes(range(100, 116)))


def now() -> datetime:
    return datetime(2026, 11, 23, 10, 15, tzinfo=UTC)


class MailboxCase(SynchronousTestCase):
    """A test that makes mailboxes."""

    def new_mailbox(self) -> Mailbox:
        return Mailbox.create(Path(self.mktemp()), KEY, now)

    def inbox(self, mailbox: Mailbox) -> int:
        return next(one.id for one in mailbox.folders() if one.name == "INBOX")

    def append(self, mailbox: Mailbox, *contents: bytes, flags: int = 0) -> None:
        messages = [NewMessage(content, Flags(flags)) for content in contents]
        mailbox.append("INBOX", messages, None)

    def stored(self, mailbox: Mailbox) -> list[Message]:
        """The messages of INBOX, as FETCH gives them; none may be LARGE."""
        columns = ("flags", "keywords", "internal_date", "saved", "modseq")
        found: list[Message] = []
        start: int | None = 1
        while start is not None:
            request = FetchRequest(((start, MAX_UID),), columns, (Section(),), max_bytes=2**24)
            page = mailbox.fetch(self.inbox(mailbox), request)
            found += [Message(row[0], row[6], *row[1:6]) for row in page.rows]
            start = page.next_uid
        return found

    def uids(self, found: Found) -> list[int]:
        return list(unpack(found.uids))

    def search(self, mailbox: Mailbox, criteria: Criteria) -> list[int]:
        return self.uids(mailbox.search(self.inbox(mailbox), criteria))


def message(body: str = "", **fields: str) -> bytes:
    """A plain UTF-8 message; ``list_id="x"`` becomes ``List-Id: x``."""
    lines = [f"{name.replace('_', '-').title()}: {value}" for name, value in fields.items()]
    lines.append("Content-Type: text/plain; charset=utf-8")
    return "\r\n".join([*lines, "", body]).encode()
