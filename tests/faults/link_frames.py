"""WebSocket frames in a stream of octets, kept as they were: what a proxy cuts between.

It knows as little as it can: the head of the opening handshake, the frame header (rfc6455:1516),
and of what is inside only the frame's kind and the operation that it calls or answers.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from mailsrv.errors import MailsrvError
from mailsrv.link.wire import frames

UP, DOWN = "to the primary", "to the secondary"
BINARY = 2
HEAD_END = b"\r\n\r\n"


@dataclass(frozen=True)
class Frame:
    """``number`` counts the binary frames of one direction of one connection, from 1."""

    way: str
    number: int
    raw: bytes = field(repr=False)
    kind: str = ""
    """Call, Answer, Welcome ...; empty for pings, pongs, closes and the opening handshake."""
    operation: str = ""
    """What is called, or what the answer is for."""
    id: int = -1


class _Parsed(NamedTuple):
    opcode: int
    payload: bytes
    end: int


def _parse(data: bytes, start: int) -> _Parsed | None:
    """The frame at ``start``, or None when it is not whole yet."""
    if len(data) < start + 2:
        return None
    length, at = data[start + 1] & 0x7F, start + 2
    if length > 125:
        size = 2 if length == 126 else 8
        length, at = int.from_bytes(data[at : at + size]), at + size
    mask = b""
    if data[start + 1] & 0x80:
        mask, at = data[at : at + 4], at + 4
    if len(data) < at + length:
        return None
    payload = data[at : at + length]
    if mask and length:
        long_mask = (mask * (length // 4 + 1))[:length]
        payload = (int.from_bytes(payload) ^ int.from_bytes(long_mask)).to_bytes(length)
    return _Parsed(data[start] & 0x0F, payload, at + length)


class Calls:
    """Which operation each id of a connection stands for, in either direction."""

    def __init__(self) -> None:
        self._names: dict[tuple[str, int], str] = {}

    def describe(self, way: str, number: int, raw: bytes, payload: bytes) -> Frame:
        """A long body's Begin passes for the Call or the Answer that it begins."""
        try:
            frame = frames.decode_frame(payload)
            if isinstance(frame, frames.Begin):
                frame = frames.decode_frame(frame.head)
        except MailsrvError:
            return Frame(way, number, raw, "?")
        kind, call = type(frame).__name__, getattr(frame, "id", -1)
        if isinstance(frame, frames.Call):
            self._names[way, call] = frame.operation
        caller = way if self._is_of_caller(frame) else {UP: DOWN, DOWN: UP}[way]
        return Frame(way, number, raw, kind, self._names.get((caller, call), ""), call)

    @staticmethod
    def _is_of_caller(frame: object) -> bool:
        if isinstance(frame, frames.Chunk):
            return not frame.answer
        if isinstance(frame, frames.Credit):
            return frame.answer
        return isinstance(frame, frames.Call | frames.Cancel)


def payload_of(frame: Frame) -> bytes:
    """What a whole frame carries, unmasked."""
    parsed = _parse(frame.raw, 0)
    assert parsed is not None
    return parsed.payload


class FrameReader:
    """One direction of one connection: octets in, frames out."""

    def __init__(self, way: str, calls: Calls) -> None:
        self._way = way
        self._calls = calls
        self._buffer = b""
        self._open = False
        self._number = 0

    def feed(self, data: bytes) -> Iterator[Frame]:
        self._buffer += data
        if not self._open:
            head, end, rest = self._buffer.partition(HEAD_END)
            if not end:
                return
            self._open, self._buffer = True, rest
            yield Frame(self._way, 0, head + end)
        at = 0
        while (parsed := _parse(self._buffer, at)) is not None:
            raw, at = self._buffer[at : parsed.end], parsed.end
            yield self._frame(parsed, raw)
        self._buffer = self._buffer[at:]

    def _frame(self, parsed: _Parsed, raw: bytes) -> Frame:
        if parsed.opcode != BINARY:
            return Frame(self._way, 0, raw)
        self._number += 1
        return self._calls.describe(self._way, self._number, raw, parsed.payload)
