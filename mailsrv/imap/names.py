"""Names of mailboxes on the wire: modified UTF-7 (rfc3501:1043), or UTF-8 where it is allowed.

A name has one encoding, so that two spellings never reach one folder.
"""

import re

from mailsrv import mutf7
from mailsrv.imap.errors import BadName

DELIMITER = "/"
"""Hierarchy separator of all folder names."""

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def encode_mutf7(name: str) -> bytes:
    """Return the modified UTF-7 form of a name, printable US-ASCII throughout.

    BadName for a lone surrogate, which no Unicode encoding can carry.
    """
    try:
        return mutf7.encode(name)
    except UnicodeEncodeError:
        raise BadName("the name has a lone surrogate") from None


def decode_mutf7(raw: bytes) -> str:
    """Return the name that ``raw`` encodes; BadName unless it is exactly what encoding gives."""
    try:
        return mutf7.decode(raw)
    except ValueError:
        raise BadName("expected a mailbox name in modified UTF-7") from None


def decode_name(raw: bytes, *, utf8: bool = False) -> str:
    """Return the name a client means; INBOX in any case is INBOX (rfc9051:6669).

    Octets above 127 can only be UTF-8 and are taken as such. With ``utf8`` (after ENABLE of
    UTF8=ACCEPT or IMAP4rev2) US-ASCII stands for itself too. BadName for anything else
    and for control characters, which could not be listed back.
    """
    if raw.isascii() and not utf8:
        name = decode_mutf7(raw)
    else:
        try:
            name = raw.decode("utf-8")
        except UnicodeDecodeError:
            raise BadName("expected a mailbox name in UTF-8") from None
    if _CONTROL.search(name):
        raise BadName("expected a mailbox name without control characters")
    return "INBOX" if name.upper() == "INBOX" else name


def encode_name(name: str, *, utf8: bool = False) -> bytes:
    """Return a name's octets for a response, not yet quoted."""
    return name.encode("utf-8") if utf8 else encode_mutf7(name)
