"""Addresses as people write them, and the one form under which the directory knows them.

Syntax of rfc5321:2316 with the UTF-8 of rfc6531:414. Two spellings that reach the same person
must be one row, so the local part is composed (NFC) and case-folded, quotes that are not needed
are dropped, and the domain becomes A-labels (IDNA 2008 after UTS 46 mapping).
"""

import re
import unicodedata

import idna
import msgspec

from mailsrv.errors import InvalidInput

MAX_LOCAL = 64
MAX_DOMAIN = 255
MAX_ADDRESS = 254
"""Octets: the path of rfc5321:3493 without its angle brackets."""

CATCH_ALL = "*"
DETAIL_SEPARATOR = "+"

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\x80-\U0010ffff-]+"
_DOT_STRING = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
_QUOTED = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e\x80-\U0010ffff]|\\[\x20-\x7e])*)"')
_ESCAPED = re.compile(r"\\(.)")
_REFUSED_CATEGORIES = frozenset({"Cc", "Cn", "Cs", "Co", "Zl", "Zp"})


class Address(msgspec.Struct, frozen=True):
    """A normalised address. ``str()`` is the form that the directory stores."""

    local: str
    """Composed and case-folded, without quotes."""
    domain: str
    spelled: str
    """The local part composed but in the case in which it came."""

    def __str__(self) -> str:
        return f"{quote(self.local)}@{self.domain}"

    def without_detail(self) -> tuple[str, str] | None:
        """Return the address before "+" and the detail after it, in the case it came in."""
        base, separator, _ = self.local.partition(DETAIL_SEPARATOR)
        if not (base and separator):
            return None
        return f"{quote(base)}@{self.domain}", self.spelled.partition(DETAIL_SEPARATOR)[2]

    def catch_all(self) -> str:
        """Return the address of the domain's catch-all alias."""
        return f"{CATCH_ALL}@{self.domain}"


def parse(text: str) -> Address:
    """Read ``local@domain``. InvalidInput says which rule it breaks."""
    local, at, domain = text.rpartition("@")
    if not at:
        raise InvalidInput("an address needs an @: expected name@example.com")
    spelled = _unquote(local)
    normal = _nfc(_nfc(spelled).casefold())
    if max(len(quote(normal).encode()), len(local.encode())) > MAX_LOCAL:
        raise InvalidInput(f"the part before @ is longer than {MAX_LOCAL} octets")
    address = Address(local=normal, domain=normalise_domain(domain), spelled=_nfc(spelled))
    if len(str(address).encode()) > MAX_ADDRESS:
        raise InvalidInput(f"the address is longer than {MAX_ADDRESS} octets")
    return address


def normalise_domain(name: str) -> str:
    """Return the domain in lower-case A-labels. InvalidInput."""
    if len(name) > MAX_DOMAIN:
        raise InvalidInput(f"the domain is longer than {MAX_DOMAIN} octets")
    try:
        encoded = idna.encode(name, uts46=True, std3_rules=True).decode("ascii").lower()
    except (idna.IDNAError, UnicodeError):
        raise InvalidInput("the domain is not a valid name: expected example.com") from None
    if encoded.endswith("."):
        raise InvalidInput("the domain must not end with a dot")
    return encoded


def quote(local: str) -> str:
    """Return a local part as it stands in an address: quoted only when it must be."""
    if _DOT_STRING.fullmatch(local):
        return local
    escaped = local.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _unquote(local: str) -> str:
    if len(local) > MAX_LOCAL:
        raise InvalidInput(f"the part before @ is longer than {MAX_LOCAL} octets")
    if any(unicodedata.category(c) in _REFUSED_CATEGORIES for c in local):
        raise InvalidInput("the part before @ has a character that is not allowed")
    quoted = _QUOTED.fullmatch(local)
    if quoted:
        return _ESCAPED.sub(r"\1", quoted[1])
    if not _DOT_STRING.fullmatch(local):
        raise InvalidInput("the part before @ breaks the rules of addresses")
    return local


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)
