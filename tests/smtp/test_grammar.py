"""Commands and their parameters, and the replies to broken ones."""

from twisted.trial.unittest import SynchronousTestCase

from mailsrv.smtp.address import Address
from mailsrv.smtp.grammar import (
    Bdat,
    Mail,
    Rcpt,
    parse_bdat,
    parse_mail,
    parse_rcpt,
    split_command,
)
from mailsrv.smtp.reply import Refused

SENDER = Address("a", "b.c")


class GrammarTests(SynchronousTestCase):
    def refused(self, function, *arguments):
        reply = self.assertRaises(Refused, function, *arguments).reply
        return f"{reply.code} {reply.status}"

    def test_command(self):
        for line, expected in (
            (b"noop", ("NOOP", "")),
            (b"MAIL FROM:<>", ("MAIL", "FROM:<>")),
            (b"NooP \t hello  ", ("NOOP", "hello")),
            ("VRFY ü".encode(), ("VRFY", "ü")),
        ):
            self.assertEqual(split_command(line), expected)

    def test_bad_command(self):
        for line in (b"", b" ", b" NOOP", b"NO-OP", b"N\0OP", b"NOOP\nQUIT", b"NOOP \r", b"\x7f",
                     b"NOOP \xff", "ÑOOP".encode(), b"MAIL:FROM"):  # fmt: skip
            self.assertEqual(self.refused(split_command, line), "500 5.5.2")

    def test_mail(self):
        for rest, expected in (
            ("FROM:<>", Mail(None)),
            ("FROM:<a@b.c>", Mail(SENDER)),
            ("from: <a@b.c> ", Mail(SENDER)),
            ("FROM:<@x,@y:a@b.c>", Mail(SENDER)),
            ("FROM:<a@b.c> SIZE=0", Mail(SENDER, 0)),
            ("FROM:<a@b.c> size=12 body=8bitmime smtputf8", Mail(SENDER, 12, utf8=True)),
            ("FROM:<a@b.c> BODY=7BIT", Mail(SENDER)),
            ("FROM:<ü@b.c> SMTPUTF8", Mail(Address("ü", "b.c"), utf8=True)),
            ("FROM:<ü@b.c>", Mail(Address("ü", "b.c"), utf8=True)),
        ):
            self.assertEqual(parse_mail(rest), expected)

    def test_bad_mail(self):
        for rest, expected in (
            ("", "501 5.5.4"),
            ("TO:<a@b.c>", "501 5.5.4"),
            ("FROM", "501 5.5.4"),
            ("FROM:a@b.c", "501 5.1.7"),
            ("FROM:<a@b.c", "501 5.1.7"),
            ("FROM:<a@b..c>", "501 5.1.7"),
            ("FROM:<a@b.c>SIZE=1", "501 5.5.4"),
            ("FROM:<a@b.c> SIZE", "501 5.5.4"),
            ("FROM:<a@b.c> SIZE=", "501 5.5.4"),
            ("FROM:<a@b.c> SIZE=-1", "501 5.5.4"),
            ("FROM:<a@b.c> SIZE=1_0", "501 5.5.4"),
            ("FROM:<a@b.c> SIZE=٣", "501 5.5.4"),
            ("FROM:<a@b.c> SIZE=" + "9" * 21, "501 5.5.4"),
            ("FROM:<a@b.c> SIZE=1 SIZE=1", "501 5.5.4"),
            ("FROM:<a@b.c> BODY=BINARYMIME", "501 5.5.4"),
            ("FROM:<a@b.c> BODY", "501 5.5.4"),
            ("FROM:<a@b.c> SMTPUTF8=1", "501 5.5.4"),
            ("FROM:<a@b.c> =1", "501 5.5.4"),
            ("FROM:<a@b.c> AUTH=<>", "555 5.5.4"),
            ("FROM:<a@b.c> RET=FULL", "555 5.5.4"),
        ):
            self.assertEqual(self.refused(parse_mail, rest), expected, rest)

    def test_rcpt(self):
        self.assertEqual(parse_rcpt("TO:<a@b.c>"), Rcpt(SENDER))
        self.assertEqual(parse_rcpt("to: <PostMaster>"), Rcpt(None))
        self.assertEqual(parse_rcpt("TO:<ü@b.c>"), Rcpt(Address("ü", "b.c")))

    def test_bad_rcpt(self):
        for rest, expected in (
            ("TO:<>", "501 5.1.3"),
            ("TO:<a>", "501 5.1.3"),
            ("TO:<a@b@c>", "501 5.1.3"),
            ("FROM:<a@b.c>", "501 5.5.4"),
            ("TO:<a@b.c> NOTIFY=NEVER", "555 5.5.4"),
        ):
            self.assertEqual(self.refused(parse_rcpt, rest), expected, rest)

    def test_bdat(self):
        self.assertEqual(parse_bdat("0"), Bdat(0, last=False))
        self.assertEqual(parse_bdat("86  last"), Bdat(86, last=True))
        for rest in (
            "",
            "LAST",
            "-1",
            "+1",
            "1_0",
            "0x10",
            "٣",
            "1 LAST x",
            "1LAST",
            "9" * 13,
            "1 FIRST",
        ):
            self.assertIsNone(parse_bdat(rest), rest)
