"""What a SEARCH asks for (rfc9051:6918), and its translation for the store.

The tree keeps message numbers as the client wrote them; ``to_criteria`` replaces them
when it is known which UIDs they stand for.
"""

from collections.abc import Callable
from typing import Literal

import msgspec

from mailsrv.imap.arguments import Arguments
from mailsrv.imap.errors import BadCharset
from mailsrv.imap.sequence import SequenceSet
from mailsrv.store.values import (
    Address,
    All,
    And,
    Body,
    Criteria,
    Date,
    HasFlag,
    Header,
    ModSeq,
    Not,
    Or,
    Recent,
    Size,
    Subject,
    Text,
    Uids,
    UidSet,
)

MAX_DEPTH = 100
"""NOT, OR and parentheses inside each other."""
MAX_KEYS = 2000
"""Keys in one search, operators included."""
MAX_TEXT = 8 * 1024
"""Characters of one string to look for."""

RETURN_OPTIONS = frozenset({"MIN", "MAX", "ALL", "COUNT"})


class Leaf(msgspec.Struct, frozen=True):
    """A key that means the same in every session."""

    criteria: Criteria


class Numbers(msgspec.Struct, frozen=True):
    """A set of message numbers, or of UIDs."""

    numbers: SequenceSet
    uid: bool


class RecentKey(msgspec.Struct, frozen=True):
    """RECENT, which is different in each session."""


class Every(msgspec.Struct, frozen=True):
    """All of the keys."""

    keys: tuple["SearchKey", ...]


class Either(msgspec.Struct, frozen=True):
    left: "SearchKey"
    right: "SearchKey"


class Negated(msgspec.Struct, frozen=True):
    key: "SearchKey"


SearchKey = Leaf | Numbers | RecentKey | Every | Either | Negated


class Search(msgspec.Struct, frozen=True):
    """Arguments of SEARCH.

    ``returns`` are the RETURN options; None asks for a SEARCH response, not ESEARCH.
    ``modseq`` tells that a MODSEQ key occurs, so that the answer must have one too.
    """

    key: SearchKey
    returns: frozenset[str] | None = None
    modseq: bool = False


def search(arguments: Arguments) -> Search:
    """Parse SEARCH's arguments: RETURN options, CHARSET, keys."""
    returns = None
    if arguments.skip_word("RETURN "):
        returns = _return_options(arguments)
        arguments.space()
    if arguments.skip_word("CHARSET "):
        charset = arguments.astring("a charset").upper()
        if charset not in {b"UTF-8", b"US-ASCII"}:
            raise BadCharset("expected the charset US-ASCII or UTF-8")
        arguments.space()
    parser = _Keys(arguments)
    key = parser.all_to_end()
    return Search(key, returns, parser.modseq)


def _return_options(arguments: Arguments) -> frozenset[str]:
    def option() -> str:
        name = arguments.keyword("a RETURN option")
        if name not in RETURN_OPTIONS:
            arguments.fail("MIN, MAX, ALL or COUNT before this place")
        return name

    return frozenset(arguments.group(option, 20)) or frozenset({"ALL"})


class _Keys:
    """Parse search keys within bounds of depth and number."""

    def __init__(self, arguments: Arguments) -> None:
        self._arguments = arguments
        self._depth = 0
        self._count = 0
        self.modseq = False

    def all_to_end(self) -> SearchKey:
        keys = [self.key()]
        while not self._arguments.at_end():
            self._arguments.space()
            keys.append(self.key())
        return keys[0] if len(keys) == 1 else Every(tuple(keys))

    def key(self) -> SearchKey:
        self._count += 1
        self._depth += 1
        if self._count > MAX_KEYS or self._depth > MAX_DEPTH:
            self._arguments.fail(f"at most {MAX_KEYS} keys and {MAX_DEPTH} levels")
        found = self._key()
        self._depth -= 1
        return found

    def _key(self) -> SearchKey:
        arguments = self._arguments
        if arguments.next_is(b"("):
            keys = arguments.group(self.key, MAX_KEYS, least=1)
            return keys[0] if len(keys) == 1 else Every(tuple(keys))
        if arguments.at_sequence_set():
            return Numbers(arguments.sequence_set(), uid=False)
        word = arguments.keyword("a search key")
        if word in _FIXED:
            return _FIXED[word]
        if word not in _WITH_ARGUMENTS:
            arguments.fail("a search key before this place")
        arguments.space()
        return _WITH_ARGUMENTS[word](self, word)

    def text(self) -> str:
        value = self._arguments.text()
        if len(value) > MAX_TEXT:
            self._arguments.fail(f"a string of at most {MAX_TEXT} characters before this place")
        return value

    def negation(self, _word: str) -> SearchKey:
        return Negated(self.key())

    def either(self, _word: str) -> SearchKey:
        left = self.key()
        self._arguments.space()
        return Either(left, self.key())

    def uid(self, _word: str) -> SearchKey:
        return Numbers(self._arguments.sequence_set(), uid=True)

    def address(self, word: str) -> SearchKey:
        return Leaf(Address(_ADDRESSES[word], self.text()))

    def subject(self, _word: str) -> SearchKey:
        return Leaf(Subject(self.text()))

    def body(self, _word: str) -> SearchKey:
        return Leaf(Body(self.text()))

    def anywhere(self, _word: str) -> SearchKey:
        return Leaf(Text(self.text()))

    def header(self, _word: str) -> SearchKey:
        name = self._arguments.text("a field name")
        self._arguments.space()
        return Leaf(Header(name, self.text()))

    def date(self, word: str) -> SearchKey:
        which, comparison = _DATES[word]
        return Leaf(Date(which, comparison, self._arguments.date()))

    def size(self, word: str) -> SearchKey:
        comparison: Literal["larger", "smaller"] = "larger" if word == "LARGER" else "smaller"
        return Leaf(Size(comparison, self._arguments.number64()))

    def flag(self, word: str) -> SearchKey:
        has = Leaf(HasFlag(self._arguments.atom()))
        return has if word == "KEYWORD" else Negated(has)

    def mod_sequence(self, _word: str) -> SearchKey:
        """MODSEQ, with the entry that we have no separate counters for (rfc7162:2499)."""
        arguments = self._arguments
        self.modseq = True
        if arguments.next_is(b'"') or arguments.at_literal():
            arguments.string("a flag entry")
            arguments.space()
            if arguments.keyword("an entry type") not in {"PRIV", "SHARED", "ALL"}:
                arguments.fail("priv, shared or all before this place")
            arguments.space()
        return Leaf(ModSeq(arguments.number64()))


_SEEN = Leaf(HasFlag("\\Seen"))
_FIXED: dict[str, SearchKey] = {
    "ALL": Leaf(All()),
    "RECENT": RecentKey(),
    "OLD": Negated(RecentKey()),
    "NEW": Every((RecentKey(), Negated(_SEEN))),
}
for _name in ("Answered", "Deleted", "Draft", "Flagged", "Seen"):
    _FIXED[_name.upper()] = Leaf(HasFlag(f"\\{_name}"))
    _FIXED["UN" + _name.upper()] = Negated(Leaf(HasFlag(f"\\{_name}")))

_ADDRESSES: dict[str, Literal["from", "to", "cc", "bcc"]] = {
    "FROM": "from",
    "TO": "to",
    "CC": "cc",
    "BCC": "bcc",
}
_DATES: dict[str, tuple[Literal["internal", "sent"], Literal["before", "on", "since"]]] = {
    "BEFORE": ("internal", "before"),
    "ON": ("internal", "on"),
    "SINCE": ("internal", "since"),
    "SENTBEFORE": ("sent", "before"),
    "SENTON": ("sent", "on"),
    "SENTSINCE": ("sent", "since"),
}
_WITH_ARGUMENTS: dict[str, Callable[[_Keys, str], SearchKey]] = {
    "NOT": _Keys.negation,
    "OR": _Keys.either,
    "UID": _Keys.uid,
    "SUBJECT": _Keys.subject,
    "BODY": _Keys.body,
    "TEXT": _Keys.anywhere,
    "HEADER": _Keys.header,
    "KEYWORD": _Keys.flag,
    "UNKEYWORD": _Keys.flag,
    "LARGER": _Keys.size,
    "SMALLER": _Keys.size,
    "MODSEQ": _Keys.mod_sequence,
    **dict.fromkeys(_ADDRESSES, _Keys.address),
    **dict.fromkeys(_DATES, _Keys.date),
}


def to_criteria(
    key: SearchKey, resolve: Callable[[SequenceSet, bool], UidSet], recent_uids: UidSet
) -> Criteria:
    """Translate for the store.

    ``resolve(numbers, uid)`` gives the UIDs that a set of message numbers, or of UIDs, stands
    for; what it raises passes through. ``recent_uids`` is the session's recent set.
    """

    def translate(node: SearchKey) -> Criteria:
        match node:
            case Leaf(criteria):
                return criteria
            case Numbers(numbers, uid):
                return Uids(resolve(numbers, uid))
            case RecentKey():
                return Recent(recent_uids)
            case Every(keys):
                return And(tuple(translate(each) for each in keys))
            case Either(left, right):
                return Or(translate(left), translate(right))
            case Negated(inner):
                return Not(translate(inner))

    return translate(key)
