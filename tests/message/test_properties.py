"""What holds for any octets whatever."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailsrv.message.address import parse_addresses
from mailsrv.message.parts import Base64, decode, encode, layout_of, split
from mailsrv.message.scan import Part, body, scan
from mailsrv.message.sections import filter_fields, locate
from mailsrv.message.text import body_text, field_values, fold, header_text, mime_text
from tests.message.imapdata import parse_body, parse_envelope
from tests.message.test_parts import restored

SETTINGS = settings(
    max_examples=250, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)

PIECES = st.sampled_from(
    [
        b"Content-Type: multipart/mixed; boundary=b\n",
        b'Content-Type: multipart/digest; boundary="b c"\r\n',
        b"content-type: message/rfc822\r\n",
        b"Content-Type: text/html; charset=iso-2022-jp\n",
        b"Content-Type: text/plain; charset=utf-7; name*0*=utf-8''x\n",
        b"Content-Transfer-Encoding: base64\n",
        b"Content-Transfer-Encoding: quoted-printable\n",
        b'Content-Disposition: attachment; filename="\xc3\xbc\\""\n',
        b'From: "a \\" b" <c@d>, e: f@g;, (h) i@j\n',
        b'To: =?utf-8?q?=C3=BC?= <"x y"@[z]>, <@r:s@t\n',
        b"Subject: =?euc-kr?B?sKE=?=\n =?x?q?=ff?=\n",
        b"Date: Mon, 2 Jan 2023 10:11:12 +0900\n",
        b"References: <a@b> <c>\n",
        b"\n",
        b"\r\n",
        b"\n--b\n",
        b"\r\n--b--\r\n",
        b"--b c\n",
        b"\r",
        b"\0",
        b"<p>&amp;<script>",
        b"\x1b$B\xff+2AA-",
        b"QUJDREVG\r\n" * 500,
        b"=3D=\n",
    ]
)
MESSAGES = st.one_of(
    st.binary(max_size=400),
    st.lists(st.one_of(PIECES, st.binary(max_size=12)), max_size=25).map(b"".join),
)


def walk(part: Part) -> list[Part]:
    return [part, *(found for child in part.children for found in walk(child))]


class PropertyTests(SynchronousTestCase):
    @SETTINGS
    @given(MESSAGES)
    def test_scan_never_raises_and_offsets_nest(self, content):
        scanned = scan(content)
        self.assertEqual(
            (scanned.size, scanned.root.header_start, scanned.root.end),
            (len(content), 0, len(content)),
        )
        for part in walk(scanned.root):
            self.assertTrue(part.header_start <= part.body_start <= part.end)
            self.assertEqual(part.lines, content.count(b"\n", part.body_start, part.end))
            self.assertEqual(bool(part.children), part.type == "multipart" or part.encloses_message)
            position = part.body_start
            for child in part.children:
                self.assertTrue(position <= child.header_start and child.end <= part.end)
                position = child.end

    @SETTINGS
    @given(MESSAGES)
    def test_wire_forms_are_sound(self, content):
        scanned = scan(content)
        parse_envelope(scanned.envelope)
        parse_body(body(scanned.root), extended=False)
        found = parse_body(scanned.bodystructure)
        self.assertEqual(count(found), len(walk(scanned.root)))

    @SETTINGS
    @given(MESSAGES)
    def test_texts_never_raise_and_can_be_stored(self, content):
        scanned = scan(content)
        root = scanned.root
        texts = [
            body_text(content, root),
            header_text(content, root),
            mime_text(content, root),
            *field_values(content[: root.body_start], "subject"),
            scanned.subject,
            scanned.sender,
            scanned.to,
            scanned.message_id,
            *scanned.references,
            scanned.preview,
        ]
        for text in texts:
            self.assertNotIn("\0", text)
            text.encode("utf-8")
            fold(text).encode("utf-8")
        self.assertLessEqual(len(scanned.preview), 200)

    @SETTINGS
    @given(MESSAGES)
    def test_split_loses_nothing(self, content):
        segments = split(content, scan(content).root)
        self.assertEqual(restored(content, segments), content)
        self.assertEqual(
            b"".join(content[segment.start : segment.end] for segment in segments), content
        )

    @SETTINGS
    @given(
        st.binary(max_size=300),
        st.integers(1, 20),
        st.sampled_from([b"\r\n", b"\n"]),
        st.booleans(),
        st.binary(max_size=3),
        st.integers(0, 300),
    )
    def test_layout_is_proven(self, data, groups, eol, final, noise, where):
        text = encode(data, Base64(groups * 4, eol, final))
        for candidate in (text, text[:where] + noise + text[where:]):
            layout = layout_of(candidate)
            if layout is not None:
                self.assertEqual(encode(decode(candidate), layout), candidate)
        if data:
            self.assertIsNotNone(layout_of(text))

    @SETTINGS
    @given(MESSAGES, st.lists(st.sampled_from(["FROM", "TO", "SUBJECT", "X"]), max_size=3))
    def test_filters_share_out_the_header(self, content, names):
        root = scan(content).root
        header = content[slice(*locate(root, "", "HEADER"))]
        chosen = filter_fields(header, tuple(names), exclude=False)
        others = filter_fields(header, tuple(names), exclude=True)
        self.assertTrue(chosen.endswith(b"\n") and others.endswith(b"\n"))
        if header.endswith((b"\n\n", b"\n\r\n")):
            blank = b"\r\n" if header.endswith(b"\r\n") else b"\n"
            self.assertEqual(len(chosen) + len(others), len(header) + len(blank))

    @SETTINGS
    @given(st.text(alphabet=st.characters(max_codepoint=255), max_size=200))
    def test_addresses_never_raise(self, value):
        depth = 0
        for address in parse_addresses(value):
            if address.host is None:
                # A group begins (with its name) and ends (with nothing), never in another.
                self.assertIsNone(address.name)
                depth += 1 if address.mailbox is not None else -1
            self.assertIn(depth, (0, 1))
        self.assertEqual(depth, 0)
        self.assertLessEqual(len(parse_addresses(value, 2)), 2)

    @SETTINGS
    @given(st.text(max_size=100))
    def test_fold_is_stable(self, text):
        folded = fold(text)
        self.assertEqual(fold(folded), folded)
        self.assertEqual(fold(text.replace(" ", "\t \n")), folded)


def count(found: dict) -> int:
    return 1 + sum(map(count, found.get("parts", ())))
