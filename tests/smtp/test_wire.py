"""The framer: lines, DATA and BDAT, at every chunk size."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailsrv.smtp.wire import (
    LINE_LIMIT,
    SWALLOW_LIMIT,
    Chunk,
    End,
    Framer,
    Line,
    LineTooLong,
)


def read(framer, pieces, after=None):
    """Feed pieces; join chunks; ``after`` maps a line to a call that switches the mode."""
    events = []
    for piece in pieces:
        framer.receive(piece)
        while (event := framer.next()) is not None:
            if isinstance(event, Chunk) and events and isinstance(events[-1], bytes):
                events[-1] += event.octets
            elif isinstance(event, Chunk):
                events.append(event.octets)
            else:
                events.append(event)
            if isinstance(event, Line) and after:
                after(framer, event.text)
    return events


def pieces(octets, size):
    return [octets[start : start + size] for start in range(0, len(octets), size)]


def switch(framer, line):
    if line == b"DATA":
        framer.begin_data()
    elif line.startswith(b"BDAT "):
        framer.begin_chunk(int(line[5:]))


class LineTests(SynchronousTestCase):
    def test_lines_at_every_chunk_size(self):
        octets = b"EHLO a\r\n\r\nMAIL FROM:<>\r\nQUIT\r\n"
        expected = [Line(b"EHLO a"), Line(b""), Line(b"MAIL FROM:<>"), Line(b"QUIT")]
        for size in range(1, len(octets) + 1):
            self.assertEqual(read(Framer(), pieces(octets, size)), expected)

    def test_bare_line_ends_do_not_end_a_line(self):
        self.assertEqual(read(Framer(), [b"NOOP\nNOOP\rNOOP\r\n"]), [Line(b"NOOP\nNOOP\rNOOP")])

    def test_longest_line(self):
        text = b"x" * (LINE_LIMIT - 2)
        for size in (1, 7, LINE_LIMIT):
            self.assertEqual(read(Framer(), pieces(text + b"\r\n", size)), [Line(text)])

    def test_line_over_limit_is_skipped_once(self):
        for length in (LINE_LIMIT - 1, LINE_LIMIT, LINE_LIMIT * 3):
            octets = b"x" * length + b"\r\nNOOP\r\n"
            for size in (1, 100, len(octets)):
                events = read(Framer(), pieces(octets, size))
                self.assertEqual(events, [LineTooLong(hopeless=False), Line(b"NOOP")])

    def test_endless_line_is_hopeless_and_keeps_no_octets(self):
        framer = Framer()
        events = read(framer, [b"x" * 1024] * (2 + SWALLOW_LIMIT // 1024 + 2))
        self.assertEqual(events[:2], [LineTooLong(hopeless=False), LineTooLong(hopeless=True)])
        self.assertLess(framer.buffered, 2)

    def test_buffered_counts_what_waits(self):
        framer = Framer()
        framer.receive(b"STARTTLS\r\nNOOP")
        self.assertEqual(framer.next(), Line(b"STARTTLS"))
        self.assertEqual(framer.buffered, 4)


class DataTests(SynchronousTestCase):
    CASES = (
        (b".\r\n", b""),
        (b"a\r\n.\r\n", b"a\r\n"),
        (b"\r\n.\r\n", b"\r\n"),
        (b"..\r\n.\r\n", b".\r\n"),
        (b"...\r\n..a\r\n.b\r\n.\r\n", b"..\r\n.a\r\nb\r\n"),
        (b"a\r\n..\r\n..\r\n.\r\n", b"a\r\n.\r\n.\r\n"),
        (b"a.\r\nb..\r\n.\r\n", b"a.\r\nb..\r\n"),
        (b"a\r\n.\rb\r\n.\r\n", b"a\r\n\rb\r\n"),
        (b"a\r\n\r\n\r\n.\r\n", b"a\r\n\r\n\r\n"),
        (b"a\r\r\n.\r\n", b"a\r\r\n"),
        (b"a\n.\nb\r.\rc\r\n.\r\n", b"a\n.\nb\r.\rc\r\n"),
        (b"x" * 20000 + b"\r\n.\r\n", b"x" * 20000 + b"\r\n"),
    )

    def test_unstuffs_and_ends_exactly_at_every_chunk_size(self):
        for wire, content in self.CASES:
            octets = b"DATA\r\n" + wire + b"NOOP\r\n"
            expected = [Line(b"DATA"), *([content] if content else []), End(), Line(b"NOOP")]
            sizes = range(1, len(octets) + 1) if len(octets) < 200 else (1, 16384, 16385, 20000)
            for size in sizes:
                self.assertEqual(read(Framer(), pieces(octets, size), switch), expected)

    def test_in_message_ends_with_the_message(self):
        framer = Framer()
        framer.begin_data()
        framer.receive(b"a\r\n.\r\n")
        self.assertTrue(framer.in_message)
        self.assertEqual([framer.next(), framer.next()], [Chunk(b"a\r\n"), End()])
        self.assertFalse(framer.in_message)

    def test_gives_out_content_without_waiting_for_the_end(self):
        framer = Framer()
        framer.begin_data()
        framer.receive(b"x" * 100_000)
        self.assertEqual(framer.next(), Chunk(b"x" * 100_000))
        self.assertEqual(framer.buffered, 0)

    @given(st.lists(st.sampled_from([b"\r", b"\n", b".", b"a", b"\r\n", b"\0"])), st.integers(1, 9))
    def test_any_content_survives_stuffing(self, parts, size):
        content = b"".join(parts) + b"\r\n"
        stuffed = (b"\r\n" + content).replace(b"\r\n.", b"\r\n..")[2:]
        octets = b"DATA\r\n" + stuffed + b".\r\nQUIT\r\n"
        events = read(Framer(), pieces(octets, size), switch)
        self.assertEqual(events, [Line(b"DATA"), content, End(), Line(b"QUIT")])


class ChunkTests(SynchronousTestCase):
    def test_counted_octets_are_never_commands(self):
        octets = b"BDAT 14\r\nQUIT\r\n\r\n.\r\n\r\n.BDAT 0\r\nNOOP\r\n"
        expected = [
            Line(b"BDAT 14"),
            b"QUIT\r\n\r\n.\r\n\r\n.",
            End(),
            Line(b"BDAT 0"),
            End(),
            Line(b"NOOP"),
        ]
        for size in range(1, len(octets) + 1):
            self.assertEqual(read(Framer(), pieces(octets, size), switch), expected)
