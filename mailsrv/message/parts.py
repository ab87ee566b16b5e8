"""A message as segments, so that large bodies can be stored once however often they occur.

Literal segments are kept with the message. Part segments are bodies of leaf parts; where such a
body is base64 in regular lines, its decoded octets can be stored instead, with the layout of
the lines, because encoding them again was seen to give the identical octets. So the same file,
attached by different programs, is the same stored part.
"""

import binascii

import msgspec

from mailsrv.message.structure import Part

SMALLEST = 4096
"""Octets; a body must be larger to become a segment of its own."""
_LONGEST_LINE = 998


class Base64(msgspec.Struct, frozen=True, array_like=True):
    """How base64 is laid out in lines (rfc2045): every line full but the last.

    ``line_length`` is the characters of a full line, a multiple of 4; 0 means one line without
    end, in which case ``eol`` is empty. ``final_eol`` tells whether the last line is ended too.
    """

    line_length: int
    eol: bytes
    final_eol: bool

    @property
    def octets_per_line(self) -> int:
        """Decoded octets of a full line: chunks to ``encode`` are multiples of this."""
        return (self.line_length or 4) // 4 * 3

    @property
    def stride(self) -> int:
        """Encoded octets of a full line, with its end."""
        return (self.line_length or 4) + len(self.eol)

    def encoded_size(self, decoded_size: int) -> int:
        """Octets of the whole encoding of so many decoded ones."""
        characters = (decoded_size + 2) // 3 * 4
        if not self.line_length:
            return characters
        lines = -(-characters // self.line_length)
        ends = lines if self.final_eol else lines - 1
        return characters + ends * len(self.eol)

    def covering(self, decoded_size: int, start: int, end: int) -> tuple[int, int, int]:
        """``(first, last, skip)``: encoding the decoded octets ``[first, last)`` gives octets
        whose slice ``[skip, skip + end - start)`` is the range ``[start, end)`` of the whole."""
        line = start // self.stride
        first = line * self.octets_per_line
        last = -(-end // self.stride) * self.octets_per_line
        return min(first, decoded_size), min(last, decoded_size), start - line * self.stride


class Segment(msgspec.Struct, frozen=True, array_like=True):
    """The octets ``[start, end)`` of a message, literally or as the body of a leaf part.

    For a part, ``base64`` is its layout when the decoded octets stand for it exactly, and None
    when only the octets themselves do.
    """

    start: int
    end: int
    is_part: bool = False
    base64: Base64 | None = None

    def decoded(self, content: bytes) -> bytes:
        """What to store for this segment of ``content``."""
        data = content[self.start : self.end]
        return data if self.base64 is None else decode(data)


def split(content: bytes, root: Part) -> list[Segment]:
    """Segments that, one after the other, cover ``content`` exactly; none is empty."""
    segments: list[Segment] = []
    position = 0
    for part in _large_leaves(root):
        found = _part_segment(content, part)
        if found.start > position:
            segments.append(Segment(position, found.start))
        segments.append(found)
        position = found.end
    if position < len(content):
        segments.append(Segment(position, len(content)))
    return segments


def decode(encoded: bytes) -> bytes:
    """The decoded octets of a base64 segment, or of any run of whole lines of one."""
    return binascii.a2b_base64(encoded)


def encode(decoded: bytes, layout: Base64, *, last: bool = True) -> bytes:
    """The octets in the message for ``decoded``, which begins at the start of a line.

    A chunk that is not the ``last`` must be whole lines (ValueError); all of them get their end.
    """
    text = binascii.b2a_base64(decoded, newline=False)
    if not last and len(decoded) % layout.octets_per_line:
        raise ValueError("a chunk of base64 must be whole lines")
    length = layout.line_length
    if not length:
        return text
    lines = [text[start : start + length] for start in range(0, len(text), length)]
    if lines and (layout.final_eol or not last):
        lines.append(b"")
    return layout.eol.join(lines)


def layout_of(data: bytes) -> Base64 | None:
    """The layout with which encoding the decoded ``data`` gives exactly ``data`` again; None
    when there is none."""
    end = data.find(b"\n", 0, _LONGEST_LINE + 2)
    if end < 0:
        layout = Base64(0, b"", final_eol=False)
    else:
        eol = b"\r\n" if data[end - 1 : end] == b"\r" else b"\n"
        layout = Base64(end + 1 - len(eol), eol, data.endswith(eol))
        if layout.line_length % 4 or not layout.line_length:
            return None
    try:
        decoded = binascii.a2b_base64(data)
    except binascii.Error:
        return None
    if layout.encoded_size(len(decoded)) != len(data) or encode(decoded, layout) != data:
        return None
    return layout


def _large_leaves(root: Part) -> list[Part]:
    leaves = []
    waiting = [root]
    while waiting:
        part = waiting.pop()
        if part.children:
            waiting.extend(reversed(part.children))
        elif part.end - part.body_start > SMALLEST:
            leaves.append(part)
    return leaves


def _part_segment(content: bytes, part: Part) -> Segment:
    start, end = part.body_start, part.end
    if part.encoding == "base64":
        # Empty lines after the last line are not part of the encoding: they stay literal.
        text_end = len(content[start:end].rstrip(b"\r\n")) + start
        tail = content[text_end : min(end, text_end + 2)]
        for eol in (b"\r\n", b"\n"):
            if tail.startswith(eol):
                text_end += len(eol)
                break
        layout = layout_of(content[start:text_end])
        if layout is not None:
            return Segment(start, text_end, is_part=True, base64=layout)
    return Segment(start, end, is_part=True)
