"""Secrets that must not outlive their use, not even in memory that was given back.

A text, or octets, that nobody refers to any more is freed and stays readable until something else
happens to be put there, which can be never. Whoever reads the memory of the process then finds it.
"""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

Secret = TypeVar("Secret", str, bytes)


def wipe(secret: str | bytes) -> None:
    """Overwrite octets or an ASCII string in place. The caller made it, nobody else refers to it.

    Nothing happens to one of fewer than two characters: Python shares those.
    """
    if isinstance(secret, str) and not secret.isascii():
        raise ValueError("only ASCII strings can be wiped")
    if len(secret) > 1:
        # the octets come last in such an object, and a NUL behind them (PEP 393; bytesobject.h)
        start = id(secret) + sys.getsizeof(secret) - len(secret) - 1
        ctypes.memset(start, ord("0"), len(secret))


@contextmanager
def wiped(secret: Secret) -> Iterator[Secret]:
    """Wipe it at the end of a ``with`` block, which keeps nothing of it. As ``wipe``."""
    try:
        yield secret
    finally:
        wipe(secret)
