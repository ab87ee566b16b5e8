"""Modified UTF-7 (rfc3501:1043): folder names as older IMAP and Maildir++ folders spell them.

Strict in both directions: a name has one encoding, so that what a client created is what it
is listed, octet by octet, and two spellings never reach one folder.
"""

import base64
import binascii
import re

_ENCODED = re.compile(rb"&([A-Za-z0-9+,]*)-")
_UNPRINTABLE = re.compile("[^\x20-\x7e]+|&")
_PLAIN = re.compile(rb"[\x20-\x25\x27-\x7e]*\Z")


def encode(name: str) -> bytes:
    """The modified UTF-7 form of a name, printable US-ASCII throughout.

    UnicodeEncodeError for a lone surrogate, which no Unicode encoding can carry.
    """
    return _UNPRINTABLE.sub(_shift, name).encode("ascii")


def decode(raw: bytes) -> str:
    """The name that ``raw`` encodes; ValueError unless it is exactly what encoding gives."""
    if _PLAIN.match(raw):
        return raw.decode("ascii")
    try:
        name = _ENCODED.sub(_unshift, raw).decode("utf-8")
        canonical = encode(name) == raw
    except (binascii.Error, UnicodeError):
        canonical = False
    if not canonical:
        raise ValueError("expected a name in modified UTF-7")
    return name


def _shift(match: re.Match[str]) -> str:
    text = match.group()
    if text == "&":
        return "&-"
    encoded = base64.b64encode(text.encode("utf-16-be"), b"+,").rstrip(b"=")
    return f"&{encoded.decode('ascii')}-"


def _unshift(match: re.Match[bytes]) -> bytes:
    encoded = match[1]
    if not encoded:
        return b"&"
    units = base64.b64decode(encoded + b"=" * (-len(encoded) % 4), b"+,", validate=True)
    return units.decode("utf-16-be").encode("utf-8")
