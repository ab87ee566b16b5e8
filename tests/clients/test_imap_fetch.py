"""FETCH: sections, partials, macros and \\Seen (rfc3501 6.4.5 and 7.4.2)."""

import smtplib

from tests.clients.imap_case import ImapTestCase, mail

TEXT = b"Content-Type: text/plain\r\n\r\n%b\r\n"


def multipart(kind: bytes, boundary: bytes, *parts: bytes, header: bytes = b"") -> bytes:
    """An entity of the parts, with ``header`` before its Content-Type."""
    head = b'%bContent-Type: multipart/%b; boundary="%b"\r\n\r\n' % (header, kind, boundary)
    return (
        head
        + b"".join(b"--%b\r\n%b\r\n" % (boundary, part) for part in parts)
        + b"--%b--\r\n" % boundary
    )


INNER3 = multipart(
    b"mixed",
    b"three",
    TEXT % b"three one",
    b"Content-Type: application/octet-stream\r\n\r\nthree two\r\n",
    header=b"Subject: three\r\nFrom: a@example.org\r\n",
)
INNER42 = multipart(
    b"mixed",
    b"fourtwo",
    TEXT % b"four two one",
    multipart(
        b"alternative",
        b"alt",
        TEXT % b"four two two one",
        b"Content-Type: text/richtext\r\n\r\nrich\r\n",
    ),
    header=b"Subject: four two\r\nFrom: b@example.org\r\n",
)
GIF = b"Content-Type: image/gif\r\nContent-Transfer-Encoding: base64\r\n\r\nR0lGODlh\r\n"
COMPLEX = multipart(
    b"mixed",
    b"outer",
    TEXT % b"one",
    b"Content-Type: application/octet-stream\r\n\r\ntwo\r\n",
    b"Content-Type: message/rfc822\r\n\r\n" + INNER3,
    multipart(b"mixed", b"four", GIF, b"Content-Type: message/rfc822\r\n\r\n" + INNER42),
    header=b"Subject: complex\r\nFrom: c@example.org\r\nMIME-Version: 1.0\r\n",
)
"""The complex message of rfc3501:3104."""


class SectionTests(ImapTestCase):
    shared = True

    def setUp(self) -> None:
        super().setUp()
        self.client = self.login("INBOX")

    def sections(self, content: bytes, *sections: str) -> list[bytes | None]:
        self.client.append(content)
        self.client.ok("NOOP")
        items = " ".join(f"BODY.PEEK[{section}]" for section in sections)
        found = self.client.fetch(str(self.client.exists), f"({items})")[self.client.exists]
        return [found[f"BODY[{section}]"] for section in sections]

    def test_every_part_of_the_complex_message(self) -> None:
        """rfc3501:3104"""
        head3, _, text3 = INNER3.partition(b"\r\n\r\n")
        head42, _, text42 = INNER42.partition(b"\r\n\r\n")
        head, _, text = COMPLEX.partition(b"\r\n\r\n")
        expected = {
            "": COMPLEX,
            "HEADER": head + b"\r\n\r\n",
            "TEXT": text,
            "1": b"one\r\n",
            "1.MIME": b"Content-Type: text/plain\r\n\r\n",
            "2": b"two\r\n",
            "3": INNER3,
            "3.HEADER": head3 + b"\r\n\r\n",
            "3.TEXT": text3,
            "3.MIME": b"Content-Type: message/rfc822\r\n\r\n",
            "3.1": b"three one\r\n",
            "3.2": b"three two\r\n",
            "4.1": b"R0lGODlh\r\n",
            "4.1.MIME": GIF.partition(b"\r\n\r\n")[0] + b"\r\n\r\n",
            "4.2": INNER42,
            "4.2.HEADER": head42 + b"\r\n\r\n",
            "4.2.TEXT": text42,
            "4.2.1": b"four two one\r\n",
            "4.2.2.1": b"four two two one\r\n",
            "4.2.2.2": b"rich\r\n",
        }
        found = self.sections(COMPLEX, *expected)
        for name, value, wanted in zip(expected, found, expected.values(), strict=True):
            self.assertEqual(value, wanted, name)

    def test_parts_that_are_not_there_are_nil_or_empty(self) -> None:
        """rfc3501:4883"""
        for value in self.sections(COMPLEX, "5", "1.1.1", "4.3", "9.HEADER", "2.TEXT"):
            self.assertIn(value, (None, b""))

    def test_a_plain_message_has_only_a_part_1(self) -> None:
        """rfc3501:3055"""
        first, second = self.sections(mail(body="Body.\r\n"), "1", "2")
        self.assertEqual(first, b"Body.\r\n")
        self.assertIn(second, (None, b""))

    def test_mime_and_part_zero_need_a_part_number(self) -> None:
        """rfc3501:3070"""
        self.client.append(mail())
        self.client.ok("NOOP")
        for section in ("MIME", "0", "1.0", "1.", ".1", "SILLY", "HEADER.FIELDS", "1.MIME.1"):
            self.client.bad(f"FETCH 1 BODY[{section}]")
        self.client.bad("FETCH 1 BODY[HEADER.FIELDS ()]")

    def test_header_fields_choose_exactly_and_in_any_case(self) -> None:
        """rfc3501:3087"""
        content = (
            b"Received: one\r\nSubject: Hi\r\n folded\r\nX-Subject: no\r\nRECEIVED: two\r\n"
            b"From: a@example.org\r\n\r\nBody\r\n"
        )
        names = "HEADER.FIELDS (SUBJECT received)", "HEADER.FIELDS.NOT (Subject Received)"
        chosen, rest = self.sections(content, *names)
        self.assertEqual(
            chosen, b"Received: one\r\nSubject: Hi\r\n folded\r\nRECEIVED: two\r\n\r\n"
        )
        self.assertEqual(rest, b"X-Subject: no\r\nFrom: a@example.org\r\n\r\n")

    def test_the_blank_line_is_always_there(self) -> None:
        """rfc3501:3092"""
        absent, header = self.sections(mail(), "HEADER.FIELDS (X-Absent)", "HEADER")
        self.assertEqual(absent, b"\r\n")
        self.assertTrue(header.endswith(b"\r\n\r\n"))

    def test_header_fields_of_an_enclosed_message(self) -> None:
        """rfc3501:3067"""
        (found,) = self.sections(COMPLEX, "4.2.HEADER.FIELDS (SUBJECT)")
        self.assertEqual(found, b"Subject: four two\r\n\r\n")

    def test_a_message_without_body_has_only_its_header(self) -> None:
        """rfc3501:3095"""
        content = b"Subject: x\r\nFrom: a@example.org\r\n"
        header, text = self.sections(content, "HEADER", "TEXT")
        self.assertEqual((header, text), (content, b""))

    def test_enclosed_header_whose_body_is_not_multipart(self) -> None:
        """rfc3501:3064"""
        content = b"Content-Type: message/rfc822\r\n\r\n" + mail("Inner", "Deep.\r\n")
        header, text, part = self.sections(content, "1.HEADER", "1.TEXT", "1.1")
        self.assertTrue(header.startswith(b"From: You"))
        self.assertEqual((text, part), (b"Deep.\r\n", b"Deep.\r\n"))


class PartialTests(ImapTestCase):
    shared = True

    def setUp(self) -> None:
        super().setUp()
        self.client = self.login("INBOX")
        self.content = mail(body="0123456789" * 150 + "\r\n")
        self.client.append(self.content)
        self.client.ok("NOOP")

    def test_the_octets_asked_for_and_no_more(self) -> None:
        """rfc3501:3128"""
        for start, count in ((0, 20), (5, 1), (100, 1000), (0, 1)):
            items = self.client.fetch("1", f"BODY.PEEK[]<{start}.{count}>")[1]
            self.assertEqual(items, {f"BODY[]<{start}>": self.content[start : start + count]})

    def test_truncated_at_the_end_and_still_a_partial(self) -> None:
        """rfc3501:3143"""
        items = self.client.fetch("1", "BODY.PEEK[]<0.65536>")[1]
        self.assertEqual(items, {"BODY[]<0>": self.content})

    def test_beyond_the_end_is_empty(self) -> None:
        """rfc3501:3132"""
        items = self.client.fetch("1", "BODY.PEEK[TEXT]<99999.10>")[1]
        self.assertEqual(items, {"BODY[TEXT]<99999>": b""})

    def test_of_a_subset_of_the_header(self) -> None:
        """rfc3501:3152"""
        items = self.client.fetch("1", "BODY.PEEK[HEADER.FIELDS (SUBJECT)]<9.5>")[1]
        self.assertEqual(items, {"BODY[HEADER.FIELDS (SUBJECT)]<9>": b"Hello"})

    def test_several_partials_of_one_section(self) -> None:
        """rfc3501:4754"""
        items = self.client.fetch("1", "(BODY.PEEK[TEXT]<0.3> BODY.PEEK[TEXT]<10.3>)")[1]
        self.assertEqual(items, {"BODY[TEXT]<0>": b"012", "BODY[TEXT]<10>": b"012"})

    def test_zero_octets_and_malformed_partials_are_bad(self) -> None:
        """rfc3501:4754"""
        for partial in ("<0.0>", "<0>", "<a.1>", "<-1.5>", "<0.5"):
            self.client.bad(f"FETCH 1 BODY.PEEK[]{partial}")


class ItemTests(ImapTestCase):
    messages = 2

    def setUp(self) -> None:
        super().setUp()
        self.client = self.login("INBOX")

    def test_macros(self) -> None:
        """rfc3501:3031"""
        fast = {"FLAGS", "INTERNALDATE", "RFC822.SIZE"}
        self.assertEqual(set(self.client.fetch("1", "FAST")[1]), fast)
        self.assertEqual(set(self.client.fetch("1", "ALL")[1]), fast | {"ENVELOPE"})
        self.assertEqual(set(self.client.fetch("1", "full")[1]), fast | {"ENVELOPE", "BODY"})

    def test_macros_stand_alone(self) -> None:
        """rfc3501:3018"""
        for items in ("(ALL)", "(FAST UID)", "(FLAGS FULL)", "ALL FAST"):
            self.client.bad(f"FETCH 1 {items}")

    def test_unknown_items_are_bad(self) -> None:
        """rfc3501:4751"""
        for items in ("SILLY", "(UID SILLY)", "()", "(UID", "RFC822.SILLY", "BODY[", "BODY.PEEK"):
            self.client.bad(f"FETCH 1 {items}")

    def test_an_item_named_twice_comes_once_or_is_bad(self) -> None:
        """rfc3501:4866"""
        answer = self.client.command("FETCH 1 (UID UID FLAGS FLAGS)")
        self.assertIn(answer.status.kind, ("OK", "BAD"))
        self.assertEqual(set(answer.messages.get(1, {"UID": 1, "FLAGS": 1})), {"UID", "FLAGS"})

    def test_rfc822_forms_are_the_sections(self) -> None:
        """rfc3501:3179"""
        items = self.client.fetch("1", "(RFC822 RFC822.HEADER RFC822.TEXT RFC822.SIZE)")[1]
        content = mail("Mail 1")
        header, _, text = content.partition(b"\r\n\r\n")
        self.assertEqual(items["RFC822"], content)
        self.assertEqual(items["RFC822.HEADER"], header + b"\r\n\r\n")
        self.assertEqual(items["RFC822.TEXT"], text)
        self.assertEqual(items["RFC822.SIZE"], len(content))

    def test_what_sets_seen(self) -> None:
        """rfc3501:3156"""
        for item in ("BODY[]", "BODY[TEXT]", "BODY[1]<0.2>", "RFC822", "RFC822.TEXT"):
            self.client.ok("STORE 1 FLAGS.SILENT ()")
            items = self.client.fetch("1", item)[1]
            self.assertIn(b"\\Seen", items["FLAGS"], item)
            self.assertEqual(self.client.flags(1), {b"\\Seen"})

    def test_what_does_not_set_seen(self) -> None:
        """rfc3501:3159; rfc3501:3183"""
        for item in ("BODY.PEEK[]", "RFC822.HEADER", "ENVELOPE", "BODY", "BODYSTRUCTURE", "FULL"):
            self.client.ok(f"FETCH 1:* {item}")
        self.assertEqual((self.client.flags(1), self.client.flags(2)), (set(), set()))

    def test_flags_are_sent_only_when_they_change(self) -> None:
        """rfc3501:3156"""
        self.client.ok("FETCH 1 BODY[]")
        self.assertEqual(set(self.client.fetch("1", "BODY[]")[1]), {"BODY[]"})

    def test_responses_carry_message_numbers_also_for_uids(self) -> None:
        """rfc3501:3388"""
        found = self.client.ok(f"UID FETCH {self.uids[1]} (FLAGS)").messages
        self.assertEqual(found[2]["UID"], self.uids[1])

    def test_static_items_do_not_change(self) -> None:
        """rfc3501:3007"""
        items = "(UID INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE BODY.PEEK[])"
        first = self.client.fetch("1:*", items)
        self.client.ok("STORE 1:* +FLAGS.SILENT (\\Seen \\Flagged)")
        self.assertEqual(self.login("INBOX").fetch("1:*", items), first)

    def test_copies_keep_content_flags_and_internal_date(self) -> None:
        """rfc3501:3311"""
        self.client.ok("STORE 1 FLAGS.SILENT (\\Seen $Forwarded)")
        items = "(INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE BODY.PEEK[])"
        before, flags = self.client.fetch("1", items)[1], self.client.flags(1)
        self.client.ok("COPY 1 Archive")
        self.client.ok("SELECT Archive")
        self.assertEqual((self.client.fetch("1", items)[1], self.client.flags(1)), (before, flags))

    def test_a_delivered_message_never_carries_nul(self) -> None:
        """rfc3501:4512"""
        with smtplib.SMTP("127.0.0.1", self.server.smtp_port) as smtp:
            try:
                smtp.sendmail("you@example.org", self.address, b"Subject: a\0b\r\n\r\nx\0y\r\n")
            except smtplib.SMTPResponseException:
                smtp.sendmail("you@example.org", self.address, b"Subject: ab\r\n\r\nxy\r\n")
        self.client.ok("NOOP")
        found = self.client.fetch("3", "(BODY[] ENVELOPE BODYSTRUCTURE)")
        self.assertIn(b"Subject: a", found[3]["BODY[]"])

    def test_internal_date_of_a_delivered_message_is_that_of_delivery(self) -> None:
        """rfc3501:639"""
        before = self.client.fetch("2", "INTERNALDATE")[2]["INTERNALDATE"]
        with smtplib.SMTP("127.0.0.1", self.server.smtp_port) as smtp:
            smtp.sendmail("you@example.org", self.address, mail())
        self.client.ok("NOOP")
        after = self.client.fetch("3", "INTERNALDATE")[3]["INTERNALDATE"]
        self.assertTrue(0 <= (after - before).total_seconds() < 30)
