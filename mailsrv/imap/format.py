"""Values to octets of responses: one place that knows how IMAP writes them.

Nothing here ends a line; the caller joins items and adds CRLF.
"""

import re
import sys
from array import array
from collections.abc import Iterable, Sequence

from mailsrv.imap.names import DELIMITER, encode_name
from mailsrv.store.values import SYSTEM_FLAGS, UidSet

_QUOTABLE = re.compile(rb"[\x20-\x7e]{0,1000}\Z")
_QUOTABLE_UTF8 = re.compile(rb"[\x20-\x7e\x80-\xff]{0,1000}\Z")
_SPECIAL = re.compile(rb'(["\\])')
_ATOM = re.compile(rb"(?!(?i:NIL)\Z)[^\x00-\x20\x7f-\xff(){%*\"\\\]]+\Z")

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


# Strings


def string(value: bytes, *, utf8: bool = False) -> bytes:
    """Quoted string where the octets allow it, else a literal (rfc9051:7081).

    With ``utf8`` (the client enabled it) octets above 127 may stand in quotes.
    """
    if (_QUOTABLE_UTF8 if utf8 else _QUOTABLE).match(value):
        return b'"' + _SPECIAL.sub(rb"\\\1", value) + b'"'
    return literal(value)


def literal(value: bytes) -> bytes:
    """The octets as they are, with their number before them (rfc9051:6655)."""
    return b"{%d}\r\n%b" % (len(value), value)


def astring(value: bytes, *, utf8: bool = False) -> bytes:
    """Atom where possible, else a string."""
    return value if _ATOM.match(value) else string(value, utf8=utf8)


def mailbox(name: str, *, utf8: bool = False) -> bytes:
    """Mailbox name, encoded and quoted as needed (rfc9051:6669)."""
    return astring(encode_name(name, utf8=utf8), utf8=utf8)


# Flags


class _FlagTexts(dict[tuple[int, str], bytes]):
    """``(bits, keywords)`` to a flag list, worked out once for each combination in use."""

    limit = 10_000

    def __init__(self, *first: bytes) -> None:
        super().__init__()
        self._first = first

    def __missing__(self, key: tuple[int, str]) -> bytes:
        bits, keywords = key
        names = [name.encode() for name, bit in SYSTEM_FLAGS.items() if bits & bit]
        words = keywords.encode().split()
        text = b"(" + b" ".join([*self._first, *names, *words]) + b")"
        if len(self) >= self.limit:
            self.clear()
        self[key] = text
        return text


FLAG_LISTS = _FlagTexts()
"""``FLAG_LISTS[bits, keywords]`` is a flag list in parentheses."""
RECENT_FLAG_LISTS = _FlagTexts(rb"\Recent")
"""The same with \\Recent."""


def flag_list(flags: int, keywords: str = "", *, recent: bool = False) -> bytes:
    """Flags in parentheses (rfc9051:6584) from bits and blank-separated keywords."""
    return (RECENT_FLAG_LISTS if recent else FLAG_LISTS)[flags, keywords]


# Dates


class _Days(dict[str, bytes]):
    """``2026-11-23`` to `` "23-Nov-2026``, worked out once for each day in use."""

    limit = 20_000

    def __missing__(self, day: str) -> bytes:
        year, month, number = day.split("-")
        text = f'"{number}-{MONTHS[int(month) - 1]}-{year}'.encode()
        if len(self) >= self.limit:
            self.clear()
        self[day] = text
        return text


_DAYS = _Days()


def date_time(moment: str) -> bytes:
    """Quoted date and time (rfc9051:6502) from ISO 8601 UTC text such as 2026-11-23T10:15:00Z."""
    return b'%b %b +0000"' % (_DAYS[moment[:10]], moment[11:19].encode())


# Sets of numbers


def number_set(ranges: UidSet) -> bytes:
    """Ranges as a sequence set, ``1:4,7`` (rfc9051:7034)."""
    return ",".join([str(low) if low == high else f"{low}:{high}" for low, high in ranges]).encode()


def ranges_of(numbers: Iterable[int]) -> UidSet:
    """Runs of consecutive numbers in the order given: ``3 4 5 9 7`` is 3:5, 9, 7."""
    ranges: list[tuple[int, int]] = []
    low = high = -1
    for number in numbers:
        if number == high + 1 and low >= 0:
            high = number
        else:
            if low >= 0:
                ranges.append((low, high))
            low = high = number
    if low >= 0:
        ranges.append((low, high))
    return tuple(ranges)


def paired_sets(source: Sequence[int], destination: Sequence[int]) -> tuple[bytes, bytes]:
    """COPYUID's two sets (rfc4315:291): the same number of UIDs, pairing up in order."""
    return number_set(ranges_of(source)), number_set(ranges_of(destination))


def unpack(numbers: bytes) -> "array[int]":
    """The store's little-endian ``array('I')`` as an array."""
    unpacked = array("I", numbers)
    if sys.byteorder == "big":
        unpacked.byteswap()
    return unpacked


# Responses


def search(numbers: Iterable[int], modseq: int | None = None) -> bytes:
    """SEARCH response (rfc3501:3927, rfc7162:2563); ``modseq`` when the search named MODSEQ."""
    text = " ".join(map(str, numbers))
    if not text:
        return b"* SEARCH"
    tail = f" (MODSEQ {modseq})" if modseq is not None else ""
    return f"* SEARCH {text}{tail}".encode()


def esearch(
    tag: str,
    numbers: Sequence[int],
    options: Iterable[str],
    *,
    uid: bool,
    modseq: int | None = None,
) -> bytes:
    """ESEARCH response (rfc9051:6546) for ascending numbers and the options asked for.

    Without a result MIN, MAX and ALL are left out (rfc4731:98).
    """
    wanted = frozenset(options)
    items = [b"* ESEARCH (TAG " + string(tag.encode()) + b")"]
    if uid:
        items.append(b"UID")
    if numbers and "MIN" in wanted:
        items.append(b"MIN %d" % numbers[0])
    if numbers and "MAX" in wanted:
        items.append(b"MAX %d" % numbers[-1])
    if numbers and "ALL" in wanted:
        items.append(b"ALL " + number_set(ranges_of(numbers)))
    if "COUNT" in wanted:
        items.append(b"COUNT %d" % len(numbers))
    if modseq is not None and numbers:
        items.append(b"MODSEQ %d" % modseq)
    return b" ".join(items)


def listed(
    name: str,
    attributes: Iterable[str],
    *,
    response: str = "LIST",
    child_info: Iterable[str] = (),
    utf8: bool = False,
) -> bytes:
    """LIST or LSUB response (rfc9051:6690); ``child_info`` for RECURSIVEMATCH (rfc5258:1071)."""
    line = b'* %b (%b) "%b" %b' % (
        response.encode("ascii"),
        " ".join(attributes).encode("ascii"),
        DELIMITER.encode("ascii"),
        mailbox(name, utf8=utf8),
    )
    info = " ".join(f'"{option}"' for option in child_info)
    return line + f' ("CHILDINFO" ({info}))'.encode("ascii") if info else line


def status(name: str, items: Iterable[tuple[str, int]], *, utf8: bool = False) -> bytes:
    """STATUS response (rfc9051:7053) with items in the order given."""
    values = " ".join(f"{item} {value}" for item, value in items)
    return b"* STATUS %b (%b)" % (mailbox(name, utf8=utf8), values.encode("ascii"))
