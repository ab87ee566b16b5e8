"""Nothing but CRLF "." CRLF ends a message, and nothing inside one is ever an envelope.

Each attack goes over a real socket, cut at awkward places, and is judged by what the victim and
the attacker's own target find over IMAP.
"""

import time

from tests.clients.smtp_case import SmtpTestCase

HEADER = b"Subject: a\r\n\r\n"
STRAY = (
    b"\n.\n", b"\n.\r", b"\r.\n", b"\r.\r", b"\n.\r\n", b"\r.\r\n", b"\r\n.\n", b"\r\n.\r",
    b"\r\r\n.\r\r\n", b"\r\n.\r\r\n", b"\r\n\r.\r\n", b"\r\n\n.\r\n", b"\r\n\r.\r\r\n",
    b"\r\n.\0\r\n", b"\r\n\0.\r\n", b"\r\n.\r\0\n", b"\n\r.\n\r",
)  # fmt: skip
"""With a bare CR, a bare LF or a NUL: refused, once."""
CONTENT = (
    b"\r\n. \r\n", b"\r\n .\r\n", b"\r\n.\t\r\n", b"\r\n.\x0b\r\n", b"\r\n.\x1a\r\n", b"\x85.\x85",
    b"\r\n.\xc2\x85", b"\xe2\x80\xa8.\xe2\x80\xa8", b"\r\n..\r\n", b"\r\n...\r\n", b"\x0c.\x0c",
)  # fmt: skip
"""Odd, but with whole lines: part of the message."""


class SmugglingTests(SmtpTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.envelope = (
            f"MAIL FROM:<evil@example.net>\r\nRCPT TO:<{self.address}>\r\nDATA\r\n"
            "Subject: smuggled\r\n\r\nx"
        ).encode()

    def attack(self, look_alike: bytes, size: int = 0) -> str:
        """Send a message with the look-alike and an envelope in it; the one reply."""
        client = self.connect()
        client.envelope(self.address)
        self.assertEqual(client.say(b"DATA").code, 354)
        client.send(HEADER + b"body" + look_alike + self.envelope + b"\r\n.\r\n", size)
        reply = client.reply()
        client.send(b"NOOP\r\n")
        self.assertEqual(client.shorts(1), ["250 2.0.0"], look_alike)
        client.close()
        return reply.short

    def test_stray_line_ends_are_refused_once(self) -> None:
        """rfc5321:2032, rfc5321:773"""
        self.each([(one, "554 5.6.0") for one in STRAY], self.attack)
        self.each([(one, "554 5.6.0") for one in STRAY[:8]], lambda one: self.attack(one, 1))
        self.assertEqual(self.mails(), [])

    def test_other_look_alikes_are_content(self) -> None:
        """One dot at the beginning of a line goes, and nothing else (rfc5321:3423)."""
        self.each([(one, "250 2.0.0") for one in CONTENT], self.attack)
        kept = [one.replace(b"\r\n.", b"\r\n") for one in CONTENT]
        self.assertEqual(
            self.bodies(), [HEADER + b"body" + one + self.envelope + b"\r\n" for one in kept]
        )

    def test_dots_at_every_cut(self) -> None:
        content = HEADER + b"..\r\n.\r\n...\r\na.\r\n.b\r\n\r\n.\r\n"
        client = self.connect()
        for size in (1, 2, 3, 4, 5, 7):
            self.assertEqual(client.deliver(content, self.address, size=size), "250 2.0.0")
        self.assertEqual(self.bodies(), [content] * 6)

    def test_end_of_data_in_two_segments(self) -> None:
        """The cut falls on each octet of the mark, with time for the first part to arrive."""
        client = self.connect()
        for cut in range(1, 5):
            client.envelope(self.address)
            client.say(b"DATA")
            client.send(HEADER + b"body" + b"\r\n.\r\n"[:cut])
            time.sleep(0.02)
            client.send(b"\r\n.\r\n"[cut:])
            self.assertEqual(client.shorts(1), ["250 2.0.0"])
        self.assertEqual(self.bodies(), [HEADER + b"body\r\n"] * 4)

    def test_talking_before_354_ends_the_connection(self) -> None:
        """DATA is the last of its group (rfc2920:144)."""
        for behind in (b"Subject: x\r\n\r\n.\r\n", b"\r\n.\r\n", b".\r\n", b"N"):
            client = self.connect()
            client.envelope(self.address)
            client.send(b"DATA\r\n" + behind)
            self.assertEqual(client.shorts(1), ["554 5.5.0"])
            self.assertTrue(client.ended())
        self.assertEqual(self.mails(), [])

    def test_talking_before_the_greeting_ends_the_connection(self) -> None:
        early = self.connect(hello=b"")
        early.send(b"EHLO x\r\nMAIL FROM:<a@b.c>\r\n")
        self.assertEqual(early.shorts(1), ["554 5.5.0"])
        self.assertTrue(early.ended())

    def test_cut_before_the_end_stores_nothing(self) -> None:
        """rfc5321:3423: without the end there is no message."""
        for ending in (b"", b"\r", b"\r\n", b"\r\n.", b"\r\n.\r"):
            client = self.connect()
            client.envelope(self.address)
            client.say(b"DATA")
            client.send(HEADER + b"body" + ending)
            client.close()
        for chunks in (b"BDAT 20\r\n" + b"x" * 20, b"BDAT 20 LAST\r\n" + b"x" * 19):
            client = self.connect()
            client.envelope(self.address)
            client.send(chunks)
            client.close()
        self.assertEqual(self.mails(), [])


class ChunkTests(SmtpTestCase):
    """rfc3030"""

    def test_end_of_data_and_commands_inside_a_chunk_are_content(self) -> None:
        content = HEADER + b"a\r\n.\r\nMAIL FROM:<a@b.c>\r\n..\r\n.\r\nQUIT\r\n"
        client = self.connect()
        for size in (0, 1, 3):
            client.envelope(self.address)
            client.send(b"BDAT %d LAST\r\n%b" % (len(content), content), size)
            self.assertEqual(client.shorts(1), ["250 2.0.0"])
        self.assertEqual(self.bodies(), [content] * 3)

    def test_many_chunks_in_one_group(self) -> None:
        """A chunk may cut a CRLF in two and may be empty (rfc3030:178)."""
        client = self.connect()
        pieces = (HEADER[:-1], b"", HEADER[-1:], b"a\r", b"\nb\r\n", b"")
        client.envelope(self.address)
        client.send(b"".join(b"BDAT %d\r\n%b" % (len(piece), piece) for piece in pieces))
        client.send(b"bdat 0 last\r\n")
        self.assertEqual(client.shorts(7), ["250 2.0.0"] * 7)
        self.assertEqual(self.bodies(), [HEADER + b"a\r\nb\r\n"])

    def test_whole_transactions_in_one_group(self) -> None:
        """Only the last of a group waits for its reply; BDAT may be anywhere (rfc3030:425)."""
        one = f"MAIL FROM:<a@b.c>\r\nRCPT TO:<{self.address}>\r\nBDAT 14 LAST\r\n".encode() + HEADER
        client = self.connect()
        client.send(one * 5 + b"QUIT\r\n")
        expected = ["250 2.1.0", "250 2.1.5", "250 2.0.0"] * 5 + ["221 2.0.0"]
        self.assertEqual(client.shorts(16), expected)
        self.assertTrue(client.ended())
        self.assertEqual(self.bodies(), [HEADER] * 5)

    def test_refused_chunks_are_skipped(self) -> None:
        """The octets of a refused chunk are never commands (rfc3030:187, rfc3030:182)."""
        inside = f"MAIL FROM:<evil@b.c>\r\nRCPT TO:<{self.address}>\r\n".encode()
        chunk = b"BDAT %d LAST\r\n%b" % (len(inside), inside)
        client = self.connect()
        client.send(chunk)
        self.assertEqual(client.shorts(1), ["503 5.5.1"])
        client.send(b"MAIL FROM:<a@b.c>\r\n" + chunk + chunk)
        self.assertEqual(client.shorts(3), ["250 2.1.0", "554 5.5.1", "554 5.5.1"])
        client.send(b"RSET\r\n")
        client.shorts(1)
        client.envelope(self.address)
        client.send(chunk + chunk)
        self.assertEqual(client.shorts(2), ["250 2.0.0", "503 5.5.1"])
        self.assertEqual(self.bodies()[0][-len(inside) :], inside)

    def test_sizes_that_are_none(self) -> None:
        """What follows cannot be told from commands: the connection ends, with one reply."""
        for size in (b"-5", b"+5", b"1_0", b"0x5", b"5.0", b"", b"5 LASTER", b"5 LAST x", b"9" * 13,
                     b"\xd9\xa5", b"99999999999999999999999999"):  # fmt: skip
            client = self.connect()
            client.envelope(self.address)
            client.send(b"BDAT " + size + b"\r\nQUIT\r\n")
            self.assertEqual(client.shorts(1), ["501 5.5.4"], size)
            self.assertTrue(client.ended(), size)

    def test_too_large(self) -> None:
        """Skipped to its end, then 552; later chunks of the group too (rfc3030:192)."""
        client = self.connect()
        client.envelope(self.address)
        client.send(b"BDAT 300001\r\n" + b"x" * 300_001 + b"BDAT 5 LAST\r\nQUIT\nNOOP\r\n")
        self.assertEqual(client.shorts(3), ["552 5.3.4", "503 5.5.1", "250 2.0.0"])
        client.envelope(self.address)
        client.send(b"BDAT 200000\r\n" + b"x" * 200_000 + b"BDAT 100001 LAST\r\n" + b"x" * 100_001)
        self.assertEqual(client.shorts(2), ["250 2.0.0", "552 5.3.4"])
        self.assertEqual(client.deliver(HEADER, self.address), "250 2.0.0")
        self.assertEqual(self.bodies(), [HEADER])

    def test_stray_line_ends_and_nul(self) -> None:
        client = self.connect()
        for content in (b"a\nb", b"a\rb", b"a\0b", b"a\r", b"\n"):
            client.envelope(self.address)
            client.send(b"BDAT %d LAST\r\n%b" % (len(content), content))
            self.assertEqual(client.shorts(1), ["554 5.6.0"], content)
        self.assertEqual(self.mails(), [])

    def test_data_and_bdat_do_not_mix(self) -> None:
        """rfc3030:218; and RSET clears what came (rfc3030:214)."""
        client = self.connect()
        client.envelope(self.address)
        client.send(b"BDAT 4\r\nevil")
        self.assertEqual(client.shorts(1), ["250 2.0.0"])
        self.assertEqual(client.say(b"DATA").short, "503 5.5.1")
        self.assertEqual(client.say(f"RCPT TO:<{self.address}>".encode()).short, "503 5.5.1")
        self.assertEqual(client.say(b"MAIL FROM:<a@b.c>").short, "503 5.5.1")
        self.assertEqual(client.say(b"RSET").short, "250 2.0.0")
        self.assertEqual(client.deliver(HEADER, self.address), "250 2.0.0")
        self.assertEqual(self.bodies(), [HEADER])
