"""Addresses of the envelope: Path and Mailbox of rfc5321:2260, with the UTF-8 of rfc6531.

Stock twisted.mail refuses address literals and non-ASCII addresses and takes ``a@b..c``, so the
grammar is our own. Limits are at least those of rfc5321:3484; local parts may be longer, since
senders encode whole addresses into them. Hosts with "_" in their names send mail, so it is taken.
"""

import ipaddress
import re
import unicodedata

import msgspec

LOCAL_LIMIT = 256
DOMAIN_LIMIT = 255
LABEL_LIMIT = 63
"""Octets; the RFC asks for 64 in a local part and 255 in a domain."""

_ATEXT = r"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~\u0080-\U0010ffff]"
_DOT_STRING = re.compile(rf"{_ATEXT}+(?:\.{_ATEXT}+)*")
_QUOTED = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e\u0080-\U0010ffff]|\\[\x20-\x7e])*)"')
_LET_DIG = r"[A-Za-z0-9_\u0080-\U0010ffff]"
_LABEL = re.compile(rf"{_LET_DIG}(?:[A-Za-z0-9_\-\u0080-\U0010ffff]*{_LET_DIG})?")
_LITERAL = re.compile(r"\[([\x21-\x5a\x5e-\x7e]+)\]")
_GENERAL = re.compile(r"[A-Za-z0-9\-]*[A-Za-z0-9]:[\x21-\x5a\x5e-\x7e]+")
_ROUTE = re.compile(r"@[^\x00-\x20<>@,:\"]+(?:,@[^\x00-\x20<>@,:\"]+)*:")
# Characters that end a line, leave a gap or turn the direction for some reader of the text.
_FORBIDDEN = frozenset({"Cc", "Cf", "Cs", "Zs", "Zl", "Zp"})
_JOINERS = "\u200c\u200d"


class BadAddress(Exception):
    """The text is no address; the sentence says what is wrong, without quoting it."""


class Address(msgspec.Struct, frozen=True):
    """A mailbox. ``local`` is without quotes and backslashes; all quoted forms are one."""

    local: str
    domain: str

    def __str__(self) -> str:
        """The form with the least quoting, fit for SMTP and for header fields."""
        if _DOT_STRING.fullmatch(self.local):
            return f"{self.local}@{self.domain}"
        escaped = self.local.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"@{self.domain}'

    @property
    def ascii(self) -> bool:
        return self.local.isascii() and self.domain.isascii()


def parse_path(text: str, position: int) -> tuple[str, int]:
    """Find the path that begins with "<" at ``position``: its inside and where it ends.

    A source route is left out (rfc5321:2266). :raises BadAddress:
    """
    if text[position : position + 1] != "<":
        raise BadAddress("Expected an address in angle brackets")
    start = position + 1
    route = _ROUTE.match(text, start)
    if route:
        start = route.end()
    end = start
    while end < len(text) and text[end] != ">":
        quoted = _QUOTED.match(text, end) if text[end] == '"' else None
        end = quoted.end() if quoted else end + 1
    if end >= len(text):
        raise BadAddress("Expected > after the address")
    if route and start == end:
        raise BadAddress("Source route without an address")
    return text[start:end], end + 1


def parse_address(text: str) -> Address:
    """Parse Local-part "@" Domain or literal. :raises BadAddress:"""
    quoted = _QUOTED.match(text)
    dotted = None if quoted else _DOT_STRING.match(text)
    if quoted:
        local, end = re.sub(r"\\(.)", r"\1", quoted[1]), quoted.end()
    elif dotted:
        local, end = dotted[0], dotted.end()
    else:
        raise BadAddress("Malformed local part")
    if text[end : end + 1] != "@":
        raise BadAddress("Malformed local part or missing domain")
    if len(local.encode()) > LOCAL_LIMIT:
        raise BadAddress("Local part too long")
    address = Address(local, parse_domain(text[end + 1 :]))
    if not address.ascii and not _is_clean(text):
        raise BadAddress("Address contains a forbidden character")
    return address


def parse_domain(text: str) -> str:
    """Check a domain or address literal and return it in lower case. :raises BadAddress:"""
    if text.startswith("["):
        if not is_literal(text):
            raise BadAddress("Malformed address literal")
        return text
    if len(text.encode()) > DOMAIN_LIMIT:
        raise BadAddress("Domain too long")
    for label in text.split("."):
        if not _LABEL.fullmatch(label) or len(label.encode()) > LABEL_LIMIT:
            raise BadAddress("Malformed domain")
    return text.lower()


def is_literal(text: str) -> bool:
    """Tell whether this is an address literal (rfc5321:2309)."""
    match = _LITERAL.fullmatch(text)
    if not match:
        return False
    inside = match[1]
    try:
        if inside[:5].lower() == "ipv6:":
            ipaddress.IPv6Address(inside[5:])
        elif ":" not in inside:
            ipaddress.IPv4Address(inside)
        else:
            return _GENERAL.fullmatch(inside) is not None
    except ValueError:
        return False
    return "%" not in inside


def _is_clean(text: str) -> bool:
    return not any(
        character > "\x7f"
        and character not in _JOINERS
        and unicodedata.category(character) in _FORBIDDEN
        for character in text
    )
