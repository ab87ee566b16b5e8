"""Where a section of FETCH is in the message, and subsets of header fields (rfc9051:4471)."""

import re

from mailsrv.message.structure import Part

_FIELD = re.compile(rb"([!-9;-~]++)[ \t]*+:[^\n]*+\n?(?:[ \t][^\n]*+\n?)*+|[^\n]*+\n?")
_NUMBERS = re.compile(r"[1-9][0-9]{0,8}(?:\.[1-9][0-9]{0,8}){0,200}", re.ASCII)


def part_at(root: Part, path: str) -> Part | None:
    """The part with that number ("1.2"), None when there is none.

    "" is the message itself. Part 1 of a message that is no multipart is its body: that is the
    root itself, or the enclosed message where this one stands for a part (rfc9051:4481).
    """
    part = root
    if not path:
        return part
    if not _NUMBERS.fullmatch(path):
        return None
    whole_message = True
    for number in map(int, path.split(".")):
        if not whole_message:
            if part.encloses_message:
                part = part.children[0]
            elif part.type != "multipart":
                return None
        if part.type == "multipart":
            if number > len(part.children):
                return None
            part = part.children[number - 1]
        elif number != 1:
            return None
        whole_message = False
    return part


def locate(root: Part, path: str, kind: str = "") -> tuple[int, int] | None:
    """Octet range ``[start, end)`` of a section in the message; None when it does not have it.

    ``kind`` is "" (a part's body, or the whole message for path ""), HEADER, TEXT, MIME, or
    HEADER.FIELDS and HEADER.FIELDS.NOT for the header to filter.
    """
    part = part_at(root, path)
    if part is None:
        return None
    if kind == "":
        return (part.header_start if not path else part.body_start), part.end
    if kind == "MIME":
        return (part.header_start, part.body_start) if path else None
    if path:
        if not part.encloses_message:
            return None
        part = part.children[0]
    if kind == "TEXT":
        return part.body_start, part.end
    return part.header_start, part.body_start


def filter_fields(header: bytes, names: tuple[str, ...], exclude: bool) -> bytes:
    """The fields of ``header`` that are (or, with ``exclude``, are not) among ``names``.

    Exact octets in their order, then the blank line, which is the header's own or CRLF when it
    has none. Lines that are no field have no name, so only ``exclude`` returns them.
    """
    wanted = {name.upper().encode("utf-8", "replace") for name in names}
    blank = b"\r\n"
    kept = []
    for match in _FIELD.finditer(header):
        name = match[1]
        if name is None and match[0] in (b"\r\n", b"\n"):
            blank = match[0]
        elif ((name or b"").upper() in wanted) != exclude:
            kept.append(match[0])
    if kept and kept[-1] and not kept[-1].endswith(b"\n"):
        kept.append(b"\r\n")
    return b"".join(kept) + blank
