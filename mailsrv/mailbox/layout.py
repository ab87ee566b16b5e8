"""How the octets of one message are put together again, all of them or a range.

A message is its header, then pieces: octets from its skeleton, or the body of a stored part,
which is encoded again where it was base64 of a regular shape. Positions are counted from the end
of the header. A range costs no more than itself, whatever the size of the message.
"""

from collections.abc import Callable

import msgspec

from mailsrv.message.parts import Base64
from mailsrv.message.parts import encode as encode_base64


class Piece(msgspec.Struct, frozen=True, array_like=True):
    """``length`` octets of the message; ``part`` 0 takes them from the skeleton."""

    length: int
    part: int = 0
    size: int = 0
    """Decoded octets of the part."""
    base64: Base64 | None = None
    """The layout of its lines; None when the part's octets are those of the message."""


ReadPart = Callable[[int, int, int], bytes]
"""Decoded octets ``[start, end)`` of the part with that id."""

_decoder = msgspec.msgpack.Decoder(list[Piece])


def encode(pieces: list[Piece]) -> bytes:
    """Pieces as they are kept in the file."""
    return msgspec.msgpack.encode(pieces)


def decode(layout: bytes) -> list[Piece]:
    """Reverse ``encode``."""
    return _decoder.decode(layout)


def read(pieces: list[Piece], skeleton: bytes, read_part: ReadPart, start: int, end: int) -> bytes:
    """Octets ``[start, end)`` of what follows the header."""
    found = []
    position = taken = 0
    for piece in pieces:
        low, high = max(start - position, 0), min(end - position, piece.length)
        if low < high:
            if piece.part:
                found.append(_read_part(piece, read_part, low, high))
            else:
                found.append(skeleton[taken + low : taken + high])
        if not piece.part:
            taken += piece.length
        position += piece.length
        if position >= end:
            break
    return b"".join(found)


def _read_part(piece: Piece, read_part: ReadPart, start: int, end: int) -> bytes:
    if piece.base64 is None:
        return read_part(piece.part, start, end)
    first, last, skip = piece.base64.covering(piece.size, start, end)
    data = read_part(piece.part, first, last)
    text = encode_base64(data, piece.base64, last=last == piece.size)
    return text[skip : skip + end - start]
