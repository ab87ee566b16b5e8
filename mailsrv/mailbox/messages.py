"""Messages in folders: putting them in, copying, moving, flagging, expunging.

These functions write rows of ``message`` and keep the counters of ``folder`` beside them; what a
message contains is ``contents``'s matter. They run inside a write transaction of the caller.
"""

import re
from collections.abc import Iterable, Sequence
from itertools import starmap

import apsw
import msgspec

from mailsrv.errors import InvalidInput, NoSuchFolder
from mailsrv.mailbox import contents, keywords, recoverable, sql
from mailsrv.mailbox import uids as uid_sets
from mailsrv.mailbox.transaction import Writer
from mailsrv.mailbox.values import (
    ALL_UIDS,
    DATE,
    DELETED,
    MAX_UID,
    SEEN,
    Appended,
    Copied,
    Expunged,
    FlagRow,
    Flags,
    NewMessage,
    StoreFlags,
    StoreResult,
    UidSet,
)

MAX_EXPUNGED_RANGES = 10_000
"""Ranges of expunged UIDs remembered for each folder; older ones fall behind the floor."""

_ALL_FLAGS = 31
_DATE = re.compile(DATE)


class _Position(msgspec.Struct):
    """Where the next message of a folder goes."""

    uidvalidity: int
    uidnext: int


class _Tally(msgspec.Struct):
    """What a write adds to the counters of a folder."""

    messages: int = 0
    unseen: int = 0
    deleted: int = 0
    size: int = 0

    def count(self, flags: int, size: int, sign: int = 1) -> None:
        """Count one message that comes (1) or goes (-1)."""
        self.messages += sign
        self.unseen += sign * (not flags & SEEN)
        self.deleted += sign * bool(flags & DELETED)
        self.size += sign * size

    def apply(self, connection: apsw.Connection, folder_id: int, uidnext: int = 0) -> None:
        """Add this to the folder's counters, and raise its next UID to ``uidnext``."""
        connection.execute(
            "UPDATE folder SET messages = messages + ?, unseen = unseen + ?, "
            "deleted = deleted + ?, size = size + ?, uidnext = max(uidnext, ?) WHERE id = ?",
            (self.messages, self.unseen, self.deleted, self.size, uidnext, folder_id),
        )


def select_rows(
    connection: apsw.Connection,
    columns: str,
    folder_id: int,
    uids: UidSet,
    condition: str = "",
    limit: int = -1,
) -> list[sql.Row]:
    """``columns`` of the messages of a set, in ascending order of UID; ``limit`` is per range."""
    statement = (
        f"SELECT {columns} FROM message WHERE folder_id = ? AND uid BETWEEN ? AND ?"  # noqa: S608
        f"{condition} ORDER BY uid LIMIT {limit}"
    )
    spans = uid_sets.within(uids)
    if len(spans) == 1:
        return sql.rows(connection, statement, (folder_id, *spans[0]))
    return sql.rows_of_each(connection, statement, [(folder_id, *span) for span in spans])


def append(
    writer: Writer, folder_id: int, new: Sequence[tuple[NewMessage, contents.Prepared]]
) -> Appended:
    """Put messages at the end of a folder, all or none; a repeated delivery id not again."""
    position = _position(writer.connection, folder_id)
    tally = _Tally()
    uids = []
    modseq = 0
    for message, prepared in new:
        uid = _delivered(writer, message.delivery_id)
        if uid is None:
            modseq = modseq or writer.raise_modseq(folder_id).modseq
            uid = _append_one(writer, folder_id, position, (message, prepared), modseq, tally)
        uids.append(uid)
    if modseq:
        tally.apply(writer.connection, folder_id, position.uidnext)
    else:
        modseq = _highestmodseq(writer.connection, folder_id)
    return Appended(folder_id, position.uidvalidity, tuple(uids), modseq)


def copy(writer: Writer, folder_id: int, uids: UidSet, target_id: int) -> Copied:
    """Copy messages to the end of another folder or the same; flags and dates stay."""
    base = _highestmodseq(writer.connection, folder_id)
    rows = _copyable(writer.connection, folder_id, uids)
    position, destination, modseq = insert_copies(writer, target_id, rows)
    return Copied(
        target_id,
        position.uidvalidity,
        tuple(row[0] for row in rows),
        destination,
        base,
        base,
        modseq,
    )


def move(writer: Writer, folder_id: int, uids: UidSet, target_id: int) -> Copied:
    """Copy messages, then take them out of the folder (rfc6851:140)."""
    connection = writer.connection
    base = modseq = _highestmodseq(connection, folder_id)
    rows = _copyable(connection, folder_id, uids)
    position, destination, target_modseq = insert_copies(writer, target_id, rows)
    if rows:
        modseq = writer.raise_modseq(folder_id).modseq
        _take_out(writer, folder_id, [(row[0], row[2], row[5]) for row in rows], modseq)
    if target_id == folder_id:
        target_modseq = modseq
    source = tuple(row[0] for row in rows)
    return Copied(target_id, position.uidvalidity, source, destination, base, modseq, target_modseq)


def expunge(writer: Writer, folder_id: int, uids: UidSet, *, keep: bool) -> Expunged:
    """Remove those messages of the set that have \\Deleted; ``keep``: they can be had back."""
    connection = writer.connection
    base = _highestmodseq(connection, folder_id)
    rows = select_rows(
        connection, "uid, flags, size, content_id", folder_id, uids, f" AND flags & {DELETED}"
    )
    if not rows:
        return Expunged(base, base, ())
    raised = writer.raise_modseq(folder_id)
    gone = uid_sets.ranges(row[0] for row in rows)
    if keep:
        recoverable.keep(writer, folder_id, gone)
    _take_out(writer, folder_id, [row[:3] for row in rows], raised.modseq)
    contents.release(connection, {row[3] for row in rows})
    return Expunged(raised.base, raised.modseq, gone)


def forget_folder(writer: Writer, folder_id: int, *, keep: bool) -> None:
    """Remove all messages of a folder that is about to be deleted; ``keep`` as for ``expunge``."""
    connection = writer.connection
    if keep:
        recoverable.keep(writer, folder_id, ALL_UIDS)
    held = sql.rows(
        connection, "SELECT DISTINCT content_id FROM message WHERE folder_id = ?", (folder_id,)
    )
    connection.execute("DELETE FROM message WHERE folder_id = ?", (folder_id,))
    contents.release(connection, [content_id for (content_id,) in held])


def store_flags(writer: Writer, folder_id: int, change: StoreFlags) -> StoreResult:
    """Change flags and keywords of the messages of a set that exist (rfc7162:536)."""
    connection = writer.connection
    base = _highestmodseq(connection, folder_id)
    found = select_rows(connection, "uid, flags, keywords, modseq", folder_id, change.uids)
    rows = list(starmap(FlagRow, found))
    refused: UidSet = ()
    if change.unchanged_since is not None:
        limit = change.unchanged_since
        refused = uid_sets.ranges(row.uid for row in rows if row.modseq > limit)
        rows = [row for row in rows if row.modseq <= limit]
    results = _FlagChange(connection, change).apply(rows)
    if all(new is old for new, old in zip(results, rows, strict=True)):
        return StoreResult(base, base, rows, refused)
    raised = writer.raise_modseq_lazily(folder_id)
    rows = _write_flags(connection, folder_id, rows, results, raised.modseq)
    return StoreResult(raised.base, raised.modseq, rows, refused)


class _FlagChange:
    """What one STORE does to the flags of a message; the same flags are worked out once."""

    def __init__(self, connection: apsw.Connection, change: StoreFlags) -> None:
        self._operation = change.operation
        self._system = change.flags.system & _ALL_FLAGS
        find = keywords.known if change.operation == "remove" else keywords.register
        self._keywords = find(connection, change.flags.keywords)
        self._known: dict[tuple[int, str], tuple[int, str]] = {}

    def apply(self, rows: list[FlagRow]) -> list[FlagRow]:
        """The rows with their new flags; those that stay the same are the same objects."""
        results = []
        for row in rows:
            old = (row.flags, row.keywords)
            new = self._known.get(old)
            if new is None:
                new = self._known[old] = self._changed(*old)
            results.append(row if new == old else FlagRow(row.uid, *new, row.modseq))
        return results

    def _changed(self, system: int, words: str) -> tuple[int, str]:
        old = set(words.split(" ")) if words else set()
        match self._operation:
            case "add":
                return system | self._system, keywords.join(old | self._keywords)
            case "remove":
                return system & ~self._system, keywords.join(old - self._keywords)
            case "replace":
                return self._system, keywords.join(self._keywords)


def mark_seen(writer: Writer, folder_id: int, uids: Iterable[int]) -> list[FlagRow]:
    """Give \\Seen to those of the messages that lack it; their new flags."""
    change = StoreFlags(uid_sets.ranges(uids), "add", Flags(SEEN))
    result = store_flags(writer, folder_id, change)
    if result.modseq == result.base:
        return []
    return [row for row in result.rows if row.modseq == result.modseq]


def _write_flags(
    connection: apsw.Connection,
    folder_id: int,
    rows: list[FlagRow],
    results: list[FlagRow],
    modseq: int,
) -> list[FlagRow]:
    """Write the results that differ; all rows as they are now."""
    tally = _Tally()
    written = []
    for at, (old, new) in enumerate(zip(rows, results, strict=True)):
        if new is not old:
            results[at] = FlagRow(new.uid, new.flags, new.keywords, modseq)
            written.append((new.flags, new.keywords, modseq, folder_id, new.uid))
            tally.unseen += (old.flags & SEEN) - (new.flags & SEEN)
            tally.deleted += ((new.flags & DELETED) - (old.flags & DELETED)) // DELETED
    connection.executemany(
        "UPDATE message SET flags = ?, keywords = ?, modseq = ? WHERE folder_id = ? AND uid = ?",
        written,
    )
    tally.apply(connection, folder_id)
    return results


def _append_one(
    writer: Writer,
    folder_id: int,
    position: _Position,
    new: tuple[NewMessage, contents.Prepared],
    modseq: int,
    tally: _Tally,
) -> int:
    message, prepared = new
    date = message.internal_date
    if date is not None and not _DATE.fullmatch(date):
        raise InvalidInput("an internal date looks like 2026-11-23T10:15:00Z")
    flags = message.flags.system & _ALL_FLAGS
    words = keywords.join(keywords.register(writer.connection, message.flags.keywords))
    content_id = contents.store(writer, prepared)
    uid = _take_uid(position)
    writer.connection.execute(
        "INSERT INTO message VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(folder_id, uid, content_id, flags, words, date or writer.now, writer.now),
            *(modseq, prepared.size),
        ),
    )
    tally.count(flags, prepared.size)
    if message.delivery_id is not None:
        writer.remember(f"delivery {message.delivery_id}", msgspec.msgpack.encode(uid))
    return uid


def _delivered(writer: Writer, delivery_id: str | None) -> int | None:
    """The UID that an earlier delivery with this id got."""
    if delivery_id is None:
        return None
    known = writer.applied(f"delivery {delivery_id}")
    return None if known is None else msgspec.msgpack.decode(known, type=int)


def _copyable(connection: apsw.Connection, folder_id: int, uids: UidSet) -> list[sql.Row]:
    return select_rows(
        connection, "uid, content_id, flags, keywords, internal_date, size", folder_id, uids
    )


def insert_copies(
    writer: Writer, target_id: int, rows: Sequence[sql.Row]
) -> tuple[_Position, tuple[int, ...], int]:
    """Insert messages given as rows of ``_copyable``; their UIDs and the target's modseq."""
    connection = writer.connection
    position = _position(connection, target_id)
    if not rows:
        return position, (), _highestmodseq(connection, target_id)
    modseq = writer.raise_modseq(target_id).modseq
    tally = _Tally()
    inserted = []
    for _, content_id, flags, words, date, size in rows:
        uid = _take_uid(position)
        inserted.append((target_id, uid, content_id, flags, words, date, writer.now, modseq, size))
        tally.count(flags, size)
    connection.executemany("INSERT INTO message VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", inserted)
    tally.apply(connection, target_id, position.uidnext)
    return position, tuple(row[1] for row in inserted), modseq


def _take_out(writer: Writer, folder_id: int, rows: Sequence[Sequence[int]], modseq: int) -> None:
    """Delete rows given as (uid, flags, size), count them off and remember that they went."""
    connection = writer.connection
    tally = _Tally()
    for _, flags, size in rows:
        tally.count(flags, size, -1)
    gone = [row[0] for row in rows]
    connection.executemany(
        "DELETE FROM message WHERE folder_id = ? AND uid = ?", [(folder_id, uid) for uid in gone]
    )
    tally.apply(connection, folder_id)
    connection.executemany(
        "INSERT INTO expunged VALUES (?, ?, ?, ?)",
        [(folder_id, modseq, *span) for span in uid_sets.ranges(gone)],
    )
    _prune_expunged(connection, folder_id)


def _prune_expunged(connection: apsw.Connection, folder_id: int) -> None:
    """Forget the oldest expunges beyond the cap, and note from where on the log is whole."""
    floor = sql.value(
        connection,
        "SELECT modseq FROM expunged WHERE folder_id = ? ORDER BY modseq DESC LIMIT 1 OFFSET ?",
        (folder_id, MAX_EXPUNGED_RANGES),
    )
    if floor is None:
        return
    connection.execute(
        "DELETE FROM expunged WHERE folder_id = ? AND modseq <= ?", (folder_id, floor)
    )
    connection.execute("UPDATE folder SET expunged_floor = ? WHERE id = ?", (floor, folder_id))


def _position(connection: apsw.Connection, folder_id: int) -> _Position:
    found = sql.row(
        connection, "SELECT uidvalidity, uidnext FROM folder WHERE id = ?", (folder_id,)
    )
    if found is None:
        raise NoSuchFolder("the folder has gone")
    return _Position(*found)


def _take_uid(position: _Position) -> int:
    uid = position.uidnext
    if uid >= MAX_UID:
        raise InvalidInput("the folder has used up its UIDs: copy its messages to a new one")
    position.uidnext = uid + 1
    return uid


def _highestmodseq(connection: apsw.Connection, folder_id: int) -> int:
    modseq: int | None = sql.value(
        connection, "SELECT highestmodseq FROM folder WHERE id = ?", (folder_id,)
    )
    if modseq is None:
        raise NoSuchFolder("the folder has gone")
    return modseq
