"""From octets to whole commands: lines and literals, nothing of what they mean.

A command is a line that may be interrupted by literals (rfc9051:6655, rfc7888): the framer
gathers it into pieces, text and literal in turn, and never gives literal octets the chance
to be read as a command. It holds what it was fed until it is asked, so that a caller with one
command in hand may switch to raw lines (AUTHENTICATE, IDLE), raise the limits (login) or drop
what follows (STARTTLS) before the next octet is looked at.

Lines end with CRLF; a bare LF is taken too, as Dovecot does. NUL, and CR anywhere
else, spoil the command.
"""

import re
from collections.abc import Callable

import msgspec


class Limits(msgspec.Struct, frozen=True):
    """What one client may send, in octets unless said otherwise."""

    line: int
    """One line without its end, literals not counted."""
    literal: int
    """One literal that is not APPEND's message."""
    command: int
    """All lines and literals of a command, APPEND's messages not counted."""
    literals: int = 256
    """Number of literals in one command."""
    discard: int = 64 * 1024 * 1024
    """A refused non-synchronising literal is read past up to this size; a larger one is fatal."""


BEFORE_LOGIN = Limits(line=8 * 1024, literal=4096, command=16 * 1024)
AFTER_LOGIN = Limits(line=64 * 1024, literal=64 * 1024, command=256 * 1024)


class Command(msgspec.Struct, frozen=True):
    """A complete command: text, literal, text ... always an odd number of pieces.

    Text pieces have neither line end nor literal head.
    """

    parts: tuple[bytes, ...]

    def __repr__(self) -> str:
        """Sizes only: the text may hold a password."""
        return f"Command(sizes={[len(part) for part in self.parts]})"


class Line(msgspec.Struct, frozen=True):
    """A raw line, asked for with ``next_line``, without its end."""

    data: bytes

    def __repr__(self) -> str:
        """Size only: the text may hold a password."""
        return f"Line(size={len(self.data)})"


class NeedContinuation(msgspec.Struct, frozen=True):
    """A synchronising literal is welcome: write ``+`` and a line now."""


class TooLong(msgspec.Struct, frozen=True):
    """A line or command passes its limit. The framer reads no further: say so and close."""

    tag: str = ""
    fatal: bool = True


class LiteralTooLarge(msgspec.Struct, frozen=True):
    """A literal passes its limit; its command is dropped, what it announced is read past.

    ``message`` tells APPEND's message from other strings. When ``fatal``, the framer reads no
    further and the connection must be closed.
    """

    tag: str = ""
    message: bool = False
    fatal: bool = False


class BadLine(msgspec.Struct, frozen=True):
    """The command has a NUL, a stray CR or a malformed literal head, and is dropped.

    It is ``fatal`` where the sender may already be sending octets of unknown number.
    """

    reason: str
    tag: str = ""
    fatal: bool = False


Failure = TooLong | LiteralTooLarge | BadLine
Event = Command | Line | NeedContinuation | TooLong | LiteralTooLarge | BadLine

_LITERAL = re.compile(rb"\{(\d{1,10})(\+?)\}\Z")
_TAG = re.compile(rb"[^\x00-\x20\x7f-\xff(){%*\"\\+]+(?= |\Z)")
_APPEND = re.compile(rb"\S+ (?i:APPEND) (.*)\Z", re.DOTALL)


def tag_of(text: bytes) -> str:
    """Return the tag that begins a command's text, "" when there is no valid one."""
    match = _TAG.match(text)
    return match[0].decode("ascii") if match else ""


class Framer:
    """Gather octets into events; ``receive`` what came, then ``next_event`` until None.

    ``limits`` may be set between events. ``literal_limit(head, index)`` gives the largest
    size in octets that APPEND's messages may have together, 0 for none: ``head`` is the command's
    first text, ``index`` counts its literals from 0. Without it, they are limited like any literal.

    Work is linear in the number of octets however they are cut. The caller bounds memory
    by not receiving while ``buffered`` is high and a command is still running.
    """

    def __init__(
        self,
        limits: Limits = BEFORE_LOGIN,
        literal_limit: Callable[[bytes, int], int] | None = None,
    ) -> None:
        self.limits = limits
        self.literal_limit = literal_limit
        self.closed = False
        """True after a fatal event: everything more is ignored."""
        self._buffer = bytearray()
        self._scanned = 0
        self._parts: list[bytes] = []
        self._size = 0
        self._messages = 0
        self._literal: int | None = None
        self._discard = 0
        self._dropping = False
        self._line_limit: int | None = None

    def feed(self, data: bytes) -> list[Event]:
        """Receive octets and return all events they complete.

        For callers that need no mode between events; others use the two steps.
        """
        self.receive(data)
        events = []
        while (event := self.next_event()) is not None:
            events.append(event)
        return events

    def receive(self, data: bytes) -> None:
        """Keep octets for ``next_event``."""
        if not self.closed:
            self._buffer += data

    def next_event(self) -> Event | None:
        """Return the next event, or None until more octets come."""
        while not self.closed:
            if self._discard:
                if not self._read_past():
                    return None
            elif self._literal is not None:
                if not self._take_literal(self._literal):
                    return None
            else:
                line = self._take_line()
                if not isinstance(line, bytes):
                    return line
                event = self._interpret(line)
                if event is not None:
                    return event
        return None

    def next_line(self, limit: int = 8 * 1024) -> None:
        """Make the next event a raw Line of at most ``limit`` octets, whatever it holds."""
        self._line_limit = limit

    @property
    def pending(self) -> bool:
        """Whether anything was received that no event has given yet."""
        return bool(self._buffer or self._parts or self._discard or self._dropping)

    @property
    def buffered(self) -> int:
        """Octets received and not given."""
        return len(self._buffer)

    def take_rest(self) -> bytes:
        """Return and forget what was received beyond the last event."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        self._scanned = 0
        self._begin_command()
        return rest

    # Lines

    def _take_line(self) -> bytes | TooLong | None:
        end = self._buffer.find(b"\n", self._scanned)
        limit = self.limits.line if self._line_limit is None else self._line_limit
        if end < 0:
            self._scanned = len(self._buffer)
            # one octet over the limit may be the CR of the line's end
            return self._too_long(limit) if self._scanned > limit + 1 else None
        stop = end - 1 if end and self._buffer[end - 1] == 0x0D else end
        if stop > limit:
            return self._too_long(limit)
        line = bytes(self._buffer[:stop])
        del self._buffer[: end + 1]
        self._scanned = 0
        return line

    def _too_long(self, limit: int) -> TooLong:
        """Give up, with the tag unless the line is a raw one or the rest of a refused command."""
        command = self._line_limit is None and not self._dropping
        head, blank, _ = bytes(self._buffer[: min(limit, 256)]).partition(b" ")
        tag = self._tag(head + blank) if command and (blank or self._parts) else ""
        self._close()
        return TooLong(tag)

    def _interpret(self, line: bytes) -> Event | None:
        if self._line_limit is not None:
            self._line_limit = None
            return Line(line)
        head = _LITERAL.search(line) if line.endswith(b"}") else None
        if self._dropping:
            return self._drop(head)
        fault = _fault(line, head)
        if fault:
            return self._refuse(BadLine(fault, self._tag(line)), head)
        text = line[: head.start()] if head else line
        self._size += len(text)
        if self._size > self.limits.command:
            tag = self._tag(text)
            self._close()
            return TooLong(tag)
        self._parts.append(text)
        if head:
            return self._announced(int(head[1]), head)
        command = Command(tuple(self._parts))
        self._begin_command()
        return command

    def _tag(self, text: bytes) -> str:
        return tag_of(self._parts[0] if self._parts else text)

    # Literals

    def _announced(self, size: int, head: re.Match[bytes]) -> Event | None:
        """Decide on a literal before a single octet of it is read."""
        message = self._is_message()
        if size > self._room(message):
            return self._refuse(LiteralTooLarge(self._tag(b""), message), head)
        if message:
            self._messages += size
        else:
            self._size += size
        self._literal = size
        return None if head[2] else NeedContinuation()

    def _is_message(self) -> bool:
        """Whether the literal now announced is APPEND's message, not its mailbox name."""
        match = _APPEND.match(self._parts[0])
        return match is not None and bool(match[1] or len(self._parts) > 1)

    def _room(self, message: bool) -> int:
        index = len(self._parts) // 2
        if index >= self.limits.literals:
            return -1
        if message and self.literal_limit is not None:
            return self.literal_limit(self._parts[0], index) - self._messages
        return min(self.limits.literal, self.limits.command - self._size)

    def _take_literal(self, size: int) -> bool:
        if len(self._buffer) < size:
            return False
        with memoryview(self._buffer) as view:
            self._parts.append(bytes(view[:size]))
        del self._buffer[:size]
        self._literal = None
        return True

    # Refusals

    def _refuse(self, failure: LiteralTooLarge | BadLine, head: re.Match[bytes] | None) -> Event:
        """Drop the command, and read past what its sender will not hold back."""
        self._begin_command()
        fatal = isinstance(failure, BadLine) and failure.reason == _MALFORMED_PLUS
        if self._drop(head) is not None or fatal:
            self._close()
            return msgspec.structs.replace(failure, fatal=True)
        return failure

    def _drop(self, head: re.Match[bytes] | None) -> TooLong | None:
        """Go on dropping after a line: a synchronising literal is never sent once refused."""
        self._dropping = head is not None and bool(head[2])
        if head is None or not self._dropping:
            return None
        self._discard = int(head[1])
        if self._discard > self.limits.discard:
            self._close()
            return TooLong()
        return None

    def _read_past(self) -> bool:
        passed = min(self._discard, len(self._buffer))
        del self._buffer[:passed]
        self._discard -= passed
        return not self._discard

    def _begin_command(self) -> None:
        self._parts = []
        self._size = 0
        self._messages = 0
        self._literal = None
        self._discard = 0
        self._dropping = False

    def _close(self) -> None:
        self.closed = True
        self._buffer.clear()
        self._begin_command()


_MALFORMED_PLUS = "malformed non-synchronising literal"


def _fault(line: bytes, head: re.Match[bytes] | None) -> str:
    """Say what spoils a command line, "" if nothing does."""
    if b"\0" in line:
        return "NUL in a command"
    if b"\r" in line:
        return "CR in a command"
    if head is None and line.endswith(b"}"):
        start = line.rfind(b"{")
        if start >= 0:
            return _MALFORMED_PLUS if b"+" in line[start:] else "malformed literal"
    return ""
