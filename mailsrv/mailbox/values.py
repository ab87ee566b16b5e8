"""What goes into a mailbox and comes out of it, as plain frozen values.

The same values travel through the store and over the link, so every field is something
that msgspec packs: numbers, text, bytes, tuples and other structs.
"""

from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta

Number = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
"""What SQLite can compare with."""

UidSet = tuple[tuple[Number, Number], ...]
"""Ascending, non-overlapping inclusive ranges of UIDs. ``((1, 4294967295),)`` is everything."""

MAX_UID = 4294967295
ALL_UIDS: UidSet = ((1, MAX_UID),)

# System flags as bits of the ``flags`` column (rfc9051:1254). \Recent is not stored as a flag.
SEEN = 1
ANSWERED = 2
FLAGGED = 4
DELETED = 8
DRAFT = 16
SYSTEM_FLAGS: dict[str, int] = {
    "\\Seen": SEEN,
    "\\Answered": ANSWERED,
    "\\Flagged": FLAGGED,
    "\\Deleted": DELETED,
    "\\Draft": DRAFT,
}


DATE = (
    r"\A[0-9]{4}-(?:0[1-9]|1[0-2])-(?:[0-2][0-9]|3[01])"
    r"T[0-2][0-9]:[0-5][0-9]:(?:[0-5][0-9]|60)Z\Z"
)
"""What a date and time looks like: ISO 8601, UTC, seconds."""


class Flags(msgspec.Struct, frozen=True):
    """System flags as bits, and keywords as text: sorted, unique, one blank between them.

    Keywords compare case-insensitively; the spelling first used in a mailbox is kept.
    """

    system: int = 0
    keywords: str = ""


class Folder(msgspec.Struct, frozen=True):
    """One folder with its counters, as LIST and STATUS need it (rfc9051:3083)."""

    id: int
    name: str
    object_id: str
    special_use: str | None
    subscribed: bool
    uidvalidity: int
    uidnext: int
    highestmodseq: int
    messages: int
    unseen: int
    deleted: int
    recent: int
    size: int


class Selected(msgspec.Struct, frozen=True):
    """What SELECT and EXAMINE answer with.

    ``uids`` is the little-endian ``array('I')`` of the UIDs in ascending order (4 octets each).
    ``recent`` lists those that no session had seen before, taken by this one if it may write.
    """

    folder: Folder
    uids: bytes
    recent: UidSet
    first_unseen: int | None
    """UID of the first message without \\Seen, or None."""
    keywords: tuple[str, ...]
    """Keywords in use in the mailbox."""


class Section(msgspec.Struct, frozen=True):
    """BODY[...] and BINARY[...] of FETCH (rfc9051:3560).

    ``path`` is the part number ("" for the message itself, "1.2" ...); ``kind`` is "" (all of
    it), HEADER, TEXT, MIME, or HEADER.FIELDS / HEADER.FIELDS.NOT with upper-case ``fields``.
    ``start`` and ``length`` cut a partial out; length None means to the end.
    """

    path: str = ""
    kind: Literal["", "HEADER", "TEXT", "MIME", "HEADER.FIELDS", "HEADER.FIELDS.NOT"] = ""
    fields: tuple[str, ...] = ()
    start: Number = 0
    length: Number | None = None


LARGE = 1024 * 1024
"""A section of more octets, or one with which those of a row have more, is not put into the row:
its cell is its size as int, and the caller reads it piece by piece with ``read``."""

SECTIONS_AT_ONCE = 250
"""What a request from elsewhere may ask of each message."""

ColumnName = Literal[
    "flags",
    "keywords",
    "modseq",
    "internal_date",
    "saved",
    "size",
    "envelope",
    "bodystructure",
    "body",
    "email_id",
    "thread_id",
    "preview",
]
"""flags: int bits. keywords: str. modseq, size: int. internal_date, saved: ISO 8601 UTC text
(``2026-11-23T10:15:00Z``). envelope, bodystructure, body: IMAP wire bytes. email_id: 24 hex,
one per content. thread_id: 24 hex. preview: text, at most 200 characters."""

Row = tuple[Any, ...]
"""``uid``, then one cell for each column asked for, then one for each section: bytes, or the
size as int when it is over LARGE, or None for a part that the message does not have."""


class FetchRequest(msgspec.Struct, frozen=True):
    """Rows of one folder, in ascending UID order, a page at a time."""

    uids: UidSet
    columns: Annotated[tuple[ColumnName, ...], Meta(max_length=len(get_args(ColumnName)))] = ()
    sections: Annotated[tuple[Section, ...], Meta(max_length=SECTIONS_AT_ONCE)] = ()
    changed_since: Number | None = None
    """Only messages whose modseq is greater (CHANGEDSINCE, rfc7162:1005)."""
    mark_seen: bool = False
    """Set \\Seen on what this page returns, in the same transaction."""
    max_rows: Number = 1000
    max_bytes: Number = 1024 * 1024
    """A page ends after the row that passes this many octets."""


class FetchPage(msgspec.Struct, frozen=True):
    rows: list[Row]
    next_uid: int | None
    """First UID not looked at yet, for the next request; None when the set is exhausted."""
    newly_seen: tuple[int, ...] = ()
    """UIDs to which mark_seen gave \\Seen; their rows carry the new flags and modseq."""


class FlagRow(msgspec.Struct, frozen=True, array_like=True):
    uid: int
    flags: int
    keywords: str
    modseq: int


class Changes(msgspec.Struct, frozen=True):
    """What happened in a folder after a modseq: the one question that every listener asks.

    ``changed`` has new and changed messages in ascending UID order; those with a UID at or
    above the asker's own uidnext are new. ``vanished`` has UIDs expunged since.
    """

    modseq: int
    uidnext: int
    changed: list[FlagRow]
    vanished: UidSet
    recent: UidSet = ()


class StoreFlags(msgspec.Struct, frozen=True):
    uids: UidSet
    operation: Literal["add", "remove", "replace"]
    flags: Flags
    unchanged_since: Number | None = None


class StoreResult(msgspec.Struct, frozen=True):
    """``base`` and ``modseq`` are the folder's highestmodseq before and after the write.

    ``rows`` are all messages of the set that exist and were not refused, with their flags
    as they are now (changed or not); ``refused`` failed unchanged_since (rfc7162:790).
    """

    base: int
    modseq: int
    rows: list[FlagRow]
    refused: UidSet = ()


class Expunged(msgspec.Struct, frozen=True):
    base: int
    modseq: int
    uids: UidSet


class NewMessage(msgspec.Struct, frozen=True):
    """A message to store. ``internal_date`` is ISO 8601 UTC text; None means now."""

    content: bytes
    flags: Flags = Flags()
    internal_date: str | None = None
    delivery_id: str | None = None
    """A second message with the same id is not stored again."""


class Appended(msgspec.Struct, frozen=True):
    folder_id: int
    uidvalidity: int
    uids: tuple[int, ...]
    """One for each message given, in order; for a repeated delivery_id the first one's UID."""
    modseq: int


class Copied(msgspec.Struct, frozen=True):
    """COPYUID (rfc4315:260): source and destination UIDs pair up in order.

    ``base`` and ``modseq`` are the source folder's, for MOVE; equal to each other for COPY.
    """

    folder_id: int
    uidvalidity: int
    source: tuple[int, ...]
    destination: tuple[int, ...]
    base: int
    modseq: int
    destination_modseq: int


class Usage(msgspec.Struct, frozen=True):
    """Octets (RFC822.SIZE summed over messages, what QUOTA counts) and number of messages."""

    octets: int
    """Those of expunged messages that can be had back included."""
    messages: int
    """Messages in folders."""
    recoverable: int = 0
    """Of the octets, those of expunged messages."""


class ExpungedQuery(msgspec.Struct, frozen=True):
    """Which of the expunged messages that can be had back: all of the conditions hold."""

    ids: Annotated[tuple[Number, ...], Meta(max_length=10_000)] | None = None
    folder: str | None = None
    """The name of their folder, as it is now or was when it was deleted."""
    since: Annotated[str, Meta(pattern=DATE)] | None = None
    """Expunged at this time or later."""
    subject: str = ""
    """A text in the subject, compared as SEARCH does."""


class ExpungedMessage(msgspec.Struct, frozen=True):
    """An expunged message that can be had back. Times are ISO 8601 UTC text."""

    id: int
    folder: str
    uid: int
    """What it had; it comes back under a new one."""
    subject: str
    sender: str
    """Both decoded, and at most 200 characters long."""
    sent: str | None
    internal_date: str
    saved: str
    size: int
    expunged: str


class ExpungedPage(msgspec.Struct, frozen=True):
    """Expunged messages, the newest first."""

    messages: list[ExpungedMessage]
    before: int | None
    """For the next page; None when this is the last."""


class UndeletedFolder(msgspec.Struct, frozen=True):
    """Where messages came back, and under which UIDs."""

    id: int
    name: str
    uidvalidity: int
    uids: UidSet
    modseq: int


class Undeleted(msgspec.Struct, frozen=True):
    messages: int
    octets: int
    folders: tuple[UndeletedFolder, ...]
    made: bool
    """Whether folders were made for them."""


class Purged(msgspec.Struct, frozen=True):
    """Expunged messages that nobody can have back any more."""

    messages: int
    octets: int
