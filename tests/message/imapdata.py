"""A strict parser for what IMAP sends as ENVELOPE and BODYSTRUCTURE, to check ours against.

It follows the grammar of rfc9051 section 9 to the octet (one blank between elements, none between
addresses and between parts), and raises NotImap for everything else.
"""

import re
from typing import Any

_QUOTED = re.compile(rb'"((?:[^"\\\r\n\x00\x80-\xff]|\\["\\])*)"')
_LITERAL = re.compile(rb"\{(0|[1-9][0-9]*)\}\r\n")
_NUMBER = re.compile(rb"0|[1-9][0-9]*")

_ENVELOPE = (
    "date",
    "subject",
    "from",
    "sender",
    "reply_to",
    "to",
    "cc",
    "bcc",
    "in_reply_to",
    "message_id",
)


class NotImap(Exception):
    pass


class Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def expect(self, octets: bytes) -> None:
        if not self.data.startswith(octets, self.at):
            raise NotImap(f"{octets!r} expected, not {self.data[self.at : self.at + 40]!r}")
        self.at += len(octets)

    def sees(self, octets: bytes) -> bool:
        return self.data.startswith(octets, self.at)

    def string(self) -> bytes:
        if match := _QUOTED.match(self.data, self.at):
            self.at = match.end()
            return re.sub(rb"\\(.)", rb"\1", match[1])
        match = _LITERAL.match(self.data, self.at)
        if not match:
            raise NotImap(f"string expected, not {self.data[self.at : self.at + 40]!r}")
        value = self.data[match.end() : match.end() + int(match[1])]
        if len(value) != int(match[1]) or b"\0" in value:
            raise NotImap("bad literal")
        self.at = match.end() + len(value)
        return value

    def nstring(self) -> bytes | None:
        if self.sees(b"NIL"):
            self.at += 3
            return None
        return self.string()

    def number(self) -> int:
        match = _NUMBER.match(self.data, self.at)
        if not match:
            raise NotImap(f"number expected, not {self.data[self.at : self.at + 40]!r}")
        self.at = match.end()
        return int(match[0])

    def end(self) -> None:
        if self.at != len(self.data):
            raise NotImap(f"junk at the end: {self.data[self.at : self.at + 40]!r}")

    # ENVELOPE

    def addresses(self) -> list[tuple[bytes | None, ...]] | None:
        if self.sees(b"NIL"):
            self.at += 3
            return None
        found = []
        self.expect(b"(")
        while not self.sees(b")"):
            found.append(self.address())
        if not found:
            raise NotImap("an empty list of addresses")
        self.expect(b")")
        return found

    def address(self) -> tuple[bytes | None, ...]:
        self.expect(b"(")
        fields = [self.nstring()]
        for _ in range(3):
            self.expect(b" ")
            fields.append(self.nstring())
        self.expect(b")")
        return tuple(fields)

    def envelope(self) -> dict[str, Any]:
        self.expect(b"(")
        found: dict[str, Any] = {}
        for name in _ENVELOPE:
            if found:
                self.expect(b" ")
            text = name in ("date", "subject", "in_reply_to", "message_id")
            found[name] = self.nstring() if text else self.addresses()
        self.expect(b")")
        return found

    # BODYSTRUCTURE

    def params(self) -> dict[bytes, bytes] | None:
        if self.sees(b"NIL"):
            self.at += 3
            return None
        self.expect(b"(")
        found = {}
        while True:
            name = self.string()
            self.expect(b" ")
            found[name] = self.string()
            if self.sees(b")"):
                break
            self.expect(b" ")
        self.expect(b")")
        return found

    def body(self, extended: bool) -> dict[str, Any]:
        self.expect(b"(")
        found = self.multipart(extended) if self.sees(b"(") else self.single(extended)
        self.expect(b")")
        return found

    def multipart(self, extended: bool) -> dict[str, Any]:
        parts = []
        while self.sees(b"("):
            parts.append(self.body(extended))
        self.expect(b" ")
        found = {"type": b"MULTIPART", "subtype": self.string(), "parts": parts}
        if extended:
            self.expect(b" ")
            found["params"] = self.params()
            found |= self.extension()
        return found

    def single(self, extended: bool) -> dict[str, Any]:
        found: dict[str, Any] = {}
        readers = {
            "type": self.string,
            "subtype": self.string,
            "params": self.params,
            "id": self.nstring,
            "description": self.nstring,
            "encoding": self.string,
            "octets": self.number,
        }
        for name, read in readers.items():
            if found:
                self.expect(b" ")
            found[name] = read()
        if found["type"] == b"MESSAGE" and found["subtype"] in (b"RFC822", b"GLOBAL"):
            self.expect(b" ")
            found["envelope"] = self.envelope()
            self.expect(b" ")
            found["parts"] = [self.body(extended)]
            self.expect(b" ")
            found["lines"] = self.number()
        elif found["type"] == b"TEXT":
            self.expect(b" ")
            found["lines"] = self.number()
        if extended:
            self.expect(b" ")
            found["md5"] = self.nstring()
            found |= self.extension()
        return found

    def extension(self) -> dict[str, Any]:
        self.expect(b" ")
        disposition = None
        if self.sees(b"NIL"):
            self.at += 3
        else:
            self.expect(b"(")
            kind = self.string()
            self.expect(b" ")
            disposition = (kind, self.params())
            self.expect(b")")
        self.expect(b" ")
        language = self.languages()
        self.expect(b" ")
        return {"disposition": disposition, "language": language, "location": self.nstring()}

    def languages(self) -> list[bytes] | None:
        if not self.sees(b"("):
            value = self.nstring()
            return None if value is None else [value]
        self.expect(b"(")
        found = [self.string()]
        while not self.sees(b")"):
            self.expect(b" ")
            found.append(self.string())
        self.expect(b")")
        return found


def parse_envelope(data: bytes) -> dict[str, Any]:
    reader = Reader(data)
    found = reader.envelope()
    reader.end()
    return found


def parse_body(data: bytes, extended: bool = True) -> dict[str, Any]:
    reader = Reader(data)
    found = reader.body(extended)
    reader.end()
    return found
