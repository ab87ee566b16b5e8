"""Sets of message numbers and UIDs (rfc9051:7034), parsed in O(n log n).

A long list of ids is the cheapest way to make a naive server sweat, so ranges are merged
once and everything later works on the merged ranges.
"""

import re
from collections.abc import Iterable

import msgspec

from mailsrv.imap.errors import BadSyntax
from mailsrv.store.values import MAX_UID, UidSet

MAX_ELEMENTS = 16_384
"""Elements of one set as written; a 64 KiB line of five-digit UIDs has fewer."""

_NUMBER = rb"(?:[1-9]\d{0,9}|\*)"
_ELEMENT = _NUMBER + rb"(?::" + _NUMBER + rb")?"
_SET = re.compile(_ELEMENT + rb"(?:," + _ELEMENT + rb")*\Z")


class SequenceSet(msgspec.Struct, frozen=True):
    """Merged ascending ranges, and the lowest ``n`` of all ``n:*``.

    A plain ``*`` counts as ``4294967295:*``: a range with "*" runs between its number and the
    largest in use, whichever is greater (rfc9051:7024).
    """

    ranges: UidSet
    star: int | None = None

    def resolve(self, largest: int) -> UidSet:
        """Return the ranges with "*" replaced by ``largest``, 0 meaning an empty folder."""
        if self.star is None or not largest:
            return self.ranges
        return merge([*self.ranges, (min(self.star, largest), largest)])

    def beyond(self, count: int) -> bool:
        """Whether a message number above ``count`` is named (rfc9051:7007), or "*" of none."""
        if self.star is not None and (not count or count < self.star < MAX_UID):
            return True
        return bool(self.ranges) and self.ranges[-1][1] > count


def merge(ranges: Iterable[tuple[int, int]]) -> UidSet:
    """Sort ranges and join those that overlap or touch."""
    merged: list[tuple[int, int]] = []
    low = high = 0
    for start, stop in sorted(ranges):
        if not high:
            low, high = start, stop
        elif start <= high + 1:
            high = max(high, stop)
        else:
            merged.append((low, high))
            low, high = start, stop
    if high:
        merged.append((low, high))
    return tuple(merged)


def parse_set(text: bytes) -> SequenceSet:
    """Parse a whole sequence set; BadSyntax when it is none or too long."""
    if not _SET.match(text):
        raise BadSyntax("expected a sequence set")
    elements = text.split(b",")
    if len(elements) > MAX_ELEMENTS:
        raise BadSyntax(f"expected at most {MAX_ELEMENTS} elements in a sequence set")
    ranges = []
    star: int | None = None
    largest = 0
    for element in elements:
        first, _, second = element.partition(b":")
        ends = [int(end) for end in (first, second) if end and end != b"*"]
        largest = max(largest, *ends, 0)
        if b"*" in element:
            low = min(ends, default=MAX_UID)
            star = low if star is None else min(star, low)
        else:
            ranges.append((min(ends), max(ends)))
    if largest > MAX_UID:
        raise BadSyntax("expected numbers below 4294967296 in a sequence set")
    return SequenceSet(merge(ranges), star)
