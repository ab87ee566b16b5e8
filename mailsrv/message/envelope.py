"""ENVELOPE as IMAP sends it (rfc9051:6090)."""

from mailsrv.message.address import Address, parse_addresses
from mailsrv.message.header import unfold
from mailsrv.message.octets import imap_nstring

Fields = dict[str, list[str]]
"""Lower-case field name to the values of its fields, still folded, in order."""

ENVELOPE_FIELDS = frozenset(
    [
        "date",
        "subject",
        "from",
        "sender",
        "reply-to",
        "to",
        "cc",
        "bcc",
        "in-reply-to",
        "message-id",
    ]
)


def envelope(fields: Fields, max_addresses: int) -> tuple[str, int]:
    """The ENVELOPE of a header as octet text, and how many addresses it took of the allowance.

    A field that occurs more than once counts the first time; lists of addresses add up.
    """
    taken = 0
    lists: dict[str, str] = {}
    for name in ("from", "sender", "reply-to", "to", "cc", "bcc"):
        found: list[Address] = []
        for value in fields.get(name, ()):
            found += parse_addresses(unfold(value), max_addresses - taken - len(found))
        taken += len(found)
        lists[name] = f"({''.join(map(_address, found))})" if found else "NIL"
    for name in ("sender", "reply-to"):
        if lists[name] == "NIL":
            lists[name] = lists["from"]
    first = {name: unfold(values[0]) for name, values in fields.items() if name in _STRINGS}
    parts = [
        imap_nstring(first.get("date")),
        imap_nstring(first.get("subject")),
        *lists.values(),
        imap_nstring(first.get("in-reply-to")),
        imap_nstring(first.get("message-id")),
    ]
    return f"({' '.join(parts)})", taken


_STRINGS = ("date", "subject", "in-reply-to", "message-id")


def _address(address: Address) -> str:
    name, route, mailbox, host = address
    return (
        f"({imap_nstring(name)} {imap_nstring(route)} {imap_nstring(mailbox)} {imap_nstring(host)})"
    )
