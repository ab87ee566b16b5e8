"""One message's octets to everything that is stored about it, in one linear pass."""

import re
from collections.abc import Sequence

import msgspec

from mailsrv.message import text
from mailsrv.message.address import MAX_ADDRESSES
from mailsrv.message.bodystructure import body, bodystructure
from mailsrv.message.dates import parse_date
from mailsrv.message.envelope import Fields, envelope
from mailsrv.message.header import MAX_HEADER, charset_hint, decoded, unfold
from mailsrv.message.structure import Part, StructureScanner

__all__ = ["Part", "Scanned", "body", "scan"]

MAX_REFERENCES = 200
"""Message ids kept of References and In-Reply-To: the first and the last of them."""
MAX_MESSAGE_ID = 998

_MESSAGE_ID = re.compile(r"<([^<>\s]{1,998}+)>", re.ASCII)


class Scanned(msgspec.Struct, frozen=True):
    """What is known of a message from its octets alone."""

    size: int
    root: Part
    envelope: bytes
    """ENVELOPE as IMAP sends it."""
    bodystructure: bytes
    """BODYSTRUCTURE as IMAP sends it."""
    sent: str | None
    """The Date field as ISO 8601 UTC text (``2026-11-23T10:15:00Z``); None when unparsable."""
    sent_day: str | None
    """The calendar day as written in the Date field, ``2026-11-23``."""
    subject: str
    """Decoded, like the next four, which hold the whole fields: names, addresses, comments;
    several fields of the name joined by a comma."""
    sender: str
    to: str
    cc: str
    bcc: str
    message_id: str
    """Without brackets; "" when there is none."""
    references: tuple[str, ...]
    """Ids without brackets of References, then In-Reply-To, each once."""
    preview: str
    """The first 200 characters of readable text, white space folded."""


def scan(content: bytes) -> Scanned:
    """Everything about a message; never raises, whatever the octets are."""
    scanner = StructureScanner(content)
    root = scanner.run()
    fields = scanner.fields
    header = content[: min(root.body_start, MAX_HEADER)]
    hint = None if header.isascii() else charset_hint(header.decode("latin-1"))
    sent, sent_day = parse_date(unfold(fields["date"][0])) if "date" in fields else (None, None)
    return Scanned(
        size=len(content),
        root=root,
        envelope=envelope(fields, MAX_ADDRESSES)[0].encode("latin-1"),
        bodystructure=bodystructure(root),
        sent=sent,
        sent_day=sent_day,
        subject=_text(fields.get("subject", [])[:1], hint),
        sender=_text(fields.get("from", ()), hint),
        to=_text(fields.get("to", ()), hint),
        cc=_text(fields.get("cc", ()), hint),
        bcc=_text(fields.get("bcc", ()), hint),
        message_id=_message_id(fields),
        references=_references(fields),
        preview=text.preview(content, root),
    )


def _text(values: Sequence[str], hint: str | None) -> str:
    return ", ".join([decoded(unfold(value), hint) for value in values])


def _message_id(fields: Fields) -> str:
    value = unfold(fields["message-id"][0]) if "message-id" in fields else ""
    match = _MESSAGE_ID.search(value)
    found = match[1] if match else value.strip("<> ")[:MAX_MESSAGE_ID]
    return decoded(found)


def _references(fields: Fields) -> tuple[str, ...]:
    values = fields.get("references", [])[:1] + fields.get("in-reply-to", [])[:1]
    ids = [found for value in values for found in _MESSAGE_ID.findall(unfold(value))]
    unique = [decoded(found) for found in dict.fromkeys(ids)]
    if len(unique) > MAX_REFERENCES:
        unique = unique[:1] + unique[1 - MAX_REFERENCES :]
    return tuple(unique)
