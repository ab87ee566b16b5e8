"""Header fields of a message or a MIME part, as octet text (see octets).

Fields are found with one regular expression a header block, without backtracking, so the time
is linear whatever arrives. A line ends at LF, with or without CR before it; a bare CR is part of
the value. A line that is no field (an mbox "From " line, text in the wrong place) is skipped.
Serves rfc5322 (fields, folding), rfc2045 (parameters), rfc2231 (continuations), rfc2047.
"""

import binascii
import re
from collections.abc import Iterator
from itertools import islice
from urllib.parse import unquote_to_bytes

from mailsrv.message import charsets
from mailsrv.message.transfer import decode_base64

MAX_HEADER = 1024 * 1024
"""Octets of one header block that are looked at; the rest is kept, not parsed."""
MAX_FIELD = 64 * 1024
"""Octets of one field's value that are parsed."""
MAX_FIELDS = 10_000
"""Lines of one header block that are looked at."""
MAX_PARAMETERS = 128

Parameters = tuple[tuple[str, str], ...]

_FIELD = re.compile(
    r"([!-9;-~]++)[ \t]*+:([^\n]*+(?:\n[ \t][^\n]*+)*+)\n?|[^\n]*+(?:\n|\Z)", re.ASCII
)
_PARAMETER = re.compile(
    r';[ \t\r]*+([!#-:<>-~]++)[ \t\r]*+=[ \t\r]*+(?:"((?:[^"\\]|\\.)*+)"?|([^;]*+))',
    re.ASCII | re.DOTALL,
)
_CLOSING_COMMENT = re.compile(r"[ \t]\([^()]*\)$")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_ENCODED_WORD = re.compile(r"=\?([^?\s]{1,75})\?([bBqQ])\?([^?]*+)\?=", re.ASCII)
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]+")
_CHARSET = re.compile(r"charset=[\"']?([\w.:-]{1,40})", re.ASCII | re.IGNORECASE)


def each_field(header: str) -> Iterator[tuple[str, str]]:
    """``(name, value)`` of the fields of a header block, names as written, values still folded."""
    for match in islice(_FIELD.finditer(header, 0, MAX_HEADER), MAX_FIELDS):
        name, value = match.groups()
        if name is not None:
            yield name, value


def readable_lines(header: str) -> Iterator[str]:
    """Every field as one decoded line ``name: value``, and lines that are no field as they are."""
    hint = None if header.isascii() else charset_hint(header)
    for match in islice(_FIELD.finditer(header, 0, MAX_HEADER), MAX_FIELDS):
        name, value = match.groups()
        if name is not None:
            yield f"{name}: {decoded(unfold(value), hint)}"
        elif line := match[0].strip():
            yield decoded(unfold(line), hint)


def unfold(value: str) -> str:
    """``value`` on one line (rfc5322:475), without white space around it and NUL in it."""
    value = value[:MAX_FIELD]
    if "\n" in value:
        value = value.replace("\r\n", "").replace("\n", "")
    if "\0" in value:
        value = value.replace("\0", "")
    return value.strip(" \t\r")


def parameters(value: str) -> Parameters:
    """The parameters after the first ``;`` of an unfolded value, at most MAX_PARAMETERS.

    Names in lower case, values as written, without quotes; continuations and charsets of
    rfc2231 stay as they are (see ``parameter``).
    """
    found = []
    for match in islice(_PARAMETER.finditer(value), MAX_PARAMETERS):
        name, quoted, token = match.groups()
        if quoted is None:
            quoted = token.rstrip(" \t\r")
            if quoted.endswith(")"):
                quoted = _CLOSING_COMMENT.sub("", quoted).rstrip(" \t")
        elif "\\" in quoted:
            quoted = _ESCAPED.sub(r"\1", quoted)
        found.append((name.lower(), quoted))
    return tuple(found)


def parameter(params: Parameters, name: str) -> str | None:
    """The value of one parameter as octet text, with rfc2231 continuations put together."""
    for key, value in params:
        if key == name:
            return value
    pieces = {}
    for key, value in params:
        if key.startswith(name + "*"):
            number = key[len(name) + 1 :].rstrip("*") or "0"
            pieces[number] = _percent_decoded(value, number) if key.endswith("*") else value
    joined = [pieces[str(number)] for number in range(len(pieces)) if str(number) in pieces]
    return "".join(joined) if joined else None


def _percent_decoded(value: str, number: str) -> str:
    if number == "0" and value.count("'") >= 2:
        value = value.split("'", 2)[2]
    return unquote_to_bytes(value.encode("latin-1")).decode("latin-1")


def charset_hint(header: str) -> str | None:
    """The charset that a header block names in its Content-Type, for raw 8-bit fields in it."""
    found = _CHARSET.search(header)
    return found[1] if found else None


def decoded(value: str, hint: str | None = None) -> str:
    """An unfolded value as readable text: encoded words decoded (rfc2047), raw 8-bit octets
    guessed (UTF-8, else the charset ``hint``), control characters turned to blanks."""
    text = _words_decoded(value, hint) if "=?" in value else _raw(value, hint)
    return text if text.isprintable() else _CONTROLS.sub(" ", text)


def _raw(value: str, hint: str | None) -> str:
    if value.isascii():
        return value
    octets = value.encode("latin-1")
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return charsets.decode(octets, hint)


def _words_decoded(value: str, hint: str | None) -> str:
    out: list[str] = []
    run: list[bytes] = []
    charset: str | None = None
    end = 0
    for word in _ENCODED_WORD.finditer(value):
        between = value[end : word.start()]
        label = word[1].partition("*")[0].lower()
        # Blanks between encoded words do not count, and a character may be split between two.
        adjacent = charset is not None and not between.strip(" \t")
        if not adjacent or label != charset:
            out.append(charsets.decode(b"".join(run), charset))
            run.clear()
            charset = label
        if not adjacent:
            out.append(_raw(between, hint))
        run.append(_word_octets(word[2], word[3]))
        end = word.end()
    out.append(charsets.decode(b"".join(run), charset))
    out.append(_raw(value[end:], hint))
    return "".join(out)


def _word_octets(encoding: str, text: str) -> bytes:
    data = text.encode("latin-1")
    return decode_base64(data) if encoding in "bB" else binascii.a2b_qp(data, header=True)
