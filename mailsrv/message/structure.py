"""The tree of MIME parts of one message, with octet offsets (rfc2045, rfc2046).

One pass from front to back: the next blank line and the next delimiter are looked for from where
the last ones were found, whatever the nesting, so that the time stays linear. Everything is
capped; beyond a cap the rest is one opaque leaf. Nothing is ever written back: a part is where
its octets are in the message.
"""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from mailsrv.message.address import MAX_ADDRESSES
from mailsrv.message.envelope import ENVELOPE_FIELDS, Fields, envelope
from mailsrv.message.header import (
    MAX_FIELD,
    MAX_HEADER,
    Parameters,
    each_field,
    parameter,
    parameters,
    unfold,
)

MAX_DEPTH = 100
MAX_PARTS = 10_000
MAX_PARSED = 1024 * 1024
"""Octets of field values that one message may have parsed, over all its headers."""
MAX_LOOKED_AT = 8 * 1024 * 1024
"""Octets of headers that one message may have looked at."""
MAX_LOOKALIKES = 1_000_000
"""Lines that begin like a delimiter of a nested multipart and are none."""
MAX_LANGUAGES = 32


class Part(msgspec.Struct, frozen=True, array_like=True):
    """One MIME part. Offsets are octets from the start of the message.

    The header is ``[header_start, body_start)`` with its blank line, the body
    ``[body_start, end)`` without the line end that belongs to the next delimiter. Values of
    fields are octet text (latin-1 of what arrived), type and encoding in lower case.
    """

    header_start: int
    body_start: int
    end: int
    lines: int = 0
    """LFs in the body."""
    type: str = "text"
    subtype: str = "plain"
    params: Parameters = ()
    """Names in lower case, values as written; continuations are not put together."""
    encoding: str = "7bit"
    content_id: str | None = None
    description: str | None = None
    md5: str | None = None
    disposition: str | None = None
    disposition_params: Parameters = ()
    language: tuple[str, ...] = ()
    location: str | None = None
    children: tuple["Part", ...] = ()
    """The parts of a multipart (at least one); the one enclosed message of a message/rfc822."""
    envelope: bytes | None = None
    """Of a message that is enclosed in another: its ENVELOPE as IMAP sends it."""

    @property
    def encloses_message(self) -> bool:
        return self.type == "message" and self.subtype in _ENCLOSING


_ENCLOSING = ("rfc822", "global")
_ENCODED = ("base64", "quoted-printable")
_DEFAULT_PARAMS = (("charset", "us-ascii"),)
_BLANK_LINE = re.compile(rb"\n\r?\n")
_TYPE = re.compile(r"([\w!#$%&'*+.^`{|}~-]+)[ \t]*/[ \t]*([\w!#$%&'*+.^`{|}~-]+)", re.ASCII)
_TOKEN = re.compile(r"[^\s;()\"]+", re.ASCII)
_LANGUAGE = re.compile(r"[A-Za-z0-9-]+")


_PART_FIELDS = frozenset(
    "content-" + name
    for name in (
        "type",
        "transfer-encoding",
        "id",
        "description",
        "disposition",
        "language",
        "location",
        "md5",
    )
)
_MESSAGE_FIELDS = _PART_FIELDS | ENVELOPE_FIELDS | {"references"}
_SIMPLE = (
    ("content-id", "content_id"),
    ("content-description", "description"),
    ("content-md5", "md5"),
    ("content-location", "location"),
)
_Facts = dict[str, Any]
_PLAIN: _Facts = {"type": "text", "subtype": "plain", "params": _DEFAULT_PARAMS}
_OPAQUE: _Facts = {"type": "application", "subtype": "octet-stream", "params": ()}


class _Delimiter(NamedTuple):
    start: int
    """Where the line end before the delimiter begins: the part before it ends here."""
    line_end: int
    level: int
    closing: bool


class StructureScanner:
    """Scans one message: ``root = StructureScanner(content).run()``; then ``fields`` holds
    the fields of the message's own header that are worth keeping."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.size = len(content)
        self.fields: Fields = {}
        self._levels: dict[bytes, int] = {}
        self._depth = 0
        self._prefix = b"\n--"
        self._next: _Delimiter | None = None
        self._blank = (-2, -2)
        self._parts = 0
        self._lookalikes = 0
        self._parsed = 0
        self._looked_at = 0
        self._addresses = MAX_ADDRESSES

    def run(self) -> Part:
        return self._entity(0, 0, digest=False, message=True)

    # Lines

    def _header_end(self, start: int) -> int:
        """Offset after the blank line that ends the header at ``start``."""
        content = self.content
        if start >= self.size:
            return self.size
        if start == 0 and content.startswith((b"\n", b"\r\n")):
            return content.index(b"\n") + 1
        if self._blank[0] < start - 1:
            match = _BLANK_LINE.search(content, max(start - 1, 0))
            self._blank = match.span() if match else (self.size, self.size)
        return self._blank[1]

    def _delimiter(self, start: int, limit: int) -> _Delimiter | None:
        """The first delimiter line of any open multipart whose LF before it is in the range."""
        content, levels, prefix = self.content, self._levels, self._prefix
        if not levels:
            return None
        stop = limit + len(prefix) - 1
        while (found := content.find(prefix, max(start, 0), stop)) >= 0:
            line_end = content.find(b"\n", found + 1) + 1 or self.size
            line = content[found + 3 : line_end].rstrip(b" \t\r\n")
            level = levels.get(line)
            closing = level is None and line.endswith(b"--")
            if closing:
                level = levels.get(line[:-2])
            if level is not None:
                cr = found > 0 and content[found - 1] == 13
                return _Delimiter(found - cr, line_end, level, closing)
            self._lookalikes += 1
            if self._lookalikes > MAX_LOOKALIKES:
                return None
            start = line_end - 1 if line_end < self.size else self.size
        return None

    # Parts

    def _entity(self, start: int, depth: int, *, digest: bool, message: bool) -> Part:
        """The part at ``start``; leaves the delimiter that ended it in ``_next``."""
        self._parts += 1
        if self._parts >= MAX_PARTS:
            self._next = None
            return self._part(start, start, self.size, _OPAQUE)
        body_start = self._header_end(start)
        # The blank line may be the line end before a delimiter: it counts for the header then.
        stop = self._delimiter(start - 1, body_start - 1)
        if stop is not None:
            body_start = max(start, stop.start)
        fields = self._read_fields(start, body_start, _MESSAGE_FIELDS if message else _PART_FIELDS)
        facts = _facts(fields, digest)
        if message and depth:
            facts["envelope"] = self._envelope(fields)
        elif message:
            self.fields = fields
        if depth >= MAX_DEPTH and _may_have_parts(facts):
            facts |= _OPAQUE
        return self._body(start, body_start, depth, facts, stop)

    def _body(
        self, start: int, body_start: int, depth: int, facts: _Facts, stop: _Delimiter | None
    ) -> Part:
        """The part with that header; ``stop`` is the delimiter when the body is empty."""
        if facts["type"] == "multipart":
            return self._multipart(start, body_start, depth, facts, stop)
        if facts["type"] == "message" and facts["subtype"] in _ENCLOSING:
            return self._enclosing(start, body_start, depth, facts, stop)
        self._next = stop or self._delimiter(body_start - 1, self.size)
        return self._part(start, body_start, self._end(body_start), facts)

    def _end(self, start: int) -> int:
        return self.size if self._next is None else max(start, self._next.start)

    def _part(self, start: int, body_start: int, end: int, facts: _Facts) -> Part:
        return Part(start, body_start, end, self.content.count(b"\n", body_start, end), **facts)

    def _enclosing(
        self, start: int, body_start: int, depth: int, facts: _Facts, stop: _Delimiter | None
    ) -> Part:
        encoding = facts.get("encoding")
        if stop is None and encoding not in _ENCODED:
            child = self._entity(body_start, depth + 1, digest=False, message=True)
        else:
            # What is encoded (which rfc2046:1582 forbids) has no header that could be read in
            # place: it counts as a message without one, and its text is encoded like that.
            self._next = stop or self._delimiter(body_start - 1, self.size)
            unread = _PLAIN | {"envelope": self._envelope({}), "encoding": encoding or "7bit"}
            child = self._part(body_start, body_start, self._end(body_start), unread)
        lines = self._lines(body_start, child.end, (child,))
        return Part(start, body_start, child.end, lines, children=(child,), **facts)

    def _multipart(
        self, start: int, body_start: int, depth: int, facts: _Facts, stop: _Delimiter | None
    ) -> Part:
        boundary = (parameter(facts["params"], "boundary") or "").rstrip(" \t").encode("latin-1")
        children: list[Part] = []
        if stop is not None:
            self._next = stop
        elif not boundary:
            self._next = self._delimiter(body_start - 1, self.size)
        else:
            children = self._children(body_start, depth, boundary, facts["subtype"] == "digest")
        end = self._end(body_start)
        if not children:
            # BODYSTRUCTURE has no multipart without parts: what is there is shown as one text.
            children = [self._part(body_start, body_start, end, _PLAIN)]
        lines = self._lines(body_start, end, children)
        return Part(start, body_start, end, lines, children=tuple(children), **facts)

    def _children(self, body_start: int, depth: int, boundary: bytes, digest: bool) -> list[Part]:
        shadowed = self._levels.get(boundary)
        self._depth += 1
        level = self._levels[boundary] = self._depth
        self._set_prefix()
        children = []
        self._next = self._delimiter(body_start - 1, self.size)
        while self._next is not None and self._next.level == level and not self._next.closing:
            start = self._next.line_end
            # The line end after a delimiter cannot also begin the next: no part is in between.
            if (doubled := self._delimiter(start - 1, start)) is not None:
                self._next = doubled
            else:
                children.append(self._entity(start, depth + 1, digest=digest, message=False))
        if shadowed is None:
            del self._levels[boundary]
        else:
            self._levels[boundary] = shadowed
        self._depth -= 1
        self._set_prefix()
        if self._next is not None and self._next.level == level:
            self._next = self._delimiter(self._next.line_end - 1, self.size)
        return children

    def _set_prefix(self) -> None:
        # With one multipart open its whole delimiter is looked for, which is fastest.
        self._prefix = b"\n--" + (next(iter(self._levels)) if len(self._levels) == 1 else b"")

    def _lines(self, start: int, end: int, children: Sequence[Part]) -> int:
        """LFs in a body that has parts, without counting those of the parts again."""
        count = self.content.count
        total = 0
        for child in children:
            total += count(b"\n", start, child.body_start) + child.lines
            start = child.end
        return total + count(b"\n", start, end)

    # Fields

    def _read_fields(self, start: int, end: int, wanted: frozenset[str]) -> Fields:
        fields: Fields = {}
        if self._looked_at > MAX_LOOKED_AT or start == end:
            return fields
        header = self.content[start : min(end, start + MAX_HEADER)].decode("latin-1")
        self._looked_at += len(header)
        for name, value in each_field(header):
            key = name.lower()
            if key in wanted and self._parsed < MAX_PARSED:
                self._parsed += len(value)
                fields.setdefault(key, []).append(value[:MAX_FIELD])
        return fields

    def _envelope(self, fields: Fields) -> bytes:
        text, taken = envelope(fields, self._addresses)
        self._addresses -= taken
        return text.encode("latin-1")


def _may_have_parts(facts: _Facts) -> bool:
    enclosing = facts["type"] == "message" and facts["subtype"] in _ENCLOSING
    return enclosing or bool(facts["type"] == "multipart")


def _facts(fields: Fields, digest: bool) -> _Facts:
    """What the Content-* fields say of a part, as keywords for Part."""
    facts = _content_type(fields, digest)
    for name, key in _SIMPLE:
        if name in fields:
            facts[key] = unfold(fields[name][0])
    if "content-transfer-encoding" in fields:
        token = _TOKEN.search(unfold(fields["content-transfer-encoding"][0]))
        if token:
            facts["encoding"] = token[0].lower()
    if "content-disposition" in fields:
        value = unfold(fields["content-disposition"][0])
        token = _TOKEN.match(value)
        if token:
            facts["disposition"] = token[0].lower()
            facts["disposition_params"] = parameters(value)
    if "content-language" in fields:
        tags = _LANGUAGE.findall(unfold(fields["content-language"][0]))
        facts["language"] = tuple(tags[:MAX_LANGUAGES])
    return facts


def _content_type(fields: Fields, digest: bool) -> _Facts:
    if "content-type" in fields:
        value = unfold(fields["content-type"][0])
        params = parameters(value)
        match = _TYPE.match(value)
        if match:
            return {"type": match[1].lower(), "subtype": match[2].lower(), "params": params}
        return _PLAIN | {"params": params or _DEFAULT_PARAMS}
    if digest:
        return {"type": "message", "subtype": "rfc822"}
    return dict(_PLAIN)
