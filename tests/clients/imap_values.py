"""Answers of an IMAP server as typed values, read by the formal syntax alone.

Written from rfc3501 section 9 and the extensions' own, sharing nothing with the server: what the
grammar does not allow raises ``NotImap``, also where a lenient client would shrug.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, NamedTuple


class NotImap(Exception):
    """The server sent what the formal syntax does not know."""


class Address(NamedTuple):
    """``address`` (rfc3501:4515)."""

    name: bytes | None
    route: bytes | None
    mailbox: bytes | None
    host: bytes | None


class Envelope(NamedTuple):
    """``envelope`` (rfc3501:4722)."""

    date: bytes | None
    subject: bytes | None
    from_: list[Address] | None
    sender: list[Address] | None
    reply_to: list[Address] | None
    to: list[Address] | None
    cc: list[Address] | None
    bcc: list[Address] | None
    in_reply_to: bytes | None
    message_id: bytes | None


@dataclass
class Body:
    """``body`` (rfc3501:4573): one part, or several with ``parts``."""

    type: bytes
    subtype: bytes
    params: dict[bytes, bytes] | None = None
    id: bytes | None = None
    description: bytes | None = None
    encoding: bytes = b""
    size: int = 0
    lines: int | None = None
    envelope: Envelope | None = None
    parts: "tuple[Body, ...]" = ()
    extension: tuple[Any, ...] | None = None
    """md5 or params, then disposition, language, location, as far as sent."""


@dataclass
class Status:
    """``resp-cond-state``, and BYE and PREAUTH."""

    kind: str
    code: str | None
    data: bytes
    """What follows the code's name within the brackets."""
    text: bytes


@dataclass
class Data:
    """One untagged response that is not a status."""

    kind: str
    number: int | None = None
    value: Any = None


ATOM = re.compile(rb"[!#$&'+,\-./0-9:;<=>?@A-Z\[^_`a-z|}~]+")
ASTRING_ATOM = re.compile(rb"[!#$&'+,\-./0-9:;<=>?@A-Z\[\]^_`a-z|}~]+")
FLAG = re.compile(rb"\\?[!#$&'+,\-./0-9:;<=>?@A-Z\[^_`a-z|}~]+|\\\*")
NUMBER = re.compile(rb"0|[1-9][0-9]*")
QUOTED = re.compile(rb'"((?:[^"\\\r\n\0\x80-\xff]|\\["\\])*)"')
LITERAL = re.compile(rb"\{([0-9]+)\}\r\n")
DATE_TIME = re.compile(
    rb'"([ 0-9][0-9])-(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)-([0-9]{4})'
    rb' ([0-9]{2}):([0-9]{2}):([0-9]{2}) ([+-])([0-9]{2})([0-9]{2})"'
)
SECTION = re.compile(
    rb"\[([1-9][0-9]*(?:\.[1-9][0-9]*)*(?=[.\]]))?\.?(HEADER\.FIELDS\.NOT|HEADER\.FIELDS|HEADER"
    rb"|TEXT|MIME|)"
)
MONTHS = b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
STATES = {b"OK", b"NO", b"BAD", b"BYE", b"PREAUTH"}


class Reader:
    """Reads one whole response, without its last CRLF, from left to right."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def fail(self, expected: str) -> NotImap:
        return NotImap(f"{expected} expected at {self.at} of {self.data[:2000]!r}")

    def match(self, pattern: "re.Pattern[bytes]", expected: str) -> "re.Match[bytes]":
        found = pattern.match(self.data, self.at)
        if found is None:
            raise self.fail(expected)
        self.at = found.end()
        return found

    def peek(self, octets: bytes) -> bool:
        return self.data.startswith(octets, self.at)

    def take(self, octets: bytes) -> bool:
        if self.peek(octets):
            self.at += len(octets)
            return True
        return False

    def need(self, octets: bytes) -> None:
        if not self.take(octets):
            raise self.fail(repr(octets))

    def end(self) -> None:
        if self.at != len(self.data):
            raise self.fail("the end")

    def rest(self) -> bytes:
        rest, self.at = self.data[self.at :], len(self.data)
        return rest

    def atom(self) -> bytes:
        return self.match(ATOM, "an atom")[0]

    def number(self, least: int = 0, bits: int = 32) -> int:
        number = int(self.match(NUMBER, "a number")[0])
        if not least <= number < 1 << bits:
            raise self.fail(f"a number of at least {least} and {bits} bits")
        return number

    def string(self) -> bytes:
        if self.peek(b'"'):
            return re.sub(rb"\\(.)", rb"\1", self.match(QUOTED, "a quoted string")[1])
        size = int(self.match(LITERAL, "a string")[1])
        value = self.data[self.at : self.at + size]
        self.at += size
        if len(value) != size or b"\0" in value:
            raise self.fail("a literal without NUL")
        return value

    def nstring(self) -> bytes | None:
        return None if self.nil() else self.string()

    def nil(self) -> bool:
        return self.take(b"NIL")

    def astring(self) -> bytes:
        if self.peek(b'"') or self.peek(b"{"):
            return self.string()
        return self.match(ASTRING_ATOM, "an astring")[0]

    def flag(self) -> bytes:
        return self.match(FLAG, "a flag")[0]

    def several(self, read: Any, between: bytes = b" ", least: int = 0) -> list[Any]:
        """``(``, values, ``)``."""
        self.need(b"(")
        values: list[Any] = []
        while not self.take(b")"):
            if values and between:
                self.need(between)
            values.append(read())
        if len(values) < least:
            raise self.fail(f"at least {least} values")
        return values

    def flags(self) -> list[bytes]:
        flags = self.several(self.flag)
        if len({flag.lower() for flag in flags}) != len(flags):
            raise self.fail("each flag once")
        return flags

    # Message data

    def date_time(self) -> datetime:
        day, month, year, *clock, sign, hours, minutes = self.match(DATE_TIME, "a date").groups()
        away = timedelta(hours=int(hours), minutes=int(minutes))
        zone = timezone(-away if sign == b"-" else away)
        numbers = (int(year), MONTHS.index(month) + 1, int(day), *map(int, clock))
        return datetime(*numbers, tzinfo=zone)

    def address(self) -> Address:
        self.need(b"(")
        fields = [self.nstring()]
        for _ in range(3):
            self.need(b" ")
            fields.append(self.nstring())
        self.need(b")")
        return Address(*fields)

    def addresses(self) -> list[Address] | None:
        return None if self.nil() else self.several(self.address, b"", 1)

    def envelope(self) -> Envelope:
        self.need(b"(")
        fields: list[Any] = [self.nstring()]
        for read in (self.nstring, *[self.addresses] * 6, *[self.nstring] * 2):
            self.need(b" ")
            fields.append(read())
        self.need(b")")
        return Envelope(*fields)

    def params(self) -> dict[bytes, bytes] | None:
        if self.nil():
            return None
        words = self.several(self.string, least=2)
        if len(words) % 2:
            raise self.fail("names and values")
        return {name.lower(): value for name, value in zip(words[::2], words[1::2], strict=True)}

    def disposition(self) -> Any:
        if self.nil():
            return None
        self.need(b"(")
        kind = self.string()
        self.need(b" ")
        params = self.params()
        self.need(b")")
        return kind, params

    def language(self) -> Any:
        return self.several(self.string, least=1) if self.peek(b"(") else self.nstring()

    def body(self, extensible: bool) -> Body:
        self.need(b"(")
        body = self.multipart(extensible) if self.peek(b"(") else self.single(extensible)
        readers = (
            self.params if body.parts and body.type == b"multipart" else self.nstring,
            self.disposition,
            self.language,
            self.nstring,
        )
        if extensible and not self.peek(b")"):
            extension = []
            for read in readers:
                if not self.take(b" "):
                    break
                extension.append(read())
            body.extension = tuple(extension)
        self.need(b")")
        return body

    def multipart(self, extensible: bool) -> Body:
        parts = []
        while self.peek(b"("):
            parts.append(self.body(extensible))
        self.need(b" ")
        return Body(b"multipart", self.string().lower(), parts=tuple(parts))

    def single(self, extensible: bool) -> Body:
        fields: list[Any] = [self.string()]
        for read in (
            *(self.string, self.params, self.nstring, self.nstring),
            *(self.string, self.number),
        ):
            self.need(b" ")
            fields.append(read())
        body = Body(fields[0].lower(), fields[1].lower(), *fields[2:])
        if (body.type, body.subtype) == (b"message", b"rfc822"):
            self.need(b" ")
            body.envelope = self.envelope()
            self.need(b" ")
            body.parts = (self.body(extensible),)
            self.need(b" ")
            body.lines = self.number()
        elif body.type == b"text":
            self.need(b" ")
            body.lines = self.number()
        return body

    def section(self) -> str:
        """``section`` and its origin, as a client would write it."""
        part, kind = self.match(SECTION, "a section").groups()
        name = ".".join(word.decode() for word in (part, kind) if word)
        if kind.startswith(b"HEADER.FIELDS"):
            self.need(b" ")
            names = self.several(self.astring, least=1)
            name += f" ({b' '.join(names).decode()})"
        self.need(b"]")
        if self.take(b"<"):
            origin = self.number()
            self.need(b">")
            return f"[{name}]<{origin}>"
        return f"[{name}]"

    def item(self) -> tuple[str, Any]:
        """One name and value of ``msg-att`` (rfc3501:4866; rfc7162:2488)."""
        name = self.match(re.compile(rb"[A-Z0-9.]+"), "a data item")[0].decode()
        if name == "BODY" and self.peek(b"["):
            name += self.section()
            self.need(b" ")
            return name, self.nstring()
        self.need(b" ")
        readers = {
            "FLAGS": self.flags,
            "UID": lambda: self.number(1),
            "RFC822.SIZE": self.number,
            "INTERNALDATE": self.date_time,
            "ENVELOPE": self.envelope,
            "BODY": lambda: self.body(extensible=False),
            "BODYSTRUCTURE": lambda: self.body(extensible=True),
            "RFC822": self.nstring,
            "RFC822.HEADER": self.nstring,
            "RFC822.TEXT": self.nstring,
            "MODSEQ": lambda: self.several(lambda: self.number(1, 63))[0],
        }
        if name not in readers:
            raise self.fail("a known data item")
        return name, readers[name]()

    def message(self) -> dict[str, Any]:
        pairs = self.several(self.item, least=1)
        items = dict(pairs)
        if len(items) != len(pairs):
            raise self.fail("each data item once")
        return items


def utc(*numbers: int) -> datetime:
    """A date for comparison with INTERNALDATE."""
    return datetime(*numbers, tzinfo=UTC)
