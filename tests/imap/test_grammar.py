"""Commands to values; everything else is BadSyntax, and says nothing of what was sent."""

import contextlib
import random
import time
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailsrv.imap import format as fmt
from mailsrv.imap import grammar
from mailsrv.imap.arguments import Arguments, gather_flags
from mailsrv.imap.errors import BadName, BadSyntax
from mailsrv.imap.fetch_grammar import Fetch, FetchItem
from mailsrv.imap.grammar import parse
from mailsrv.imap.list_grammar import List, Status
from mailsrv.imap.sequence import MAX_ELEMENTS, SequenceSet, merge, parse_set
from mailsrv.imap.wire import AFTER_LOGIN, Command, Framer
from mailsrv.store.values import ANSWERED, DELETED, MAX_UID, SEEN, Flags, Section


def pieces(text: bytes) -> tuple[bytes, ...]:
    """One command as the framer gives it."""
    framer = Framer(AFTER_LOGIN, lambda _head, _index: 10**6)
    commands = [event for event in framer.feed(text + b"\r\n") if isinstance(event, Command)]
    return commands[0].parts


def arguments_of(text: bytes, **options: Any) -> Any:
    """What a command's arguments become."""
    return parse(pieces(text), **options).arguments


GOOD: dict[bytes, Any] = {
    b"a NOOP": None,
    b"a capability": None,
    b"a NOOP ": None,
    b"a EXPUNGE": grammar.Expunge(),
    b"a UID EXPUNGE 3:5": grammar.Expunge(SequenceSet(((3, 5),))),
    b"a LOGIN me@example.com secret": grammar.Login("me@example.com", "secret"),
    b'a LOGIN "a\\"b" "c\\\\d e"': grammar.Login('a"b', "c\\d e"),
    b"a LOGIN {3+}\r\na b {2+}\r\n\xc3\xa4": grammar.Login("a b", "\xe4"),
    b'a LOGIN "" {0+}\r\n': grammar.Login("", ""),
    b"a LOGIN a] b]": grammar.Login("a]", "b]"),
    b"a AUTHENTICATE plain": grammar.Authenticate("PLAIN"),
    b"a AUTHENTICATE PLAIN AGEAYg==": grammar.Authenticate("PLAIN", b"\0a\0b"),
    b"a AUTHENTICATE EXTERNAL =": grammar.Authenticate("EXTERNAL", b""),
    b"a SELECT inbox": grammar.Select("INBOX"),
    b'a SELECT "Sent Items"': grammar.Select("Sent Items"),
    b"a EXAMINE &AOk- (CONDSTORE)": grammar.Select("\xe9", condstore=True),
    b'a SELECT "\xc3\xa9"': grammar.Select("\xe9"),
    b"a CREATE x/y": grammar.Create("x/y"),
    b"a CREATE x (USE (\\Sent \\Junk))": grammar.Create("x", ("\\Sent", "\\Junk")),
    b"a CREATE x (USE ())": grammar.Create("x"),
    b"a DELETE R&-D": grammar.Mailbox("R&D"),
    b"a RENAME a b": grammar.Rename("a", "b"),
    b"a RENAME {1+}\r\na {1+}\r\nb": grammar.Rename("a", "b"),
    b"a SUBSCRIBE a": grammar.Mailbox("a"),
    b"a UNSUBSCRIBE a": grammar.Mailbox("a"),
    b'a LIST "" ""': List("", ("",)),
    b"a LIST a/ %": List("a/", ("%",)),
    b'a LIST "" *': List("", ("*",)),
    b'a LSUB "" inbox': List("", ("INBOX",)),
    b'a LIST () "" %': List("", ("%",), extended=True),
    b'a LIST "" % RETURN ()': List("", ("%",), extended=True),
    b'a LIST "" (INBOX "a b/*" &AOk-%)': List("", ("INBOX", "a b/*", "\xe9%"), extended=True),
    b'a LIST (subscribed RECURSIVEMATCH SPECIAL-USE) "" * '
    b"RETURN (CHILDREN STATUS (MESSAGES SIZE))": (
        List(
            "",
            ("*",),
            frozenset({"SUBSCRIBED", "RECURSIVEMATCH", "SPECIAL-USE"}),
            frozenset({"CHILDREN", "STATUS"}),
            ("MESSAGES", "SIZE"),
            extended=True,
        )
    ),
    b"a STATUS x (messages RECENT UIDNEXT UIDVALIDITY UNSEEN)": Status(
        "x", ("MESSAGES", "RECENT", "UIDNEXT", "UIDVALIDITY", "UNSEEN")
    ),
    b"a STATUS x (HIGHESTMODSEQ SIZE DELETED APPENDLIMIT SIZE)": Status(
        "x", ("HIGHESTMODSEQ", "SIZE", "DELETED", "APPENDLIMIT")
    ),
    b"a APPEND x {2+}\r\n\0m": grammar.Append("x", Flags(), None, b"\0m"),
    b"a APPEND {1+}\r\nx () {0+}\r\n": grammar.Append("x", Flags(), None, b""),
    b'a APPEND x (\\seen foo \\ANSWERED) " 1-Feb-2020 00:30:00 +0100" {1+}\r\nm': grammar.Append(
        "x", Flags(SEEN | ANSWERED, "foo"), "2020-01-31T23:30:00Z", b"m"
    ),
    b'a APPEND x "17-jul-1996 02:44:60 -0730" {1+}\r\nm': grammar.Append(
        "x", Flags(), "1996-07-17T10:14:59Z", b"m"
    ),
    b"a STORE 1:* FLAGS ()": grammar.Store(SequenceSet((), 1), "replace", Flags()),
    b"a STORE 2 +flags.silent \\Deleted $Junk": grammar.Store(
        SequenceSet(((2, 2),)), "add", Flags(DELETED, "$Junk"), silent=True
    ),
    b"a UID STORE 2 (UNCHANGEDSINCE 0) -FLAGS (a B b A)": grammar.Store(
        SequenceSet(((2, 2),)), "remove", Flags(0, "B a"), unchanged_since=0
    ),
    b"a COPY 1,3 x": grammar.Copy(SequenceSet(((1, 1), (3, 3))), "x"),
    b"a UID MOVE 4:2 x": grammar.Copy(SequenceSet(((2, 4),)), "x"),
    b"a ID NIL": grammar.Identity(()),
    b'a ID ("name" "x" "os" nil {1+}\r\nv "\\"")': grammar.Identity(
        (("name", "x"), ("os", None), ("v", '"'))
    ),
    b"a ENABLE condstore X-FOO": grammar.Enable(("CONDSTORE", "X-FOO")),
    b'a GETQUOTA ""': grammar.GetQuota(""),
    b"a GETQUOTAROOT inbox": grammar.Mailbox("INBOX"),
    b"a FETCH 1 FAST": Fetch(
        SequenceSet(((1, 1),)),
        (FetchItem(b"FLAGS"), FetchItem(b"INTERNALDATE"), FetchItem(b"RFC822.SIZE")),
    ),
}

BAD = [
    b"",
    b"a",
    b"a ",
    b" a NOOP",
    b"a  NOOP",
    b"+ NOOP",
    b"a NOOP x",
    b"a\tNOOP",
    b"a \xc3\xa4",
    b"a LOGIN",
    b"a LOGIN x",
    b"a LOGIN  x y",
    b"a LOGIN x y z",
    b'a LOGIN "x y',
    b'a LOGIN "\\x" y',
    b'a LOGIN "x"y',
    b"a LOGIN {1+}\r\nx{1+}\r\ny",
    b"a LOGIN {1+}\r\n\0 y",
    b"a LOGIN \xff y",
    b'a LOGIN "\xff" y',
    b"a UID NOOP",
    b"a UID",
    b"a UID UID FETCH 1 UID",
    b"a UID EXPUNGE",
    b"a EXPUNGE 1",
    b"a AUTHENTICATE PLAIN AGEAYg",
    b"a AUTHENTICATE PLAIN AGE*Yg==",
    b"a AUTHENTICATE PLAIN ====",
    b"a SELECT x (QRESYNC (1 2))",
    b"a SELECT x ()",
    b"a SELECT x (CONDSTORE CONDSTORE)",
    b"a CREATE x (USE \\Sent)",
    b"a CREATE x ()",
    b'a LIST "" % RETURN (FOO)',
    b'a LIST (RECURSIVEMATCH) "" %',
    b'a LIST (REMOTE RECURSIVEMATCH) "" %',
    b'a LIST "" ()',
    b'a LIST "" % RETURN (STATUS ())',
    b'a LIST ""',
    b"a STATUS x ()",
    b"a STATUS x MESSAGES",
    b"a STATUS x (MESSAGES  UNSEEN)",
    b"a STATUS x (FOO)",
    b"a APPEND x",
    b"a APPEND x y",
    b'a APPEND x "quoted"',
    b"a APPEND x (\\Recent) {1+}\r\nm",
    b"a APPEND x (\\Foo) {1+}\r\nm",
    b'a APPEND x "31-Feb-2020 00:00:00 +0000" {1+}\r\nm',
    b'a APPEND x "01-Jan-0001 00:00:00 +0100" {1+}\r\nm',
    b'a APPEND x "01-Foo-2020 00:00:00 +0100" {1+}\r\nm',
    b'a APPEND x "1-Jan-2020 00:00:00 +0100" {1+}\r\nm',
    b"a APPEND x {1+}\r\nm x",
    b"a APPEND x {1+}\r\nm {1+}\r\nm",
    b"a STORE 1 FOO (\\Seen)",
    b"a STORE 1 FLAGS",
    b"a STORE 1 FLAGS \\Seen  x",
    b"a STORE 1 FLAGS (\\Seen) x",
    b"a STORE 1 FLAGS (\\*)",
    b"a STORE 1 (UNCHANGEDSINCE 9223372036854775808) FLAGS ()",
    b"a STORE 1 (UNCHANGEDSINCE 1 UNCHANGEDSINCE 2) FLAGS ()",
    b"a STORE 1 FLAGS (" + b"x" * 129 + b")",
    b"a STORE 1 FLAGS (" + b" ".join(b"k%d" % n for n in range(101)) + b")",
    b"a STORE 1 FLAGS " + b" ".join(b"k%d" % n for n in range(101)),
    b"a COPY 0 x",
    b"a COPY 1: x",
    b"a ID (x y)",
    b'a ID ("x")',
    b'a ID ("' + b"x" * 31 + b'" "y")',
    b"a ID (" + b" ".join([b'"x" "y"'] * 31) + b")",
    b"a ENABLE",
    b"a SETQUOTA x (STORAGE)",
    b"a SETQUOTA x (STORAGE -1)",
    b"a NOSUCH",
    b"a " + b"x" * 33,
]


class CommandTests(SynchronousTestCase):
    """One line for each thing that the grammar allows or forbids."""

    def test_good(self) -> None:
        """What follows the grammar is understood."""
        for text, expected in GOOD.items():
            self.assertEqual(arguments_of(text), expected, text)

    def test_bad(self) -> None:
        """What does not is refused."""
        for text in BAD:
            self.assertRaises(BadSyntax, arguments_of, text)

    def test_head(self) -> None:
        """Tag, name and UID."""
        request = parse((b"A1.x uid fetch 1 uid",))
        self.assertEqual((request.tag, request.name, request.uid), ("A1.x", "FETCH", True))
        self.assertFalse(parse((b"A1.x fetch 1 uid",)).uid)

    def test_error_has_tag_and_place(self) -> None:
        """The session can answer, and the client's author can find the fault."""
        error = self.assertRaises(BadSyntax, parse, (b"t1 LOGIN ", b"user", b" (x)"))
        self.assertEqual(error.tag, "t1")
        self.assertEqual(str(error), "expected a password at octet 14")
        error = self.assertRaises(BadSyntax, parse, (b"t1 NOSUCH",))
        self.assertEqual(error.tag, "t1")
        self.assertEqual(self.assertRaises(BadSyntax, parse, (b"(",)).tag, "")

    def test_errors_do_not_echo(self) -> None:
        """A password in the wrong place stays where it is."""
        for text in (b"a LOGIN x secret extra", b"a NOOP secret", b"secret", b"a secret secret"):
            error = self.assertRaises(BadSyntax, parse, (text,))
            self.assertNotIn("secret", str(error))

    def test_repr_hides(self) -> None:
        """Values with secrets do not print them."""
        for text in (
            b"a LOGIN x secret",
            b"a AUTHENTICATE PLAIN c2VjcmV0",
            b"a APPEND x {6+}\r\nsecret",
        ):
            self.assertNotIn("secret", repr(parse(pieces(text))))

    def test_fetch_error_place(self) -> None:
        """Caching the items does not move the place of an error."""
        error = self.assertRaises(BadSyntax, parse, (b"a FETCH 1 (FLAGS FOO)",))
        self.assertEqual(str(error), "expected a FETCH item at octet 17")


class NameTests(SynchronousTestCase):
    """Mailbox names as arguments."""

    def test_invalid(self) -> None:
        """What cannot be a name is NO [CANNOT], not BAD."""
        for name in (
            b"R&D",
            b"&AOk",
            b"&AGEA-",
            b'"a\x01b"',
            b"{1+}\r\n\n",
            b"{1+}\r\n\xff",
            b"&2D0-",
        ):
            error = self.assertRaises(BadName, arguments_of, b"a CREATE " + name)
            self.assertEqual(error.imap_code, "CANNOT")
            self.assertEqual(error.tag, "a")

    def test_utf8_mode(self) -> None:
        """After ENABLE an ampersand is one."""
        self.assertEqual(arguments_of(b"a CREATE R&D", utf8=True), grammar.Create("R&D"))
        self.assertEqual(arguments_of(b'a CREATE "&AOk-"', utf8=True), grammar.Create("&AOk-"))

    def test_inbox(self) -> None:
        """Any case, any form; nothing else is INBOX."""
        for name in (b"inbox", b'"InBoX"', b"{5+}\r\nINBOx"):
            self.assertEqual(arguments_of(b"a DELETE " + name), grammar.Mailbox("INBOX"))
        self.assertEqual(arguments_of(b"a DELETE inbox2"), grammar.Mailbox("inbox2"))


FETCHES: dict[bytes, FetchItem] = {
    b"BODY[]": FetchItem(b"BODY[]", Section(), False),
    b"body.peek[]": FetchItem(b"BODY[]", Section()),
    b"BODY[HEADER]": FetchItem(b"BODY[HEADER]", Section(kind="HEADER"), False),
    b"BODY[text]<0.5>": FetchItem(b"BODY[TEXT]<0>", Section(kind="TEXT", start=0, length=5), False),
    b"BODY.PEEK[1.20.MIME]": FetchItem(b"BODY[1.20.MIME]", Section("1.20", "MIME")),
    b"BODY.PEEK[3]<4294967296.1>": FetchItem(
        b"BODY[3]<4294967296>", Section("3", start=4294967296, length=1)
    ),
    b'BODY.PEEK[1.header.fields (From "to" {2+}\r\ncc "a(b")]': FetchItem(
        b'BODY[1.HEADER.FIELDS (From to cc "a(b")]',
        Section("1", "HEADER.FIELDS", ("FROM", "TO", "CC", "A(B")),
    ),
    b"BODY.PEEK[HEADER.FIELDS.NOT (X)]": FetchItem(
        b"BODY[HEADER.FIELDS.NOT (X)]", Section(kind="HEADER.FIELDS.NOT", fields=("X",))
    ),
    b"RFC822": FetchItem(b"RFC822", Section(), False),
    b"RFC822.HEADER": FetchItem(b"RFC822.HEADER", Section(kind="HEADER")),
    b"RFC822.TEXT": FetchItem(b"RFC822.TEXT", Section(kind="TEXT"), False),
    b"body": FetchItem(b"BODY"),
    b"BODYSTRUCTURE": FetchItem(b"BODYSTRUCTURE"),
    b"modseq": FetchItem(b"MODSEQ"),
    b"UID": FetchItem(b"UID"),
}

BAD_FETCHES = [
    b"",
    b"()",
    b"(FAST)",
    b"(FLAGS",
    b"FLAGS)",
    b"FLAGS UID",
    b"(FLAGS  UID)",
    b"BODY.PEEK",
    b"BODY[",
    b"BODY[0]",
    b"BODY[1.]",
    b"BODY[1.0]",
    b"BODY[.1]",
    b"BODY[4294967296]",
    b"BODY[" + b"1." * 100 + b"1]",
    b"BODY[MIME]",
    b"BODY[1TEXT]",
    b"BODY[HEADER.FIELDS]",
    b"BODY[HEADER.FIELDS ()]",
    b'BODY[HEADER.FIELDS ("")]',
    b'BODY[HEADER.FIELDS ("a b")]',
    b"BODY[HEADER.FIELDS (a:b)]",
    b"BODY[HEADER.FIELDS ({1+}\r\n\n)]",
    b"BODY[HEADER.FIELDS (" + b" ".join([b"x"] * 201) + b")]",
    b"BODY[HEADERS]",
    b"BODY[]<0.0>",
    b"BODY[]<0>",
    b"BODY[]<-1.5>",
    b"BODY[]<9223372036854775808.5>",
    b"BODY[]<99999999999999999999.5>",
    b"RFC822[]",
    b"FLAGS[]",
    b"FLAGS (CHANGEDSINCE 0)",
    b"FLAGS (CHANGEDSINCE 1 VANISHED)",
    b"FLAGS (VANISHED)",
    b"FLAGS ()",
    b"(" + b" ".join([b"UID"] * 101) + b")",
]


class FetchTests(SynchronousTestCase):
    """FETCH items."""

    def test_items(self) -> None:
        """Each item alone and in a list."""
        for text, item in FETCHES.items():
            self.assertEqual(arguments_of(b"a FETCH 1 " + text).items, (item,), text)
            listed = arguments_of(b"a FETCH 1 (UID " + text + b" FLAGS)").items
            self.assertEqual(listed, (FetchItem(b"UID"), item, FetchItem(b"FLAGS")), text)

    def test_bad(self) -> None:
        """Twice, so that a cache cannot change the answer."""
        for text in BAD_FETCHES * 2:
            self.assertRaises(BadSyntax, arguments_of, b"a FETCH 1 " + text)

    def test_macros(self) -> None:
        """ALL and FULL are FAST and more."""
        fast = arguments_of(b"a FETCH 1 fast").items
        every = arguments_of(b"a FETCH 1 ALL").items
        self.assertEqual(every, (*fast, FetchItem(b"ENVELOPE")))
        self.assertEqual(arguments_of(b"a FETCH 1 full").items, (*every, FetchItem(b"BODY")))

    def test_changed_since(self) -> None:
        """The modifier, behind a list and behind one item."""
        for items in (b"(UID FLAGS)", b"FLAGS", b"ALL", b"BODY.PEEK[HEADER.FIELDS ({1+}\r\na)]"):
            found = arguments_of(b"a FETCH 1 " + items + b" (CHANGEDSINCE 9223372036854775807)")
            self.assertEqual(found.changed_since, 2**63 - 1)


class SequenceTests(SynchronousTestCase):
    """Sets of numbers."""

    def test_forms(self) -> None:
        """Order and overlap do not matter."""
        cases: dict[bytes, SequenceSet] = {
            b"1": SequenceSet(((1, 1),)),
            b"5:3": SequenceSet(((3, 5),)),
            b"1,2,3": SequenceSet(((1, 3),)),
            b"9,2:4,3:7": SequenceSet(((2, 7), (9, 9))),
            b"*": SequenceSet((), MAX_UID),
            b"*:4": SequenceSet((), 4),
            b"4:*,2,*": SequenceSet(((2, 2),), 4),
            b"*:*": SequenceSet((), MAX_UID),
            b"4294967295": SequenceSet(((MAX_UID, MAX_UID),)),
        }
        for text, expected in cases.items():
            self.assertEqual(parse_set(text), expected, text)

    def test_bad(self) -> None:
        """Neither zero nor signs nor gaps."""
        for text in (
            b"",
            b"0",
            b"01",
            b"1:0",
            b",",
            b"1,",
            b",1",
            b"1,,2",
            b"1:2:3",
            b":",
            b"-1",
            b"1_0",
            b"**",
            b"4294967296",
            b"4294967296:*",
            b"99999999999",
            b"1\n",
        ):
            self.assertRaises(BadSyntax, parse_set, text)

    def test_too_many(self) -> None:
        """A cap on elements."""
        parse_set(b",".join([b"1"] * MAX_ELEMENTS))
        self.assertRaises(BadSyntax, parse_set, b",".join([b"1"] * (MAX_ELEMENTS + 1)))

    def test_resolve(self) -> None:
        """The star is the largest number in use, also below its range's other end."""
        cases = [
            (b"5:*", 10, ((5, 10),)),
            (b"5:*", 3, ((3, 3),)),
            (b"*", 3, ((3, 3),)),
            (b"2,*", 3, ((2, 3),)),
            (b"1:*", 0, ()),
            (b"2:3,*", 0, ((2, 3),)),
        ]
        for text, largest, expected in cases:
            self.assertEqual(parse_set(text).resolve(largest), expected, text)

    def test_beyond(self) -> None:
        """Message numbers that nobody has."""
        for text, count in ((b"4", 3), (b"1:4", 3), (b"4:*", 3), (b"*", 0), (b"1:*", 0)):
            self.assertTrue(parse_set(text).beyond(count), text)
        for text, count in ((b"3", 3), (b"*", 3), (b"1:*", 1), (b"3:*", 3)):
            self.assertFalse(parse_set(text).beyond(count), text)

    @given(st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), max_size=12))
    def test_merge(self, pairs: list[tuple[int, int]]) -> None:
        """Merged ranges have the same members, ascending, and do not touch."""
        pairs = [(min(pair), max(pair)) for pair in pairs]
        members = {n for low, high in pairs for n in range(low, high + 1)}
        merged = merge(pairs)
        self.assertEqual([n for low, high in merged for n in range(low, high + 1)], sorted(members))
        self.assertTrue(all(a[1] + 1 < b[0] for a, b in pairwise(merged)))

    @given(st.sets(st.integers(1, MAX_UID), min_size=1, max_size=50))
    def test_round_trip(self, numbers: set[int]) -> None:
        """What we write is what we read."""
        ranges = fmt.ranges_of(sorted(numbers))
        self.assertEqual(parse_set(fmt.number_set(ranges)), SequenceSet(ranges))

    def test_fast(self) -> None:
        """3,000 ids in a moment: the attack that stopped others for seconds."""
        text = b",".join(b"%d" % (7 * n) for n in range(3000, 0, -1))
        times = []
        for _ in range(5):
            start = time.perf_counter()
            parse_set(text)
            times.append(time.perf_counter() - start)
        self.assertLess(min(times), 0.05)


class StringTests(SynchronousTestCase):
    """Strings go out and come back."""

    @given(st.binary(max_size=50).filter(lambda value: b"\0" not in value), st.booleans())
    def test_round_trip(self, value: bytes, utf8: bool) -> None:
        """Through astring, as quoted string or literal."""
        written = fmt.astring(value, utf8=utf8).replace(b"}\r\n", b"+}\r\n", 1)
        if not fmt.astring(value, utf8=utf8).startswith(b"{"):
            written = fmt.astring(value, utf8=utf8)
        arguments = Arguments(pieces(b"x " + written))
        arguments.expect(b"x ")
        self.assertEqual(arguments.astring(), value)
        arguments.end()

    @given(st.lists(st.sampled_from(["\\Seen", "\\deleted", "a", "A", "b", "$Junk"]), max_size=8))
    def test_flags(self, names: list[str]) -> None:
        """Written flags read as the same flags."""
        flags = gather_flags(names)
        arguments = Arguments((fmt.flag_list(flags.system, flags.keywords),))
        self.assertEqual(arguments.flag_list(), flags)


class FuzzTests(SynchronousTestCase):
    """Nothing but BadSyntax, whatever comes."""

    def attempt(self, parts: tuple[bytes, ...]) -> None:
        """Parse and allow only the one error."""
        with contextlib.suppress(BadSyntax):
            parse(parts)

    @given(st.lists(st.binary(max_size=60), min_size=1, max_size=5))
    def test_random(self, parts: list[bytes]) -> None:
        """Random octets, also behind each command's name."""
        self.attempt(tuple(parts))
        for name in grammar.PARSERS:
            self.attempt((b"a " + name.encode() + b" " + parts[0], *parts[1:], *parts[1:]))

    def test_mutated(self) -> None:
        """Good commands with octets changed, dropped, doubled, and pieces cut."""
        rng = random.Random(7)
        seeds = [pieces(text) for text in GOOD]
        seeds += [pieces(b"a FETCH 1 (" + text + b")") for text in FETCHES]
        seeds += [
            pieces(b"a SEARCH RETURN (MIN) OR (NOT 1:* SINCE 1-Feb-2020) HEADER {1+}\r\nx y"),
            pieces(b'a SEARCH CHARSET UTF-8 MODSEQ "/flags/x" all 5 UID 4 KEYWORD x LARGER 3'),
        ]
        alphabet = b'()[]{}<>"\\%*+-.:, \r\n\0\xff09azNIL'
        for _ in range(20_000):
            parts = list(rng.choice(seeds))
            for _ in range(rng.randint(1, 4)):
                index = rng.randrange(len(parts))
                text = parts[index]
                at = rng.randint(0, len(text))
                end = at + rng.randint(0, 3)
                filler = bytes(rng.choices(alphabet, k=rng.randint(0, 3)))
                parts[index] = text[:at] + filler + text[end:]
            if rng.random() < 0.1:
                parts = parts[: rng.randint(1, len(parts))]
            self.attempt(tuple(parts))

    def test_bombs(self) -> None:
        """Deep and long input ends soon."""
        start = time.perf_counter()
        for text in (
            b"a NOOP " + b"(" * 60_000,
            b"a SEARCH " + b"(" * 60_000,
            b"a SEARCH " + b"NOT " * 15_000,
            b"a SEARCH " + b"OR " * 20_000,
            b"a SEARCH " + b"ALL " * 15_000,
            b"a FETCH 1 " + b"(" * 60_000,
            b"a FETCH 1:*" + b",1:*" * 15_000 + b" FLAGS",
            b"a FETCH 1 BODY[" + b"1." * 30_000 + b"]",
            b"a STORE 1 FLAGS (" + b"x " * 30_000,
            b'a LIST "" (' + b"% " * 30_000,
            b"a CREATE " + b"&AOk-" * 12_000,
            b'a LOGIN "' + b"\\" * 60_000,
        ):
            self.attempt((text,))
        self.assertLess(time.perf_counter() - start, 5)
