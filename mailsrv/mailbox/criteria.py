"""The SEARCH criteria tree (rfc9051:3716), free of protocol syntax.

IMAP parses its command into this, the store carries it, the mailbox compiles it to SQL.
Message numbers were translated to UIDs before.
"""

from typing import Literal

import msgspec

from mailsrv.mailbox.values import Number, UidSet


class _Key(msgspec.Struct, frozen=True, tag=True):
    pass


class All(_Key, frozen=True):
    pass


class And(_Key, frozen=True):
    keys: tuple["Criteria", ...]


class Or(_Key, frozen=True):
    left: "Criteria"
    right: "Criteria"


class Not(_Key, frozen=True):
    key: "Criteria"


class Uids(_Key, frozen=True):
    uids: UidSet


class HasFlag(_Key, frozen=True):
    """A system flag such as ``\\Seen``, or a keyword (compared without case)."""

    name: str


class Recent(_Key, frozen=True):
    """Messages in the asking session's recent set, which it gives as UIDs."""

    uids: UidSet


class Header(_Key, frozen=True):
    """The decoded field ``name`` contains ``text`` (any case); "" asks that the field exists."""

    name: str
    text: str


class Address(_Key, frozen=True):
    """FROM, TO, CC, BCC: substring of the decoded address field."""

    field: Literal["from", "to", "cc", "bcc"]
    text: str


class Subject(_Key, frozen=True):
    text: str


class Body(_Key, frozen=True):
    """Substring of the decoded body text, not of the header."""

    text: str


class Text(_Key, frozen=True):
    """Substring of header or body."""

    text: str


class Date(_Key, frozen=True):
    """Compare a date; ``day`` is ``2026-11-23``. ``sent`` is the date as written in the Date
    field without regard to time or zone (rfc9051:3932), ``internal`` and ``saved`` are UTC days."""

    which: Literal["internal", "sent", "saved"]
    comparison: Literal["before", "on", "since"]
    day: str


class Size(_Key, frozen=True):
    comparison: Literal["larger", "smaller"]
    octets: Number


class ModSeq(_Key, frozen=True):
    """Messages with a modseq of at least this (rfc7162:1039)."""

    at_least: Number


Criteria = (
    All
    | And
    | Or
    | Not
    | Uids
    | HasFlag
    | Recent
    | Header
    | Address
    | Subject
    | Body
    | Text
    | Date
    | Size
    | ModSeq
)


class Found(msgspec.Struct, frozen=True):
    """``uids`` is a little-endian ``array('I')``, ascending; ``modseq`` the highest among them
    (0 when nothing was found)."""

    uids: bytes
    modseq: int
