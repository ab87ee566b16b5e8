"""The rows of a folder that a FETCH asks for, read as they are needed.

They come in small batches, each a statement run to its end: a statement left open would hold its
snapshot, and what is read for a row meanwhile would leak it (see ``sql.Executor``).
"""

from collections.abc import Iterator

import apsw

from mailsrv.mailbox import sql
from mailsrv.mailbox import uids as uid_sets
from mailsrv.mailbox.values import ColumnName, FetchRequest, UidSet

_FEW_CHANGES = 1000

_COLUMNS: dict[ColumnName, str] = {
    "flags": "m.flags",
    "keywords": "m.keywords",
    "modseq": "m.modseq",
    "internal_date": "m.internal_date",
    "saved": "m.saved",
    "size": "m.size",
    "envelope": "c.envelope",
    "bodystructure": "c.bodystructure",
    "email_id": "c.object_id",
    "thread_id": "c.thread_id",
    "preview": "f.preview",
    "body": "b.root",
}
_JOINS = (("c", "content", "id"), ("f", "field", "content_id"), ("b", "body", "content_id"))


class Selection:
    """The messages of one request, inside a transaction of the caller."""

    def __init__(self, connection: apsw.Connection, folder_id: int, request: FetchRequest) -> None:
        self._connection = connection
        self._folder_id = folder_id
        self._columns = [_COLUMNS[name] for name in request.columns]
        self._spans = uid_sets.within(request.uids)
        self._since = request.changed_since
        self._index, self._condition = "", ""
        self._extra: tuple[int, ...] = ()
        if request.changed_since is not None:
            self._select_changes(request.changed_since)

    def rows(self, batch: int, more_columns: str = "") -> Iterator[sql.Row]:
        """UID, the request's columns, ``more_columns``; read ``batch`` messages at a time."""
        cells = ["m.uid", *self._columns]
        statement = self._statement(", ".join([*cells, more_columns] if more_columns else cells))
        spans = list(reversed(self._spans))
        while spans:
            narrow = _take_narrow(spans, batch)
            if narrow:
                yield from self._read(statement, narrow, batch)
                continue
            first, last = spans.pop()
            found = self._read(statement, [(first, last)], batch)
            if len(found) == batch and found[-1][0] < last:
                spans.append((found[-1][0] + 1, last))
            yield from found

    def any_after(self, uid: int) -> bool:
        """Whether a message of the request has a higher UID."""
        statement = self._statement("1")
        left = uid_sets.within(self._spans, uid + 1)
        return any(self._read(statement, [span], 1) for span in left)

    def _read(
        self, statement: str, spans: UidSet | list[tuple[int, int]], limit: int
    ) -> list[sql.Row]:
        bindings = [(self._folder_id, *span, *self._extra, limit) for span in spans]
        if len(bindings) == 1:
            return sql.rows(self._connection, statement, bindings[0])
        return sql.rows_of_each(self._connection, statement, bindings)

    def _statement(self, selected: str) -> str:
        joins = [
            f" CROSS JOIN {table} AS {alias} ON {alias}.{key} = m.content_id"
            for alias, table, key in _JOINS
            if f"{alias}." in selected
        ]
        return (
            f"SELECT {selected} FROM message AS m{self._index}{''.join(joins)} "  # noqa: S608
            f"WHERE m.folder_id = ? AND m.uid BETWEEN ? AND ?{self._condition} "
            "ORDER BY m.uid LIMIT ?"
        )

    def _select_changes(self, since: int) -> None:
        """CHANGEDSINCE: few changes in a large folder are found by modseq.

        Many are met soon enough by UID, which needs no sorting of what a page does not return.
        """
        few: bool = sql.value(
            self._connection,
            "SELECT count(*) < ?1 FROM (SELECT 1 FROM message INDEXED BY message_modseq "
            "WHERE folder_id = ?2 AND modseq > ?3 LIMIT ?1)",
            (_FEW_CHANGES, self._folder_id, since),
        )
        self._index = " INDEXED BY message_modseq" if few else ""
        self._condition = " AND m.modseq > ?"
        self._extra = (since,)


def _take_narrow(spans: list[tuple[int, int]], width: int) -> list[tuple[int, int]]:
    """Take spans off the end that together have at most ``width`` UIDs."""
    taken = []
    while spans and (width := width - 1 - spans[-1][1] + spans[-1][0]) >= 0:
        taken.append(spans.pop())
    return taken
