"""What a FETCH asks for (rfc9051:6553): items, sections, partials and modifiers.

Clients repeat the same few item lists for thousands of commands, so a text without
literals is parsed once.
"""

import re
from functools import lru_cache
from typing import Literal, cast

import msgspec

from mailsrv.imap.arguments import MAX_NUMBER64, Arguments
from mailsrv.imap.errors import BadSyntax
from mailsrv.imap.format import astring
from mailsrv.imap.sequence import SequenceSet
from mailsrv.store.values import Section

MAX_ITEMS = 100
MAX_FIELDS = 200
MAX_DEPTH = 100
"""Numbers in a part's path: MIME is not scanned deeper."""

SectionKind = Literal["", "HEADER", "TEXT", "MIME", "HEADER.FIELDS", "HEADER.FIELDS.NOT"]


class FetchItem(msgspec.Struct, frozen=True):
    """One item.

    ``label`` is the whole left side of the response, such as ``BODY[1.TEXT]<0>``; it is
    all there is to an item without a section. ``peek`` leaves \\Seen alone.
    """

    label: bytes
    section: Section | None = None
    peek: bool = True


FetchItems = tuple[FetchItem, ...]


class Fetch(msgspec.Struct, frozen=True):
    """Arguments of FETCH. ``changed_since`` asks for MODSEQ too (rfc7162:877)."""

    numbers: SequenceSet
    items: FetchItems
    changed_since: int | None = None


_ITEMS: dict[str, FetchItem] = {
    name: FetchItem(name.encode())
    for name in (
        "UID",
        "FLAGS",
        "INTERNALDATE",
        "RFC822.SIZE",
        "ENVELOPE",
        "BODYSTRUCTURE",
        "BODY",
        "MODSEQ",
    )
}
_ITEMS |= {
    "RFC822": FetchItem(b"RFC822", Section(), peek=False),
    "RFC822.HEADER": FetchItem(b"RFC822.HEADER", Section(kind="HEADER")),
    "RFC822.TEXT": FetchItem(b"RFC822.TEXT", Section(kind="TEXT"), peek=False),
}
_FAST = (_ITEMS["FLAGS"], _ITEMS["INTERNALDATE"], _ITEMS["RFC822.SIZE"])
_MACROS: dict[str, FetchItems] = {
    "FAST": _FAST,
    "ALL": (*_FAST, _ITEMS["ENVELOPE"]),
    "FULL": (*_FAST, _ITEMS["ENVELOPE"], _ITEMS["BODY"]),
}

_NAME = re.compile(rb"[A-Za-z0-9.]+")
_PATH = re.compile(rb"[1-9]\d{0,9}(?:\.[1-9]\d{0,9})*")
_TEXT = re.compile(rb"HEADER\.FIELDS\.NOT|HEADER\.FIELDS|HEADER|TEXT|MIME", re.IGNORECASE)
_FIELD = re.compile(rb"[\x21-\x39\x3b-\x7e]{1,200}\Z")


def fetch(arguments: Arguments) -> Fetch:
    """Parse FETCH's arguments: set, items, modifiers."""
    numbers = arguments.sequence_set()
    arguments.space()
    raw = arguments.rest_of_text()
    if raw is None:
        return Fetch(numbers, *_items_and_modifiers(arguments))
    try:
        found = _parse_text(raw)
    except BadSyntax:
        # again, for an error that knows its place in the command
        found = _items_and_modifiers(arguments)
    return Fetch(numbers, *found)


@lru_cache(maxsize=512)
def _parse_text(text: bytes) -> tuple[FetchItems, int | None]:
    return _items_and_modifiers(Arguments((text,)))


def _items_and_modifiers(arguments: Arguments) -> tuple[FetchItems, int | None]:
    items = _items(arguments)
    changed_since = None
    if not arguments.at_end():
        arguments.space()
        changed_since = _modifiers(arguments)
    arguments.end()
    return items, changed_since


def _items(arguments: Arguments) -> FetchItems:
    """One item, a list of them, or a macro, which stands alone (rfc9051:4354)."""
    if arguments.next_is(b"("):
        return tuple(arguments.group(lambda: _item(arguments), MAX_ITEMS, least=1))
    macro = _MACROS.get(_peek_name(arguments))
    if macro is None:
        return (_item(arguments),)
    arguments.match(_NAME, "a macro")
    return macro


def _peek_name(arguments: Arguments) -> str:
    found = arguments.lookahead(_NAME)
    return found.decode("ascii").upper() if found else ""


def _item(arguments: Arguments) -> FetchItem:
    name = _peek_name(arguments)
    item = _ITEMS.get(name)
    if item is None and name != "BODY.PEEK":
        arguments.fail("a FETCH item")
    arguments.match(_NAME, "a FETCH item")
    if item is None or (name == "BODY" and arguments.next_is(b"[")):
        return _section(arguments, peek=item is None)
    return item


def _section(arguments: Arguments, *, peek: bool) -> FetchItem:
    """Parse BODY's section and partial (rfc9051:6985, 6841)."""
    arguments.expect(b"[")
    path = _path(arguments)
    kind, fields = ("", ()) if arguments.next_is(b"]") else _section_text(arguments, path)
    arguments.expect(b"]")
    start, length = _partial(arguments)
    names = b" (%b)" % b" ".join(map(astring, fields)) if fields else b""
    dot = b"." if path and kind else b""
    label = b"BODY[%b%b%b%b]" % (path.encode(), dot, kind.encode(), names)
    if length is not None:
        label += b"<%d>" % start
    upper = tuple(field.decode("ascii").upper() for field in fields)
    section = Section(path, cast("SectionKind", kind), upper, start, length)
    return FetchItem(label, section, peek)


def _path(arguments: Arguments) -> str:
    found = arguments.lookahead(_PATH)
    if found is None:
        return ""
    numbers = found.split(b".")
    if len(numbers) > MAX_DEPTH or any(int(number) > 2**32 - 1 for number in numbers):
        arguments.fail("a part number of at most 100 levels")
    arguments.match(_PATH, "a part number")
    return found.decode("ascii")


def _section_text(arguments: Arguments, path: str) -> tuple[str, tuple[bytes, ...]]:
    if path:
        arguments.expect(b".")
    kind = arguments.match(_TEXT, "HEADER, TEXT, MIME or ]")[0].decode("ascii").upper()
    if kind == "MIME" and not path:
        arguments.fail("a part number before MIME")
    if not kind.startswith("HEADER.FIELDS"):
        return kind, ()
    arguments.space()
    return kind, tuple(arguments.group(lambda: _field(arguments), MAX_FIELDS, least=1))


def _field(arguments: Arguments) -> bytes:
    name = arguments.astring("a field name")
    if not _FIELD.match(name):
        arguments.fail("a field name of printable characters before this place")
    return name


def _partial(arguments: Arguments) -> tuple[int, int | None]:
    if not arguments.skip(b"<"):
        return 0, None
    start = arguments.number64()
    arguments.expect(b".")
    length = arguments.number(least=1, most=MAX_NUMBER64)
    arguments.expect(b">")
    return start, length


def _modifiers(arguments: Arguments) -> int | None:
    """CHANGEDSINCE, the only modifier there is (rfc7162:2479)."""

    def modifier() -> int:
        if arguments.keyword("a FETCH modifier") != "CHANGEDSINCE":
            arguments.fail("CHANGEDSINCE before this place")
        arguments.space()
        return arguments.number(least=1, most=MAX_NUMBER64)

    return arguments.group(modifier, 1, least=1)[0]
