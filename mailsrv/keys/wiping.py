"""Texts that must not outlive their use, not even in memory that was given back.

A string that nobody refers to any more is freed and stays readable until something else happens
to be put there, which can be never. Whoever reads the memory of the process then finds it.
"""

import ctypes
import sys


def wipe(text: str) -> None:
    """Overwrite an ASCII string in place. The caller made it, and nobody else refers to it.

    Nothing happens to one of fewer than two characters: Python shares those.
    """
    if not text.isascii():
        raise ValueError("only ASCII strings can be wiped")
    if len(text) > 1:
        # the octets come last in such an object, and a NUL behind them (PEP 393)
        start = id(text) + sys.getsizeof(text) - len(text) - 1
        ctypes.memset(start, ord("0"), len(text))
