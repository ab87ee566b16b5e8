"""From octets to command lines and pieces of messages: the framing of SMTP, without any I/O.

The caller feeds what arrives and asks for one event at a time, so a command may still be running
while the next ones wait here, and what an octet means is decided only when it is asked for.
That makes the switches of mode (DATA, BDAT, STARTTLS) exact: nothing is ever read ahead in a mode
that turns out to be wrong.

Only CRLF ends a command line and only CRLF "." CRLF ends DATA (rfc5321:3423, rfc5321:763);
dots are unstuffed here. BDAT is counted (rfc3030). What a message may contain is judged in
``mailsrv.smtp.content``.
"""

import enum

import msgspec

LINE_LIMIT = 2048
"""Octets of a command line with its CRLF: 512 (rfc5321:3498) and room for what extensions add."""

SWALLOW_LIMIT = 64 * 1024
"""Octets of an over-long line that are skipped before the connection is given up."""

_CRLF = b"\r\n"
_END_OF_DATA = b"\r\n.\r\n"


class Line(msgspec.Struct, frozen=True):
    """A command line without its CRLF."""

    text: bytes


class LineTooLong(msgspec.Struct, frozen=True):
    """A line passed LINE_LIMIT; it is skipped up to its end.

    ``hopeless``: SWALLOW_LIMIT was passed too, and no further event will come.
    """

    hopeless: bool


class Chunk(msgspec.Struct, frozen=True):
    """Some octets of the message, dots unstuffed; never empty."""

    octets: bytes


class End(msgspec.Struct, frozen=True):
    """The end of DATA, or of one BDAT chunk, was reached."""


Event = Line | LineTooLong | Chunk | End


class _Mode(enum.Enum):
    COMMAND = enum.auto()
    SKIP = enum.auto()
    HOPELESS = enum.auto()
    DATA = enum.auto()
    BDAT = enum.auto()


class Framer:
    """Cuts a stream of octets into events. Linear in the input, whatever its pieces."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._mode = _Mode.COMMAND
        self._scanned = 0
        """In COMMAND: octets of the buffer that are known to hold no CRLF."""
        self._skipped = 0
        self._left = 0
        """In BDAT: octets that the chunk still lacks."""
        self._at_start = False
        """In DATA: the buffer still begins with the CRLF of the command line."""

    @property
    def buffered(self) -> int:
        """Octets that arrived and were not given out; in DATA not meaningful."""
        return len(self._buffer)

    @property
    def in_message(self) -> bool:
        """True between the begin and the end of DATA or of a BDAT chunk."""
        return self._mode in (_Mode.DATA, _Mode.BDAT)

    def receive(self, octets: bytes) -> None:
        self._buffer += octets

    def begin_data(self) -> None:
        """What follows is a message, up to the end of data."""
        self._mode = _Mode.DATA
        # The end of data may be the first line: its first CRLF is that of the command
        # (rfc5321:2005).
        self._buffer[:0] = _CRLF
        self._at_start = True
        self._scanned = 0

    def begin_chunk(self, octets: int) -> None:
        """What follows are so many octets of message."""
        self._mode = _Mode.BDAT
        self._left = octets
        self._scanned = 0

    def next(self) -> Event | None:
        """The next event, or None when more octets are needed."""
        if self._mode is _Mode.COMMAND:
            return self._next_line()
        if self._mode is _Mode.SKIP:
            return self._skip()
        if self._mode is _Mode.HOPELESS:
            self._buffer.clear()
            return None
        if self._mode is _Mode.DATA:
            return self._next_of_data()
        return self._next_of_chunk()

    def _take(self, count: int) -> bytes:
        taken = bytes(memoryview(self._buffer)[:count])
        del self._buffer[:count]
        return taken

    def _next_line(self) -> Line | LineTooLong | None:
        end = self._buffer.find(_CRLF, self._scanned, LINE_LIMIT)
        if end >= 0:
            self._scanned = 0
            text = self._take(end)
            del self._buffer[:2]
            return Line(text)
        if len(self._buffer) >= LINE_LIMIT:
            self._mode = _Mode.SKIP
            self._scanned = self._skipped = 0
            return LineTooLong(hopeless=False)
        self._scanned = max(0, len(self._buffer) - 1)
        return None

    def _skip(self) -> Line | LineTooLong | None:
        end = self._buffer.find(_CRLF)
        if end >= 0:
            del self._buffer[: end + 2]
            self._mode = _Mode.COMMAND
            return self._next_line()
        kept = 1 if self._buffer.endswith(b"\r") else 0
        self._skipped += len(self._buffer) - kept
        del self._buffer[: len(self._buffer) - kept]
        if self._skipped <= SWALLOW_LIMIT:
            return None
        self._mode = _Mode.HOPELESS
        return LineTooLong(hopeless=True)

    def _next_of_data(self) -> Chunk | End | None:
        end = self._buffer.find(_END_OF_DATA)
        if end < 0:
            return self._content(len(self._buffer) - _held_back(self._buffer))
        chunk = self._content(end + 2)
        if chunk is not None:
            # The CRLF given out belongs to the end mark too: leave it for the next call.
            self._buffer[:0] = _CRLF
            self._at_start = True
            return chunk
        del self._buffer[:3]
        self._mode = _Mode.COMMAND
        return End()

    def _content(self, count: int) -> Chunk | None:
        """Take ``count`` octets of the buffer and unstuff their dots (rfc5321:3423)."""
        octets = self._take(count).replace(b"\r\n.", _CRLF) if count else b""
        if octets and self._at_start:
            octets = octets[2:]
            self._at_start = False
        return Chunk(octets) if octets else None

    def _next_of_chunk(self) -> Chunk | End | None:
        if not self._left:
            self._mode = _Mode.COMMAND
            return End()
        octets = self._take(min(self._left, len(self._buffer)))
        self._left -= len(octets)
        return Chunk(octets) if octets else None


def _held_back(buffer: bytearray) -> int:
    """How many octets at the end of the buffer may begin the end of data."""
    for length in range(min(4, len(buffer)), 0, -1):
        if buffer.endswith(_END_OF_DATA[:length]):
            return length
    return 0
