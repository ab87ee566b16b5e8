"""Messages from elsewhere, brought in so that giving the same ones again adds nothing.

A folder shall hold each message as often as its source does: of those with the same octets and the
same internal date only as many are added as are missing. So it does not matter at which message an
import was cut short, nor how long ago; and one that was deleted here comes back by importing it
again. Where a source numbers its messages a *mark* says how far it was taken, in the transaction of
the messages themselves.
"""

from collections.abc import Sequence

import apsw
import msgspec

from mailsrv.mailbox import contents, folders, messages, sql
from mailsrv.mailbox.connection import translated
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.mailbox.transaction import Writer
from mailsrv.mailbox.values import Appended, Flags, NewMessage

_MARK = "import "


class Incoming(msgspec.Struct, frozen=True):
    """One message. ``internal_date`` is ISO 8601 UTC text.

    ``occurrence`` counts from 1 the messages of the source's folder that have these octets and
    this date. Where that is 0 the message is brought in only if it is in no folder yet.
    """

    content: bytes
    sha256: bytes
    flags: Flags
    internal_date: str
    occurrence: int = 1


class Mark(msgspec.Struct, frozen=True):
    """How far a folder of a source was taken. ``name`` tells it from all others."""

    name: str
    value: int


def missing(mailbox: Mailbox, folder: str, new: Sequence[Incoming]) -> list[Incoming]:
    """Those of the messages that the folder does not hold. NoSuchFolder."""
    with mailbox.reading() as connection:
        folder_id = folders.id_of(connection, folder)
        return [one for one in new if not _held(connection, folder_id, one)]


def append_missing(
    mailbox: Mailbox, folder: str, new: Sequence[Incoming], marks: Sequence[Mark] = ()
) -> Appended:
    """Store those that are missing and the marks, all or none, on disk. NoSuchFolder."""
    connection = mailbox.connection
    with translated(connection):
        prepared = [(one, contents.prepare(connection, one.content)) for one in new]
    with mailbox.writing() as writer:
        folder_id = folders.id_of(connection, folder)
        wanted = [
            (NewMessage(one.content, one.flags, one.internal_date), ready)
            for one, ready in prepared
            if not _held(connection, folder_id, one)
        ]
        appended = messages.append(writer, folder_id, wanted)
        connection.executemany(
            "INSERT OR REPLACE INTO meta VALUES (?, ?)",
            [(_MARK + mark.name, mark.value) for mark in marks],
        )
    return appended


def marked(mailbox: Mailbox, name: str) -> int:
    """The mark of that name; 0 when there is none."""
    with mailbox.reading() as connection:
        value: int | None = sql.value(
            connection, "SELECT value FROM meta WHERE name = ?", (_MARK + name,)
        )
    return value or 0


class Wanted(msgspec.Struct, frozen=True):
    """A folder as a source has it; its name is normal."""

    name: str
    special_use: str | None
    subscribed: bool


def settle(
    mailbox: Mailbox, wanted: Sequence[Wanted], subscriptions: Sequence[str], *, whole: bool
) -> None:
    """See that these folders are there, in one transaction. InvalidInput, TooManyResults.

    A mailbox that is as it was made becomes like the source. Of its first folders those go that the
    source does not have: all of them if it tells the ``whole`` of a mailbox, and else those in
    whose place it has another of that special use. Any other mailbox only gains.
    """
    with mailbox.writing() as writer:
        connection = writer.connection
        is_new = _is_untouched(connection)
        if is_new:
            _make_way(writer, wanted, whole=whole)
        for one in wanted:
            _settle(writer, one, is_new=is_new, whole=whole)
        for name in subscriptions:
            folders.subscribe(connection, name, subscribed=True)


def _is_untouched(connection: apsw.Connection) -> bool:
    found = folders.listing(connection)
    return {one.name: one.special_use for one in found} == dict(folders.FIRST_FOLDERS) and all(
        one.uidnext == 1 for one in found
    )


def _make_way(writer: Writer, wanted: Sequence[Wanted], *, whole: bool) -> None:
    names = {one.name for one in wanted}
    uses = {one.special_use for one in wanted if one.special_use}
    for name, use in folders.FIRST_FOLDERS:
        if name not in names and name != folders.INBOX and (whole or use in uses):
            if not any(other.startswith(f"{name}/") for other in names):
                folders.delete(writer, name, keep=False)
            folders.subscribe(writer.connection, name, subscribed=False)


def _settle(writer: Writer, one: Wanted, *, is_new: bool, whole: bool) -> None:
    connection = writer.connection
    if not folders.exists(connection, one.name):
        folders.create(writer, one.name, one.special_use)
    elif one.special_use is not None or (is_new and whole):
        folders.set_special_use(connection, one.name, one.special_use)
    if one.subscribed or is_new:
        folders.subscribe(connection, one.name, subscribed=one.subscribed)


def _held(connection: apsw.Connection, folder_id: int, new: Incoming) -> bool:
    content_id: int | None = sql.value(
        connection, "SELECT id FROM content WHERE sha256 = ?", (new.sha256,)
    )
    if content_id is None:
        return False
    if new.occurrence == 0:
        found = sql.row(
            connection, "SELECT 1 FROM message WHERE content_id = ? LIMIT 1", (content_id,)
        )
        return found is not None
    count: int = sql.value(
        connection,
        "SELECT count(*) FROM message WHERE content_id = ? AND folder_id = ? AND internal_date = ?",
        (content_id, folder_id, new.internal_date),
    )
    return count >= new.occurrence
