"""A client that speaks WebSocket by hand, and so can speak it wrong."""

import os
import struct
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from mailsrv.link.wire.frames import Frame, decode_frame, encode_frame

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


def request(token: str | None, *extra: str, **changed: str | None) -> bytes:
    """An opening handshake; ``changed`` replaces or (None) leaves out headers, ``_`` for ``-``."""
    headers: dict[str, str | None] = {
        "host": "primary",
        "upgrade": "websocket",
        "connection": "Upgrade",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
        "sec-websocket-version": "13",
        "sec-websocket-protocol": "mailsrv.1",
        "authorization": None if token is None else f"Bearer {token}",
    }
    line = changed.pop("line", None) or "GET /link HTTP/1.1"
    headers.update({name.replace("_", "-"): value for name, value in changed.items()})
    lines = [line, *(f"{name}: {value}" for name, value in headers.items() if value is not None)]
    return "\r\n".join([*lines, *extra, "", ""]).encode("latin-1")


def message(
    payload: bytes,
    opcode: int = BINARY,
    *,
    fin: bool = True,
    masked: bool = True,
    length: int | None = None,
    reserved: int = 0,
) -> bytes:
    """One WebSocket frame, right or wrong."""
    length = len(payload) if length is None else length
    mask = os.urandom(4) if masked else b""
    head = bytes([(0x80 if fin else 0) | reserved << 4 | opcode])
    flag = 0x80 if masked else 0
    if length <= 125:
        head += bytes([flag | length])
    elif length <= 0xFFFF:
        head += bytes([flag | 126]) + struct.pack("!H", length)
    else:
        head += bytes([flag | 127]) + struct.pack("!Q", length)
    if masked:
        key = (mask * (len(payload) // 4 + 1))[: len(payload)]
        number = int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")
        payload = number.to_bytes(len(payload), "big")
    return head + mask + payload


class Raw(Protocol):
    """One connection; ``received`` is all that came, ``closed`` fires at its end."""

    def __init__(self) -> None:
        self.received = b""
        self.closed: Deferred[Any] = Deferred()

    @classmethod
    async def to(cls, port: int) -> "Raw":
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port)
        return await connectProtocol(endpoint, cls())

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.closed.callback(None)

    def send(self, data: bytes) -> None:
        self.transport.write(data)

    def tell(self, frame: Frame) -> None:
        self.send(message(encode_frame(frame)))

    @property
    def messages(self) -> list[tuple[int, bytes]]:
        """The WebSocket frames that came after the handshake: opcode and payload."""
        rest = self.received.partition(b"\r\n\r\n")[2]
        found = []
        while len(rest) >= 2:
            length, start = rest[1], 2
            if length == 126:
                length, start = struct.unpack("!H", rest[2:4])[0], 4
            elif length == 127:
                length, start = struct.unpack("!Q", rest[2:10])[0], 10
            if len(rest) < start + length:
                break
            found.append((rest[0] & 15, rest[start : start + length]))
            rest = rest[start + length :]
        return found

    @property
    def frames(self) -> list[Any]:
        """Our own frames that came."""
        return [decode_frame(payload) for opcode, payload in self.messages if opcode == BINARY]

    @property
    def close_code(self) -> int | None:
        """Of the close frame that came."""
        codes = [payload[:2] for opcode, payload in self.messages if opcode == CLOSE]
        return int.from_bytes(codes[0], "big") if codes else None
