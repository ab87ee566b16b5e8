"""Received and Return-Path, and names that try to break out of them."""

from datetime import UTC, datetime, timedelta, timezone

from twisted.trial.unittest import SynchronousTestCase

from mailsrv.smtp.address import Address
from mailsrv.smtp.trace import (
    Client,
    TlsInfo,
    count_hops,
    gap,
    literal,
    mail_date,
    received,
    return_path,
)

TLS = TlsInfo("TLSv1.3", "TLS_AES_256_GCM_SHA384", "X25519MLKEM768")
PLAIN = Client("192.0.2.7", "client.example.org", extended=True, tls=None)
DATE = "Mon, 23 Nov 2026 15:30:00 +0000"
HELLO = Address("hello", "example.com")


def field(client=PLAIN, recipient=HELLO, *, utf8=False):
    return received(client, "mx.example.com", "abc", recipient, utf8=utf8, date=DATE).decode()


class ReceivedTests(SynchronousTestCase):
    def test_whole(self):
        self.assertEqual(
            field(),
            "Received: from client.example.org ([192.0.2.7])\r\n"
            "\tby mx.example.com with ESMTP id abc\r\n"
            "\tfor <hello@example.com>;\r\n"
            "\tMon, 23 Nov 2026 15:30:00 +0000\r\n",
        )

    def test_protocol(self):
        for extended, tls, utf8, expected in (
            (False, None, False, "SMTP"),
            (True, None, False, "ESMTP"),
            (True, TLS, False, "ESMTPS"),
            (True, None, True, "UTF8SMTP"),
            (True, TLS, True, "UTF8SMTPS"),
        ):
            client = Client("192.0.2.7", "x", extended, tls)
            self.assertIn(f" with {expected} id ", field(client, utf8=utf8))

    def test_tls(self):
        text = field(Client("192.0.2.7", "x", True, TLS))
        clause = "(TLSv1.3) tls TLS_AES_256_GCM_SHA384 group X25519MLKEM768;"
        self.assertIn(clause, text)

    def test_registered_suite_names(self):
        for openssl, expected in (
            ("ECDHE-RSA-AES128-GCM-SHA256", "tls TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256;"),
            ("ECDHE-ECDSA-AES256-GCM-SHA384", "tls TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384;"),
            ("ECDHE-RSA-CHACHA20-POLY1305", "tls TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256;"),
            ("AES128-SHA", "(TLSv1.2 AES128-SHA);"),
        ):
            tls = TlsInfo("TLSv1.2", openssl, None)
            self.assertIn(expected, field(Client("192.0.2.7", "x", True, tls)))

    def test_without_recipient_or_address(self):
        text = field(Client(None, "x", True, None), None)
        self.assertNotIn("for", text)
        self.assertTrue(text.startswith("Received: from x\r\n"))

    def test_name_of_the_client_cannot_break_out(self):
        for helo in ("a b", "x)\t(y", "under_score", "ü.example", "a\\", "-", "(", "[1.2.3]",
                     "[x:(]", "a" * 3000, ".", "x;y"):  # fmt: skip
            line = field(Client("192.0.2.7", helo, True, None)).split("\r\n")[0]
            self.assertRegex(line, r"\AReceived: from \[192\.0\.2\.7\] \(HELO [\w.\-:\[\]?]+\)\Z")
            self.assertLess(len(line), 200)

    def test_literal_as_name(self):
        line = field(Client("2001:db8::1", "[IPv6:2001:db8::1]", True, None)).split("\r\n")[0]
        self.assertEqual(line, "Received: from [IPv6:2001:db8::1] ([IPv6:2001:db8::1])")


class OtherTests(SynchronousTestCase):
    def test_literal(self):
        for address, expected in (
            ("192.0.2.7", "[192.0.2.7]"),
            ("2001:DB8::1", "[IPv6:2001:db8::1]"),
            ("::ffff:192.0.2.7", "[192.0.2.7]"),
            ("fe80::1%eth0", "[IPv6:fe80::1]"),
            ("somewhere", None),
        ):
            self.assertEqual(literal(address), expected)

    def test_date(self):
        self.assertEqual(mail_date(datetime(2026, 1, 3, 4, 5, 6, tzinfo=UTC)),
                         "Sat, 3 Jan 2026 04:05:06 +0000")  # fmt: skip
        east = timezone(timedelta(hours=5, minutes=30))
        self.assertTrue(mail_date(datetime(2026, 1, 3, tzinfo=east)).endswith(" +0530"))

    def test_return_path(self):
        self.assertEqual(return_path(None), b"Return-Path: <>\r\n")
        self.assertEqual(return_path(Address("j d", "x.y")), b'Return-Path: <"j d"@x.y>\r\n')

    def test_hops(self):
        header = b"Received: a\r\n\tb\r\nRECEIVED : c\r\nX-Received: d\r\nSubject: Received:\r\n"
        self.assertEqual(count_hops(header + b"\r\nReceived: body\r\n"), 2)
        self.assertEqual(count_hops(header), 2)
        self.assertEqual(count_hops(b""), 0)
        self.assertEqual(count_hops(b"\r\n" + header), 0)
        self.assertEqual(count_hops(b"Hello\r\nyou\r\n" + header), 0)

    def test_gap(self):
        for fits in (b"A: b\r\n\r\n", b"A : b", b"\r\n", b"\r\nbody", b"From a@b Mon\r\nA: b\r\n",
                     b"\xef\xbb\xbfFrom: a\r\nTo: b\r\n"):  # fmt: skip
            self.assertEqual(gap(fits), b"", fits)
        for bare in (b"", b" A: b\r\nC: d\r\n", b"\tx\r\n", b"Hello\r\nyou\r\n", b"Hello",
                     b": x\r\n", b"a b: c\r\n"):  # fmt: skip
            self.assertEqual(gap(bare), b"\r\n", bare)
