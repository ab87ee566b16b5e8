"""What the tests of this room share: clocks, keys, mailboxes, messages."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from mailsrv.keys.filekey import FileKey
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.mailbox.values import (
    ALL_UIDS,
    ColumnName,
    FetchRequest,
    Flags,
    Folder,
    NewMessage,
    Row,
    Section,
)

NO_FLAGS = Flags()
CORPUS = Path(__file__).parents[3] / "shared" / "corpus"


class Clock:
    """A time that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 11, 23, 10, 15, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.moment

    def advance(self, **amount: float) -> None:
        self.moment += timedelta(**amount)

    @property
    def text(self) -> str:
        return self.moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def new_key() -> FileKey:
    return FileKey(raw=os.urandom(32), salt=os.urandom(16))


def message(number: int = 1, body: str = "Hello\r\n") -> bytes:
    return (
        f"From: Alice <alice@example.com>\r\nTo: bob@example.net\r\nSubject: Number {number}\r\n"
        f"Message-ID: <{number}@example.com>\r\nDate: Mon, 23 Nov 2026 11:15:00 +0100\r\n\r\n{body}"
    ).encode()


def corpus() -> Iterator[tuple[str, bytes]]:
    """Every message of the shared corpus, with its path; skips the test without it."""
    if not CORPUS.is_dir():
        raise SkipTest("the shared corpus of messages is not beside the project")
    for path in sorted(CORPUS.rglob("*")):
        if path.is_file() and path.suffix not in (".tsv", ".md"):
            yield str(path.relative_to(CORPUS)), path.read_bytes()


def fetch_all(
    mailbox: Mailbox,
    folder_id: int,
    columns: tuple[ColumnName, ...] = (),
    sections: tuple[Section, ...] = (),
    **options: int,
) -> list[Row]:
    """Rows of all pages."""
    rows: list[Row] = []
    uid: int | None = 1
    while uid is not None:
        uids = ((uid, ALL_UIDS[0][1]),)
        page = mailbox.fetch(folder_id, FetchRequest(uids, columns, sections, **options))
        rows += page.rows
        uid = page.next_uid
    return rows


class MailboxTestCase(SynchronousTestCase):
    """A new mailbox for each test."""

    def setUp(self) -> None:
        self.now = Clock()
        self.key = new_key()
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.path = self.directory / "353a03f21e534321f5d6e267.sqlite"
        self.mailbox = Mailbox.create(self.path, self.key, self.now)
        self.addCleanup(self.mailbox.close)
        self.inbox = self.folder("INBOX").id

    def open(self, **options: object) -> Mailbox:
        """Another connection to the same file."""
        mailbox = Mailbox.open(self.path, self.key, self.now, **options)
        self.addCleanup(mailbox.close)
        return mailbox

    def folder(self, name: str) -> Folder:
        return next(one for one in self.mailbox.folders() if one.name == name)

    def put(self, *contents: bytes, folder: str = "INBOX", flags: Flags = NO_FLAGS) -> list[int]:
        """Append messages; their UIDs."""
        new = [NewMessage(one, flags) for one in contents]
        return list(self.mailbox.append(folder, new).uids)

    def content(self, uid: int, folder_id: int | None = None) -> bytes | None:
        return self.mailbox.read(folder_id or self.inbox, uid, Section())
