"""Whole responses of an IMAP server: status, mailbox and message data, each by its grammar."""

import re
from typing import Any

from tests.clients.imap_values import STATES, Data, NotImap, Reader, Status

CODE = re.compile(rb"\[([A-Z0-9.\-]+)(?: ([^\]\r\n]+))?\] ")
TAGGED = re.compile(rb"([A-Za-z0-9]+) (OK|NO|BAD) ")


def read_status(reader: Reader) -> Status:
    """``resp-cond-state`` with its code and text; the text is never empty (rfc3501:4942)."""
    kind = reader.atom()
    reader.need(b" ")
    code, data = None, b""
    if reader.peek(b"["):
        name, data = reader.match(CODE, "a response code").groups(b"")
        code = name.decode()
    text = reader.rest()
    if not text or re.search(rb"[\r\n\0\x80-\xff]", text):
        raise NotImap(f"text expected: {text!r}")
    return Status(kind.decode(), code, data, text)


def read_untagged(data: bytes) -> Status | Data:
    """What follows ``* ``."""
    reader = Reader(data)
    if data.split(b" ", 1)[0] in STATES:
        return read_status(reader)
    answer = _numbered(reader) if data[:1].isdigit() else _named(reader)
    reader.end()
    return answer


def _numbered(reader: Reader) -> Data:
    number = reader.number()
    reader.need(b" ")
    kind = reader.atom().decode()
    if kind in ("EXISTS", "RECENT"):
        return Data(kind, number)
    if not number:
        raise reader.fail("a message number")
    if kind == "EXPUNGE":
        return Data(kind, number)
    if kind != "FETCH":
        raise reader.fail("FETCH")
    reader.need(b" ")
    return Data(kind, number, reader.message())


def _named(reader: Reader) -> Data:
    kind = reader.atom().decode()
    if kind not in READERS:
        raise reader.fail("a known response")
    return Data(kind, None, READERS[kind](reader))


def _words(reader: Reader) -> list[bytes]:
    words = []
    while reader.take(b" "):
        words.append(reader.atom())
    return words


def _search(reader: Reader) -> tuple[list[int], int | None]:
    """``SEARCH`` and the ``(MODSEQ n)`` that may end it (rfc7162:2557)."""
    numbers: list[int] = []
    while reader.take(b" "):
        if reader.take(b"(MODSEQ "):
            modseq = reader.number(1, 63)
            reader.need(b")")
            return numbers, modseq
        numbers.append(reader.number(1))
    return numbers, None


def number_set(text: bytes) -> list[int]:
    """A sequence-set without ``*``, opened up in the order written."""
    if not re.fullmatch(rb"[1-9][0-9]*(:[1-9][0-9]*)?(,[1-9][0-9]*(:[1-9][0-9]*)?)*", text):
        raise NotImap(f"a set of numbers expected: {text!r}")
    numbers: list[int] = []
    for piece in text.split(b","):
        first, _, last = piece.partition(b":")
        ends = sorted((int(first), int(last or first)))
        numbers.extend(range(ends[0], ends[1] + 1))
    return numbers


def _esearch(reader: Reader) -> dict[str, Any]:
    """``ESEARCH`` (rfc4466:522): the tag, whether UIDs, and each result by name."""
    found: dict[str, Any] = {"UID": False}
    if reader.take(b" (TAG "):
        found["TAG"] = reader.string().decode()
        reader.need(b")")
    if reader.take(b" UID"):
        found["UID"] = True
    while reader.take(b" "):
        name = reader.atom().decode()
        reader.need(b" ")
        if name in found:
            raise reader.fail("each result once")
        if name == "ALL":
            found[name] = number_set(reader.match(re.compile(rb"[0-9:,]+"), "a set")[0])
        else:
            found[name] = reader.number(0 if name == "COUNT" else 1, 63)
    return found


def _list(reader: Reader) -> tuple[list[bytes], bytes | None, bytes, list[Any]]:
    """``LIST``: attributes, delimiter, name, extended data (rfc3501:4837)."""
    reader.need(b" ")
    flags = [flag.lower() for flag in reader.flags()]
    reader.need(b" ")
    delimiter = reader.nstring()
    reader.need(b" ")
    name = reader.astring()
    extended = reader.several(lambda: _pair(reader)) if reader.take(b" ") else []
    return flags, delimiter, name, extended


def _pair(reader: Reader) -> tuple[bytes, list[bytes]]:
    name = reader.astring()
    reader.need(b" ")
    return name, reader.several(reader.astring)


def _status(reader: Reader) -> tuple[bytes, dict[str, int | None]]:
    reader.need(b" ")
    name = reader.astring()
    reader.need(b" ")

    def pair() -> tuple[str, int | None]:
        item = reader.atom().decode()
        reader.need(b" ")
        if item == "APPENDLIMIT" and reader.nil():
            return item, None
        return item, reader.number(0, 63)

    pairs = reader.several(pair)
    if len(dict(pairs)) != len(pairs):
        raise reader.fail("each item once")
    return name, dict(pairs)


def _flags(reader: Reader) -> list[bytes]:
    reader.need(b" ")
    return reader.flags()


def _id(reader: Reader) -> dict[bytes, bytes | None] | None:
    reader.need(b" ")
    if reader.nil():
        return None
    words = reader.several(reader.nstring)
    return dict(zip(words[::2], words[1::2], strict=True))


def _namespace(reader: Reader) -> list[Any]:
    """``NAMESPACE`` (rfc2342:415): three times a list of prefix and delimiter."""

    def space() -> tuple[bytes, bytes | None]:
        reader.need(b"(")
        prefix = reader.string()
        reader.need(b" ")
        delimiter = reader.nstring()
        reader.need(b")")
        return prefix, delimiter

    spaces = []
    for _ in range(3):
        reader.need(b" ")
        spaces.append(None if reader.nil() else reader.several(space, b"", 1))
    return spaces


def _quota(reader: Reader) -> tuple[bytes, dict[bytes, tuple[int, int]]]:
    reader.need(b" ")
    root = reader.astring()
    reader.need(b" ")

    def resource() -> tuple[bytes, tuple[int, int]]:
        name = reader.atom()
        reader.need(b" ")
        used = reader.number(0, 63)
        reader.need(b" ")
        return name, (used, reader.number(0, 63))

    return root, dict(reader.several(resource))


def _quotaroot(reader: Reader) -> tuple[bytes, list[bytes]]:
    reader.need(b" ")
    name = reader.astring()
    roots = []
    while reader.take(b" "):
        roots.append(reader.astring())
    return name, roots


READERS: dict[str, Any] = {
    "CAPABILITY": _words,
    "ENABLED": _words,
    "ESEARCH": _esearch,
    "FLAGS": _flags,
    "ID": _id,
    "LIST": _list,
    "LSUB": _list,
    "NAMESPACE": _namespace,
    "QUOTA": _quota,
    "QUOTAROOT": _quotaroot,
    "SEARCH": _search,
    "STATUS": _status,
}
