"""SEARCH: the tree that is parsed, and what the store gets."""

from twisted.trial.unittest import SynchronousTestCase

from mailsrv.imap.errors import BadCharset, BadSyntax
from mailsrv.imap.grammar import parse
from mailsrv.imap.search_grammar import MAX_DEPTH, MAX_KEYS, Search, to_criteria
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

RECENT: UidSet = ((70, 80),)


def parsed(*parts: bytes) -> Search:
    """The arguments of a SEARCH with these pieces."""
    arguments: Search = parse((b"a SEARCH " + parts[0], *parts[1:])).arguments
    return arguments


def resolve(numbers: SequenceSet, uid: bool) -> UidSet:
    """Message n of ten has UID 10 n."""
    if uid:
        return numbers.resolve(100)
    return tuple((10 * low, 10 * high) for low, high in numbers.resolve(10))


def criteria(*parts: bytes) -> Criteria:
    """What the store is asked for."""
    return to_criteria(parsed(*parts).key, resolve, RECENT)


SEEN = HasFlag("\\Seen")

KEYS: dict[bytes, Criteria] = {
    b"ALL": All(),
    b"answered": HasFlag("\\Answered"),
    b"DELETED": HasFlag("\\Deleted"),
    b"DRAFT": HasFlag("\\Draft"),
    b"FLAGGED": HasFlag("\\Flagged"),
    b"SEEN": SEEN,
    b"UNANSWERED": Not(HasFlag("\\Answered")),
    b"UNDELETED": Not(HasFlag("\\Deleted")),
    b"UNDRAFT": Not(HasFlag("\\Draft")),
    b"UNFLAGGED": Not(HasFlag("\\Flagged")),
    b"UNSEEN": Not(SEEN),
    b"RECENT": Recent(RECENT),
    b"OLD": Not(Recent(RECENT)),
    b"NEW": And((Recent(RECENT), Not(SEEN))),
    b"KEYWORD $Junk": HasFlag("$Junk"),
    b"UNKEYWORD x": Not(HasFlag("x")),
    b"FROM a": Address("from", "a"),
    b'TO "a b"': Address("to", "a b"),
    b"CC a": Address("cc", "a"),
    b"BCC a": Address("bcc", "a"),
    b'SUBJECT "\xed\x95\x9c\xea\xb5\xad"': Subject("\ud55c\uad6d"),
    b"BODY x": Body("x"),
    b'TEXT ""': Text(""),
    b"HEADER Message-ID <x@y>": Header("Message-ID", "<x@y>"),
    b'HEADER X-Foo ""': Header("X-Foo", ""),
    b"BEFORE 1-Feb-1994": Date("internal", "before", "1994-02-01"),
    b'ON "01-feb-1994"': Date("internal", "on", "1994-02-01"),
    b"SINCE 29-Feb-2024": Date("internal", "since", "2024-02-29"),
    b"SENTBEFORE 1-Feb-1994": Date("sent", "before", "1994-02-01"),
    b"SENTON 1-Feb-1994": Date("sent", "on", "1994-02-01"),
    b"SENTSINCE 1-Feb-1994": Date("sent", "since", "1994-02-01"),
    b"LARGER 5000000000": Size("larger", 5_000_000_000),
    b"SMALLER 0": Size("smaller", 0),
    b"MODSEQ 620162338": ModSeq(620162338),
    b'MODSEQ "/flags/\\\\draft" all 620162338': ModSeq(620162338),
    b"1:3,9": Uids(((10, 30), (90, 90))),
    b"8:*": Uids(((80, 100),)),
    b"UID 8:9,*": Uids(((8, 9), (100, 100))),
    b"NOT SEEN": Not(SEEN),
    b"NOT NOT SEEN": Not(Not(SEEN)),
    b"OR SEEN ALL": Or(SEEN, All()),
    b"OR OR SEEN ALL (SEEN ALL)": Or(Or(SEEN, All()), And((SEEN, All()))),
    b"(SEEN)": SEEN,
    b"NOT (SEEN OR FROM x 2)": Not(And((SEEN, Or(Address("from", "x"), Uids(((20, 20),)))))),
}

BAD = [
    b"",
    b"FOO",
    b"()",
    b"(ALL",
    b"ALL)",
    b"ALL  ALL",
    b"OR ALL",
    b"NOT",
    b"FROM",
    b"FROM (x)",
    b"SINCE 31-Feb-2020",
    b"SINCE 1-Feb-20",
    b'SINCE "1-Feb-2020',
    b"SINCE 1-Foo-2020",
    b"SINCE 1-Feb-0000",
    b"LARGER x",
    b"LARGER -1",
    b"LARGER 9223372036854775808",
    b"UID x",
    b"0",
    b"1:",
    b"KEYWORD \\Seen",
    b'KEYWORD "x"',
    b'MODSEQ "/flags/x" foo 5',
    b"RETURN MIN ALL",
    b"RETURN (FOO) ALL",
    b"RETURN (MIN)",
    b"RETURN (MIN) ",
    b"CHARSET UTF-8",
    b'SUBJECT "\xff"',
    b"SUBJECT " + b"x" * 8193,
]


class SearchTests(SynchronousTestCase):
    """Every key of rfc3501 and what it becomes."""

    def test_keys(self) -> None:
        """Each key alone, and after another."""
        for text, expected in KEYS.items():
            self.assertEqual(criteria(text), expected, text)
            self.assertEqual(criteria(b"DRAFT " + text), And((HasFlag("\\Draft"), expected)), text)

    def test_bad(self) -> None:
        """What is no search is refused."""
        for text in BAD:
            self.assertRaises(BadSyntax, parsed, text)

    def test_literals(self) -> None:
        """Literals wherever a string may stand, with parentheses behind."""
        found = criteria(b"(NOT SUBJECT ", b"a\r\nb", b" OR FROM ", b")", b" TO ", b"", b") SEEN")
        self.assertEqual(
            found,
            And(
                (
                    And((Not(Subject("a\r\nb")), Or(Address("from", ")"), Address("to", "")))),
                    SEEN,
                )
            ),
        )
        self.assertRaises(BadSyntax, parsed, b"SUBJECT ", b"a\0b", b"")

    def test_returns(self) -> None:
        """RETURN asks for ESEARCH; an empty list is ALL (rfc4731)."""
        self.assertIsNone(parsed(b"ALL").returns)
        self.assertEqual(parsed(b"RETURN () ALL").returns, {"ALL"})
        self.assertEqual(parsed(b"return (min COUNT MIN) ALL").returns, {"MIN", "COUNT"})
        self.assertEqual(
            parsed(b"RETURN (MAX) CHARSET utf-8 1").returns, {"MAX"}, "charset after RETURN"
        )

    def test_charset(self) -> None:
        """Two are known; others are NO with the list of those."""
        self.assertEqual(criteria(b'CHARSET "us-ascii" SUBJECT x'), Subject("x"))
        self.assertEqual(criteria(b"CHARSET UTF-8 SUBJECT ", b"\xc3\xa9", b""), Subject("\xe9"))
        error = self.assertRaises(BadCharset, parsed, b"CHARSET KOI8-R SUBJECT x")
        self.assertEqual(error.imap_code, "BADCHARSET (US-ASCII UTF-8)")
        self.assertEqual(error.tag, "a")

    def test_modseq_is_noted(self) -> None:
        """Anywhere in the tree."""
        self.assertTrue(parsed(b"OR SEEN (ALL NOT MODSEQ 5)").modseq)
        self.assertFalse(parsed(b"SUBJECT MODSEQ").modseq)

    def test_depth(self) -> None:
        """Levels and keys are counted."""
        parsed(b"NOT " * (MAX_DEPTH - 1) + b"ALL")
        self.assertRaises(BadSyntax, parsed, b"NOT " * MAX_DEPTH + b"ALL")
        self.assertRaises(BadSyntax, parsed, b"(" * MAX_DEPTH + b"ALL" + b")" * MAX_DEPTH)
        parsed(b" ".join([b"ALL"] * MAX_KEYS))
        self.assertRaises(BadSyntax, parsed, b" ".join([b"ALL"] * (MAX_KEYS + 1)))

    def test_deepest_translates(self) -> None:
        """The deepest tree that parses can be translated."""
        found = criteria(b"OR ALL " * (MAX_DEPTH - 1) + b"SEEN")
        for _ in range(MAX_DEPTH - 1):
            assert isinstance(found, Or)
            found = found.right
        self.assertEqual(found, SEEN)

    def test_resolver_may_refuse(self) -> None:
        """What resolve raises is what the caller gets."""

        def refuse(_numbers: SequenceSet, _uid: bool) -> UidSet:
            raise ValueError("too high")

        self.assertRaises(ValueError, to_criteria, parsed(b"NOT 1").key, refuse, ())
