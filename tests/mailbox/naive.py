"""SEARCH evaluated message by message in plain Python: what the mailbox has to agree with."""

from collections.abc import Iterable

import attrs

from mailsrv.mailbox import criteria as c
from mailsrv.mailbox.values import SYSTEM_FLAGS
from mailsrv.message.scan import Scanned, scan
from mailsrv.message.text import body_text, field_values, fold, header_text, mime_text


@attrs.define
class Message:
    """One message as a test put it into a folder. Dates are ISO 8601 UTC text."""

    uid: int
    content: bytes
    flags: int = 0
    keywords: str = ""
    internal_date: str = ""
    saved: str = ""
    modseq: int = 0
    scanned: Scanned = attrs.field(init=False)
    header: bytes = attrs.field(init=False)
    body: str = attrs.field(init=False)
    lines: list[str] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.scanned = scan(self.content)
        root = self.scanned.root
        self.header = self.content[: root.body_start]
        self.body = fold(body_text(self.content, root))
        lines = header_text(self.content, root) + mime_text(self.content, root)
        self.lines = [fold(line) for line in lines.split("\n")]


def naive_search(messages: Iterable[Message], criteria: c.Criteria) -> list[int]:
    """UIDs of those that match."""
    return [message.uid for message in messages if holds(criteria, message)]


def holds(criteria: c.Criteria, message: Message) -> bool:
    match criteria:
        case c.All():
            return True
        case c.And(keys):
            return all(holds(key, message) for key in keys)
        case c.Or(left, right):
            return holds(left, message) or holds(right, message)
        case c.Not(key):
            return not holds(key, message)
        case c.Uids(uids) | c.Recent(uids):
            return any(low <= message.uid <= high for low, high in uids)
        case c.HasFlag(name):
            return _has_flag(message, name)
        case c.Size(comparison, octets):
            size = len(message.content)
            return size > octets if comparison == "larger" else size < octets
        case c.ModSeq(at_least):
            return message.modseq >= at_least
        case c.Date():
            return _has_date(message, criteria)
    return _has_text(message, criteria)


def _has_flag(message: Message, name: str) -> bool:
    for flag, bit in SYSTEM_FLAGS.items():
        if flag.lower() == name.lower():
            return bool(message.flags & bit)
    return name.lower() in message.keywords.lower().split()


def _has_date(message: Message, criteria: c.Date) -> bool:
    day = {
        "internal": message.internal_date[:10],
        "saved": message.saved[:10],
        "sent": message.scanned.sent_day,
    }[criteria.which]
    if day is None:
        return False
    match criteria.comparison:
        case "before":
            return day < criteria.day
        case "on":
            return day == criteria.day
        case "since":
            return day >= criteria.day


def _has_text(message: Message, criteria: c.Criteria) -> bool:
    text = fold(criteria.text)
    scanned = message.scanned
    match criteria:
        case c.Subject():
            return text in fold(scanned.subject)
        case c.Address(field):
            fields = {
                "from": scanned.sender,
                "to": scanned.to,
                "cc": scanned.cc,
                "bcc": scanned.bcc,
            }
            return text in fold(fields[field])
        case c.Header(name):
            return any(text in fold(value) for value in field_values(message.header, name))
        case c.Body():
            return text in message.body
        case c.Text():
            return text in message.body or any(text in line for line in message.lines)
    raise AssertionError(criteria)
