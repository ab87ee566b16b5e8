"""FETCH responses, made a page at a time (rfc9051:5881).

A plan is compiled once for each list of items: which columns and sections to ask the
store for, and templates to pour the rows into. Rendering turns the rows of a page into
columns and lets the interpreter's own loops do the rest: no Python code runs for a row
unless one of its sections is missing or too large to be in the row.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache
from itertools import chain, groupby, repeat
from typing import Any

import msgspec

from mailsrv.imap.fetch_grammar import FetchItem, FetchItems
from mailsrv.imap.format import FLAG_LISTS, RECENT_FLAG_LISTS, date_time
from mailsrv.store.values import (
    LARGE,
    ColumnName,
    FetchPage,
    FetchRequest,
    Row,
    Section,
    UidSet,
)

UID = FetchItem(b"UID")
FLAGS = FetchItem(b"FLAGS")
MODSEQ = FetchItem(b"MODSEQ")


class LargeSection(msgspec.Struct, frozen=True):
    """Stands for ``size`` octets that were too many for a row; their literal head is written.

    In its place write the store's ``read`` of each of ``windows()``. If they do not add up to
    ``size``, cut the connection: the client counts.
    """

    uid: int
    section: Section
    size: int

    def windows(self, length: int = LARGE) -> Iterator[Section]:
        """Yield the section in cuts of at most ``length`` octets."""
        for offset in range(0, self.size, length):
            yield msgspec.structs.replace(
                self.section,
                start=self.section.start + offset,
                length=min(length, self.size - offset),
            )


Piece = bytes | LargeSection


class _Columns:
    """The rows of a page as columns, by name."""

    def __init__(self, names: Sequence[str], rows: Sequence[Row], recent: AbstractSet[int]) -> None:
        self._columns = list(zip(*rows, strict=True))
        self._index = {name: position for position, name in enumerate(names)}
        self._recent = recent

    def raw(self, name: str) -> tuple[Any, ...]:
        return self._columns[self._index[name]]

    def section(self, position: int) -> tuple[Any, ...]:
        return self._columns[len(self._index) + position]

    def dates(self, name: str) -> Iterable[bytes]:
        return map(date_time, self.raw(name))

    def flags(self, _name: str) -> Iterable[bytes]:
        flags, keywords = self.raw("flags"), self.raw("keywords")
        recent = self._recent
        if recent.isdisjoint(self.raw("uid")):
            return map(FLAG_LISTS.__getitem__, zip(flags, keywords, strict=True))
        return [
            (RECENT_FLAG_LISTS if uid in recent else FLAG_LISTS)[bits, words]
            for uid, bits, words in zip(self.raw("uid"), flags, keywords, strict=True)
        ]


class _TextItem(msgspec.Struct, frozen=True):
    """How an item without a section is made from columns."""

    template: bytes
    columns: tuple[ColumnName, ...]
    read: Callable[[_Columns, str], Iterable[Any]] = _Columns.raw


_TEXT_ITEMS: dict[bytes, _TextItem] = {
    b"UID": _TextItem(b"UID %d", ()),
    b"FLAGS": _TextItem(b"FLAGS %b", ("flags", "keywords"), _Columns.flags),
    b"INTERNALDATE": _TextItem(b"INTERNALDATE %b", ("internal_date",), _Columns.dates),
    b"RFC822.SIZE": _TextItem(b"RFC822.SIZE %d", ("size",)),
    b"ENVELOPE": _TextItem(b"ENVELOPE %b", ("envelope",)),
    b"BODYSTRUCTURE": _TextItem(b"BODYSTRUCTURE %b", ("bodystructure",)),
    b"BODY": _TextItem(b"BODY %b", ("body",)),
    b"MODSEQ": _TextItem(b"MODSEQ (%d)", ("modseq",)),
}


class _Segment(msgspec.Struct, frozen=True):
    """Text up to the next section: a template and what fills it after the sequence number.

    ``section`` is the position of the section that follows, None at the end of the response.
    """

    template: bytes
    sources: tuple[_TextItem, ...]
    section: int | None

    def texts(self, columns: _Columns, numbers: Sequence[int] | None) -> Iterable[bytes]:
        """Yield the text for each row, endlessly where nothing depends on the row."""
        values: list[Iterable[Any]] = [] if numbers is None else [numbers]
        values += [
            source.read(columns, source.columns[0] if source.columns else "uid")
            for source in self.sources
        ]
        if not values:
            return repeat(self.template % ())
        return map(self.template.__mod__, zip(*values, strict=True))


class FetchPlan:
    """What to ask for and how to answer, for one list of items."""

    def __init__(self, items: FetchItems, *, condstore: bool) -> None:
        distinct = tuple({item.label: item for item in items}.values())
        self.mark_seen = any(not item.peek for item in items)
        """Whether an item sets \\Seen."""
        self._sections = tuple(
            dict.fromkeys(item.section for item in distinct if item.section is not None)
        )
        self._plain = _layout(distinct, self._sections)
        self._flagged = self._plain
        said = {item.label for item in distinct}
        if self.mark_seen:
            extra = (FLAGS, MODSEQ) if condstore else (FLAGS,)
            added = tuple(item for item in extra if item.label not in said)
            self._flagged = _layout(distinct + added, self._sections)
        self._columns = _columns_of(distinct, mark_seen=self.mark_seen)
        self._names = ("uid", *self._columns)

    def request(
        self, uids: UidSet, *, changed_since: int | None = None, writable: bool = True
    ) -> FetchRequest:
        """Make the store's request for the first page; \\Seen is set only if ``writable``."""
        return FetchRequest(
            uids=uids,
            columns=self._columns,
            sections=self._sections,
            changed_since=changed_since,
            mark_seen=self.mark_seen and writable,
        )

    def render(
        self, numbers: Sequence[int], page: FetchPage, recent: AbstractSet[int] = frozenset()
    ) -> list[Piece]:
        """Make the responses for a page; ``numbers`` are its rows' sequence numbers.

        ``recent`` are UIDs that are \\Recent in this session. Rows that just became \\Seen tell
        their flags though not asked to (rfc3501:3156).
        """
        if not page.rows:
            return []
        if not page.newly_seen or self._flagged is self._plain:
            return self._render(self._plain, numbers, page.rows, recent)
        seen = frozenset(page.newly_seen)
        pieces: list[Piece] = []
        start = 0
        for became, run in groupby(page.rows, key=lambda row: row[0] in seen):
            rows = list(run)
            stop = start + len(rows)
            layout = self._flagged if became else self._plain
            pieces += self._render(layout, numbers[start:stop], rows, recent)
            start = stop
        return pieces

    def told(self, page: FetchPage) -> Iterator[tuple[int, int]]:
        """Yield (uid, modseq) of rows whose new \\Seen ``render`` tells the client."""
        seen = frozenset(page.newly_seen)
        position = self._names.index("modseq") if seen else 0
        return ((row[0], row[position]) for row in page.rows if row[0] in seen)

    def _render(
        self,
        layout: tuple[_Segment, ...],
        numbers: Sequence[int],
        rows: Sequence[Row],
        recent: AbstractSet[int],
    ) -> list[Piece]:
        columns = _Columns(self._names, rows, recent)
        streams: list[Iterable[Any]] = []
        whole = True
        for segment in layout:
            streams.append(segment.texts(columns, None if streams else numbers))
            if segment.section is not None:
                cells = columns.section(segment.section)
                whole = whole and set(map(type, cells)) == {bytes}
                streams.append(cells)
        if len(streams) == 1:
            return [b"".join(streams[0])]
        if not whole:
            return self._row_by_row(layout, columns.raw("uid"), streams)
        streams[1::2] = [_with_heads(cells) for cells in streams[1::2]]
        return list(chain.from_iterable(zip(*streams, strict=False)))

    def _row_by_row(
        self,
        layout: tuple[_Segment, ...],
        uids: Sequence[int],
        streams: Sequence[Iterable[Any]],
    ) -> list[Piece]:
        """Render where cells are not all octets: None is NIL, a size stands for octets."""
        pieces: list[Piece] = []
        sections = [self._sections[each.section] for each in layout if each.section is not None]
        for uid, *parts in zip(uids, *streams, strict=False):
            for position, section in enumerate(sections):
                pieces.append(parts[2 * position])
                cell = parts[2 * position + 1]
                if cell is None:
                    pieces.append(b"NIL")
                elif isinstance(cell, int):
                    pieces += (b"{%d}\r\n" % cell, LargeSection(uid, section, cell))
                else:
                    pieces += (b"{%d}\r\n" % len(cell), cell)
            pieces.append(parts[-1])
        return pieces


def _with_heads(cells: Iterable[bytes]) -> Iterable[bytes]:
    return [b"{%d}\r\n%b" % (len(cell), cell) for cell in cells]


def _columns_of(items: FetchItems, *, mark_seen: bool) -> tuple[ColumnName, ...]:
    """Columns that the items need, and those that tell of a new \\Seen."""
    wanted: dict[ColumnName, None] = {}
    for item in items:
        if item.section is None:
            wanted.update(dict.fromkeys(_TEXT_ITEMS[item.label].columns))
    if mark_seen:
        wanted.update(dict.fromkeys(("flags", "keywords", "modseq")))
    return tuple(wanted)


def _layout(items: FetchItems, sections: tuple[Section, ...]) -> tuple[_Segment, ...]:
    """Cut a response into texts and the sections between them."""
    segments: list[_Segment] = []
    template = b"* %d FETCH ("
    sources: list[_TextItem] = []
    for position, item in enumerate(items):
        if position:
            template += b" "
        if item.section is None:
            text = _TEXT_ITEMS[item.label]
            template += text.template
            sources.append(text)
            continue
        template += item.label.replace(b"%", b"%%") + b" "
        segments.append(_Segment(template, tuple(sources), sections.index(item.section)))
        template, sources = b"", []
    segments.append(_Segment(template + b")\r\n", tuple(sources), None))
    return tuple(segments)


@lru_cache(maxsize=512)
def compile_plan(
    items: FetchItems, *, uid: bool = False, modseq: bool = False, condstore: bool = False
) -> FetchPlan:
    """Return the plan for a list of items.

    ``uid``: UID FETCH, which always answers UID (rfc9051:4825). ``modseq``: CHANGEDSINCE was
    given. ``condstore``: the client enabled it and wants MODSEQ with flags that it did not ask
    for (rfc7162:849).
    """
    if uid and UID not in items:
        items = (UID, *items)
    if modseq and MODSEQ not in items:
        items = (*items, MODSEQ)
    return FetchPlan(items, condstore=condstore)
