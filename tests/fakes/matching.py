"""SEARCH over fake messages, one at a time and by the letter of each key."""

from collections.abc import Callable
from typing import Any

from mailsrv.message.text import body_text, field_values, fold, header_text
from mailsrv.store import values as v
from tests.fakes.mailboxes import FakeMessage, within


def matches(message: FakeMessage, key: v.Criteria) -> bool:
    return MATCHERS[type(key)](message, key)


def _contains(text: str, needle: str) -> bool:
    return fold(needle) in fold(text)


def _header(message: FakeMessage, key: v.Header) -> bool:
    root = message.scanned.root
    header = message.content[root.header_start : root.body_start]
    found = field_values(header, key.name)
    return bool(found) if not key.text else any(_contains(one, key.text) for one in found)


def _body(message: FakeMessage, key: v.Body | v.Text) -> bool:
    return _contains(body_text(message.content, message.scanned.root), key.text)


def _text(message: FakeMessage, key: v.Text) -> bool:
    header = header_text(message.content, message.scanned.root)
    return _contains(header, key.text) or _body(message, key)


def _date(message: FakeMessage, key: v.Date) -> bool:
    days = {
        "internal": message.internal_date[:10],
        "saved": message.saved[:10],
        "sent": message.scanned.sent_day,
    }
    day = days[key.which]
    if day is None:
        return False
    return {"before": day < key.day, "on": day == key.day, "since": day >= key.day}[key.comparison]


def _size(message: FakeMessage, key: v.Size) -> bool:
    size = message.scanned.size
    return size > key.octets if key.comparison == "larger" else size < key.octets


MATCHERS: dict[type, Callable[[FakeMessage, Any], bool]] = {
    v.All: lambda message, key: True,
    v.And: lambda message, key: all(matches(message, one) for one in key.keys),
    v.Or: lambda message, key: matches(message, key.left) or matches(message, key.right),
    v.Not: lambda message, key: not matches(message, key.key),
    v.Uids: lambda message, key: within(message.uid, key.uids),
    v.Recent: lambda message, key: within(message.uid, key.uids),
    v.HasFlag: lambda message, key: message.has(key.name),
    v.Header: _header,
    v.Address: lambda message, key: _contains(
        message.scanned.sender if key.field == "from" else getattr(message.scanned, key.field),
        key.text,
    ),
    v.Subject: lambda message, key: _contains(message.scanned.subject, key.text),
    v.Body: _body,
    v.Text: _text,
    v.Date: _date,
    v.Size: _size,
    v.ModSeq: lambda message, key: message.modseq >= key.at_least,
}
