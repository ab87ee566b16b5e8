"""A server on loopback that says what a test tells it to, over TLS: no IMAP server of anybody's."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

from mailsrv.tls import make_self_signed

Answer = Callable[[bytes, bytes], bytes | Iterable[bytes] | None]
"""From the command's tag and the rest of its line to the octets to send; None hangs up."""


class ScriptedServer:
    """Serves one connection after the other, each until the client or the script hangs up."""

    def __init__(self, folder: Path, answer: Answer) -> None:
        folder.mkdir()
        make_self_signed(folder, "localhost", datetime.now(UTC))
        self.ca = folder / "ca.pem"
        self._answer = answer
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.lines: list[bytes] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(10)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with contextlib.suppress(OSError), connection:
                connection.settimeout(10)
                with self._context.wrap_socket(connection, server_side=True) as secure:
                    self._talk(secure)

    def _talk(self, secure: ssl.SSLSocket) -> None:
        secure.sendall(b"* OK ready\r\n")
        with secure.makefile("rb") as lines:
            for line in lines:
                self.lines.append(line)
                tag, _, rest = line.rstrip().partition(b" ")
                answer = self._answer(tag, rest)
                if answer is None:
                    return
                for piece in [answer] if isinstance(answer, bytes) else answer:
                    secure.sendall(piece)
