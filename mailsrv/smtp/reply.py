"""Replies: three digits, enhanced status, text (rfc5321:2546, rfc2034, rfc3463).

Texts are ASCII and never quote what the client sent, so nothing from outside can forge a reply
line.
"""

import enum

import msgspec

from mailsrv.errors import InvalidInput, MailsrvError, NoSuchDomain


class Then(enum.Enum):
    """What the connection does after a reply."""

    COMMAND = enum.auto()
    DATA = enum.auto()
    CHUNK = enum.auto()
    TLS = enum.auto()
    CLOSE = enum.auto()


class Reply(msgspec.Struct, frozen=True):
    """One reply. ``status`` is None for the greeting, EHLO and 354 (rfc2034)."""

    code: int
    status: str | None
    lines: tuple[str, ...]

    @property
    def wire(self) -> bytes:
        prefix = f"{self.status} " if self.status else ""
        last = len(self.lines) - 1
        return "".join(
            f"{self.code}{' ' if number == last else '-'}{prefix}{line}\r\n"
            for number, line in enumerate(self.lines)
        ).encode("ascii", "replace")


class Step(msgspec.Struct, frozen=True):
    """What the session decided: say ``reply`` (None: nothing yet), then do ``then``."""

    reply: Reply | None
    then: Then = Then.COMMAND
    octets: int = 0
    """For CHUNK: how many octets follow."""
    stored: bool = False
    """The reply takes responsibility for a message: it must leave at once."""


class Refused(Exception):
    """Raised while a command is read; carries the answer."""

    def __init__(self, code: int, status: str, text: str) -> None:
        super().__init__(text)
        self.reply = Reply(code, status, (text,))


def say(code: int, status: str | None, *lines: str) -> Step:
    """The common step: a reply, and the next command."""
    return Step(Reply(code, status, lines))


def part(code: int, status: str, text: str) -> Step:
    """A last reply."""
    return Step(Reply(code, status, (text,)), Then.CLOSE)


_SENTENCES = {
    "4.2.0": "Mailbox is busy, try again later",
    "4.2.1": "Mailbox is not ready yet, try again later",
    "4.2.2": "Mailbox is over its quota",
    "4.3.0": "Local error, try again later",
    "4.3.1": "No room here now, try again later",
    "4.3.2": "Service is not available now, try again later",
    "5.1.1": "No such address here",
    "5.1.3": "Malformed address",
    "5.2.1": "This address takes no mail now",
    "5.3.4": "Message is larger than this mailbox takes",
    "5.7.1": "Relaying denied",
}
_CODES = frozenset({450, 451, 452, 550, 552, 553, 554})


def refusal(error: MailsrvError) -> Reply:
    """The answer for an error of the store, to RCPT or after the message."""
    if isinstance(error, NoSuchDomain):
        code, status = 550, "5.7.1"
    elif isinstance(error, InvalidInput):
        code, status = 553, "5.1.3"
    else:
        code, status = error.smtp_code, error.smtp_status
    if code not in _CODES:
        code = 451 if code < 500 else 554
    default = "Try again later" if code < 500 else "Refused"
    return Reply(code, status, (_SENTENCES.get(status, default),))


LOCAL_ERROR = Reply(451, "4.3.0", (_SENTENCES["4.3.0"],))
