"""ENVELOPE, BODY and BODYSTRUCTURE, with the standard's own examples (rfc3501 7.4.2 and 8)."""

from datetime import datetime, timedelta, timezone

from tests.clients.imap_case import ImapTestCase
from tests.clients.imap_values import Address, Body, Envelope
from tests.clients.test_imap_fetch import COMPLEX

SAMPLE = (
    b"Date: Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\r\n"
    b"From: Terry Gray <gray@cac.washington.edu>\r\n"
    b"Subject: IMAP4rev1 WG mtg summary and minutes\r\n"
    b"To: imap@cac.washington.edu\r\n"
    b"cc: minutes@CNRI.Reston.VA.US, John Klensin <KLENSIN@MIT.EDU>\r\n"
    b"Message-Id: <B27397-0100000@cac.washington.edu>\r\n"
    b"MIME-Version: 1.0\r\n"
    b"Content-Type: TEXT/PLAIN; CHARSET=US-ASCII\r\n"
    b"\r\n"
)
"""The header of rfc3501:4462; its 342 octets count the blank line."""


class StructureTestCase(ImapTestCase):
    shared = True

    def setUp(self) -> None:
        super().setUp()
        self.client = self.login("INBOX")

    def fetched(self, content: bytes, item: str, before: str = "") -> object:
        self.client.append(content, before=before)
        self.client.ok("NOOP")
        number = self.client.exists
        return self.client.fetch(str(number), item)[number][item]

    def envelope(self, *lines: bytes) -> Envelope:
        return self.fetched(b"\r\n".join(lines) + b"\r\n\r\nBody\r\n", "ENVELOPE")

    def structure(self, *lines: bytes) -> Body:
        return self.fetched(b"\r\n".join(lines), "BODYSTRUCTURE")


class EnvelopeTests(StructureTestCase):
    def test_the_sample_connection(self) -> None:
        """rfc3501:4446"""
        body = (b"x" * 31 + b"\r\n") * 91 + b"x" * 23 + b"\r\n"
        self.client.append(SAMPLE + body, before='(\\Seen) "17-Jul-1996 02:44:25 -0700" ')
        self.client.ok("NOOP")
        number = self.client.exists
        items = self.client.fetch(str(number), "FULL")[number]
        gray = [Address(b"Terry Gray", None, b"gray", b"cac.washington.edu")]
        self.assertEqual(
            items["ENVELOPE"],
            Envelope(
                b"Wed, 17 Jul 1996 02:23:25 -0700 (PDT)",
                b"IMAP4rev1 WG mtg summary and minutes",
                gray,
                gray,
                gray,
                [Address(None, None, b"imap", b"cac.washington.edu")],
                [
                    Address(None, None, b"minutes", b"CNRI.Reston.VA.US"),
                    Address(b"John Klensin", None, b"KLENSIN", b"MIT.EDU"),
                ],
                None,
                None,
                b"<B27397-0100000@cac.washington.edu>",
            ),
        )
        pacific = timezone(-timedelta(hours=7))
        self.assertEqual(items["INTERNALDATE"], datetime(1996, 7, 17, 2, 44, 25, tzinfo=pacific))
        found = items["BODY"]
        self.assertEqual((found.type, found.subtype, found.size), (b"text", b"plain", 3028))
        self.assertEqual(found.params, {b"charset": b"US-ASCII"})
        self.assertEqual((found.encoding.lower(), found.lines), (b"7bit", 92))
        header = self.client.fetch(str(number), "BODY[HEADER]")[number]["BODY[HEADER]"]
        self.assertEqual((header, len(header)), (SAMPLE, 342))

    def test_absent_fields_are_nil(self) -> None:
        """rfc3501:4304; rfc3501:4332"""
        found = self.envelope(b"From: a@example.org")
        self.assertEqual((found.subject, found.in_reply_to, found.message_id), (None, None, None))
        self.assertEqual((found.to, found.cc, found.bcc), (None, None, None))

    def test_an_empty_subject_is_not_absent(self) -> None:
        """rfc3501:4306"""
        found = self.envelope(b"From: a@example.org", b"Subject: ", b"To: ")
        self.assertIn(found.subject, (b"", None))
        self.assertIsNone(found.to)

    def test_sender_and_reply_to_default_to_from(self) -> None:
        """rfc3501:4336"""
        found = self.envelope(b"From: A <a@example.org>", b"Sender:", b"Subject: x")
        self.assertEqual(found.sender, [Address(b"A", None, b"a", b"example.org")])
        self.assertEqual(found.reply_to, found.sender)

    def test_own_sender_and_reply_to(self) -> None:
        """rfc3501:4285"""
        found = self.envelope(
            b"From: a@example.org", b"Sender: b@example.org", b"Reply-To: c@example.org"
        )
        self.assertEqual(found.sender, [Address(None, None, b"b", b"example.org")])
        self.assertEqual(found.reply_to, [Address(None, None, b"c", b"example.org")])

    def test_groups(self) -> None:
        """rfc3501:4297"""
        found = self.envelope(
            b"From: a@example.org", b"To: Friends: b@example.org, C <c@example.org>;, d@e.org"
        )
        self.assertEqual(
            found.to,
            [
                Address(None, None, b"Friends", None),
                Address(None, None, b"b", b"example.org"),
                Address(b"C", None, b"c", b"example.org"),
                Address(None, None, None, None),
                Address(None, None, b"d", b"e.org"),
            ],
        )

    def test_quoting_is_removed(self) -> None:
        """rfc3501:4530; rfc3501:4544"""
        found = self.envelope(
            b'From: "Doe, \\"Jo\\" \\\\ J." <"odd local@part"@example.org>',
        )
        name, _, mailbox, host = found.from_[0]
        self.assertEqual(name, b'Doe, "Jo" \\ J.')
        self.assertEqual((mailbox, host), (b"odd local@part", b"example.org"))

    def test_source_routes(self) -> None:
        """rfc3501:4519"""
        found = self.envelope(b"From: <@one.example,@two.example:joe@example.org>")
        self.assertEqual((found.from_[0].mailbox, found.from_[0].host), (b"joe", b"example.org"))

    def test_comments_are_no_part_of_addresses(self) -> None:
        """rfc3501:4526"""
        found = self.envelope(b"From: (who) joe (the man) @ (at) example.org (home)")
        self.assertEqual(found.from_[0][2:], (b"joe", b"example.org"))

    def test_encoded_words_are_left_to_the_client(self) -> None:
        """rfc3501:4544"""
        found = self.envelope(b"From: =?utf-8?q?J=C3=BCrgen?= <j@example.org>", b"Subject: =?x?=")
        self.assertEqual(found.from_[0].name, b"=?utf-8?q?J=C3=BCrgen?=")

    def test_folded_fields_are_unfolded(self) -> None:
        """rfc3501:4903"""
        found = self.envelope(b"From: a@example.org", b"Subject: one", b" two", b"\tthree")
        self.assertEqual(found.subject.split(), [b"one", b"two", b"three"])
        self.assertNotIn(b"\n", found.subject)

    def test_eight_bit_and_broken_headers_are_answered(self) -> None:
        """rfc3501:4112"""
        for header in (
            "From: Jürgen <j@example.org>".encode(),
            b"From: J\xfcrgen <j@example.org>",
            b"From: <<<>>>, ;;;:",
            b'From: "open quote',
            b"From: (open comment",
            b"From",
            b": nameless",
            b"Subject: " + b'\\"{3}' * 100,
            b"Subject: " + b"x" * 20_000,
        ):
            self.envelope(header, b"Message-ID: <1@example.org>")

    def test_date_and_ids_as_written(self) -> None:
        """rfc3501:4287"""
        found = self.envelope(
            b"Date: whenever", b"Message-ID:  <a@b> ", b"In-Reply-To: <c@d> <e@f>"
        )
        self.assertEqual(found.date, b"whenever")
        self.assertEqual((found.message_id, found.in_reply_to), (b"<a@b>", b"<c@d> <e@f>"))


class BodyStructureTests(StructureTestCase):
    def test_two_parts_as_in_the_example(self) -> None:
        """rfc3501:4151"""
        found = self.structure(
            b"MIME-Version: 1.0",
            b'Content-Type: multipart/mixed; boundary="b"',
            b"",
            b"--b",
            b"Content-Type: TEXT/PLAIN; CHARSET=US-ASCII",
            b"",
            b"Line 1",
            b"Line 2",
            b"",
            b"--b",
            b'Content-Type: TEXT/PLAIN; CHARSET=US-ASCII; NAME="cc.diff"',
            b"Content-ID: <960723163407.20117h@cac.washington.edu>",
            b"Content-Description: Compiler diff",
            b"Content-Transfer-Encoding: BASE64",
            b"Content-Disposition: attachment; filename=cc.diff",
            b"",
            b"QUJD",
            b"--b--",
            b"",
        )
        self.assertEqual((found.type, found.subtype), (b"multipart", b"mixed"))
        text, diff = found.parts
        self.assertEqual((text.size, text.lines), (len(b"Line 1\r\nLine 2\r\n"), 2))
        self.assertEqual(diff.params, {b"charset": b"US-ASCII", b"name": b"cc.diff"})
        self.assertEqual(diff.id, b"<960723163407.20117h@cac.washington.edu>")
        self.assertEqual(diff.description, b"Compiler diff")
        self.assertEqual((diff.encoding.lower(), diff.size), (b"base64", 4))
        self.assertEqual(diff.extension[1], (b"attachment", {b"filename": b"cc.diff"}))
        self.assertEqual(found.extension[0], {b"boundary": b"b"})

    def test_body_has_no_extension_data_and_is_otherwise_alike(self) -> None:
        """rfc3501:4158"""

        def bare(body: Body) -> Body:
            body.extension = None
            body.parts = tuple(map(bare, body.parts))
            return body

        long = self.fetched(COMPLEX, "BODYSTRUCTURE")
        short = self.client.fetch("*", "BODY")[self.client.exists]["BODY"]
        self.assertEqual(short, bare(long))

    def test_the_complex_message(self) -> None:
        """rfc3501:3104"""

        def outline(body: Body) -> object:
            name = b"%b/%b" % (body.type, body.subtype)
            return (name, [outline(part) for part in body.parts]) if body.parts else name

        plain, octets = b"text/plain", b"application/octet-stream"
        alternative = (b"multipart/alternative", [plain, b"text/richtext"])
        self.assertEqual(
            outline(self.fetched(COMPLEX, "BODYSTRUCTURE")),
            (
                b"multipart/mixed",
                [
                    plain,
                    octets,
                    (b"message/rfc822", [(b"multipart/mixed", [plain, octets])]),
                    (
                        b"multipart/mixed",
                        [
                            b"image/gif",
                            (b"message/rfc822", [(b"multipart/mixed", [plain, alternative])]),
                        ],
                    ),
                ],
            ),
        )

    def test_an_enclosed_message_has_envelope_and_lines(self) -> None:
        """rfc3501:4232"""
        inner = b"Subject: inner\r\nFrom: a@example.org\r\n\r\none\r\ntwo\r\n"
        found = self.fetched(b"Content-Type: message/rfc822\r\n\r\n" + inner, "BODYSTRUCTURE")
        self.assertEqual(found.envelope.subject, b"inner")
        self.assertEqual((found.size, found.lines), (len(inner), inner.count(b"\r\n")))
        self.assertEqual((found.parts[0].type, found.parts[0].lines), (b"text", 2))

    def test_defaults(self) -> None:
        """rfc3501:4127; rfc2045:737"""
        found = self.structure(b"Subject: x", b"", b"Body", b"")
        self.assertEqual((found.type, found.subtype), (b"text", b"plain"))
        self.assertEqual(found.encoding.lower(), b"7bit")
        self.assertEqual((found.id, found.description), (None, None))

    def test_parts_of_a_digest_are_messages(self) -> None:
        """rfc2046:1446"""
        found = self.structure(
            b"Content-Type: multipart/digest; boundary=d",
            b"",
            b"--d",
            b"",
            b"Subject: inner",
            b"",
            b"text",
            b"--d--",
            b"",
        )
        self.assertEqual(found.parts[0].subtype, b"rfc822")
        self.assertEqual(found.parts[0].envelope.subject, b"inner")

    def test_values_of_parameters_keep_their_case(self) -> None:
        """rfc3501:4211"""
        found = self.structure(
            b'Content-Type: application/pdf; name="Report Q1.PDF"; charset=UTF-8', b"", b"x", b""
        )
        self.assertEqual(found.params, {b"name": b"Report Q1.PDF", b"charset": b"UTF-8"})

    def test_all_extension_data(self) -> None:
        """rfc3501:4247"""
        found = self.structure(
            b"Content-Type: image/png",
            b"Content-MD5: Q2hlY2sgSW50ZWdyaXR5IQ==",
            b'Content-Disposition: inline; filename="a b.png"; size=5',
            b"Content-Language: en, de",
            b"Content-Location: http://example.org/a.png",
            b"",
            b"x",
        )
        md5, disposition, language, location = found.extension
        self.assertEqual(md5, b"Q2hlY2sgSW50ZWdyaXR5IQ==")
        self.assertEqual(disposition, (b"inline", {b"filename": b"a b.png", b"size": b"5"}))
        self.assertEqual(language, [b"en", b"de"])
        self.assertEqual(location, b"http://example.org/a.png")

    def test_broken_mime_is_answered(self) -> None:
        """rfc3501:4127"""
        for kind in (
            b"text/plain;",
            b"text",
            b"/",
            b"",
            b"multipart/mixed",
            b'multipart/mixed; boundary=""',
            b"multipart/mixed; boundary=absent",
            b"text/plain; charset",
            b'text/plain; name="open',
            b"text/plain; name=J\xfcrgen",
            b"message/rfc822",
            b"text/plain; " + b"; ".join(b"p%d=v" % n for n in range(2000)),
        ):
            self.structure(b"Content-Type: " + kind, b"", b"Body", b"")

    def test_deep_nesting_is_answered(self) -> None:
        """rfc3501:4135"""
        lines = []
        for depth in range(300):
            lines += [b"Content-Type: multipart/mixed; boundary=b%d" % depth, b"", b"--b%d" % depth]
        self.assertEqual(self.structure(*lines, b"", b"deep").type, b"multipart")
