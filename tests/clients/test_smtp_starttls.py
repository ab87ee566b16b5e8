"""STARTTLS on a real socket: nothing said in clear counts in TLS (rfc3207:208)."""

import socket
import ssl
import time

from tests.clients.smtp_case import SmtpTestCase
from tests.clients.smtp_client import Smtp

CONTENT = b"Subject: a\r\n\r\nover TLS\r\n"


class StartTlsTests(SmtpTestCase):
    def begin(self) -> Smtp:
        client = self.connect()
        self.assertEqual(client.say(b"STARTTLS").short, "220 2.0.0")
        client.start_tls(self.server.tls_context())
        return client

    def test_mail_over_tls(self) -> None:
        client = self.begin()
        self.assertNotIn("STARTTLS", client.say(b"EHLO c.example.org", bare=True).lines)
        large = CONTENT + b"line\r\n" * 40_000
        self.assertEqual(client.deliver(large, self.address), "250 2.0.0")
        self.assertEqual(client.say(b"QUIT").short, "221 2.0.0")
        [mail] = self.mails()
        self.assertIn(b" with ESMTPS id ", mail)
        self.assertTrue(mail.endswith(large))

    def test_nothing_is_kept(self) -> None:
        """Neither EHLO nor the envelope (rfc3207:212)."""
        client = self.connect()
        client.envelope(self.address)
        self.assertEqual(client.say(b"STARTTLS").short, "220 2.0.0")
        client.start_tls(self.server.tls_context())
        for line in (b"DATA", f"RCPT TO:<{self.address}>".encode(), b"MAIL FROM:<a@b.c>"):
            self.assertEqual(client.say(line).short, "503 5.5.1")
        client.send(b"BDAT 5 LAST\r\nevil!")
        self.assertEqual(client.reply().short, "503 5.5.1")
        client.say(b"EHLO c.example.org", bare=True)
        self.assertEqual(client.deliver(CONTENT, self.address), "250 2.0.0")
        self.assertEqual(self.bodies(), [CONTENT])

    def test_only_once_and_without_argument(self) -> None:
        """rfc3207:108, rfc3207:235"""
        client = self.connect()
        self.assertEqual(client.say(b"STARTTLS now").short, "501 5.5.4")
        self.assertEqual(client.say(b"starttls").short, "220 2.0.0")
        client.start_tls(self.server.tls_context())
        client.say(b"EHLO c.example.org", bare=True)
        self.assertEqual(client.say(b"STARTTLS").short, "503 5.5.1")
        self.assertEqual(client.say(b"NOOP").short, "250 2.0.0")

    def test_whatever_is_in_the_same_segment_ends_the_connection(self) -> None:
        for behind in (
            b"NOOP\r\n",
            b"RSET\r\nEHLO evil\r\n",
            b"N",
            b"\r",
            b"\n",
            b"\0",
            b"\x16\x03",
        ):
            client = self.connect()
            client.send(b"STARTTLS\r\n" + behind)
            self.assertEqual(client.reply().short, "554 5.5.0", behind)
            self.assertTrue(client.ended(), behind)

    def test_half_a_line_around_the_handshake_is_not_joined(self) -> None:
        """Clear text in a later segment breaks the handshake, and no command comes of it."""
        for behind in (b"NOO", b"NOOP\r\n", b"MAIL FROM:<a@b.c>\r\nRCPT TO:<x@y.z>\r\n"):
            client = self.connect()
            self.assertEqual(client.say(b"STARTTLS").short, "220 2.0.0")
            client.send(behind)
            time.sleep(0.02)
            with self.assertRaises((ssl.SSLError, OSError)):
                client.start_tls(self.server.tls_context())

    def test_half_a_command_before_it_is_not_kept(self) -> None:
        client = self.connect()
        client.send(b"NOOP\r\nSTART")
        self.assertEqual(client.shorts(1), ["250 2.0.0"])
        self.assertEqual(client.say(b"TLS").short, "220 2.0.0")
        client.start_tls(self.server.tls_context())
        client.send(b"OP\r\n")
        self.assertEqual(client.reply().short, "500 5.5.1")

    def test_group_that_ends_with_starttls(self) -> None:
        client = self.connect()
        client.send(f"MAIL FROM:<a@b.c>\r\nRCPT TO:<{self.address}>\r\nSTARTTLS\r\n".encode())
        self.assertEqual(client.shorts(3), ["250 2.1.0", "250 2.1.5", "220 2.0.0"])
        client.start_tls(self.server.tls_context())
        self.assertEqual(client.say(b"DATA").short, "503 5.5.1")

    def test_pipelining_and_smuggling_inside_tls(self) -> None:
        client = self.begin()
        client.send(b"EHLO x\r\nMAIL FROM:<a@b.c>\r\n")
        self.assertEqual(client.reply().short, "554 5.5.0")
        self.assertTrue(client.ended())
        client = self.begin()
        client.say(b"EHLO x", bare=True)
        client.envelope(self.address)
        client.say(b"DATA")
        client.send(b"a\n.\nMAIL FROM:<a@b.c>\r\n.\r\n", 1)
        self.assertEqual(client.reply().short, "554 5.6.0")

    def test_tls_to_the_port_without_starttls(self) -> None:
        raw = socket.create_connection(("127.0.0.1", self.server.smtp_port), timeout=10)
        self.addCleanup(raw.close)
        with self.assertRaises((ssl.SSLError, OSError)):
            self.server.tls_context().wrap_socket(raw, server_hostname="localhost")
