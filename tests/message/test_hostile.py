"""Messages built to be slow. Everything must stay linear: twice the octets, twice the time."""

import time
from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from mailsrv.message.parts import split
from mailsrv.message.scan import body, scan
from mailsrv.message.sections import filter_fields
from mailsrv.message.text import body_text, fold, header_text, mime_text
from tests.message.imapdata import parse_body, parse_envelope

Build = Callable[[int], bytes]


def nested(levels: int) -> bytes:
    return b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (level, level)
        for level in range(levels)
    )


def multipart(part: bytes, times: int) -> bytes:
    return b"Content-Type: multipart/mixed; boundary=b\n\n" + (b"--b\n" + part + b"\n") * times


def field(name: bytes, piece: bytes) -> Build:
    return lambda n: name + b": " + piece * n + b"\n\n"


def typed(kind: bytes, piece: bytes, encoding: bytes = b"8bit") -> Build:
    head = b"Content-Type: " + kind + b"\nContent-Transfer-Encoding: " + encoding + b"\n\n"
    return lambda n: head + piece * n


HOSTILE: dict[str, Build] = {
    "parameters": field(b"Content-Type", b"a/b; x=y"),
    "unclosed quotes": field(b"Content-Type", b';a="\\"'),
    "unclosed quotes in parts": lambda n: multipart(
        b"Content-Type: a/b" + b';a="\\"' * 100 + b"\n\nx", n // 100
    ),
    "continuations": lambda n: (
        b"Content-Type: a/b" + b"".join(b"; boundary*%d=x" % i for i in range(n // 9)) + b"\n\n"
    ),
    "types": field(b"Content-Type", b"a/"),
    "encoded words": field(b"Subject", b"=?utf-8?q?a?= "),
    "open encoded words": field(b"Subject", b"=?utf-8?q?a"),
    "dots": field(b"From", b". "),
    "words": field(b"From", b"a "),
    "comments": field(b"From", b"("),
    "closed comments": field(b"From", b"(a)"),
    "quotes": field(b"From", b'"\\"'),
    "angles": field(b"To", b"a@b <"),
    "groups": field(b"To", b"a:;"),
    "routes": field(b"To", b"<@a,"),
    "commas": lambda n: (b"To: " + b"a," * 30_000 + b"\n") * (n // 10_000) + b"\n",
    "blanks": field(b"To", b" "),
    "returns": field(b"Subject", b"\r"),
    "dates": field(b"Date", b"("),
    "message ids": field(b"References", b"<a"),
    "languages": field(b"Content-Language", b"a,"),
    "lines": lambda n: b"x\n" * n,
    "fields": lambda n: b"x:\n" * n,
    "addressees": lambda n: b"To: a@b\n" * n + b"\n",
    "folds": lambda n: b"Subject: x\n" + b" y\n" * n,
    "delimiters": lambda n: multipart(b"", n),
    "parts": lambda n: multipart(b"\n", n),
    "fields of parts": lambda n: multipart(b"a:\n" * 1000 + b"\n", n // 1000),
    "digest": lambda n: (
        b"Content-Type: multipart/digest; boundary=b\n\n"
        + b"--b\n\nFrom: a@b\nSubject: x\n\ny\n" * n
    ),
    "depth": nested,
    "lookalikes": lambda n: nested(99) + b"\n--b" * n,
    "prefixes": lambda n: nested(99) + b"\n--x\n" * n,
    "messages": lambda n: b"Content-Type: message/rfc822\n\n" * n,
    "tags": typed(b"text/html", b"<a "),
    "attributes": typed(b"text/html", b"<a =\" <b =' "),
    "many attributes": typed(b"text/html", b"<a x=y "),
    "divs": typed(b"text/html", b"<div>"),
    "scripts": typed(b"text/html", b"<script></s"),
    "html comments": typed(b"text/html", b"<!--"),
    "references": typed(b"text/html", b"&a&#9"),
    "marks": typed(b"text/plain; charset=utf-8", "\u0301\u0327".encode()),
    "marks of two planes": typed(b"text/plain; charset=utf-8", "\u0301\U0001e8d0".encode()),
    "utf-7": typed(b"text/plain; charset=utf-7", b"\xff+"),
    "iso-2022-jp": typed(b"text/plain; charset=iso-2022-jp", b"\x1b$B\xff"),
    "broken base64": typed(b"text/plain", b"QQ==Q=", b"base64"),
    "quoted-printable": typed(b"text/plain", b"= ", b"quoted-printable"),
    "regular base64": typed(b"a/b", b"QUJD\n", b"base64"),
    "irregular base64": typed(b"a/b", b"QUJD\nQUJDQUJD\n", b"base64"),
}


def seconds(content: bytes) -> float:
    """CPU seconds for everything that is done with a message."""
    start = time.process_time()
    scanned = scan(content)
    root = scanned.root
    fold(body_text(content, root))
    header_text(content, root)
    mime_text(content, root)
    split(content, root)
    body(root)
    filter_fields(content[: root.body_start], ("TO",), exclude=True)
    return time.process_time() - start


class HostileTests(SynchronousTestCase):
    def test_time_is_linear(self):
        for name, build in HOSTILE.items():
            small, large = build(40_000), build(80_000)
            seconds(build(100))
            first = min(seconds(small) for _ in range(2))
            # What is capped or fast anyway is too short to compare.
            allowed = max(3.2 * first, 0.1)
            taken = next((t for t in (seconds(large) for _ in range(3)) if t < allowed), None)
            self.assertIsNotNone(taken, f"{name}: {first:.3f} s for half of it")
            self.assertLess(first, 1.0, name)

    def test_wire_forms_are_sound_and_bounded(self):
        for name, build in HOSTILE.items():
            scanned = scan(build(20_000))
            parse_envelope(scanned.envelope)
            parse_body(scanned.bodystructure)
            parse_body(body(scanned.root), extended=False)
            self.assertLess(len(scanned.bodystructure), 1_300_000, name)
            self.assertLess(len(scanned.envelope), 600_000, name)

    def test_worst_structure_is_bounded(self):
        # Every octet that is kept doubles as \\ does in a quoted string.
        part = b'Content-Type: text/plain; n="' + b"\\\\" * 30_000 + b'"\n\n'
        scanned = scan(multipart(part, 2000))
        self.assertLess(len(scanned.bodystructure), 2_500_000)
        parse_body(scanned.bodystructure)

    def test_worst_envelope_is_bounded(self):
        fields = [
            name + b": " + b"a," * 32_000 + b"\n"
            for name in (b"From", b"Sender", b"Reply-To", b"To", b"Cc", b"Bcc")
        ]
        envelope = scan(b"".join(fields) + b"\n").envelope
        self.assertLess(len(envelope), 1_000_000)
        parse_envelope(envelope)
