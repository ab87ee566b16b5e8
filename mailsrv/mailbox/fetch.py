"""Pages of FETCH rows: what was asked for and nothing else (rfc9051:4330).

Columns come out of SQL as finished tuples. A section is a range of the message's octets; only the
header is read for a section of the header, and only the stored parts that a range touches.
"""

from collections.abc import Callable, Iterator
from itertools import accumulate, chain, islice
from typing import NamedTuple

import apsw
from msgspec.structs import replace

from mailsrv.mailbox import contents, sql
from mailsrv.mailbox.contents import Stored
from mailsrv.mailbox.selection import Selection
from mailsrv.mailbox.values import LARGE, FetchPage, FetchRequest, FlagRow, Row, Section
from mailsrv.message.scan import Part, body
from mailsrv.message.sections import filter_fields, locate

MAX_ROWS = 10_000
MAX_BYTES = 4 * LARGE
"""Rows and octets of a page, whatever the request says."""

_LONG_BATCH = 64
_SECTION_BATCH = 8
"""Messages read ahead: what a page does not take of them is read again."""

_SHORT = ("flags", "modseq", "internal_date", "saved", "size", "email_id", "thread_id")
"""Columns so short that the number of rows alone bounds a page."""


class _Source(NamedTuple):
    """What ``body`` has of one message; what the sections do not need was not read."""

    size: int
    stored: Stored
    root: bytes | None

    def tree(self) -> Part:
        """The tree of parts."""
        return contents.decode_root(self.root or b"")


def fetch(connection: apsw.Connection, folder_id: int, request: FetchRequest) -> FetchPage:
    """One page of rows in ascending order of UID, inside a transaction of the caller."""
    limit = max(1, min(request.max_rows, MAX_ROWS))
    request = replace(request, max_bytes=min(request.max_bytes, MAX_BYTES))
    selection = Selection(connection, folder_id, request)
    if request.sections:
        rows = selection.rows(_SECTION_BATCH, _source_columns(request.sections))
        page = _page_of_sections(connection, rows, request, limit)
    else:
        page = _page_of_columns(selection, request, limit)
    more = bool(page) and selection.any_after(page[-1][0])
    return FetchPage(page, page[-1][0] + 1 if more else None)


def read(connection: apsw.Connection, folder_id: int, uid: int, section: Section) -> bytes | None:
    """One section of any size; None for a message or a part that is not there."""
    found = sql.row(
        connection,
        f"SELECT {_source_columns((section,))} FROM message AS m JOIN body AS b "  # noqa: S608
        "ON b.content_id = m.content_id WHERE m.folder_id = ? AND m.uid = ?",
        (folder_id, uid),
    )
    if found is None:
        return None
    cell = _cell(connection, _source(found), section, large=None)
    return cell if isinstance(cell, bytes) else None


def with_flags(page: FetchPage, request: FetchRequest, changed: list[FlagRow]) -> FetchPage:
    """The page after some of its messages got other flags."""
    new = {row.uid: row for row in changed}
    places = [
        (1 + place, name)
        for place, name in enumerate(request.columns)
        if name in ("flags", "keywords", "modseq")
    ]
    rows = list(page.rows)
    for at, row in enumerate(rows):
        flags = new.get(row[0])
        if flags is not None:
            cells = list(row)
            for place, name in places:
                cells[place] = getattr(flags, name)
            rows[at] = tuple(cells)
    return FetchPage(rows, page.next_uid, tuple(new))


def _source_columns(sections: tuple[Section, ...]) -> str:
    """The columns of ``_Source``, with NULL for those that no section needs."""
    only_header = all(not one.path and one.kind.startswith("HEADER") for one in sections)
    root = any(one.path for one in sections)
    skeleton = "NULL, NULL, NULL" if only_header else "b.skeleton_codec, b.skeleton, b.layout"
    return f"m.size, b.header_codec, b.header, {skeleton}, {'b.root' if root else 'NULL'}"


def _source(cells: sql.Row) -> _Source:
    return _Source(cells[0], Stored(*cells[1:6]), cells[6])


def _page_of_columns(selection: Selection, request: FetchRequest, limit: int) -> list[Row]:
    long = [1 + at for at, name in enumerate(request.columns) if name not in _SHORT]
    if not long:
        return list(islice(selection.rows(limit), limit))
    rows = selection.rows(min(_LONG_BATCH, limit))
    finish = _body_finisher(request)
    page: list[Row] = []
    octets = 0
    while len(page) < limit and octets <= request.max_bytes:
        batch = list(islice(rows, min(_LONG_BATCH, limit - len(page))))
        if not batch:
            break
        if finish is not None:
            batch = [finish(row) for row in batch]
        octets += sum([sum([len(row[at]) for at in long]) for row in batch])
        page += batch
    return _cut(page, long, request.max_bytes) if octets > request.max_bytes else page


def _cut(page: list[Row], long: list[int], max_bytes: int) -> list[Row]:
    """The page up to the row that passes its octets."""
    sums = accumulate(sum(len(row[at]) for at in long) for row in page)
    count = next((at + 1 for at, octets in enumerate(sums) if octets > max_bytes), len(page))
    return page[:count]


def _page_of_sections(
    connection: apsw.Connection, rows: Iterator[sql.Row], request: FetchRequest, limit: int
) -> list[Row]:
    width = 1 + len(request.columns)
    finish = _body_finisher(request)
    page: list[Row] = []
    octets = 0
    for raw in rows:
        columns = raw[:width] if finish is None else finish(raw[:width])
        source = _source(raw[width:])
        cells = _cells(connection, source, request.sections)
        page.append((*columns, *cells))
        long = chain(columns, cells)
        octets += sum([len(cell) for cell in long if isinstance(cell, (bytes, str))])
        if octets > request.max_bytes or len(page) >= limit:
            break
    return page


def _body_finisher(request: FetchRequest) -> Callable[[Row], Row] | None:
    """What makes the BODY column of the stored tree, where it was asked for."""
    if "body" not in request.columns:
        return None
    at = 1 + request.columns.index("body")
    return lambda row: (*row[:at], body(contents.decode_root(row[at])), *row[at + 1 :])


def _cells(
    connection: apsw.Connection, source: _Source, sections: tuple[Section, ...]
) -> list[bytes | int | None]:
    """The sections of one message: what exceeds ``LARGE`` together is to be read piece by piece."""
    room, cells = LARGE, []
    for one in sections:
        cell = _cell(connection, source, one, large=room)
        room -= len(cell) if isinstance(cell, bytes) else 0
        cells.append(cell)
    return cells


def _cell(
    connection: apsw.Connection, source: _Source, section: Section, *, large: int | None
) -> bytes | int | None:
    """The octets of a section, their number when that is above ``large``, None without it."""
    place = _place(source, section)
    if place is None:
        return None
    if section.kind.startswith("HEADER.FIELDS"):
        header = contents.octets(connection, source.stored, *place)
        exclude = section.kind == "HEADER.FIELDS.NOT"
        fields = filter_fields(header, section.fields, exclude)
        start, end = _partial(0, len(fields), section)
        return end - start if large is not None and end - start > large else fields[start:end]
    start, end = _partial(*place, section)
    if large is not None and end - start > large:
        return end - start
    if (start, end) == (0, source.size):
        return contents.whole(connection, source.stored)
    return contents.octets(connection, source.stored, start, end)


def _place(source: _Source, section: Section) -> tuple[int, int] | None:
    """Where the section is in the message; the tree is needed below the top level only."""
    if section.path:
        return locate(source.tree(), section.path, section.kind)
    if section.kind == "":
        return 0, source.size
    if section.kind == "MIME":
        return None
    header = len(contents.header(source.stored))
    return (header, source.size) if section.kind == "TEXT" else (0, header)


def _partial(start: int, end: int, section: Section) -> tuple[int, int]:
    first = min(start + max(section.start, 0), end)
    if section.length is None:
        return first, end
    return first, min(first + max(section.length, 0), end)
