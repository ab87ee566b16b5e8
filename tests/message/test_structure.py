"""The part tree, BODYSTRUCTURE and BODY."""

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from mailsrv.message.header import parameter
from mailsrv.message.scan import Part, body, scan
from mailsrv.message.structure import MAX_DEPTH, MAX_PARTS
from tests.message.corpus import crlf
from tests.message.imapdata import parse_body


def kinds(part: Part) -> object:
    """The tree as text: ``text/plain`` or ``[multipart/mixed, ...]``."""
    name = f"{part.type}/{part.subtype}"
    return [name, *map(kinds, part.children)] if part.children else name


def bodies(content: bytes, part: Part) -> list[bytes]:
    """The bodies of all leaves, in order."""
    if not part.children:
        return [content[part.body_start : part.end]]
    return [body for child in part.children for body in bodies(content, child)]


MIXED = crlf("""\
From: a@b
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="foo
 bar"

preamble
--foo bar
Content-Type: text/x-MyOwn; charset=us-ascii

hello

--foo bar
Content-Type: message/rfc822
Content-Description: "fwd"

From: sub@domain.org
Subject: submsg
Content-Type: multipart/alternative; boundary=sub

--sub
Content-Type: text/html

<p>Hello</p>
--sub

plain
--sub--
epilogue of sub
--foo bar
Content-Type: application/PDF; name="A B.pdf"; x=Y
Content-Transfer-Encoding: BASE64
Content-ID: <id@x>
Content-MD5: Q2hlY2sgSW50ZWdyaXR5IQ==
Content-Disposition: Attachment; filename="A \\"B\\".pdf"
Content-Language: de, en-GB
Content-Location: http://e.org/x

QUJD
--foo bar--
epilogue
""")


class TreeTests(SynchronousTestCase):
    def check(self, content: bytes, tree: object, *expected: bytes) -> Part:
        root = scan(content).root
        self.assertEqual(kinds(root), tree)
        self.assertEqual(bodies(content, root), list(expected))
        return root

    def test_nested(self):
        root = self.check(
            MIXED,
            [
                "multipart/mixed",
                "text/x-myown",
                ["message/rfc822", ["multipart/alternative", "text/html", "text/plain"]],
                "application/pdf",
            ],
            b"hello\r\n",
            b"<p>Hello</p>",
            b"plain",
            b"QUJD",
        )
        message = root.children[1]
        self.assertTrue(MIXED[message.header_start :].startswith(b"Content-Type: message/rfc822"))
        self.assertTrue(MIXED[message.body_start :].startswith(b"From: sub@domain.org"))
        self.assertTrue(MIXED[: message.end].endswith(b"epilogue of sub"))
        self.assertEqual(message.children[0].header_start, message.body_start)
        self.assertEqual(message.lines, MIXED[message.body_start : message.end].count(b"\n"))
        self.assertEqual(root.lines, MIXED[root.body_start :].count(b"\n"))

    def test_line_ends_do_not_matter(self):
        for content in (MIXED.replace(b"\r\n", b"\n"), MIXED.replace(b"\r\n--", b"\n--")):
            self.assertEqual(kinds(scan(content).root), kinds(scan(MIXED).root))

    def test_bare_cr_is_no_line_end(self):
        self.check(b"Content-Type: text/html\r\r\nx: y\r\n\r\na\r--b", "text/html", b"a\r--b")

    def test_no_content_type(self):
        for content in (b"", b"\n", b"\r\nbody", b"Subject: x\r\n\r\nbody"):
            root = scan(content).root
            self.assertEqual(
                (root.type, root.subtype, root.params, root.encoding),
                ("text", "plain", (("charset", "us-ascii"),), "7bit"),
            )

    def test_broken_content_type(self):
        for value in ("", "text", "text/", "/plain", ";;", "a b/c", '"x"', "text plain"):
            root = scan(crlf(f"Content-Type: {value}\n\nx")).root
            self.assertEqual((root.type, root.subtype), ("text", "plain"), value)
            self.assertEqual(root.params, (("charset", "us-ascii"),), value)

    def test_broken_content_type_keeps_its_parameters(self):
        root = scan(crlf("Content-Type: text; charset=UTF-8\n\nx")).root
        self.assertEqual(root.params, (("charset", "UTF-8"),))

    def test_odd_content_type(self):
        root = scan(crlf("Content-Type:  Text / HTML ;; ;Charset = 'x' ;a\n\n")).root
        self.assertEqual((root.type, root.subtype), ("text", "html"))
        self.assertEqual(root.params, (("charset", "'x'"),))

    def test_first_content_type_counts(self):
        self.check(b"Content-Type: text/html\nContent-Type: text/plain\n\n", "text/html", b"")

    def test_parameters(self):
        value = r'text/plain; name=foo (1).pdf; charset=us-ascii (Plain text); q="a\"b;c"; e=; u="x'
        root = scan(crlf(f"Content-Type: {value}\n\n")).root
        self.assertEqual(
            root.params,
            (
                ("name", "foo (1).pdf"),
                ("charset", "us-ascii"),
                ("q", 'a"b;c'),
                ("e", ""),
                ("u", "x"),
            ),
        )

    def test_parameters_are_capped(self):
        root = scan(b"Content-Type: a/b" + b"; x=y" * 1000 + b"\n\n").root
        self.assertEqual(len(root.params), 128)

    def test_continuations_stay_decodable(self):
        value = (
            "a/b; name*0*=utf-8''%e2%82%ac; name*1=\" rates\"; name*2*=%21; z*=us-ascii'en'a%20b"
        )
        root = scan(crlf(f"Content-Type: {value}\n\n")).root
        self.assertEqual(dict(root.params)["name*0*"], "utf-8''%e2%82%ac")
        self.assertEqual(
            (parameter(root.params, "name") or "").encode("latin-1"), "€ rates!".encode()
        )
        self.assertEqual(parameter(root.params, "z"), "a b")
        self.assertIsNone(parameter(root.params, "nam"))

    def test_boundary_in_continuations(self):
        content = (
            b"Content-Type: multipart/mixed; boundary*0=ab; boundary*1=cd\n\n--abcd\n\nx\n--abcd--"
        )
        self.check(content, ["multipart/mixed", "text/plain"], b"x")

    def test_transfer_encoding(self):
        for value, expected in (("Base64", "base64"), ("8bit (why)", "8bit"), ("", "7bit")):
            root = scan(crlf(f"Content-Transfer-Encoding: {value}\n\n")).root
            self.assertEqual(root.encoding, expected)

    def test_digest(self):
        content = crlf("""\
Content-Type: multipart/digest; boundary=b

--b

From: a@b

one
--b
Content-Type: text/plain

two
--b--
""")
        self.check(
            content,
            ["multipart/digest", ["message/rfc822", "text/plain"], "text/plain"],
            b"one",
            b"two",
        )

    def test_no_closing_delimiter(self):
        content = b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b\n\ntwo\n"
        self.check(content, ["multipart/mixed", "text/plain", "text/plain"], b"one", b"two\n")

    def test_outer_delimiter_ends_inner_multipart(self):
        content = b"""\
Content-Type: multipart/mixed; boundary=out

--out
Content-Type: multipart/alternative; boundary=in

--in

one
--out

two
--out--
--in
"""
        self.check(
            content,
            ["multipart/mixed", ["multipart/alternative", "text/plain"], "text/plain"],
            b"one",
            b"two",
        )

    def test_boundary_that_begins_another(self):
        content = b"""\
Content-Type: multipart/mixed; boundary=b

--b
Content-Type: multipart/alternative; boundary=bb

--bb

one
--bb--
--b

two --b
--bx
--b--
"""
        self.check(
            content,
            ["multipart/mixed", ["multipart/alternative", "text/plain"], "text/plain"],
            b"one",
            b"two --b\n--bx",
        )

    def test_same_boundary_inside(self):
        content = b"""\
Content-Type: multipart/mixed; boundary=b

--b
Content-Type: multipart/alternative; boundary=b

--b

one
--b

two
--b--
--b

three
--b--
"""
        self.check(
            content,
            [
                "multipart/mixed",
                ["multipart/alternative", "text/plain", "text/plain"],
                "text/plain",
            ],
            b"one",
            b"two",
            b"three",
        )

    def test_blanks_after_delimiters(self):
        content = b'Content-Type: multipart/mixed; boundary="b "\n\n--b \t\r\n\none\n--b--  \nend'
        self.check(content, ["multipart/mixed", "text/plain"], b"one")

    def test_part_that_is_only_header(self):
        content = b"Content-Type: multipart/mixed; boundary=b\n\n--b\nX: y\n--b\nX: z\n\n--b--"
        root = self.check(content, ["multipart/mixed", "text/plain", "text/plain"], b"", b"")
        first, second = root.children
        self.assertEqual(content[first.header_start : first.body_start], b"X: y")
        self.assertEqual(content[second.header_start : second.body_start], b"X: z\n\n")

    def test_doubled_delimiter_is_one(self):
        content = b"Content-Type: multipart/mixed; boundary=b\n\n--b\n--b\n\none\n--b\n--b--"
        self.check(content, ["multipart/mixed", "text/plain"], b"one")

    def test_multipart_without_parts_shows_its_text(self):
        for boundary in ("", "; boundary=", '; boundary=""', "; boundary=b"):
            content = f"Content-Type: multipart/mixed{boundary}\n\nsome text".encode()
            self.check(content, ["multipart/mixed", "text/plain"], b"some text")

    def test_header_without_blank_line(self):
        root = self.check(b"Subject: x\r\nTo: y", "text/plain", b"")
        self.assertEqual((root.header_start, root.body_start, root.end), (0, 17, 17))

    def test_blank_line_first(self):
        root = self.check(b"\nSubject: x", "text/plain", b"Subject: x")
        self.assertEqual(root.body_start, 1)

    def test_mbox_line_and_junk_in_the_header(self):
        content = b"From a@b Mon Jan 1\nContent-Type: text/html\nnonsense\n: x\n\nbody"
        self.check(content, "text/html", b"body")

    def test_enclosed_message_without_octets(self):
        content = (
            b"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: message/rfc822\n--b--"
        )
        root = self.check(content, ["multipart/mixed", ["message/rfc822", "text/plain"]], b"")
        enclosed = root.children[0].children[0]
        self.assertEqual(enclosed.envelope, b"(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)")

    def test_encoded_message_is_one_encoded_text(self):
        content = (
            b"Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nU3ViamVjdA==\n"
        )
        root = self.check(content, ["message/rfc822", "text/plain"], b"U3ViamVjdA==\n")
        (text,) = root.children
        self.assertEqual((text.header_start, text.encoding), (text.body_start, "base64"))
        self.assertEqual(scan(content).preview, "Subject")

    def test_message_global_encloses_a_message(self):
        content = b"Content-Type: message/global\n\nSubject: x\n\nbody"
        self.check(content, ["message/global", "text/plain"], b"body")

    def test_depth_cap(self):
        levels = [
            f"Content-Type: multipart/mixed; boundary=b{level}\n\n--b{level}\n".encode()
            for level in range(MAX_DEPTH + 50)
        ]
        part = scan(b"".join(levels) + b"\nend").root
        for _ in range(MAX_DEPTH):
            self.assertEqual(part.type, "multipart")
            (part,) = part.children
        self.assertEqual((part.type, part.subtype), ("application", "octet-stream"))
        self.assertEqual(part.children, ())

    def test_depth_cap_of_messages(self):
        scanned = scan(b"Content-Type: message/rfc822\n\n" * 500)
        self.assertEqual(scanned.bodystructure.count(b"RFC822"), MAX_DEPTH)
        parse_body(scanned.bodystructure)

    def test_parts_cap(self):
        content = b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\nx\n" * (2 * MAX_PARTS)
        root = scan(content).root
        self.assertEqual(len(root.children), MAX_PARTS - 1)
        rest = root.children[-1]
        self.assertEqual((rest.type, rest.subtype), ("application", "octet-stream"))
        self.assertEqual(rest.end, len(content))
        self.assertEqual(root.children[-2].end, rest.header_start - len("\n--b\n"))

    def test_part_is_packable(self):
        content = b"Content-Type: message/rfc822\n\n" * MAX_DEPTH + MIXED
        root = scan(content).root
        packed = msgspec.msgpack.encode(root)
        self.assertEqual(msgspec.msgpack.decode(packed, type=Part), root)


class BodyStructureTests(SynchronousTestCase):
    def test_whole(self):
        self.assertEqual(
            scan(MIXED).bodystructure,
            b'(("TEXT" "X-MYOWN" ("charset" "us-ascii") NIL NIL "7BIT" 7 1 NIL NIL NIL NIL)'
            b'("MESSAGE" "RFC822" NIL NIL "\\"fwd\\"" "7BIT" 180'
            b' (NIL "submsg" ((NIL NIL "sub" "domain.org")) ((NIL NIL "sub" "domain.org"))'
            b' ((NIL NIL "sub" "domain.org")) NIL NIL NIL NIL NIL)'
            b' (("TEXT" "HTML" NIL NIL NIL "7BIT" 12 0 NIL NIL NIL NIL)'
            b'("TEXT" "PLAIN" ("charset" "us-ascii") NIL NIL "7BIT" 5 0 NIL NIL NIL NIL)'
            b' "ALTERNATIVE" ("boundary" "sub") NIL NIL NIL) 12 NIL NIL NIL NIL)'
            b'("APPLICATION" "PDF" ("name" "A B.pdf" "x" "Y") "<id@x>" NIL "BASE64" 4'
            b' "Q2hlY2sgSW50ZWdyaXR5IQ==" ("attachment" ("filename" "A \\"B\\".pdf"))'
            b' ("de" "en-GB") "http://e.org/x")'
            b' "MIXED" ("boundary" "foo bar") NIL NIL NIL)',
        )

    def test_body_has_no_extension_data(self):
        self.assertEqual(
            body(scan(MIXED).root),
            b'(("TEXT" "X-MYOWN" ("charset" "us-ascii") NIL NIL "7BIT" 7 1)'
            b'("MESSAGE" "RFC822" NIL NIL "\\"fwd\\"" "7BIT" 180'
            b' (NIL "submsg" ((NIL NIL "sub" "domain.org")) ((NIL NIL "sub" "domain.org"))'
            b' ((NIL NIL "sub" "domain.org")) NIL NIL NIL NIL NIL)'
            b' (("TEXT" "HTML" NIL NIL NIL "7BIT" 12 0)'
            b'("TEXT" "PLAIN" ("charset" "us-ascii") NIL NIL "7BIT" 5 0) "ALTERNATIVE") 12)'
            b'("APPLICATION" "PDF" ("name" "A B.pdf" "x" "Y") "<id@x>" NIL "BASE64" 4) "MIXED")',
        )

    def test_eight_bit_parameter_is_a_literal(self):
        content = 'Content-Type: a/b; name="Grüße"\r\n\r\n'.encode()
        found = parse_body(scan(content).bodystructure)
        self.assertEqual(found["params"], {b"name": "Grüße".encode()})

    def test_multipart_extension_data(self):
        content = crlf("""\
Content-Type: multipart/mixed; boundary=b
Content-Disposition: inline
Content-Language: ko
Content-Location: x

--b

--b--
""")
        found = parse_body(scan(content).bodystructure)
        self.assertEqual(
            (found["params"], found["disposition"], found["language"], found["location"]),
            ({b"boundary": b"b"}, (b"inline", None), [b"ko"], b"x"),
        )
