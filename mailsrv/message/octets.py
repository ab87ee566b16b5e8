"""Octet text: header octets carried as ``str``, one character for each octet (latin-1).

Everything that goes to the wire must be the octets that arrived, whatever encoding they are
in, and everything in a value must be packable text. Latin-1 text is both: it loses nothing and
turns back into octets with ``encode("latin-1")``. This module writes such text as IMAP
strings (rfc9051:7081).
"""

import re

_NEEDS_CARE = re.compile(r'[\x80-\xff\r\n"\\]').search
_NEEDS_LITERAL = re.compile(r"[\x80-\xff\r\n]").search


def imap_string(value: str) -> str:
    """``value`` as a quoted string, or as a literal when it has octets that may not be quoted.

    NUL, which no IMAP string can carry, is left out.
    """
    if "\0" in value:
        value = value.replace("\0", "")
    if not _NEEDS_CARE(value):
        return f'"{value}"'
    if _NEEDS_LITERAL(value):
        return f"{{{len(value)}}}\r\n{value}"
    value = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{value}"'


def imap_nstring(value: str | None) -> str:
    """Like imap_string, with NIL for None."""
    return "NIL" if value is None else imap_string(value)
