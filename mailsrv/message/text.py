"""The readable text of a message, for SEARCH, SORT and previews. Nothing here raises.

Caps: MAX_TEXT characters of body text a message and as many of header text; a part whose text
goes beyond is cut there. Searching finds nothing in what was cut.
"""

import re
import unicodedata
from collections.abc import Iterator
from functools import cache

from mailsrv.message import charsets
from mailsrv.message.header import (
    MAX_HEADER,
    charset_hint,
    decoded,
    each_field,
    parameter,
    readable_lines,
    unfold,
)
from mailsrv.message.html import html_to_text
from mailsrv.message.structure import Part
from mailsrv.message.transfer import decode_transfer

MAX_TEXT = 2 * 1024 * 1024
"""Characters of text that one message yields."""
PREVIEW_LENGTH = 200
"""Characters, rfc8970:206."""
_PREVIEW_OCTETS = {"plain": 8 * 1024, "html": 64 * 1024}
_PREVIEW_PARTS = 20
_HTML = ("html", "xhtml", "xhtml+xml")
_LONGEST_COMBINING_RUN = 32
_BEYOND_FIRST_PLANE = re.compile("[\U00010000-\U0001efff]")


def header_text(content: bytes, root: Part) -> str:
    """The fields of the message's own header, decoded, one a line: ``name: value\\n``.

    A line that is no field, as in a message without a blank line, is there as it is.
    """
    return _header_lines(content, root)[:MAX_TEXT]


def mime_text(content: bytes, root: Part) -> str:
    """The fields of the MIME headers of all parts below ``root``, in the same form.

    TEXT looks at them too (rfc9051:3952), HEADER does not.
    """
    lines: list[str] = []
    room = MAX_TEXT
    for part in _walk(root):
        if part is not root and room > 0 and part.body_start > part.header_start:
            lines.append(_header_lines(content, part))
            room -= len(lines[-1])
    return "".join(lines)[:MAX_TEXT]


def field_values(header: bytes, name: str) -> list[str]:
    """The decoded values of every field ``name`` (any case) in a header block, in order."""
    text = header[:MAX_HEADER].decode("latin-1")
    wanted = name.lower()
    hint = None if text.isascii() else charset_hint(text)
    return [
        decoded(unfold(value), hint) for key, value in each_field(text) if key.lower() == wanted
    ]


def body_text(content: bytes, root: Part) -> str:
    """The decoded text of all text parts in order, HTML as text, one part after the other.

    Of an enclosed message its header too, as SEARCH BODY sees it. Names of attachments are not
    in it. Delivery reports and the like (``message/*``) count as text.
    """
    pieces: list[str] = []
    room = MAX_TEXT
    for part in _walk(root):
        if room <= 0:
            break
        if part.encloses_message:
            piece = _header_lines(content, part.children[0])
        elif not part.children and part.type in ("text", "message"):
            piece = _part_text(content, part, room * 4)
        else:
            continue
        pieces.append(piece[:room])
        room -= len(piece) + 1
    return "\n".join(pieces)


def preview(content: bytes, root: Part) -> str:
    """The first characters of readable text, white space folded (rfc8970)."""
    leaves = [part for part, _ in zip(_text_leaves(root), range(_PREVIEW_PARTS), strict=False)]
    leaves.sort(key=lambda part: (part.disposition == "attachment", part.subtype != "plain"))
    for part in leaves:
        limit = _PREVIEW_OCTETS["html" if part.subtype in _HTML else "plain"]
        text = _part_text(content, part, limit)
        folded = " ".join(text[: limit // 2].split()).rstrip("\ufffd")
        if folded:
            return folded[:PREVIEW_LENGTH]
    return ""


def fold(text: str) -> str:
    """The form in which texts are compared: compatibility forms made one (NFKC), case folded,
    every run of white space one blank. ``fold(fold(x)) == fold(x)``."""
    if text.isascii():
        return " ".join(text.lower().split())
    text = unicodedata.normalize("NFKC", _tame(text)).casefold()
    return " ".join(unicodedata.normalize("NFKC", text).split())


def _tame(text: str) -> str:
    """``text`` with long runs of combining characters cut: sorting them takes quadratic time,
    and no writing has them (UAX 15 calls 30 the most that text needs)."""
    # Sets of characters beyond the first plane are slow to search for, and rarely needed.
    runs = _combining_runs(0x1F000 if _BEYOND_FIRST_PLANE.search(text) else 0x10000)
    return runs.sub(lambda run: run[0][:_LONGEST_COMBINING_RUN], text)


@cache
def _combining_runs(stop: int) -> re.Pattern[str]:
    marks = [
        mark
        for mark in map(chr, range(0x300, stop))
        if unicodedata.combining(unicodedata.normalize("NFKD", mark)[0])
    ]
    mark = f"[{''.join(marks)}]"
    # Written so that the search for the first one is a plain scan.
    return re.compile(f"{mark}{mark}{{{_LONGEST_COMBINING_RUN},}}+")


def _walk(part: Part) -> Iterator[Part]:
    waiting = [part]
    while waiting:
        part = waiting.pop()
        yield part
        waiting.extend(reversed(part.children))


def _text_leaves(root: Part) -> Iterator[Part]:
    return (part for part in _walk(root) if part.type == "text" and part.end > part.body_start)


def _header_lines(content: bytes, part: Part) -> str:
    end = min(part.body_start, part.header_start + MAX_HEADER)
    header = content[part.header_start : end].decode("latin-1")
    return "".join([line + "\n" for line in readable_lines(header)])


def _part_text(content: bytes, part: Part, limit: int) -> str:
    """The text of one leaf, from at most ``limit`` octets of its body."""
    data = content[part.body_start : min(part.end, part.body_start + limit)]
    text = charsets.decode(decode_transfer(data, part.encoding), parameter(part.params, "charset"))
    if part.subtype in _HTML:
        text = html_to_text(text)
    return text.replace("\0", " ")
