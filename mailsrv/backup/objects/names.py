"""Names of objects: what a folder and a bucket both take, and what cannot lead out of either."""

import re

from mailsrv.errors import InvalidInput

READ_LIMIT = 16 * 1024 * 1024
"""Octets of the largest object that is read into memory."""

_NAME = re.compile(
    r"(?=.{1,512}\Z)[A-Za-z0-9][A-Za-z0-9._-]{0,199}(?:/[A-Za-z0-9][A-Za-z0-9._-]{0,199})*"
)
_PREFIX = re.compile(
    r"(?=.{0,512}\Z)(?:[A-Za-z0-9][A-Za-z0-9._-]{0,199}/)*(?:[A-Za-z0-9][A-Za-z0-9._-]{0,199})?"
)


def is_name(name: str) -> bool:
    """Whether an object of ours can have this name."""
    return _NAME.fullmatch(name) is not None


def checked_name(name: str) -> str:
    """Return the name. InvalidInput unless it is words of letters, digits, ``._-`` between /."""
    if not is_name(name):
        raise InvalidInput(f"expected the name of an object, such as a/b.json, got {name[:80]!r}")
    return name


def checked_prefix(prefix: str) -> str:
    """Return what names begin with. InvalidInput unless a name can begin so."""
    if not _PREFIX.fullmatch(prefix):
        raise InvalidInput(f"expected the beginning of an object's name, got {prefix[:80]!r}")
    return prefix
