"""Messages of every shape come out as they went in, or are refused as a whole."""

import re
import subprocess
import sys

from tests.clients.imap_client import Client
from tests.clients.smtp_case import MESSAGE_LIMIT, SmtpTestCase

HEADER = b"Subject: a\r\n\r\n"
TRACE = re.compile(
    rb"Return-Path: <x@example\.org>\r\n"
    rb"Received: from c\.example\.org \(\[127\.1\.[0-9.]+\]\)\r\n"
    rb"\tby localhost with ESMTP id [0-9a-f]{20}\r\n"
    rb"\tfor <user[0-9]+@example\.com>;\r\n"
    rb"\t[A-Z][a-z]{2}, [0-9]{1,2} [A-Z][a-z]{2} [0-9]{4} [0-9:]{8} \+0000\r\n"
)


class MessageTests(SmtpTestCase):
    def test_shapes(self) -> None:
        """Our two fields, then what was sent, octet by octet."""
        contents = (
            HEADER + b"x" * 20_000 + b"\r\n",
            b"Subject: \xfc\xff\r\n\r\n\x80\xfe\x01\x7f\r\n",
            b"Subject: only a header\r\n",
            b"Subject: a\r\n" + b"X-Long: " + b"y" * 20_000 + b"\r\n\r\n",
            b"\r\nbody without a header\r\n",
            b"From a@b Mon Nov 23 10:00:00 2026\r\nSubject: from an mbox\r\n\r\n",
            b"\xef\xbb\xbfSubject: mark\r\nTo: b\r\n\r\n",
            HEADER + b"\r\n" * 1000,
            HEADER + b"\t \r\n \r\n.\r\n..\r\n.. \r\n",
        )
        client = self.connect()
        for content in contents:
            self.assertEqual(client.deliver(content, self.address), "250 2.0.0")
        for mail, content in zip(self.mails(), contents, strict=True):
            trace = TRACE.match(mail)
            self.assertIsNotNone(trace, mail[:500])
            self.assertEqual(mail[trace.end() :], content)

    def test_without_a_header(self) -> None:
        """It does not run into our Received: an empty line keeps them apart."""
        contents = (
            b"",
            b"Hello\r\nthere\r\n",
            b" folded: x\r\nSubject: y\r\n\r\nbody\r\n",
            b"\t\r\n",
        )
        client = self.connect()
        for content in contents:
            self.assertEqual(client.deliver(content, self.address), "250 2.0.0")
        for mail, content in zip(self.mails(), contents, strict=True):
            self.assertEqual(mail[TRACE.match(mail).end() :], b"\r\n" + content)
        reader = Client(self.server.imap_port, source=self.source)
        self.addCleanup(reader.close)
        reader.ok(f"LOGIN {self.address} {self.password}")
        reader.ok("EXAMINE INBOX")
        self.assertEqual(reader.fetch("2", "(BODY.PEEK[TEXT])")[2]["BODY[TEXT]"], contents[1])

    def test_hops(self) -> None:
        """100 are no loop yet (rfc5321:4070); those in the body are none."""
        client = self.connect()
        for content, expected in (
            (b"Received: x\r\n" * 100 + HEADER, "250 2.0.0"),
            (b"Received: x\r\n" * 101 + HEADER, "554 5.4.6"),
            (HEADER + b"Received: x\r\n" * 200, "250 2.0.0"),
            (b"\r\n" + b"Received: x\r\n" * 200, "250 2.0.0"),
        ):
            self.assertEqual(client.deliver(content, self.address), expected)

    def test_nul_and_stray_line_ends(self) -> None:
        client = self.connect()
        for content in (b"a\0b\r\n", b"a\nb\r\n", b"a\rb\r\n", b"\0", b"a\r\r\n"):
            client.envelope(self.address)
            self.assertEqual(client.data(HEADER + content + b"\r\n"), "554 5.6.0", content)
        self.assertEqual(self.mails(), [])

    def test_size_limit(self) -> None:
        """Exactly at the limit and one above, declared, declared falsely and not (rfc1870:206)."""
        at_limit = HEADER + b"x" * (MESSAGE_LIMIT - len(HEADER) - 2) + b"\r\n"
        client = self.connect()
        self.assertIn(f"SIZE {MESSAGE_LIMIT}", client.hello.lines)
        for declared, content, expected in (
            (b"", at_limit, "250 2.0.0"),
            (b" SIZE=%d" % MESSAGE_LIMIT, at_limit, "250 2.0.0"),
            (b" SIZE=1", at_limit, "250 2.0.0"),
            (b"", b"x" + at_limit, "552 5.3.4"),
            (b" SIZE=1", b"x" + at_limit, "552 5.3.4"),
            (b" SIZE=0", at_limit * 3, "552 5.3.4"),
        ):
            self.assertEqual(client.say(b"MAIL FROM:<x@example.org>" + declared).code, 250)
            client.say(f"RCPT TO:<{self.address}>".encode())
            client.say(b"DATA")
            ending = b".\r\n" if content.endswith(b"\n") else b"\r\n.\r\n"
            client.send(content + ending)
            self.assertEqual(client.reply().short, expected)
        for size in (MESSAGE_LIMIT + 1, 10**19):
            self.assertEqual(
                client.say(b"MAIL FROM:<x@example.org> SIZE=%d" % size).short, "552 5.3.4"
            )
        self.assertEqual(self.bodies(), [at_limit] * 3)

    def test_dots_do_not_count_twice(self) -> None:
        """The size is that without the stuffing (rfc1870:189)."""
        content = b"\r\n" + b".....\r\n" * ((MESSAGE_LIMIT - 2) // 7)
        self.assertEqual(self.connect().deliver(content, self.address), "250 2.0.0")
        self.assertEqual(self.bodies(), [content])

    def test_at_the_limit_into_an_open_mailbox(self) -> None:
        """Our fields on top do not make it too large for a mailbox that is in use."""
        reader = Client(self.server.imap_port, source=self.source)
        self.addCleanup(reader.close)
        reader.ok(f"LOGIN {self.address} {self.password}")
        reader.ok("SELECT INBOX")
        content = HEADER + b"x" * (MESSAGE_LIMIT - len(HEADER) - 2) + b"\r\n"
        self.assertEqual(self.connect().deliver(content, self.address), "250 2.0.0")
        reader.ok("NOOP")
        self.assertEqual(reader.exists, 1)
        self.assertTrue(reader.fetch("1", "(BODY[])")[1]["BODY[]"].endswith(content))

    def test_store_away(self) -> None:
        """While the mailboxes cannot be written, senders are asked to try again."""
        folder = self.server.folder / "mailboxes"
        away = folder.rename(folder.with_name("away"))
        folder.write_bytes(b"")
        try:
            client = self.connect()
            client.envelope(self.address)
            self.assertRegex(client.data(HEADER), r"\A451 4\.3\.[0-2]\Z")
        finally:
            folder.unlink()
            away.rename(folder)
        self.assertEqual(client.deliver(HEADER, self.address), "250 2.0.0")
        self.assertEqual(self.bodies(), [HEADER])

    def test_repeats_after_a_temporary_error(self) -> None:
        """Of mail for two, one of them full, the other gets one copy however often it comes."""
        self.server.command("alias", "add", "full@example.com", "--quota", "1")
        self.server.command("password", "full@example.com")
        client = self.connect()
        for _ in range(3):
            client.envelope(self.address, "full@example.com")
            self.assertRegex(client.data(HEADER), r"\A45[12] 4\.2\.2\Z")
        self.assertEqual(self.bodies(), [HEADER])


class ProgramTests(SmtpTestCase):
    """Python's own client, in a process with nothing of ours."""

    def test_smtplib(self) -> None:
        script = """
import smtplib, ssl, sys
from email.message import EmailMessage
port, ca, to = int(sys.argv[1]), sys.argv[2], sys.argv[3]
mail = EmailMessage()
mail["From"], mail["To"], mail["Subject"] = "jürgen@example.org", to, "Grüße"
mail.set_content("ä\\n.\\n..\\n" + "z" * 2000 + "\\n")
for tls in (False, True):
    with smtplib.SMTP("localhost", port, timeout=20) as client:
        if tls:
            client.starttls(context=ssl.create_default_context(cafile=ca))
        assert client.send_message(mail) == {}
        refused = client.sendmail("", [to, "nobody@example.com"], "Subject: b\\r\\n\\r\\nbytes")
        assert refused["nobody@example.com"][0] == 550, refused
        assert client.verify(to)[0] == 252 and client.noop()[0] == 250
        try:
            client.sendmail("a@b.c", ["nobody@example.com"], "x")
        except smtplib.SMTPRecipientsRefused:
            pass
        client.helo("again")
        assert client.sendmail("a@b.c", [to], "Subject: c\\r\\n\\r\\nafter HELO") == {}
"""
        words = (str(self.server.smtp_port), str(self.server.ca), self.address)
        done = subprocess.run(
            [sys.executable, "-c", script, *words], capture_output=True, check=False, timeout=60
        )
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        mails = self.mails()
        self.assertEqual(len(mails), 6)
        self.assertIn(b"\r\n.\r\n..\r\n", mails[0].replace(b"=C3=A4", b""))
