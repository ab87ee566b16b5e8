"""The text of messages in an mbox file (rfc4155; quoting of the kind called mboxrd).

Lines end with LF as other programs expect, wherever CRLF can be told from it afterwards. A line
that begins with any number of ">" and "From " gets one ">" more, so the octets come back exactly.
"""

import re
from typing import NamedTuple

from mailsrv.mailbox.values import ANSWERED, DELETED, DRAFT, FLAGGED, SEEN, SYSTEM_FLAGS, Flags
from mailsrv.message.dates import parse_date

_TO_QUOTE = re.compile(rb"^(>*From )", re.MULTILINE)
_TO_UNQUOTE = re.compile(rb"^>(>*From )", re.MULTILINE)
_RETURN_PATH = re.compile(rb"^Return-Path:[ \t]*<([!-;=?-~]+)>", re.IGNORECASE | re.MULTILINE)
_FROM = re.compile(rb"^From:[^\r\n<]*?<?([!-;=?-~]+@[!-;=?-~]+)>?", re.IGNORECASE | re.MULTILINE)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_ASCTIME = re.compile(
    rb"([A-Z][a-z]{2}) +([0-9]{1,2}) +([0-9]{1,2}:[0-9]{2}(?::[0-9]{2})?) +"
    rb"(?:([+-][0-9]{4}|[A-Z]{3,4}) +)?([0-9]{4})(?: +([+-][0-9]{4}))?"
)
_SEPARATOR = re.compile(rb"From [^\n]*[0-9]:[0-9]{2}|From \r?\n?\Z|From - ")
_FIELD = re.compile(rb"[!-9;-~]+[ \t]*:")

_STATUS = {
    "R": SEEN,
    "A": ANSWERED,
    "F": FLAGGED,
    "D": DELETED,
    "T": DRAFT,
}
_LONGEST_HEADER = 1024 * 1024


class Stored(NamedTuple):
    """A message as it stands in the file: ``before`` the text are the From_ line and the flags."""

    before: bytes
    text: bytes
    after: bytes
    is_lf: bool


def to_mbox(content: bytes, flags: Flags, date: str) -> Stored:
    """What is written of a message."""
    is_lf = content.count(b"\n") == content.count(b"\r\n")
    text = content.replace(b"\r\n", b"\n") if is_lf else content
    if b"From " in text:
        text = _TO_QUOTE.sub(rb">\1", text)
    after = b"\n" if text.endswith(b"\n") else b"\n\n"
    return Stored(_from_line(content, date) + _status_lines(flags), text, after, is_lf)


def from_mbox(text: bytes, *, is_lf: bool) -> bytes:
    """The octets of a message whose text is this."""
    if b">From " in text:
        text = _TO_UNQUOTE.sub(rb"\1", text)
    return text.replace(b"\n", b"\r\n") if is_lf else text


def is_separator(line: bytes) -> bool:
    """Whether a line after a blank one looks like a From_ line."""
    return line.startswith(b"From ") and _SEPARATOR.match(line) is not None


def is_field(line: bytes) -> bool:
    """Whether a line begins like a field of a header."""
    return _FIELD.match(line) is not None


def from_line_date(line: bytes) -> str | None:
    """The date of a From_ line as ISO 8601 UTC text; without a zone it is UTC (rfc4155:397)."""
    found = _ASCTIME.search(line)
    if found is None:
        return None
    month, day, time, zone, year, zone_after = (part and part.decode() for part in found.groups())
    return parse_date(f"{day} {month} {year} {time} {zone or zone_after or '+0000'}")[0]


def letters_to_flags(status: str, more: str) -> int:
    """Flags of Status and X-Status."""
    letters = set(status.upper()) & {"R"} | set(more.upper()) & {"A", "F", "D", "T"}
    return sum(_STATUS[letter] for letter in letters)


def _from_line(content: bytes, date: str) -> bytes:
    header = content[:_LONGEST_HEADER].partition(b"\r\n\r\n")[0]
    found = _RETURN_PATH.search(header) or _FROM.search(header)
    sender = found[1] if found else b"MAILER-DAEMON"
    return b"From %b %b\n" % (sender, _asctime(date).encode())


def _asctime(date: str) -> str:
    """``2026-11-23T10:15:00Z`` as ``Mon Nov 23 10:15:00 2026``, also for years before 1000."""
    year, month, day = int(date[:4]), int(date[5:7]), int(date[8:10])
    weekday = _DAYS[_weekday(year, month, day)]
    return f"{weekday} {_MONTHS[month - 1]} {day:2d} {date[11:19]} {year:04d}"


def _weekday(year: int, month: int, day: int) -> int:
    """Monday is 0. Internal dates may be of days that no calendar has, so no calendar is asked."""
    shifted = year - (month < 3)
    offset = (0, 3, 2, 5, 0, 3, 5, 1, 4, 6, 2, 4)[month - 1]
    return (shifted + shifted // 4 - shifted // 100 + shifted // 400 + offset + day + 6) % 7


def _status_lines(flags: Flags) -> bytes:
    lines = [b"Status: RO" if flags.system & SEEN else b"Status: O"]
    more = "".join(
        letter
        for letter, bit in _STATUS.items()
        if bit != SEEN and flags.system & bit & sum(SYSTEM_FLAGS.values())
    )
    if more:
        lines.append(b"X-Status: " + more.encode())
    if flags.keywords:
        lines.append(b"X-Keywords: " + flags.keywords.encode())
    return b"".join(line + b"\n" for line in lines)
