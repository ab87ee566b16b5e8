"""Which names a LIST pattern means (rfc9051:2224): ``*`` is anything, ``%`` stops at "/".

A pattern is run as a set of states held in one integer, so that no pattern, however
many wildcards it has, costs more than its length for each character of a name.
"""

import re
from collections.abc import Iterable, Iterator

from mailsrv.imap.names import DELIMITER

_WILDCARDS = re.compile(r"[*%]{2,}")


def join(reference: str, pattern: str) -> str:
    """A pattern as the reference makes it: what is asked for is their concatenation."""
    return reference + pattern


class Matcher:
    """Match names against patterns; a name matches when one of them does."""

    def __init__(self, patterns: Iterable[str]) -> None:
        distinct = dict.fromkeys(map(_simplify, patterns))
        self._all = "*" in distinct
        self._patterns = [] if self._all else [_Pattern(pattern) for pattern in distinct]
        self._inbox = self._all or any(
            _Pattern(pattern.casefold()).matches("inbox") for pattern in distinct
        )

    def matches(self, name: str) -> bool:
        """Whether a name matches; INBOX does so in any case (rfc9051:6669)."""
        if name == "INBOX":
            return self._inbox
        return self._all or any(pattern.matches(name) for pattern in self._patterns)

    def parents(self, names: Iterable[str]) -> list[str]:
        """Matching names of levels above ``names`` that are not themselves among them.

        LSUB and RECURSIVEMATCH show these for a child that the pattern does not reach.
        """
        known = set(names)
        found: dict[str, None] = {}
        for name in known:
            for parent in ancestors(name):
                if parent not in known and parent not in found and self.matches(parent):
                    found[parent] = None
        return sorted(found)


def ancestors(name: str) -> Iterator[str]:
    """Names of the levels above a name, from the top: ``a``, ``a/b`` for ``a/b/c``."""
    end = name.find(DELIMITER)
    while end >= 0:
        yield name[:end]
        end = name.find(DELIMITER, end + 1)


def _simplify(pattern: str) -> str:
    """Join runs of wildcards: any run with a ``*`` in it is as good as one."""
    return _WILDCARDS.sub(lambda run: "*" if "*" in run[0] else "%", pattern)


class _Pattern:
    """One pattern: bit n of a state set means that n pattern characters are matched."""

    def __init__(self, pattern: str) -> None:
        self._text = pattern
        self._literal = not ("*" in pattern or "%" in pattern)
        self._moves: dict[str, int] = {}
        self._stars = self._percents = 0
        for index, character in enumerate(pattern):
            bit = 1 << index
            if character == "*":
                self._stars |= bit
            elif character == "%":
                self._percents |= bit
            else:
                self._moves[character] = self._moves.get(character, 0) | bit
        self._final = 1 << len(pattern)

    def matches(self, name: str) -> bool:
        if self._literal:
            return self._text == name
        wild = self._stars | self._percents
        # a wildcard may match nothing: the state behind it is reached at once
        states = 1 | (1 & wild) << 1
        for character in name:
            stay = self._stars if character == DELIMITER else wild
            states = (states & self._moves.get(character, 0)) << 1 | (states & stay)
            states |= (states & wild) << 1
            if not states:
                return False
        return bool(states & self._final)
