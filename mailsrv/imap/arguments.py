"""A cursor over the pieces of one command, with one method for each rule of the grammar.

Every method consumes what it names or raises BadSyntax with what it expected and at which
octet (pieces joined, literal heads not counted). Blanks are exactly one, as the grammar
says (rfc9051:6287); only at the very end are more forgiven.
"""

import base64
import binascii
import datetime as dt
import re
from collections.abc import Callable
from typing import NoReturn, TypeVar

from mailsrv.imap.errors import BadSyntax
from mailsrv.imap.names import decode_name
from mailsrv.imap.sequence import SequenceSet, parse_set
from mailsrv.store.values import SYSTEM_FLAGS, Flags

T = TypeVar("T")

MAX_NUMBER = 2**32 - 1
MAX_NUMBER64 = 2**63 - 1
MAX_FLAGS = 100
"""Flags in one command."""
MAX_KEYWORD = 128
"""Octets of one keyword."""

_ATOM_CHAR = rb"[^\x00-\x20\x7f-\xff(){%*\"\\\]]"
_ATOM = re.compile(_ATOM_CHAR + rb"+")
_ASTRING = re.compile(rb"[^\x00-\x20\x7f-\xff(){%*\"\\]+")
_LIST = re.compile(rb"[^\x00-\x20\x7f-\xff(){\"\\]+")
_QUOTED = re.compile(rb'"([^"\\]*(?:\\["\\][^"\\]*)*)"')
_ESCAPE = re.compile(rb"\\(.)", re.DOTALL)
_DIGITS = re.compile(rb"\d{1,19}(?!\d)")
_SEQUENCE = re.compile(rb"[\d:,*]+")
_SET_START = frozenset(b"%d" % digit for digit in range(10)) | {b"*"}
_LABEL = re.compile(rb"[A-Za-z][A-Za-z0-9_.:-]*")
_FLAG = re.compile(rb"\\?" + _ATOM_CHAR + rb"+")
_BASE64 = re.compile(rb"=|(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?(?= |\Z)")
_DATE = re.compile(rb"(\d{1,2})-([A-Za-z]{3})-(\d{4})(?!\d)")
_DATE_TIME = re.compile(
    rb'"( \d|\d\d)-([A-Za-z]{3})-(\d{4}) (\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)"'
)
_MONTHS = {
    month: number
    for number, month in enumerate(
        b"jan feb mar apr may jun jul aug sep oct nov dec".split(), start=1
    )
}
_SYSTEM = {name.lower(): bit for name, bit in SYSTEM_FLAGS.items()}


class Arguments:
    """Read the pieces of a ``wire.Command`` from left to right."""

    __slots__ = ("_at", "_parts", "_piece", "_text", "utf8")

    def __init__(self, parts: tuple[bytes, ...], *, utf8: bool = False) -> None:
        self._parts = parts
        self._piece = 0
        self._text = parts[0]
        self._at = 0
        self.utf8 = utf8
        """Mailbox names are plain UTF-8 (see ``names.decode_name``)."""

    def fail(self, expected: str) -> NoReturn:
        """Raise BadSyntax for this place."""
        before = sum(len(part) for part in self._parts[: self._piece])
        raise BadSyntax(f"expected {expected} at octet {before + self._at}")

    # Tokens

    def match(self, pattern: re.Pattern[bytes], expected: str) -> re.Match[bytes]:
        """Consume what ``pattern`` matches here."""
        found = pattern.match(self._text, self._at)
        if found is None:
            self.fail(expected)
        self._at = found.end()
        return found

    def skip(self, token: bytes) -> bool:
        """Consume ``token`` (exact octets) if it is next, and say whether it was."""
        if self._text.startswith(token, self._at):
            self._at += len(token)
            return True
        return False

    def expect(self, token: bytes) -> None:
        """Consume ``token``, which must be next."""
        if not self.skip(token):
            self.fail("a blank" if token == b" " else f'"{token.decode("ascii")}"')

    def space(self) -> None:
        """Consume one blank."""
        self.expect(b" ")

    def next_is(self, token: bytes) -> bool:
        """Whether ``token`` is next, consuming nothing."""
        return self._text.startswith(token, self._at)

    def lookahead(self, pattern: re.Pattern[bytes]) -> bytes | None:
        """What ``pattern`` matches here, None for nothing; consumes nothing."""
        found = pattern.match(self._text, self._at)
        return found[0] if found else None

    def skip_word(self, word: str) -> bool:
        """Consume ``word``, given in upper case, if it is next in any case."""
        raw = self._text[self._at : self._at + len(word)]
        if raw.upper() == word.encode("ascii"):
            self._at += len(raw)
            return True
        return False

    def at_sequence_set(self) -> bool:
        """Whether a number or "*" is next."""
        return self._text[self._at : self._at + 1] in _SET_START

    def at_literal(self) -> bool:
        """Whether a literal is next."""
        return self._at == len(self._text) and self._piece + 2 < len(self._parts)

    def at_end(self) -> bool:
        """Whether nothing but blanks is left."""
        return self._piece + 1 == len(self._parts) and not self._text[self._at :].strip(b" ")

    def end(self) -> None:
        """The command ends here."""
        if not self.at_end():
            self.fail("the end of the command")

    def rest_of_text(self) -> bytes | None:
        """Return what is left without consuming it, None when it has literals."""
        return self._text[self._at :] if self._piece + 1 == len(self._parts) else None

    # Strings

    def atom(self) -> str:
        """Atom as written (rfc9051:6334)."""
        return self.match(_ATOM, "an atom")[0].decode("ascii")

    def keyword(self, expected: str = "a word") -> str:
        """Word of the protocol in upper case: letters, digits, ``. _ : -``."""
        return self.match(_LABEL, expected)[0].decode("ascii").upper()

    def astring(self, expected: str = "a string") -> bytes:
        """Atom with ``]`` allowed, quoted string or literal (rfc9051:6330)."""
        found = _ASTRING.match(self._text, self._at)
        if found:
            self._at = found.end()
            return found[0]
        return self.string(expected)

    def string(self, expected: str = "a quoted string or literal") -> bytes:
        """Quoted string or literal (rfc9051:7081); NUL is refused in both."""
        if self.at_literal():
            value = self.literal()
            if b"\0" in value:
                self.fail(f"{expected} without NUL")
            return value
        value = self.match(_QUOTED, expected)[1]
        return _ESCAPE.sub(rb"\1", value) if b"\\" in value else value

    def nstring(self) -> bytes | None:
        """NIL as None, or a string (rfc9051:6787)."""
        if self._text[self._at : self._at + 3].upper() == b"NIL":
            self._at += 3
            return None
        return self.string("NIL, a quoted string or a literal")

    def literal(self) -> bytes:
        """Literal with any octets in it."""
        if not self.at_literal():
            self.fail("a literal")
        value = self._parts[self._piece + 1]
        self._piece += 2
        self._text = self._parts[self._piece]
        self._at = 0
        return value

    def text(self, expected: str = "a string") -> str:
        """String (astring) as text; without a charset it must be UTF-8."""
        value = self.astring(expected)
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            self.fail(f"{expected} in UTF-8")

    def base64(self) -> bytes:
        """Decoded base64 word (rfc9051:6348); ``=`` alone is the empty string."""
        value = self.match(_BASE64, "base64")[0]
        if value == b"=":
            return b""
        try:
            return base64.b64decode(value, validate=True)
        except binascii.Error:
            self.fail("base64")

    # Numbers

    def number(self, *, least: int = 0, most: int = MAX_NUMBER) -> int:
        """Unsigned decimal number between ``least`` and ``most`` (rfc9051:6789)."""
        start = self._at
        value = int(self.match(_DIGITS, "a number")[0])
        if not least <= value <= most:
            self._at = start
            self.fail(f"a number from {least} to {most}")
        return value

    def number64(self) -> int:
        """Number of 63 bits (rfc9051:6793): sizes and modseqs."""
        return self.number(most=MAX_NUMBER64)

    def sequence_set(self) -> SequenceSet:
        """Set of message numbers or UIDs (rfc9051:7034)."""
        start = self._at
        raw = self.match(_SEQUENCE, "a sequence set")[0]
        try:
            return parse_set(raw)
        except BadSyntax:
            self._at = start
            self.fail("a sequence set of numbers from 1 to 4294967295")

    # Mailboxes

    def mailbox(self) -> str:
        """Mailbox name, decoded; INBOX in any case is INBOX (rfc9051:6669)."""
        return decode_name(self.astring("a mailbox name"), utf8=self.utf8)

    def list_mailbox(self) -> str:
        """Mailbox name or LIST pattern, decoded (rfc9051:6605)."""
        found = _LIST.match(self._text, self._at)
        if found:
            self._at = found.end()
        value = found[0] if found else self.string("a mailbox pattern")
        return decode_name(value, utf8=self.utf8)

    # Flags

    def flag(self) -> str:
        """Flag or keyword as written; \\Recent is not the client's to name."""
        start = self._at
        name = self.match(_FLAG, "a flag")[0].decode("ascii")
        known = name.lower() in _SYSTEM if name[0] == "\\" else len(name) <= MAX_KEYWORD
        if not known:
            self._at = start
            self.fail("a system flag that exists or a keyword of at most 128 octets")
        return name

    def flag_list(self) -> Flags:
        """Flags in parentheses (rfc9051:6584)."""
        return gather_flags(self.group(self.flag, MAX_FLAGS))

    def flags(self) -> Flags:
        """Flags in parentheses, or bare with blanks between (rfc9051:7078)."""
        if self.next_is(b"("):
            return self.flag_list()
        names = [self.flag()]
        while not self.at_end():
            self.space()
            names.append(self.flag())
            if len(names) > MAX_FLAGS:
                self.fail(f"at most {MAX_FLAGS} flags")
        return gather_flags(names)

    # Dates

    def date(self) -> str:
        """Calendar day, quoted or not (rfc9051:6487), as ``2026-11-23``."""
        start = self._at
        quoted = self.skip(b'"')
        day, month, year = self.match(_DATE, "a date").groups()
        if quoted:
            self.expect(b'"')
        try:
            return dt.date(int(year), _MONTHS[month.lower()], int(day)).isoformat()
        except (KeyError, ValueError):
            self._at = start
            self.fail("a date that exists")

    def date_time(self) -> str:
        """Quoted date, time and zone (rfc9051:6502) as ISO 8601 UTC, ``2026-11-23T10:15:00Z``."""
        start = self._at
        day, month, year, hour, minute, second, sign, *zone = self.match(
            _DATE_TIME, "a date and time"
        ).groups()
        east = dt.timedelta(hours=int(zone[0]), minutes=int(zone[1]))
        try:
            # a leap second is the end of the second before it
            local = dt.datetime(
                int(year),
                _MONTHS[month.lower()],
                int(day),
                int(hour),
                int(minute),
                59 if second == b"60" else int(second),
            )
            moment = local + east if sign == b"-" else local - east
        except (KeyError, ValueError, OverflowError):
            self._at = start
            self.fail("a date and time that exist")
        return moment.isoformat() + "Z"

    # Groups

    def group(self, item: Callable[[], T], most: int, *, least: int = 0) -> list[T]:
        """Items in parentheses with one blank between, ``least`` to ``most`` of them."""
        self.expect(b"(")
        items: list[T] = []
        while not self.skip(b")"):
            if items:
                self.space()
            if len(items) == most:
                self.fail(f"at most {most} items")
            items.append(item())
        if len(items) < least:
            self.fail(f"at least {least} items in parentheses")
        return items


def gather_flags(names: list[str]) -> Flags:
    """Split flags into system bits and keywords, each keyword once in any case, sorted."""
    bits = 0
    keywords: dict[str, str] = {}
    for name in names:
        bit = _SYSTEM.get(name.lower())
        if bit:
            bits |= bit
        else:
            keywords.setdefault(name.lower(), name)
    return Flags(bits, " ".join(sorted(keywords.values())))
