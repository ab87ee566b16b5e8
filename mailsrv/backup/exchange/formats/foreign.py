"""What mail of other programs has in common: names of flags, ends of lines, dates."""

import re
from collections.abc import Iterable

from mailsrv.mailbox.keywords import acceptable
from mailsrv.mailbox.values import SYSTEM_FLAGS, Flags
from mailsrv.message.dates import parse_date
from mailsrv.message.header import unfold

_DATE = re.compile(rb"^Date:([^\n]*(?:\n[ \t][^\n]*)*)", re.IGNORECASE | re.MULTILINE)
_HEADER_END = re.compile(rb"\r?\n\r?\n")
_LONGEST_HEADER = 256 * 1024
_BITS = {name.lower(): bit for name, bit in SYSTEM_FLAGS.items()}


def as_crlf(content: bytes) -> bytes:
    """The message with lines that end as those of mail do, where none does (rfc5322:343)."""
    return content if b"\r\n" in content else content.replace(b"\n", b"\r\n")


def sent(content: bytes) -> str | None:
    """The moment of the Date field as ISO 8601 UTC text."""
    start = content[:_LONGEST_HEADER]
    end = _HEADER_END.search(start)
    found = _DATE.search(start, 0, end.start() if end else len(start))
    return parse_date(unfold(found[1].decode("latin-1")))[0] if found else None


def flags_of(names: Iterable[str]) -> Flags:
    """Flags as IMAP names them: system flags in any case, keywords as far as they can be kept."""
    system, words = 0, []
    for name in names:
        if name.startswith("\\"):
            system |= _BITS.get(name.lower(), 0)
        else:
            words.append(name)
    return Flags(system, acceptable(words))
