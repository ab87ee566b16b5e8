"""Criteria to one SQL condition over ``message`` (as ``m``).

Everything but text is plain SQL, written so that an index can serve it. A text is two steps
in one condition: the content is among the candidates that the grams name or is not indexed
yet, and ``search_contains(number, content_id)`` says that its text holds it. Under a Not that
stays exact, since the condition as a whole is.
"""

# The SQL is put together from constants and names of parameters; what the asker gave is bound.
# ruff: noqa: S608

import re
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any, NamedTuple

from mailsrv.errors import InvalidInput, TooManyResults
from mailsrv.mailbox import criteria as c
from mailsrv.mailbox import grams
from mailsrv.mailbox.index import comparable
from mailsrv.mailbox.uids import within
from mailsrv.mailbox.values import MAX_UID, SEEN, SYSTEM_FLAGS, UidSet

MAX_DEPTH = 100
MAX_NODES = 1000
FEW_RANGES = 4
"""Up to so many UID ranges become BETWEEN; beyond, a function looks them up."""

_FIELD_NAME = re.compile("[!-9;-~]+")
_UNINDEXED = "SELECT id FROM content WHERE indexed = 0"
_FIELD_COLUMNS = {"from": "sender", "to": "recipients", "cc": "cc", "bcc": "bcc"}
_DATE_COLUMNS = {"internal": "internal_date", "saved": "saved"}


class Needle(NamedTuple):
    """A text to verify; ``part`` says where. ``field`` is a folded field name for ``header``."""

    part: str
    text: bytes
    field: bytes = b""


class Condition(NamedTuple):
    """``sql`` with named parameters; ``needles`` and ``ranges`` for the two SQL functions."""

    sql: str
    parameters: dict[str, Any]
    needles: list[Needle]
    ranges: list[UidSet]


class _Piece(NamedTuple):
    sql: str
    cost: int
    """Conditions of an And are tried in this order: 0 columns, 1 sub-selects, 2 texts."""


def compile_criteria(criteria: c.Criteria) -> Condition:
    """The condition for a tree; TooManyResults when it is too deep or too large to answer."""
    _check_size(criteria)
    compiler = _Compiler()
    piece = compiler.piece(criteria)
    return Condition(piece.sql, compiler.parameters, compiler.needles, compiler.ranges)


def _check_size(criteria: c.Criteria) -> None:
    level = [criteria]
    nodes = depth = 0
    while level:
        nodes += len(level)
        depth += 1
        if nodes > MAX_NODES or depth > MAX_DEPTH:
            raise TooManyResults("the search has too many conditions")
        level = [child for one in level for child in _children(one)]


def _children(criteria: c.Criteria) -> tuple[c.Criteria, ...]:
    match criteria:
        case c.And(keys):
            return keys
        case c.Or(left, right):
            return (left, right)
        case c.Not(key):
            return (key,)
    return ()


def _balanced(pieces: list[str], operator: str) -> str:
    """Joined as a balanced tree, since SQLite limits the depth of an expression."""
    if len(pieces) <= 4:
        return f"({f' {operator} '.join(pieces)})"
    middle = len(pieces) // 2
    halves = (_balanced(pieces[:middle], operator), _balanced(pieces[middle:], operator))
    return f"({halves[0]} {operator} {halves[1]})"


class _Compiler:
    """Collects parameters and needles while the tree becomes SQL."""

    def __init__(self) -> None:
        self.parameters: dict[str, Any] = {}
        self.needles: list[Needle] = []
        self.ranges: list[UidSet] = []
        self._makers: dict[type, Callable[[Any], _Piece]] = {
            c.All: lambda _: _Piece("1", 0),
            c.And: self._and,
            c.Or: lambda key: self._join([key.left, key.right], "OR"),
            c.Not: self._not,
            c.Uids: self._uids,
            c.Recent: self._uids,
            c.HasFlag: self._flag,
            c.Header: self._header,
            c.Address: lambda key: self._column(_FIELD_COLUMNS[key.field], key.text),
            c.Subject: lambda key: self._column("subject", key.text),
            c.Body: lambda key: self._text("body", key.text),
            c.Text: lambda key: self._text("text", key.text),
            c.Date: self._date,
            c.Size: self._size,
            c.ModSeq: lambda key: _Piece(f"m.modseq >= {self._bind(key.at_least)}", 0),
        }

    def piece(self, criteria: c.Criteria) -> _Piece:
        return self._makers[type(criteria)](criteria)

    def _bind(self, value: Any) -> str:
        name = f"p{len(self.parameters)}"
        self.parameters[name] = value
        return f":{name}"

    def _and(self, key: c.And) -> _Piece:
        return self._join(list(key.keys), "AND") if key.keys else _Piece("1", 0)

    def _join(self, keys: list[c.Criteria], operator: str) -> _Piece:
        pieces = sorted((self.piece(key) for key in keys), key=lambda piece: piece.cost)
        return _Piece(_balanced([one.sql for one in pieces], operator), pieces[-1].cost)

    def _not(self, key: c.Not) -> _Piece:
        if isinstance(key.key, c.HasFlag) and (bit := _system_bit(key.key)):
            return _system_flag(bit, is_set=False)
        inner = self.piece(key.key)
        return _Piece(
            f"NOT {inner.sql}" if inner.sql[0] == "(" else f"NOT ({inner.sql})", inner.cost
        )

    def _uids(self, key: c.Uids | c.Recent) -> _Piece:
        ranges = within(key.uids)
        if not ranges:
            return _Piece("0", 0)
        if ranges[0][0] <= 1 and ranges[0][1] >= MAX_UID:
            return _Piece("1", 0)
        if len(ranges) <= FEW_RANGES:
            return _Piece(_balanced([self._between(*one) for one in ranges], "OR"), 0)
        self.ranges.append(ranges)
        bounds = self._between(ranges[0][0], ranges[-1][1])
        return _Piece(f"({bounds} AND search_within({len(self.ranges) - 1}, m.uid))", 0)

    def _between(self, low: int, high: int) -> str:
        return f"m.uid BETWEEN {self._bind(low)} AND {self._bind(high)}"

    def _flag(self, key: c.HasFlag) -> _Piece:
        if bit := _system_bit(key):
            return _system_flag(bit, is_set=True)
        word = self._bind(f" {grams.clean(key.name).lower()} ")
        return _Piece(
            f"(m.keywords <> '' AND instr(' ' || lower(m.keywords) || ' ', {word}) > 0)", 0
        )

    def _date(self, key: c.Date) -> _Piece:
        day = _day(key.day)
        next_day = (day + timedelta(days=1)).isoformat() if day < date.max else "9999-12-32"
        column = "sent_day" if key.which == "sent" else f"m.{_DATE_COLUMNS[key.which]}"
        match key.comparison:
            case "before":
                sql = f"{column} < {self._bind(key.day)}"
            case "since":
                sql = f"{column} >= {self._bind(key.day)}"
            case "on":
                low, high = self._bind(key.day), self._bind(next_day)
                sql = f"({column} >= {low} AND {column} < {high})"
        if key.which == "sent":
            return _fields(sql)
        return _Piece(sql, 0)

    def _size(self, key: c.Size) -> _Piece:
        operator = ">" if key.comparison == "larger" else "<"
        return _Piece(f"m.size {operator} {self._bind(key.octets)}", 0)

    def _column(self, column: str, text: str) -> _Piece:
        return _fields(f"instr({column}, {self._bind(comparable(text))}) > 0")

    def _text(self, part: str, text: str) -> _Piece:
        needle = comparable(text)
        return self._verified(Needle(part, needle.encode()), needle)

    def _header(self, key: c.Header) -> _Piece:
        if not _FIELD_NAME.fullmatch(key.name):
            return _Piece("0", 0)
        name, text = comparable(key.name), comparable(key.text)
        sought = text if grams.match(text) != (None, None) else f"{name}: "
        return self._verified(Needle("header", text.encode(), name.encode()), sought)

    def _verified(self, needle: Needle, sought: str) -> _Piece:
        """``needle`` occurs; ``sought`` is what the grams look for."""
        self.needles.append(needle)
        verify = f"search_contains({len(self.needles) - 1}, m.content_id)"
        named = self._named(grams.match(sought))
        if named is None:
            return _Piece(verify, 3)
        side = {"body": " WHERE rowid & 1", "header": " WHERE NOT rowid & 1", "text": ""}
        candidates = f"SELECT rowid >> 1 FROM ({named}){side[needle.part]}"
        # CASE, because SQLite may try the sides of an AND in the other order.
        if needle.part != "header" and grams.is_exact(sought):
            pending, found = f"m.content_id IN ({_UNINDEXED})", f"m.content_id IN ({candidates})"
            return _Piece(f"CASE WHEN {pending} THEN {verify} ELSE {found} END", 1)
        either = f"m.content_id IN ({candidates} UNION ALL {_UNINDEXED})"
        return _Piece(f"CASE WHEN {either} THEN {verify} ELSE 0 END", 2)

    def _named(self, match: grams.Match) -> str | None:
        found = [
            f"SELECT rowid FROM {table} WHERE {table} MATCH {self._bind(expression)}"
            for table, expression in (("search_grams", match[0]), ("search_pairs", match[1]))
            if expression is not None
        ]
        return " INTERSECT ".join(found) or None


def _system_bit(key: c.HasFlag) -> int:
    for name, bit in SYSTEM_FLAGS.items():
        if name.lower() == key.name.lower():
            return bit
    return 0


def _system_flag(bit: int, *, is_set: bool) -> _Piece:
    """Few messages are unseen, flagged, deleted ...: these name the values, for the index."""
    if is_set != (bit == SEEN):
        values = ", ".join(str(flags) for flags in range(32) if bool(flags & bit) == is_set)
        return _Piece(f"m.flags IN ({values})", 0)
    return _Piece(f"m.flags & {bit} = {bit if is_set else 0}", 0)


def _fields(condition: str) -> _Piece:
    return _Piece(f"m.content_id IN (SELECT content_id FROM field WHERE {condition})", 1)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InvalidInput("a date in a search must be a day such as 2026-11-23") from None
