"""Sections of FETCH and header subsets."""

from twisted.trial.unittest import SynchronousTestCase

from mailsrv.message.scan import scan
from mailsrv.message.sections import filter_fields, locate, part_at
from tests.message.corpus import crlf

FORWARDED = """\
From: m1@example.com
Subject: m1

m1 body
"""

NESTED = crlf(f"""\
From: user@domain.org
Content-Type: multipart/mixed; boundary=out

--out
Content-Type: text/plain

hello
--out
Content-Type: message/rfc822
X: y

From: sub@domain.org
Content-Type: multipart/alternative; boundary=in

--in
Content-Type: text/html

<p>
--in--
--out
Content-Type: message/rfc822

{FORWARDED}--out--
""")


class LocateTests(SynchronousTestCase):
    def section(self, content: bytes, path: str, kind: str = "") -> bytes | None:
        found = locate(scan(content).root, path, kind)
        return None if found is None else content[slice(*found)]

    def check(self, content: bytes, path: str, kind: str, expected: str | None):
        wanted = None if expected is None else crlf(expected)
        self.assertEqual(self.section(content, path, kind), wanted, f"{path} {kind}")

    def test_whole_message(self):
        content = crlf(FORWARDED)
        self.check(content, "", "", FORWARDED)
        self.check(content, "", "HEADER", "From: m1@example.com\nSubject: m1\n\n")
        self.check(content, "", "HEADER.FIELDS", "From: m1@example.com\nSubject: m1\n\n")
        self.check(content, "", "HEADER.FIELDS.NOT", "From: m1@example.com\nSubject: m1\n\n")
        self.check(content, "", "TEXT", "m1 body\n")
        self.check(content, "", "MIME", None)

    def test_single_part(self):
        content = crlf(FORWARDED)
        self.check(content, "1", "", "m1 body\n")
        self.check(content, "1", "MIME", "From: m1@example.com\nSubject: m1\n\n")
        for path, kind in (("2", ""), ("1.1", ""), ("1", "HEADER"), ("1", "TEXT")):
            self.check(content, path, kind, None)

    def test_multipart(self):
        self.check(NESTED, "1", "", "hello")
        self.check(NESTED, "1", "MIME", "Content-Type: text/plain\n\n")
        self.check(NESTED, "1", "HEADER", None)
        self.check(NESTED, "1.1", "", None)
        self.check(NESTED, "4", "", None)

    def test_enclosed_multipart(self):
        header = "From: sub@domain.org\nContent-Type: multipart/alternative; boundary=in\n\n"
        text = "--in\nContent-Type: text/html\n\n<p>\n--in--"
        self.check(NESTED, "2", "", header + text)
        self.check(NESTED, "2", "MIME", "Content-Type: message/rfc822\nX: y\n\n")
        self.check(NESTED, "2", "HEADER", header)
        self.check(NESTED, "2", "TEXT", text)
        self.check(NESTED, "2.1", "", "<p>")
        self.check(NESTED, "2.1", "MIME", "Content-Type: text/html\n\n")
        self.check(NESTED, "2.2", "", None)
        self.check(NESTED, "2.1.1", "", None)

    def test_enclosed_single_part(self):
        self.check(NESTED, "3.1", "", "m1 body")
        self.check(NESTED, "3", "TEXT", "m1 body")
        self.check(NESTED, "3", "HEADER", "From: m1@example.com\nSubject: m1\n\n")
        self.check(NESTED, "3.2", "", None)
        self.check(NESTED, "3.1.1", "", None)
        self.check(NESTED, "3.1", "HEADER", None)

    def test_message_that_is_a_message(self):
        content = b"Content-Type: message/rfc822\n\n" + NESTED
        self.assertEqual(self.section(content, "1"), NESTED)
        self.assertEqual(self.section(content, "1", "HEADER"), NESTED[: NESTED.index(b"--out")])
        self.check(content, "1.1", "", "hello")
        self.check(content, "1.3.1", "", "m1 body")

    def test_bad_paths(self):
        root = scan(NESTED).root
        for path in ("0", "01", "a", "1.", ".1", "1..1", "-1", "1 ", "99999999999", "1.0", "²"):
            self.assertIsNone(locate(root, path), path)

    def test_part_at(self):
        root = scan(NESTED).root
        self.assertIs(part_at(root, ""), root)
        self.assertIs(part_at(root, "2.1"), root.children[1].children[0].children[0])


class FilterTests(SynchronousTestCase):
    header = b"From: a\r\nSUBJECT: b\r\n c\r\njunk\r\nSubject : d\r\nX-Y:\r\n\r\n"

    def test_chosen(self):
        self.assertEqual(
            filter_fields(self.header, ("SUBJECT",), exclude=False),
            b"SUBJECT: b\r\n c\r\nSubject : d\r\n\r\n",
        )
        self.assertEqual(
            filter_fields(self.header, ("x-y", "FROM"), exclude=False),
            b"From: a\r\nX-Y:\r\n\r\n",
        )

    def test_excluded(self):
        self.assertEqual(
            filter_fields(self.header, ("SUBJECT",), exclude=True),
            b"From: a\r\njunk\r\nX-Y:\r\n\r\n",
        )
        self.assertEqual(filter_fields(self.header, (), exclude=True), self.header)

    def test_none(self):
        self.assertEqual(filter_fields(self.header, ("TO",), exclude=False), b"\r\n")
        self.assertEqual(filter_fields(b"", ("TO",), exclude=False), b"\r\n")
        self.assertEqual(filter_fields(b"", ("TO",), exclude=True), b"\r\n")

    def test_keeps_line_ends(self):
        self.assertEqual(filter_fields(b"A: b\nC: d\n\n", ("A",), exclude=False), b"A: b\n\n")

    def test_without_blank_line(self):
        self.assertEqual(filter_fields(b"A: b\r\n", ("A",), exclude=False), b"A: b\r\n\r\n")
        self.assertEqual(filter_fields(b"A: b", ("A",), exclude=False), b"A: b\r\n\r\n")
