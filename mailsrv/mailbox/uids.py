"""Sets of UIDs: ranges, lists and packed arrays of them."""

import sys
from array import array
from collections.abc import Iterable, Iterator

from mailsrv.mailbox.values import MAX_UID, UidSet


def ranges(uids: Iterable[int]) -> UidSet:
    """The ranges of UIDs given in ascending order; a UID given twice counts once."""
    found: list[tuple[int, int]] = []
    first = last = -1
    for uid in uids:
        if uid > last + 1:
            if first >= 0:
                found.append((first, last))
            first = uid
        last = uid
    if first >= 0:
        found.append((first, last))
    return tuple(found)


def merged(spans: Iterable[tuple[int, int]]) -> UidSet:
    """Ranges in any order, overlapping or touching, as a UidSet."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(spans):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return tuple(found)


def missing(uids: Iterable[int], uidnext: int) -> UidSet:
    """The UIDs below ``uidnext`` that are not among ``uids`` (ascending)."""
    found: list[tuple[int, int]] = []
    expected = 1
    for uid in uids:
        if uid > expected:
            found.append((expected, uid - 1))
        expected = uid + 1
    if expected < uidnext:
        found.append((expected, uidnext - 1))
    return tuple(found)


def within(uids: UidSet, first: int = 1, last: int = MAX_UID) -> UidSet:
    """The part of a set from ``first`` to ``last``; what no UID can be is left out."""
    low, high = max(first, 1), min(last, MAX_UID)
    return tuple((max(a, low), min(b, high)) for a, b in uids if a <= high and b >= low and a <= b)


def each(uids: UidSet) -> Iterator[int]:
    """The UIDs of a set in ascending order."""
    for first, last in uids:
        yield from range(first, last + 1)


def pack(uids: Iterable[int]) -> bytes:
    """UIDs as the octets of a little-endian ``array('I')``."""
    packed = array("I", uids)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()


def unpack(packed: bytes) -> "array[int]":
    """Reverse ``pack``."""
    uids = array("I")
    uids.frombytes(packed)
    if sys.byteorder == "big":
        uids.byteswap()
    return uids
