"""No client can stop others: floods, silence, slowness; memory stays within bounds."""

import contextlib
import socket
import threading
import time
from pathlib import Path

from tests.clients.smtp_case import SmtpTestCase

SECONDS = 0.4
"""How long a flood lasts."""
GREETED_WITHIN = 2.0
GROWTH = 64 * 1024
"""KiB that the server may grow by under attack."""


class LimitTests(SmtpTestCase):
    def memory(self) -> int:
        """KiB in use."""
        status = Path(f"/proc/{self.server.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0])

    def others(self) -> float:
        """Seconds that another client waits for its greeting and an answer."""
        began = time.monotonic()
        other = self.connect("127.9.0.1")
        self.assertEqual(other.say(b"NOOP").short, "250 2.0.0")
        other.close()
        return time.monotonic() - began

    def flood(self, before: bytes, octets: bytes, *, read: bool) -> None:
        """Send the same again and again over three connections, anew whenever one is closed."""
        until = time.monotonic() + SECONDS
        before_it = self.memory()

        def one() -> None:
            while time.monotonic() < until:
                with contextlib.suppress(OSError), socket.socket() as raw:
                    raw.bind((self.source, 0))
                    raw.connect(("127.0.0.1", self.server.smtp_port))
                    raw.settimeout(0.5)
                    raw.recv(1000)
                    raw.sendall(b"EHLO x\r\n")
                    raw.recv(1000)
                    raw.sendall(before)
                    reader = threading.Thread(target=drain, args=(raw,)) if read else None
                    if reader:
                        reader.start()
                    with contextlib.suppress(OSError):
                        while time.monotonic() < until:
                            raw.sendall(octets)
                    if reader:
                        raw.shutdown(socket.SHUT_RDWR)
                        reader.join()

        threads = [threading.Thread(target=one) for _ in range(3)]
        for thread in threads:
            thread.start()
        waits = [self.others()]
        while time.monotonic() < until:
            waits.append(self.others())
        for thread in threads:
            thread.join()
        self.assertLess(max(waits), GREETED_WITHIN, octets[:20])
        self.assertLess(self.memory() - before_it, GROWTH, octets[:20])

    def test_floods_of_commands(self) -> None:
        envelope = f"MAIL FROM:<a@b.c>\r\nRCPT TO:<{self.address}>\r\n".encode()
        for before, octets, read in (
            (b"", b"NOOP\r\n" * 5000, True),
            (b"", b"NONSENSE\r\n" * 5000, False),
            (envelope, f"RCPT TO:<{self.address}>\r\n".encode() * 2000, False),
            (envelope, b"BDAT 0\r\n" * 5000, True),
            (envelope, b"BDAT 2\r\nxx" * 5000, False),
            (b"", b"x" * 60_000, True),
            (envelope + b"DATA\r\n", b"\r\n.\r" * 10_000, True),
        ):
            self.flood(before, octets, read=read)

    def test_silent_connections_from_one_address(self) -> None:
        """Twenty are served, the others told so at once and let go."""
        before = self.memory()
        silent = []
        for _ in range(120):
            raw = socket.socket()
            self.addCleanup(raw.close)
            raw.bind((self.source, 0))
            raw.settimeout(10)
            raw.connect(("127.0.0.1", self.server.smtp_port))
            silent.append(raw)
        said = [raw.recv(200)[:9] for raw in silent]
        self.assertEqual(said.count(b"421 4.7.0"), 100)
        self.assertLess(self.others(), GREETED_WITHIN)
        self.assertLess(self.memory() - before, GROWTH)
        for raw in silent:
            raw.close()
        self.connect_when_free()

    def connect_when_free(self) -> None:
        deadline = time.monotonic() + 10
        while True:
            try:
                self.connect(hello=b"").say(b"NOOP")
            except (EOFError, OSError):
                self.assertLess(time.monotonic(), deadline)
            else:
                return

    def test_too_many_errors(self) -> None:
        client = self.connect()
        client.envelope(self.address)
        shorts = [client.say(b"RCPT TO:<n%d@example.com>" % number).short for number in range(20)]
        self.assertEqual(shorts, ["550 5.1.1"] * 19 + ["421 4.7.0"])
        self.assertTrue(client.ended())

    def test_commands_without_mail(self) -> None:
        client = self.connect()
        client.send(b"NOOP\r\n" * 99 + b"RSET\r\n" * 5)
        self.assertEqual(client.shorts(100), ["250 2.0.0"] * 99 + ["421 4.7.0"])
        self.assertTrue(client.ended())

    def test_lines_without_end(self) -> None:
        """Told once that it is too long; given up when it goes on (rfc5321:3498)."""
        client = self.connect()
        client.send(b"NOOP " + b"x" * 60_000 + b"\r\nNOOP\r\n")
        self.assertEqual(client.shorts(2), ["500 5.5.2", "250 2.0.0"])
        with contextlib.suppress(OSError):
            client.send(b"x" * 200_000)
        self.assertEqual(client.shorts(2), ["500 5.5.2", "421 4.7.0"])

    def test_recipients(self) -> None:
        """A thousand are taken, of the next each is told to come again (rfc5321:3535)."""
        client = self.connect()
        client.send(b"MAIL FROM:<a@b.c>\r\n" + f"RCPT TO:<{self.address}>\r\n".encode() * 1002)
        shorts = client.shorts(1003)
        self.assertEqual(shorts[1:], ["250 2.1.5"] * 1000 + ["452 4.5.3"] * 2)
        self.assertEqual(client.data(b"Subject: a\r\n\r\n"), "250 2.0.0")
        self.assertEqual(len(self.mails()), 1)

    def test_large_messages_at_once(self) -> None:
        """Each is stored or put off, and nothing of them stays in memory."""
        content = b"Subject: a\r\n\r\n" + b"x" * 70 + b"\r\n"
        content += (b"y" * 76 + b"\r\n") * ((299_000) // 78)
        self.connect().deliver(content, self.address)
        before = self.memory()
        clients = [self.connect() for _ in range(15)]
        for client in clients:
            client.envelope(self.address)
            client.say(b"DATA")
        for client in clients:
            client.send(content)
        for client in clients:
            client.send(b".\r\n")
        self.assertEqual({client.reply().short for client in clients}, {"250 2.0.0"})
        self.assertLess(self.memory() - before, GROWTH)
        self.assertEqual(self.bodies(), [content] * 16)


def drain(raw: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while raw.recv(1 << 16):
            pass
