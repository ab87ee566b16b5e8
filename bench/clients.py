"""Clients that cost little, so that what is measured is the server."""

import base64
import socket
import time


class ImapClient:
    """Sends a command, reads to its tagged answer, keeps only what it must."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=300)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._tag = 0
        self._pending = b""
        self._read_until(b"\r\n")

    def login(self, address: str, password: str) -> None:
        initial = base64.b64encode(f"\0{address}\0{password}".encode()).decode()
        self.command(f"AUTHENTICATE PLAIN {initial}")

    def command(self, text: str) -> int:
        """Octets of the answer. RuntimeError unless it is OK."""
        return len(self.answer(text))

    def answer(self, text: str) -> bytes:
        self._tag += 1
        tag = b"t%d " % self._tag
        self.socket.sendall(tag + text.encode() + b"\r\n")
        return self._tagged(tag)

    def idle(self) -> bytes:
        """Begin IDLE; the tag."""
        self._tag += 1
        tag = b"t%d " % self._tag
        self.socket.sendall(tag + b"IDLE\r\n")
        self._read_until(b"\r\n")
        return tag

    def wait_for(self, text: bytes) -> None:
        while text not in self._read_until(b"\r\n"):
            pass

    def done(self, tag: bytes) -> None:
        self.socket.sendall(b"DONE\r\n")
        self._tagged(tag)

    def close(self) -> None:
        self.socket.close()

    def _tagged(self, tag: bytes) -> bytes:
        chunks: list[bytes] = [self._pending] if self._pending else []
        self._pending = b""
        tail = chunks[0] if chunks else b""
        while not _ends_with_answer(tail, tag):
            chunk = self.socket.recv(1 << 20)
            if not chunk:
                raise RuntimeError("the server closed the connection")
            chunks.append(chunk)
            tail = (tail + chunk)[-1000:]
        if tag + b"OK" not in tail:
            raise RuntimeError(tail[-300:].decode("utf-8", "replace"))
        return b"".join(chunks)

    def _read_until(self, end: bytes) -> bytes:
        while end not in self._pending:
            chunk = self.socket.recv(65536)
            if not chunk:
                raise RuntimeError("the server closed the connection")
            self._pending += chunk
        line, _, self._pending = self._pending.partition(end)
        return line + end


def _ends_with_answer(tail: bytes, tag: bytes) -> bool:
    if not tail.endswith(b"\r\n"):
        return False
    start = tail.rfind(b"\r\n", 0, len(tail) - 2) + 2
    return tail.startswith(tag, start if start > 1 else 0)


class Sender:
    """One connection that brings mail, envelope and message in one piece."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=300)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._answers = self.socket.makefile("rb")
        _reply(self._answers)
        self.socket.sendall(b"EHLO bench.example.org\r\n")
        _reply(self._answers)

    def send(self, recipient: str, message: bytes) -> float:
        """When it was taken."""
        self.socket.sendall(
            b"MAIL FROM:<bench@example.org>\r\nRCPT TO:<" + recipient.encode() + b">\r\nDATA\r\n"
        )
        for _ in range(3):
            _reply(self._answers)
        self.socket.sendall(message + b".\r\n")
        if not _reply(self._answers).startswith(b"250"):
            raise RuntimeError("a message was refused")
        return time.perf_counter()

    def close(self) -> None:
        self._answers.close()
        self.socket.close()


def deliver(port: int, recipient: str, messages: list[bytes]) -> list[float]:
    """Send all over one connection; when each was taken."""
    sender = Sender(port)
    try:
        return [sender.send(recipient, message) for message in messages]
    finally:
        sender.close()


def _reply(answers: "socket.SocketIO") -> bytes:
    while True:
        line = answers.readline()
        if not line:
            raise RuntimeError("the server closed the connection")
        if line[3:4] == b" ":
            return line
