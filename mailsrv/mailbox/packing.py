"""Octets as they are put into the file: zstd where that helps, with a flag on each row."""

import threading
from typing import Literal

import zstandard

Codec = Literal[0, 1]
"""0 as they are, 1 zstd."""

LEVEL = 3
_WORTH_TRYING = 128
_WORTH_KEEPING = 0.9


class _Tools(threading.local):
    """zstd contexts cost more to make than to use and serve one thread at a time."""

    def __init__(self) -> None:
        self.compress = zstandard.ZstdCompressor(level=LEVEL).compress
        self.decompress = zstandard.ZstdDecompressor().decompress


_tools = _Tools()


def pack(data: bytes) -> tuple[Codec, bytes]:
    """The shorter form of some octets, and which it is."""
    if len(data) >= _WORTH_TRYING:
        packed = _tools.compress(data)
        if len(packed) < len(data) * _WORTH_KEEPING:
            return 1, packed
    return 0, data


def unpack(codec: int, data: bytes) -> bytes:
    """Reverse ``pack``."""
    return _tools.decompress(data) if codec else data
