"""Readable text: charsets, encoded words, HTML, previews, the comparison form."""

import base64

from twisted.trial.unittest import SynchronousTestCase

from mailsrv.message import charsets
from mailsrv.message.html import html_to_text
from mailsrv.message.scan import scan
from mailsrv.message.text import (
    MAX_TEXT,
    body_text,
    field_values,
    fold,
    header_text,
    mime_text,
    preview,
)
from mailsrv.message.transfer import decode_transfer
from tests.message.corpus import crlf


def body_of(content: bytes) -> str:
    return body_text(content, scan(content).root)


def text_message(text: bytes, charset: str, encoding: str = "8bit") -> bytes:
    head = f"Content-Type: text/plain; charset={charset}\nContent-Transfer-Encoding: {encoding}\n\n"
    return head.encode() + text


class CharsetTests(SynchronousTestCase):
    def test_charsets_of_mail(self):
        cases = {
            "iso-2022-jp": ("日本語のメール", "iso2022_jp"),
            "ISO-2022-KR": ("안녕하세요", "iso2022_kr"),
            "euc-kr": ("안녕하세요", "euc_kr"),
            "ks_c_5601-1987": ("똠방각하", "cp949"),
            "gb2312": ("中文邮件", "gb2312"),
            "GB18030": ("中文邮件𠀀", "gb18030"),
            "big5": ("中文郵件", "big5"),
            "koi8-r": ("Привет", "koi8_r"),
            "windows-1251": ("Привет", "cp1251"),
            "windows-1252": ("“Grüße” €", "cp1252"),
            "windows-1256": ("مرحبا", "cp1256"),
            "iso-8859-8-i": ("שלום", "iso8859_8"),
            "shift_jis": ("日本語①", "cp932"),
            "utf-7": ("日本語", "utf_7"),
            "UTF-16": ("日本語", "utf_16"),
            "macintosh": ("Grüße", "mac_roman"),
            "tis-620": ("สวัสดี", "tis_620"),
            '"utf-8"': ("Grüße", "utf_8"),
        }
        for label, (text, codec) in cases.items():
            encoded = base64.encodebytes(text.encode(codec))
            self.assertEqual(body_of(text_message(encoded, label, "base64")), text, label)

    def test_latin_1_is_windows_1252(self):
        self.assertEqual(charsets.decode(b"\x93x\x94", "iso-8859-1"), "“x”")

    def test_unknown_and_missing(self):
        for label in (None, "", "x-user-defined", "us-ascii", "unknown-8bit", "x" * 500):
            self.assertEqual(charsets.decode("Grüße".encode(), label), "Grüße", label)
            self.assertEqual(charsets.decode(b"Gr\xfc\xdfe", label), "Grüße", label)

    def test_what_cannot_be_decoded(self):
        self.assertEqual(charsets.decode(b"a\xffb", "utf-8"), "a\ufffdb")
        self.assertEqual(charsets.decode(b"\xc7\xffa", "euc-kr")[-1], "a")

    def test_codecs_that_are_no_charsets(self):
        for label in ("punycode", "idna", "unicode_escape", "base64", "zlib", "rot13", "undefined"):
            self.assertIsNone(charsets.codec_for(label), label)

    def test_no_lone_surrogates(self):
        self.assertEqual(charsets.decode(b"+2AA-x", "utf-7"), "\ufffdx")


class TransferTests(SynchronousTestCase):
    def test_base64(self):
        cases = {
            b"QUJD": b"ABC",
            b"QU\r\nJD": b"ABC",
            b"QUI=": b"AB",
            b"QUI": b"AB",
            b"QUJDR": b"ABC",
            b"Q U*J D": b"ABC",
            b"QQ==\r\nfooter": b"A",
            b"QUJDR=footer": b"ABC",
            b"": b"",
            b"=": b"",
        }
        for text, expected in cases.items():
            self.assertEqual(decode_transfer(text, "base64"), expected, text)

    def test_quoted_printable(self):
        self.assertEqual(decode_transfer(b"a=3Db=\r\nc=\nd =ZZ", "quoted-printable"), b"a=bcd =ZZ")

    def test_unknown(self):
        self.assertEqual(decode_transfer(b"a=3D", "x-uuencode"), b"a=3D")


class HeaderTests(SynchronousTestCase):
    def subject(self, value: str | bytes, more: bytes = b"") -> str:
        octets = value if isinstance(value, bytes) else value.encode()
        return scan(b"Subject: " + octets + b"\r\n" + more + b"\r\n").subject

    def test_encoded_words(self):
        cases = {
            "=?utf-8?Q?Gr=C3=BC=C3=9Fe?=": "Grüße",
            "=?UTF-8?b?R3LDvMOfZQ==?= x": "Grüße x",
            "a =?utf-8?q?b?= c": "a b c",
            "=?utf-8?q?a?= =?utf-8?q?b?=": "ab",
            "=?utf-8?q?a?=\r\n =?iso-8859-1?q?=FC?=": "aü",
            "=?utf-8?q?a_b=5F?=": "a b_",
            "=?utf-8*en?q?a?=": "a",
            "=?utf-8?q?=E2=82?= =?utf-8?q?=AC?=": "€",
            "=?utf-8?q?with blank?=": "with blank",
            "=?x-none?q?a=FC?=": "aü",
            "=?utf-8?b?4pyT===?=": "✓",
            "=?utf-8?x?a?=": "=?utf-8?x?a?=",
            "=?utf-8?q?a": "=?utf-8?q?a",
            "=?utf-8?q??=": "",
            "=?utf-8?q?a=0D=0ATo:_x?=": "a To: x",
            "=?iso-2022-jp?B?GyRCRnxLXBsoQg==?=": "日本",
        }
        for value, expected in cases.items():
            self.assertEqual(self.subject(value), expected, value)

    def test_raw_octets(self):
        self.assertEqual(self.subject("Grüße"), "Grüße")
        self.assertEqual(self.subject("Grüße".encode("latin-1")), "Grüße")
        korean = b"Content-Type: text/plain; charset=euc-kr\r\n"
        self.assertEqual(self.subject("안녕".encode("euc-kr"), korean), "안녕")
        self.assertEqual(self.subject("ü =?utf-8?q?=C3=BC?= ü"), "ü ü ü")

    def test_search_fields(self):
        scanned = scan(
            crlf("""\
From: =?utf-8?q?J=C3=B6?= <j@e.org>
To: a@b.org
To: "B" <c@d.org>
Cc: x: y@z.org;
Bcc: q@r.org
Message-ID: <one@x>
References: <r1@x> (c) <r2@x>
 <r1@x>
In-Reply-To: <r3@x> and <r2@x>

""")
        )
        self.assertEqual(scanned.sender, "Jö <j@e.org>")
        self.assertEqual(scanned.to, 'a@b.org, "B" <c@d.org>')
        self.assertEqual((scanned.cc, scanned.bcc), ("x: y@z.org;", "q@r.org"))
        self.assertEqual(scanned.message_id, "one@x")
        self.assertEqual(scanned.references, ("r1@x", "r2@x", "r3@x"))

    def test_message_id_without_brackets(self):
        self.assertEqual(scan(b"Message-ID: one@x\n\n").message_id, "one@x")
        self.assertEqual(scan(b"\n\n").message_id, "")

    def test_references_are_capped(self):
        ids = " ".join(f"<{number}@x>" for number in range(1000))
        references = scan(f"References: {ids}\n\n".encode()).references
        self.assertEqual((len(references), references[0], references[-1]), (200, "0@x", "999@x"))

    def test_dates(self):
        cases = {
            "Thu, 15 Feb 2007 01:02:03 +0200": ("2007-02-14T23:02:03Z", "2007-02-15"),
            "15 Feb 2007 01:02 GMT": ("2007-02-15T01:02:00Z", "2007-02-15"),
            "31 Dec 99 23:59 EST": ("2000-01-01T04:59:00Z", "1999-12-31"),
            "Mon, 2 Jan 2023 (a (nested) comment) 10:11:12 Z": (
                "2023-01-02T10:11:12Z",
                "2023-01-02",
            ),
            "Tue, 5 Jan 2038 03:14:60 -0000": ("2038-01-05T03:14:59Z", "2038-01-05"),
            "2023-01-05T10:00:00+01:00": ("2023-01-05T09:00:00Z", "2023-01-05"),
            "2023-01-05": ("2023-01-05T00:00:00Z", "2023-01-05"),
            "Fri, 31 Dec 9999 23:59:59 -0500": (None, "9999-12-31"),
            "Mon, 2 Jan 2023 25:00:00 +0000": (None, "2023-01-02"),
            "Sat, 30 Feb 2022 10:00:00 +0000": (None, None),
            "not a date": (None, None),
            "": (None, None),
            "(" * 300: (None, None),
        }
        for value, expected in cases.items():
            scanned = scan(f"Date: {value}\n\n".encode())
            self.assertEqual((scanned.sent, scanned.sent_day), expected, value)
        self.assertIsNone(scan(b"\n").sent)

    def test_header_text(self):
        content = b"Subject: =?utf-8?q?=C3=BC?=\r\nX-Y: a\r\n b\r\nstray line\r\n\r\nbody: no\r\n"
        self.assertEqual(
            header_text(content, scan(content).root), "Subject: ü\nX-Y: a b\nstray line\n"
        )

    def test_mime_text(self):
        content = crlf("""\
Subject: outer
Content-Type: multipart/mixed; boundary=b

--b
Content-Description: =?utf-8?q?=C3=BC?=

x
--b--
""")
        root = scan(content).root
        self.assertEqual(mime_text(content, root), "Content-Description: ü\n")
        self.assertNotIn("Description", header_text(content, root))

    def test_field_values(self):
        header = b"To: =?utf-8?q?=C3=BC?=\r\nCC: x\r\nto : b\r\n c\r\n\r\n"
        self.assertEqual(field_values(header, "TO"), ["ü", "b c"])
        self.assertEqual(field_values(header, "X"), [])


class HtmlTests(SynchronousTestCase):
    def check(self, source: str, expected: str):
        self.assertEqual(" ".join(html_to_text(source).split()), expected, source)

    def test_text(self):
        self.check("<p>Hello <b>w</b>orld</p><p>again", "Hello world again")
        self.check("a<br>b<BR/>c<td>d", "a b c d")
        self.check("x<span>y</span>z", "xyz")

    def test_unseen(self):
        self.check("a<!-- <p>b -->c", "a c")
        self.check("a<style type='x'>b<p></STYLE >c", "a c")
        self.check("a<script>if (x < y) '</p>'</script>c", "a c")
        self.check("<title>t</title>a<!-- open", "a")
        self.check("a<script>open", "a")
        self.check("<styled>a</styled>", "a")

    def test_attributes(self):
        self.check('<a title="x > y" href=z>b</a>', "b")
        self.check("<a title='>' b=\"'>\">c", "c")
        self.check("<a title=it's>b", "b")
        self.check('<a title="open>b', "b")
        self.check("a<b", "a")

    def test_less_than_is_text(self):
        self.check("1 < 2 <3 <", "1 < 2 <3 <")

    def test_references(self):
        self.check("&lt;&amp;&euro;&#8364;&#x20ac;&nbsp;x&unknown;", "<&€€€ x&unknown;")
        self.check(f"a&#{'9' * 5000};b", "a\ufffdb")
        self.check("&#xd800;", "\ufffd")


class BodyTests(SynchronousTestCase):
    def test_parts(self):
        content = crlf("""\
Subject: outer
Content-Type: multipart/mixed; boundary=b

preamble
--b
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: quoted-printable

Gr=C3=BC=C3=9Fe
--b
Content-Type: text/html

<style>x</style><p>html
--b
Content-Type: application/pdf; name=name.pdf

secret
--b
Content-Type: message/rfc822

Subject: inner

inner body
--b
Content-Type: message/delivery-status

Status: 5.1.1
--b--
""")
        text = body_of(content)
        for word in ("Grüße", "html", "Subject: inner", "inner body", "Status: 5.1.1"):
            self.assertIn(word, text)
        for word in ("outer", "preamble", "style", "secret", "name.pdf"):
            self.assertNotIn(word, text)

    def test_cap(self):
        text = body_of(b"\n" + b"x" * (MAX_TEXT + 1000))
        self.assertEqual(len(text), MAX_TEXT)
        parts = b"--b\n\n" + b"y" * (MAX_TEXT // 2) + b"\n"
        content = b"Content-Type: multipart/mixed; boundary=b\n\n" + parts * 5
        self.assertLessEqual(len(body_of(content)), MAX_TEXT + 10)

    def test_no_nul(self):
        self.assertEqual(body_of(b"\na\0b"), "a b")


class PreviewTests(SynchronousTestCase):
    def preview(self, content: bytes) -> str:
        return preview(content, scan(content).root)

    def test_plain(self):
        self.assertEqual(self.preview(b"\n  a\r\n\tb \n"), "a b")
        self.assertEqual(self.preview(b"\n" + b"word " * 1000), ("word " * 40)[:200])
        self.assertEqual(self.preview(b""), "")

    def test_prefers_plain_text_that_is_no_attachment(self):
        content = crlf("""\
Content-Type: multipart/mixed; boundary=b

--b
Content-Disposition: attachment

attached
--b
Content-Type: text/html

<p>html
--b
Content-Type: text/plain

plain
--b--
""")
        self.assertEqual(self.preview(content), "plain")
        self.assertEqual(self.preview(content.replace(b"plain", b"html", 1)), "html")

    def test_does_not_cut_a_character_in_two(self):
        for length in range(8190, 8195):
            content = text_message(b" " * length + "€".encode(), "utf-8")
            self.assertIn(self.preview(content), ("", "€"))

    def test_long_html_head(self):
        content = b"Content-Type: text/html\n\n<style>" + b"x{}" * 5000 + b"</style><p>hello"
        self.assertEqual(self.preview(content), "hello")


class FoldTests(SynchronousTestCase):
    def test_fold(self):
        cases = {
            "Hello  World\n": "hello world",
            "STRASSE": "strasse",
            "Straße": "strasse",
            "\uff26\uff35\uff2c\uff2c\u3000x": "full x",
            "e\u0301": "é",
            "ﬁ": "fi",
            "\u0391\u03a3\u03c2": "\u03b1\u03c3\u03c3",
            "\u1112\u1161\u11ab": "한",
            "①": "1",
            "": "",
            " \u00a0 ": "",
        }
        for text, expected in cases.items():
            self.assertEqual(fold(text), expected, text)

    def test_long_runs_of_marks_are_cut(self):
        self.assertLess(len(fold("a" + "\u0301\u0327" * 1000)), 50)
        self.assertLess(len(fold("a" + "\U0001e8d0\u0327" * 1000)), 50)
        self.assertEqual(len(fold("각" * 1000)), 1000)
