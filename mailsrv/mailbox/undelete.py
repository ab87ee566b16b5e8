"""Expunged messages: which there are, and putting them back into folders.

A message comes back into the folder that it was in, wherever that was renamed to, else into one of
that folder's last name, which is made if need be. It has a new UID there, since the old one was
said to be gone (rfc9051:511), and what a copy keeps: its flags, its date, its EMAILID.
"""

from collections.abc import Sequence
from typing import Any

import apsw

from mailsrv.mailbox import folders, index, messages, recoverable, sql
from mailsrv.mailbox import uids as uid_sets
from mailsrv.mailbox.packing import unpack
from mailsrv.mailbox.recoverable import Row
from mailsrv.mailbox.transaction import Writer
from mailsrv.mailbox.values import (
    DELETED,
    ExpungedMessage,
    ExpungedPage,
    ExpungedQuery,
    Undeleted,
    UndeletedFolder,
)
from mailsrv.message.text import field_values

MAX_ROWS = 500
"""Messages of a page, whatever was asked for."""

MAX_TEXT = 200
"""Characters of a subject or a sender in a list."""

_FROM = (
    "FROM recoverable AS r LEFT JOIN folder AS f ON f.id = r.folder_id "
    "JOIN field AS d ON d.content_id = r.content_id WHERE "
)
_FOLDER = "coalesce(f.name, r.folder)"


class _Condition:
    """The rows that a query means; ``horizon`` is the time before which all are gone."""

    def __init__(self, which: ExpungedQuery, horizon: str | None) -> None:
        self.bindings: dict[str, Any] = {}
        terms = ["1"]
        if horizon is not None:
            terms.append("r.expunged >= :horizon")
            self.bindings["horizon"] = horizon
        if which.ids is not None:
            ids = ", ".join(str(int(one)) for one in which.ids)
            terms.append(f"r.id IN ({ids})")
        if which.folder is not None:
            terms.append(f"{_FOLDER} = :folder")
            self.bindings["folder"] = folders.normalise(which.folder)
        if which.since is not None:
            terms.append("r.expunged >= :since")
            self.bindings["since"] = which.since
        if which.subject:
            terms.append("instr(d.subject, :subject) > 0")
            self.bindings["subject"] = index.comparable(which.subject)
        self.sql = " AND ".join(terms)

    def rows(
        self, connection: apsw.Connection, columns: str, tail: str, **more: Any
    ) -> list[sql.Row]:
        """``columns`` of these rows; ``tail`` orders and limits them."""
        statement = f"SELECT {columns} {_FROM} {self.sql} {tail}"
        return sql.rows(connection, statement, {**self.bindings, **more})


def listing(
    connection: apsw.Connection,
    which: ExpungedQuery,
    horizon: str | None,
    before: int | None,
    max_rows: int,
) -> ExpungedPage:
    """A page of what can be had back, the last expunged first, from below the id ``before``."""
    limit = max(1, min(max_rows, MAX_ROWS))
    found = _Condition(which, horizon).rows(
        connection,
        f"r.id, {_FOLDER}, r.uid, r.content_id, d.sent, r.internal_date, r.saved, r.size, "
        "r.expunged",
        "AND (:before IS NULL OR r.id < :before) ORDER BY r.id DESC LIMIT :limit",
        before=before,
        limit=limit + 1,
    )
    page = [_message(connection, row) for row in found[:limit]]
    return ExpungedPage(page, page[-1].id if len(found) > limit else None)


def undelete(
    writer: Writer, which: ExpungedQuery, horizon: str | None, to: str | None
) -> Undeleted:
    """Put messages back into their folders, or all into the folder ``to``, which is made if need
    be. InvalidInput, TooManyResults."""
    connection = writer.connection
    if to is not None:
        to = folders.normalise(to)
    found = _Condition(which, horizon).rows(
        connection,
        f"r.id, r.size, r.content_id, r.folder_id, {_FOLDER}, r.uid, r.flags, r.keywords, "
        "r.internal_date",
        "ORDER BY r.folder_id, r.uid, r.id",
    )
    before = _number_of_folders(connection)
    places: dict[tuple[int, str], int] = {}
    arriving: dict[int, list[sql.Row]] = {}
    for row in found:
        place = (row[3], row[4])
        if place not in places:
            places[place] = _target(writer, *place, to)
        arriving.setdefault(places[place], []).append(row)
    done = tuple(_put_back(writer, target, rows) for target, rows in arriving.items())
    recoverable.forget(connection, [Row(*row[:3]) for row in found])
    made = _number_of_folders(connection) > before
    return Undeleted(len(found), sum(row[1] for row in found), done, made)


def matching(connection: apsw.Connection, which: ExpungedQuery, limit: int) -> list[Row]:
    """Up to ``limit`` rows that a query means, also those whose time is over."""
    found = _Condition(which, None).rows(
        connection, "r.id, r.size, r.content_id", "ORDER BY r.id LIMIT :limit", limit=limit
    )
    return [Row(*row) for row in found]


def _message(connection: apsw.Connection, row: sql.Row) -> ExpungedMessage:
    id_, folder, uid, content_id, sent, internal_date, saved, size, expunged = row
    # the columns that SEARCH compares are folded, which is not how people want to read them
    header = _header(connection, content_id)
    return ExpungedMessage(
        id=id_,
        folder=folder,
        uid=uid,
        subject=_readable(field_values(header, "subject")[:1]),
        sender=_readable(field_values(header, "from")),
        sent=sent,
        internal_date=internal_date,
        saved=saved,
        size=size,
        expunged=expunged,
    )


def _header(connection: apsw.Connection, content_id: int) -> bytes:
    found = sql.row(
        connection, "SELECT header_codec, header FROM body WHERE content_id = ?", (content_id,)
    )
    return b"" if found is None else unpack(*found)


def _readable(values: Sequence[str]) -> str:
    return " ".join(", ".join(values).split())[:MAX_TEXT]


def _target(writer: Writer, folder_id: int, name: str, to: str | None) -> int:
    if to is not None:
        return folders.provide(writer, to)
    found: int | None = sql.value(
        writer.connection, "SELECT id FROM folder WHERE id = ?", (folder_id,)
    )
    return folders.provide(writer, name) if found is None else found


def _put_back(writer: Writer, target_id: int, rows: Sequence[sql.Row]) -> UndeletedFolder:
    copies = [
        (uid, content_id, flags & ~DELETED, words, date, size)
        for _, size, content_id, _, _, uid, flags, words, date in rows
    ]
    position, uids, modseq = messages.insert_copies(writer, target_id, copies)
    name = folders.with_id(writer.connection, target_id).name
    return UndeletedFolder(target_id, name, position.uidvalidity, uid_sets.ranges(uids), modseq)


def _number_of_folders(connection: apsw.Connection) -> int:
    number: int = sql.value(connection, "SELECT count(*) FROM folder")
    return number
