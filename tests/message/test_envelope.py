"""ENVELOPE and the address parser below it."""

from twisted.trial.unittest import SynchronousTestCase

from mailsrv.message.address import GROUP_END, Address, parse_addresses
from mailsrv.message.scan import scan
from tests.message.corpus import crlf
from tests.message.imapdata import parse_envelope


def one(value: str) -> Address:
    (found,) = parse_addresses(value)
    return found


class AddressTests(SynchronousTestCase):
    def check(self, value: str, *expected: tuple[str | None, str | None, str | None, str | None]):
        self.assertEqual(parse_addresses(value), [Address(*fields) for fields in expected])

    def test_common_forms(self):
        self.check(
            'a@b.org, Jo Doe <jo@b.org>,"Doe, Jo" <jo@b.org> , <x@y>',
            (None, None, "a", "b.org"),
            ("Jo Doe", None, "jo", "b.org"),
            ("Doe, Jo", None, "jo", "b.org"),
            (None, None, "x", "y"),
        )

    def test_both_parsers_agree(self):
        for value in ("a@b.org", "Jo  Doe <jo@b.org>", '"Doe, Jo" <jo@b.org>', "<x@y>", '"" <a@b>'):
            # The comment at the end sends the whole of it through the tokenizer.
            self.assertEqual(parse_addresses(value), parse_addresses(value + " ()"), value)

    def test_quoted_local_part_loses_its_quoting(self):
        self.check(r'"a \"b\" c@d"@e.org', (None, None, 'a "b" c@d', "e.org"))
        self.check('Jo <"jo doe"@e.org>', ("Jo", None, "jo doe", "e.org"))

    def test_quoted_name_loses_its_quoting(self):
        self.check(r'"Jo \"J\" \\ Doe" <jo@e.org>', (r'Jo "J" \ Doe', None, "jo", "e.org"))

    def test_encoded_words_stay(self):
        name = "=?utf-8?Q?J=C3=B6:_<(x)>?="
        self.check(f"{name} <j@e.org>", (name, None, "j", "e.org"))

    def test_comment_is_a_name_where_there_is_no_other(self):
        self.check("jo@e.org (Jo (the one) Doe)", ("Jo (the one) Doe", None, "jo", "e.org"))
        self.check("(first) jo@e.org", ("first", None, "jo", "e.org"))
        self.check("<jo@e.org> (Jo Doe)", ("Jo Doe", None, "jo", "e.org"))
        self.check("Jo <jo@e.org> (ignored)", ("Jo", None, "jo", "e.org"))
        self.check("(only a comment)")

    def test_comments_anywhere(self):
        self.check(
            r"Pete(A nice \) chap) <pete(his)@silly.test(host)>",
            ("Pete", None, "pete", "silly.test"),
        )

    def test_groups(self):
        self.check(
            'team: a@e.org, "B, C" <b@e.org>;, c@e.org, empty:;',
            (None, None, "team", None),
            (None, None, "a", "e.org"),
            ("B, C", None, "b", "e.org"),
            GROUP_END,
            (None, None, "c", "e.org"),
            (None, None, "empty", None),
            GROUP_END,
        )

    def test_group_without_end(self):
        self.check(
            "team: a@e.org", (None, None, "team", None), (None, None, "a", "e.org"), GROUP_END
        )

    def test_route(self):
        self.check("<@a,@b:u@e.org>", (None, "@a,@b", "u", "e.org"))
        self.check("Jo <@a.org:u@e.org>", ("Jo", "@a.org", "u", "e.org"))

    def test_obsolete_blanks_and_dots(self):
        self.check("john . doe @ e . org", (None, None, "john.doe", "e.org"))
        self.check("a..b.@e.org", (None, None, "a..b.", "e.org"))

    def test_domain_literal(self):
        self.check("a@[127.0.0.1]", (None, None, "a", "[127.0.0.1]"))
        self.check("Jo <a@[IPv6:::1]>", ("Jo", None, "a", "[IPv6:::1]"))

    def test_without_domain(self):
        self.check("root", (None, None, "root", ""))
        self.check("Jo Doe", (None, None, "Jo Doe", ""))
        self.check("Jo <jo>", ("Jo", None, "jo", ""))
        self.check("<>", (None, None, "", ""))

    def test_missing_commas_and_brackets(self):
        self.check("A <a@x> B C <b@x>", ("A", None, "a", "x"), ("B C", None, "b", "x"))
        self.check("a@x b@y", (None, None, "a", "x"), (None, None, "b", "y"))
        self.check("<a@x, B <b@y>", (None, None, "a", "x"), ("B", None, "b", "y"))
        self.check("Jo Doe jo@x", ("Jo Doe", None, "jo", "x"))
        self.check("a@x; b@y", (None, None, "a", "x"), (None, None, "b", "y"))
        self.check("jo@x <jo@y>", ("jo@x", None, "jo", "y"))

    def test_unclosed_quote(self):
        self.check('"Jo <jo@x>, Al <al@x>', ("Jo", None, "jo", "x"), ("Al", None, "al", "x"))

    def test_nothing(self):
        for value in ("", " ", ",", ",,;", "()"):
            self.assertEqual(parse_addresses(value), [], value)

    def test_limit(self):
        self.assertEqual(len(parse_addresses("a@b," * 50, 7)), 7)
        self.assertEqual(len(parse_addresses("a b@c (x)," * 50, 7)), 7)
        self.assertEqual(parse_addresses("a@b", 0), [])


class EnvelopeTests(SynchronousTestCase):
    def test_everything(self):
        content = crlf("""\
Date: Thu, 15 Feb 2007 01:02:03 +0200
Subject: =?utf-8?q?a?= "b" \\ c
From: F R <f@a.org>
Sender: S R <s@a.org>
Reply-To: r@a.org
To: t1@a.org, t2@a.org
Cc: group: c@a.org;
Bcc: b@a.org
In-Reply-To: <reply@to.id>
Message-ID: <msg@id>

""")
        self.assertEqual(
            scan(content).envelope,
            b'("Thu, 15 Feb 2007 01:02:03 +0200" "=?utf-8?q?a?= \\"b\\" \\\\ c"'
            b' (("F R" NIL "f" "a.org")) (("S R" NIL "s" "a.org")) ((NIL NIL "r" "a.org"))'
            b' ((NIL NIL "t1" "a.org")(NIL NIL "t2" "a.org"))'
            b' ((NIL NIL "group" NIL)(NIL NIL "c" "a.org")(NIL NIL NIL NIL))'
            b' ((NIL NIL "b" "a.org")) "<reply@to.id>" "<msg@id>")',
        )

    def test_absent_and_empty(self):
        self.assertEqual(scan(b"\r\n").envelope, b"(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)")
        empty = parse_envelope(scan(crlf("Subject:\nDate: \nTo:\nMessage-ID:\n\n")).envelope)
        self.assertEqual(
            (empty["subject"], empty["date"], empty["message_id"], empty["in_reply_to"]),
            (b"", b"", b"", None),
        )
        self.assertIsNone(empty["to"])

    def test_sender_and_reply_to_default_to_from(self):
        for lines in ("", "Sender:\nReply-To: \n"):
            found = parse_envelope(scan(crlf(f"From: a@b\n{lines}\n")).envelope)
            self.assertEqual(found["from"], [(None, None, b"a", b"b")])
            self.assertEqual(found["sender"], found["from"])
            self.assertEqual(found["reply_to"], found["from"])

    def test_eight_bit_goes_as_literal(self):
        content = "From: Jörg <j@e.org>\r\nSubject: Grüße\r\n\r\n".encode()
        envelope = scan(content).envelope
        self.assertIn(b"{7}\r\nGr\xc3\xbc\xc3\x9fe", envelope)
        self.assertEqual(parse_envelope(envelope)["from"][0][0], "Jörg".encode())

    def test_bare_cr_and_nul(self):
        found = parse_envelope(scan(b"Subject: a\rb\0c\r\n\r\n").envelope)
        self.assertEqual(found["subject"], b"a\rbc")

    def test_folded(self):
        found = parse_envelope(scan(b"Subject: a\r\n b\n\tc\r\nX: y\r\n\r\n").envelope)
        self.assertEqual(found["subject"], b"a b\tc")

    def test_first_string_counts_and_addresses_add_up(self):
        content = crlf("Subject: one\nSubject: two\nTo: a@b\nTo: c@d\n\n")
        found = parse_envelope(scan(content).envelope)
        self.assertEqual(found["subject"], b"one")
        self.assertEqual([address[2] for address in found["to"]], [b"a", b"c"])

    def test_field_names_in_any_case_and_blanks_before_the_colon(self):
        found = parse_envelope(scan(b"sUBJECT : x\r\nmessage-id:<y>\r\n\r\n").envelope)
        self.assertEqual((found["subject"], found["message_id"]), (b"x", b"<y>"))
