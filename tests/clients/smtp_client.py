"""A small strict SMTP client on a real socket: it believes nothing that a server says.

Every reply must be lines ended by CRLF of at most 512 octets (rfc5321:3505) with one code, and
but for the greeting, EHLO, HELO and 354 each line has an enhanced status of the class of the code
(rfc2034:120).
"""

import re
import socket
import ssl
from typing import NamedTuple

TIMEOUT = 20.0
LINE_LIMIT = 512
LINE = re.compile(rb"([2-5][0-9]{2})([ -])([\x20-\x7e]*)\r\n")
STATUS = re.compile(r"([245])\.[0-9]{1,3}\.[0-9]{1,3}(?: |$)")


class NotSmtp(Exception):
    """The server sent what SMTP does not allow."""


class Reply(NamedTuple):
    """``status`` is empty where none is due."""

    code: int
    status: str
    lines: list[str]

    @property
    def short(self) -> str:
        return f"{self.code} {self.status}".rstrip()


class Smtp:
    """One connection; ``source`` is the loopback address that it comes from."""

    def __init__(self, port: int, source: str = "127.0.0.1", hello: bytes = b"EHLO c.example.org"):
        self.socket = socket.create_connection(
            ("127.0.0.1", port), timeout=TIMEOUT, source_address=(source, 0)
        )
        self.file = self.socket.makefile("rb")
        self.greeting = self.reply(bare=True)
        self.hello = self.say(hello, bare=True) if hello else None

    def start_tls(self, context: ssl.SSLContext) -> None:
        self.socket = context.wrap_socket(self.socket, server_hostname="localhost")
        self.file = self.socket.makefile("rb")

    def close(self) -> None:
        self.file.close()
        self.socket.close()

    # Reading

    def reply(self, *, bare: bool = False) -> Reply:
        """The next reply; ``bare`` allows it to be without an enhanced status."""
        codes: set[bytes] = set()
        lines: list[str] = []
        while True:
            line = self.file.readline(LINE_LIMIT + 1)
            if not line:
                raise EOFError("the server closed the connection")
            match = LINE.fullmatch(line)
            if match is None or len(line) > LINE_LIMIT:
                raise NotSmtp(f"no line of a reply: {line!r}")
            codes.add(match[1])
            lines.append(match[3].decode())
            if match[2] == b" ":
                break
        if len(codes) != 1:
            raise NotSmtp(f"one reply with several codes: {codes}")
        code = int(codes.pop())
        return Reply(code, "" if bare else _status(code, lines), lines)

    def shorts(self, count: int) -> list[str]:
        """Code and status of the next replies."""
        return [self.reply().short for _ in range(count)]

    def ended(self) -> bool:
        """Wait for the server to close; False when it says more first."""
        try:
            return not self.file.read(1)
        except ConnectionResetError:
            return True

    # Writing

    def send(self, octets: bytes, size: int = 0) -> None:
        """Send in pieces of ``size``, each in a segment of its own as far as can be had."""
        if size:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(octets), size or max(1, len(octets))):
            self.socket.sendall(octets[start : start + (size or len(octets))])

    def say(self, line: bytes, *, bare: bool = False) -> Reply:
        self.send(line + b"\r\n")
        return self.reply(bare=bare)

    def envelope(self, *recipients: str, sender: str = "x@example.org") -> list[str]:
        """MAIL and RCPT in one group; the short replies."""
        lines = [f"MAIL FROM:<{sender}>\r\n", *(f"RCPT TO:<{one}>\r\n" for one in recipients)]
        self.send("".join(lines).encode())
        return self.shorts(len(lines))

    def data(self, content: bytes, size: int = 0) -> str:
        """DATA and the message, dots stuffed; the short reply behind it."""
        opened = self.say(b"DATA")
        if opened.code != 354:
            return opened.short
        self.send(re.sub(rb"(?m)^\.", b"..", content) + b".\r\n", size)
        return self.reply().short

    def deliver(self, content: bytes, *recipients: str, size: int = 0) -> str:
        verdicts = self.envelope(*recipients)
        if any(not verdict.startswith("250") for verdict in verdicts):
            raise AssertionError(f"the envelope was refused: {verdicts}")
        return self.data(content, size)


def _status(code: int, lines: list[str]) -> str:
    if code // 100 == 3:
        return ""
    statuses = {match[0].strip() for line in lines if (match := STATUS.match(line))}
    if len(statuses) != 1 or any(not STATUS.match(line) for line in lines):
        raise NotSmtp(f"one enhanced status in each line expected: {code} {lines}")
    status = statuses.pop()
    if status[0] != str(code)[0]:
        raise NotSmtp(f"{code} with the status {status}")
    return status
