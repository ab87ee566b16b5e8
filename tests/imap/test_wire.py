"""Octets to commands, however they are cut; what is too much is refused in time."""

from collections.abc import Callable, Iterator

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailsrv.imap.wire import (
    AFTER_LOGIN,
    BEFORE_LOGIN,
    BadLine,
    Command,
    Event,
    Framer,
    Limits,
    Line,
    LiteralTooLarge,
    NeedContinuation,
    TooLong,
    tag_of,
)

SMALL = Limits(line=40, literal=10, command=60, literals=3, discard=100)


def events_of(
    script: bytes, size: int, make: Callable[[], Framer] = lambda: Framer(SMALL)
) -> list[Event]:
    """What a script gives when it comes in chunks of ``size``."""
    framer = make()
    events = []
    for start in range(0, len(script), size):
        events += framer.feed(script[start : start + size])
    return events


SCRIPTS: dict[str, tuple[bytes, list[Event]]] = {
    "plain": (b"a NOOP\r\n", [Command((b"a NOOP",))]),
    "bare LF": (b"a NOOP\nb NOOP\r\n", [Command((b"a NOOP",)), Command((b"b NOOP",))]),
    "empty": (b"\r\n", [Command((b"",))]),
    "unfinished": (b"a NOOP", []),
    "synchronising": (
        b"a LOGIN {3}\r\nx\r\n {2}\r\ny}\r\n",
        [
            NeedContinuation(),
            NeedContinuation(),
            Command((b"a LOGIN ", b"x\r\n", b" ", b"y}", b"")),
        ],
    ),
    "non-synchronising": (
        b"a LOGIN {3+}\r\n\r\n\0 {0+}\r\n\r\nb NOOP\r\n",
        [Command((b"a LOGIN ", b"\r\n\0", b" ", b"", b"")), Command((b"b NOOP",))],
    ),
    "commands inside a literal": (
        b"a LOGIN {8+}\r\nb NOOP\r\n x\r\n",
        [Command((b"a LOGIN ", b"b NOOP\r\n", b" x"))],
    ),
    "braces elsewhere": (b'a LOGIN {3} "x"}\r\n', [BadLine("malformed literal", "a")]),
    "closing brace alone": (b"a NOOP }\r\n", [Command((b"a NOOP }",))]),
    "NUL": (b"a NO\0OP\r\nb NOOP\r\n", [BadLine("NUL in a command", "a"), Command((b"b NOOP",))]),
    "stray CR": (b"a NO\rOP\r\n", [BadLine("CR in a command", "a")]),
    "two CR": (b"a NOOP\r\r\n", [BadLine("CR in a command", "a")]),
    "longest line": (b"a " + b"x" * 38 + b"\r\n", [Command((b"a " + b"x" * 38,))]),
    "long line": (b"a " + b"x" * 39 + b"\r\nb NOOP\r\n", [TooLong("a")]),
    "long line without end": (b"abc " + b"x" * 100, [TooLong("abc")]),
    "long line without tag": (b"x" * 100, [TooLong("")]),
    "long line after a literal": (
        b"a X {1+}\r\n1 y" + b"x" * 100,
        [TooLong("a")],
    ),
    "long line of a refused command": (
        b"a X {11+}\r\n12345678901secret " + b"x" * 100,
        [LiteralTooLarge("a"), TooLong("")],
    ),
    "refused synchronising": (
        b"a LOGIN {11}\r\nb NOOP\r\n",
        [LiteralTooLarge("a"), Command((b"b NOOP",))],
    ),
    "refused non-synchronising": (
        b"a LOGIN {11+}\r\nx NOOP\r\nxyz {4+}\r\nr\r\ns y\r\nb NOOP\r\n",
        [LiteralTooLarge("a"), Command((b"b NOOP",))],
    ),
    "refused, then synchronising": (
        b"a LOGIN {11+}\r\n12345678901 {4}\r\nb NOOP\r\n",
        [LiteralTooLarge("a"), Command((b"b NOOP",))],
    ),
    "refused and enormous": (b"a LOGIN {101+}\r\nb NOOP\r\n", [LiteralTooLarge("a", fatal=True)]),
    "refused, then enormous": (
        b"a LOGIN {11+}\r\n12345678901 {101+}\r\nb NOOP\r\n",
        [LiteralTooLarge("a"), TooLong("")],
    ),
    "bad, with a literal behind": (
        b"a N\0 {9+}\r\nb NOOP\r\n \r\nc NOOP\r\n",
        [BadLine("NUL in a command", "a"), Command((b"c NOOP",))],
    ),
    "too many literals": (
        b"a X {1+}\r\n1{1+}\r\n2{1+}\r\n3{1+}\r\n4\r\nb NOOP\r\n",
        [LiteralTooLarge("a"), Command((b"b NOOP",))],
    ),
    "too much in all": (
        b"a X" + b" {10+}\r\n0123456789" * 3 + b" " + b"x" * 30 + b"\r\nb NOOP\r\n",
        [TooLong("a")],
    ),
    "literals within the whole": (
        b"a " + b"X" * 30 + b" {10+}\r\n0123456789" + b"Y" * 10 + b" {9+}\r\n012345678\r\n",
        [LiteralTooLarge("a")],
    ),
}


class ChunkTests(SynchronousTestCase):
    """Every script, in chunks of every size."""

    def test_scripts(self) -> None:
        """Chunks change nothing."""
        for name, (script, expected) in SCRIPTS.items():
            for size in range(1, len(script) + 1):
                self.assertEqual(events_of(script, size), expected, (name, size))

    @given(st.lists(st.integers(1, 30)), st.sampled_from(sorted(SCRIPTS)))
    def test_uneven_chunks(self, sizes: list[int], name: str) -> None:
        """Nor do chunks of uneven size."""
        script, expected = SCRIPTS[name]
        framer = Framer(SMALL)
        events: list[Event] = []
        at = 0
        for size in [*sizes, len(script)]:
            events += framer.feed(script[at : at + size])
            at += size
        self.assertEqual(events, expected)

    @given(st.binary(max_size=200))
    def test_any_octets(self, data: bytes) -> None:
        """Any octets give the same events in one chunk and one by one."""
        self.assertEqual(events_of(data, 1), events_of(data, len(data) or 1))

    @given(
        st.lists(
            st.sampled_from(
                [
                    b"a X ",
                    b"{3}\r\n",
                    b"{3+}\r\n",
                    b"{99+}\r\n",
                    b"{11+}\r\n",
                    b"\r\n",
                    b"xyz",
                    b"\0",
                ]
            ),
            max_size=20,
        )
    )
    def test_any_tokens(self, tokens: list[bytes]) -> None:
        """So do literal heads in any order."""
        script = b"".join(tokens)
        self.assertEqual(events_of(script, 1), events_of(script, len(script) or 1))


class LiteralHeadTests(SynchronousTestCase):
    """Only ``{digits}`` and ``{digits+}`` announce a literal."""

    def test_malformed(self) -> None:
        """What looks like a literal and is none is refused, never continued."""
        for head in (b"{-5}", b"{1_0}", b"{ 5}", b"{5 }", b"{0x5}", b"{}", b"{12345678901}"):
            events = events_of(b"a LOGIN " + head + b"\r\n", 1000)
            self.assertEqual(events, [BadLine("malformed literal", "a")], head)

    def test_malformed_non_synchronising(self) -> None:
        """Octets of unknown number follow: nothing after them may be believed."""
        for head in (b"{-5+}", b"{99999999999999999999999+}", b"{+}", b"{5+ }", b"{+5}"):
            framer = Framer(SMALL)
            events = framer.feed(b"a LOGIN " + head + b"\r\nb NOOP\r\n")
            self.assertEqual(
                events, [BadLine("malformed non-synchronising literal", "a", fatal=True)], head
            )
            self.assertTrue(framer.closed)
            self.assertEqual(framer.feed(b"c NOOP\r\n"), [])

    def test_large_numbers(self) -> None:
        """No continuation for more than may come."""
        for size in (2**32 - 1, 2**32, 9_999_999_999):
            events = events_of(b"a LOGIN {%d}\r\n" % size, 1000, lambda: Framer(AFTER_LOGIN))
            self.assertEqual(events, [LiteralTooLarge("a")], size)

    def test_inside_a_line(self) -> None:
        """A literal head in the middle of a line is only text."""
        self.assertEqual(events_of(b"a X {3} y\r\n", 100), [Command((b"a X {3} y",))])


class MessageTests(SynchronousTestCase):
    """APPEND's message has a limit of its own."""

    def setUp(self) -> None:
        """A framer that notes what it asks."""
        self.asked: list[tuple[bytes, int]] = []

    def framer(self) -> Framer:
        """One whose messages may have 30 octets."""

        def limit(head: bytes, index: int) -> int:
            self.asked.append((head, index))
            return 30

        return Framer(SMALL, limit)

    def test_message(self) -> None:
        """A literal after the mailbox name is the message."""
        events = self.framer().feed(b"a append x (\\Seen) {30+}\r\n" + b"m" * 30 + b"\r\n")
        self.assertEqual(events, [Command((b"a append x (\\Seen) ", b"m" * 30, b""))])
        self.assertEqual(self.asked, [(b"a append x (\\Seen) ", 0)])

    def test_name_in_a_literal(self) -> None:
        """The mailbox name is not the message, also as a literal."""
        events = self.framer().feed(b"a APPEND {1+}\r\nx {30+}\r\n" + b"m" * 30 + b"\r\n")
        self.assertEqual(events, [Command((b"a APPEND ", b"x", b" ", b"m" * 30, b""))])
        self.assertEqual(self.asked, [(b"a APPEND ", 1)])
        self.assertEqual(
            self.framer().feed(b"a APPEND {11+}\r\n"), [LiteralTooLarge("a", message=False)]
        )

    def test_too_large(self) -> None:
        """One octet more is refused before it is sent."""
        events = self.framer().feed(b"a APPEND x {31}\r\nb NOOP\r\n")
        self.assertEqual(events, [LiteralTooLarge("a", message=True), Command((b"b NOOP",))])

    def test_several(self) -> None:
        """All messages of a command share the limit."""
        framer = self.framer()
        events = framer.feed(b"a APPEND x {20+}\r\n" + b"m" * 20 + b" {11+}\r\n" + b"m" * 11)
        self.assertEqual(events, [LiteralTooLarge("a", message=True)])
        self.assertEqual(framer.feed(b"\r\nb NOOP\r\n"), [Command((b"b NOOP",))])

    def test_other_commands(self) -> None:
        """A word like APPEND elsewhere changes nothing."""
        for head in (b"APPEND x ", b"a SEARCH APPEND ", b"a APPENDX x "):
            events = self.framer().feed(head + b"{11}\r\n")
            self.assertEqual(events, [LiteralTooLarge(tag_of(head))], head)
        self.assertEqual(self.asked, [])

    def test_without_callback(self) -> None:
        """Nobody appends before login."""
        self.assertEqual(
            Framer(SMALL).feed(b"a APPEND x {11}\r\n"), [LiteralTooLarge("a", message=True)]
        )


class ModeTests(SynchronousTestCase):
    """What a caller may change between events."""

    def test_pulled_one_by_one(self) -> None:
        """Nothing is looked at before it is asked for, so limits can follow a login."""
        framer = Framer(BEFORE_LOGIN)
        framer.receive(b"a LOGIN x y\r\nb X " + b"x" * 10_000 + b"\r\n")
        self.assertEqual(framer.next_event(), Command((b"a LOGIN x y",)))
        framer.limits = AFTER_LOGIN
        self.assertEqual(framer.next_event(), Command((b"b X " + b"x" * 10_000,)))
        self.assertIsNone(framer.next_event())

    def test_raw_line(self) -> None:
        """A raw line may look like anything; the next is a command again."""
        framer = Framer(SMALL)
        framer.receive(b"a IDLE\r\nDONE {5}\0\r\nb NOOP\r\n")
        self.assertEqual(framer.next_event(), Command((b"a IDLE",)))
        framer.next_line()
        self.assertEqual(framer.next_event(), Line(b"DONE {5}\0"))
        self.assertEqual(framer.next_event(), Command((b"b NOOP",)))

    def test_raw_line_too_long(self) -> None:
        """A raw line has its own limit."""
        framer = Framer(SMALL)
        framer.next_line(100)
        self.assertEqual(framer.feed(b"x" * 100 + b"\r\n"), [Line(b"x" * 100)])
        framer.next_line(100)
        self.assertEqual(framer.feed(b"secret " + b"x" * 95), [TooLong("")])
        self.assertTrue(framer.closed)

    def test_pending(self) -> None:
        """STARTTLS asks whether anything came behind it."""
        for behind, pending in ((b"", False), (b"b", True), (b"b NOOP\r\n", True), (b"\r\n", True)):
            framer = Framer(SMALL)
            framer.receive(b"a STARTTLS\r\n" + behind)
            framer.next_event()
            self.assertEqual(framer.pending, pending, behind)
            self.assertEqual(framer.buffered, len(behind))
            self.assertEqual(framer.take_rest(), behind)
            self.assertFalse(framer.pending)
            self.assertEqual(framer.feed(b"c NOOP\r\n"), [Command((b"c NOOP",))])

    def test_pending_within_a_command(self) -> None:
        """A command whose literal is awaited is pending."""
        framer = Framer(SMALL)
        framer.feed(b"a X {3}\r\n")
        self.assertTrue(framer.pending)

    def test_repr_hides(self) -> None:
        """Passwords do not get into logs with an event."""
        text = repr([Command((b"a LOGIN x secret",)), Line(b"secret")])
        self.assertNotIn("secret", text)

    def test_tags(self) -> None:
        """A tag has no +, no specials and a blank behind it."""
        good = {b"a x": "a", b"A1.]-\x7e x": "A1.]-~", b"a": "a"}
        for text, tag in good.items():
            self.assertEqual(tag_of(text), tag)
        for text in (b"", b" a", b"a+ x", b"a(b x", b'"a" x', b"\xc3\xa4 x", b"* x", b"a{1} x"):
            self.assertEqual(tag_of(text), "", text)


class LinearTests(SynchronousTestCase):
    """Work grows with the number of octets, not with its square."""

    def operations(self, size: int) -> Iterator[int]:
        """Octets that ``find`` looks at for one line in one-octet chunks."""
        framer = Framer(Limits(line=size, literal=1, command=size))
        for _ in range(size):
            before = framer._scanned
            framer.feed(b"x")
            yield framer._scanned - before

    def test_one_octet_at_a_time(self) -> None:
        """Each octet of an unfinished line is looked at once."""
        self.assertEqual(sum(self.operations(5000)), 5000)

    def test_large_literal(self) -> None:
        """A message in small pieces arrives whole."""
        framer = Framer(AFTER_LOGIN, lambda _head, _index: 2_000_000)
        framer.feed(b"a APPEND x {1000000+}\r\n")
        piece = bytes(range(250)) * 4
        for _ in range(999):
            self.assertEqual(framer.feed(piece), [])
        (event,) = framer.feed(piece + b"\r\n")
        assert isinstance(event, Command)
        self.assertEqual(event.parts[1], piece * 1000)
        self.assertFalse(framer.pending)
