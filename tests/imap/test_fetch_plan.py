"""Plans: what they ask the store for, and what they make of its rows."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mailsrv.imap.fetch import FetchPlan, LargeSection, Piece, compile_plan
from mailsrv.imap.fetch_grammar import FetchItems
from mailsrv.imap.grammar import parse
from mailsrv.store.values import DELETED, LARGE, SEEN, FetchPage, FetchRequest, Row, Section

CELLS: dict[str, Any] = {
    "flags": SEEN,
    "keywords": "$Junk",
    "modseq": 77,
    "internal_date": "2026-11-03T09:05:00Z",
    "size": 1234,
    "envelope": b"(ENV)",
    "bodystructure": b"(STRUCTURE EXT)",
    "body": b"(STRUCTURE)",
}


def items(text: str) -> FetchItems:
    """FETCH items as a client writes them."""
    found: FetchItems = parse((b"a FETCH 1 " + text.encode(),)).arguments.items
    return found


def request(plan: FetchPlan) -> FetchRequest:
    """What a plan asks for."""
    return plan.request(((1, 9),))


def row(plan: FetchPlan, uid: int, *sections: bytes | int | None, **cells: Any) -> Row:
    """A row as the store would give it."""
    values = CELLS | cells
    asked = request(plan)
    assert len(sections) == len(asked.sections)
    return (uid, *[values[column] for column in asked.columns], *sections)


def octets(pieces: list[Piece]) -> bytes:
    """Pieces joined; there is no large section among them."""
    assert all(isinstance(piece, bytes) for piece in pieces)
    return b"".join(piece for piece in pieces if isinstance(piece, bytes))


class RequestTests(SynchronousTestCase):
    """Columns and sections, each asked for once."""

    def test_columns(self) -> None:
        """Only what is needed."""
        cases: dict[str, tuple[str, ...]] = {
            "UID": (),
            "FLAGS": ("flags", "keywords"),
            "(FLAGS FLAGS UID RFC822.SIZE)": ("flags", "keywords", "size"),
            "FULL": ("flags", "keywords", "internal_date", "size", "envelope", "body"),
            "(MODSEQ BODYSTRUCTURE)": ("modseq", "bodystructure"),
            "BODY.PEEK[]": (),
        }
        for text, columns in cases.items():
            asked = request(compile_plan(items(text)))
            self.assertEqual(asked.columns, columns, text)
            self.assertFalse(asked.mark_seen, text)

    def test_seen(self) -> None:
        """Items that set \\Seen ask for the flags, too; a read-only folder is left alone."""
        for text in ("BODY[]", "BODY[TEXT]<0.1>", "RFC822", "RFC822.TEXT", "(BODY.PEEK[] BODY[])"):
            plan = compile_plan(items(text))
            asked = request(plan)
            self.assertTrue(plan.mark_seen)
            self.assertTrue(asked.mark_seen)
            self.assertEqual(asked.columns, ("flags", "keywords", "modseq"))
            self.assertFalse(plan.request(((1, 1),), writable=False).mark_seen)
        self.assertFalse(compile_plan(items("(RFC822.HEADER BODY.PEEK[TEXT] BODY)")).mark_seen)

    def test_sections(self) -> None:
        """The same section under two names is read once."""
        plan = compile_plan(items("(RFC822 BODY.PEEK[] BODY.PEEK[1]<5.9> RFC822.HEADER)"))
        self.assertEqual(
            request(plan).sections,
            (Section(), Section("1", start=5, length=9), Section(kind="HEADER")),
        )

    def test_changed_since(self) -> None:
        """The modseq goes to the store."""
        plan = compile_plan(items("FLAGS"), modseq=True)
        asked = plan.request(((1, 1),), changed_since=5)
        self.assertEqual((asked.changed_since, asked.columns[-1]), (5, "modseq"))

    def test_compiled_once(self) -> None:
        """The same items give the same plan."""
        self.assertIs(compile_plan(items("(UID FLAGS)")), compile_plan(items("(UID flags)")))


class RenderTests(SynchronousTestCase):
    """Rows to responses."""

    def rendered(self, text: str, *sections: bytes | int | None, **options: bool) -> bytes:
        """One row, sequence number 3, UID 30."""
        plan = compile_plan(items(text), **options)
        return octets(plan.render([3], FetchPage([row(plan, 30, *sections)], None)))

    def test_text_items(self) -> None:
        """Each item, in the order asked for."""
        cases = {
            "UID": b"UID 30",
            "FLAGS": b"FLAGS (\\Seen $Junk)",
            "INTERNALDATE": b'INTERNALDATE "03-Nov-2026 09:05:00 +0000"',
            "RFC822.SIZE": b"RFC822.SIZE 1234",
            "ENVELOPE": b"ENVELOPE (ENV)",
            "BODYSTRUCTURE": b"BODYSTRUCTURE (STRUCTURE EXT)",
            "BODY": b"BODY (STRUCTURE)",
            "MODSEQ": b"MODSEQ (77)",
        }
        for text, expected in cases.items():
            self.assertEqual(self.rendered(text), b"* 3 FETCH (" + expected + b")\r\n")
        every = b" ".join(cases.values())
        self.assertEqual(
            self.rendered("(" + " ".join(cases) + ")"), b"* 3 FETCH (" + every + b")\r\n"
        )

    def test_uid_fetch(self) -> None:
        """UID is there, once, also unasked."""
        self.assertEqual(
            self.rendered("RFC822.SIZE", uid=True), b"* 3 FETCH (UID 30 RFC822.SIZE 1234)\r\n"
        )
        self.assertEqual(
            self.rendered("(RFC822.SIZE UID)", uid=True), b"* 3 FETCH (RFC822.SIZE 1234 UID 30)\r\n"
        )

    def test_changed_since(self) -> None:
        """MODSEQ is there, once, also unasked."""
        self.assertEqual(self.rendered("UID", modseq=True), b"* 3 FETCH (UID 30 MODSEQ (77))\r\n")
        self.assertEqual(
            self.rendered("(MODSEQ UID)", modseq=True), b"* 3 FETCH (MODSEQ (77) UID 30)\r\n"
        )

    def test_sections(self) -> None:
        """Labels as the client wrote them, octets as they are."""
        cases = {
            "BODY.PEEK[]": b"BODY[] {3}\r\na\r\n",
            "RFC822.HEADER": b"RFC822.HEADER {3}\r\na\r\n",
            "BODY.PEEK[1.2.HEADER.FIELDS (From tO)]<7.5>": (
                b"BODY[1.2.HEADER.FIELDS (From tO)]<7> {3}\r\na\r\n"
            ),
            'BODY.PEEK[HEADER.FIELDS ("50%b" "x%d")]': (
                b'BODY[HEADER.FIELDS ("50%b" "x%d")] {3}\r\na\r\n'
            ),
        }
        for text, expected in cases.items():
            self.assertEqual(self.rendered(text, b"a\r\n"), b"* 3 FETCH (" + expected + b")\r\n")

    def test_empty_and_missing(self) -> None:
        """Beyond the end is empty; a part that there is not is NIL."""
        self.assertEqual(
            self.rendered("BODY.PEEK[]<9.9>", b""), b"* 3 FETCH (BODY[]<9> {0}\r\n)\r\n"
        )
        self.assertEqual(self.rendered("BODY.PEEK[7]", None), b"* 3 FETCH (BODY[7] NIL)\r\n")

    def test_several_sections(self) -> None:
        """Text between and around; a section twice under two names."""
        text = "(UID BODY.PEEK[HEADER] BODY.PEEK[1] RFC822.SIZE RFC822.HEADER MODSEQ)"
        expected = (
            b"* 3 FETCH (UID 30 BODY[HEADER] {1}\r\nh BODY[1] {2}\r\n11 RFC822.SIZE 1234 "
            b"RFC822.HEADER {1}\r\nh MODSEQ (77))\r\n"
        )
        self.assertEqual(self.rendered(text, b"h", b"11"), expected)
        self.assertEqual(
            self.rendered(text, b"h", None), expected.replace(b"{2}\r\n11", b"NIL"), "row by row"
        )

    def test_large(self) -> None:
        """The literal head is there, the octets are to be read."""
        plan = compile_plan(items("(BODY.PEEK[]<5.9999999> UID)"))
        size = 2 * LARGE + 1
        pieces = plan.render(
            [1, 2], FetchPage([row(plan, 10, b"small"), row(plan, 20, size)], None)
        )
        section = Section(start=5, length=9999999)
        large = LargeSection(20, section, size)
        at = pieces.index(large)
        self.assertEqual(
            octets(pieces[:at]),
            b"* 1 FETCH (BODY[]<5> {5}\r\nsmall UID 10)\r\n* 2 FETCH (BODY[]<5> {%d}\r\n" % size,
        )
        self.assertEqual(octets(pieces[at + 1 :]), b" UID 20)\r\n")
        self.assertEqual(
            list(large.windows()),
            [
                Section(start=5, length=LARGE),
                Section(start=5 + LARGE, length=LARGE),
                Section(start=5 + 2 * LARGE, length=1),
            ],
        )

    def test_many_rows(self) -> None:
        """Numbers go with their rows."""
        plan = compile_plan(items("(UID RFC822.SIZE)"))
        rows = [row(plan, uid, size=10 * uid) for uid in (5, 7, 9)]
        self.assertEqual(
            octets(plan.render([1, 2, 4], FetchPage(rows, None))),
            b"* 1 FETCH (UID 5 RFC822.SIZE 50)\r\n"
            b"* 2 FETCH (UID 7 RFC822.SIZE 70)\r\n"
            b"* 4 FETCH (UID 9 RFC822.SIZE 90)\r\n",
        )
        self.assertRaises(ValueError, plan.render, [1, 2], FetchPage(rows, None))

    def test_no_rows(self) -> None:
        """Nothing is nothing."""
        for text in ("FLAGS", "BODY[]"):
            self.assertEqual(compile_plan(items(text)).render([], FetchPage([], None)), [])

    def test_recent(self) -> None:
        """\\Recent for those that the session holds recent."""
        plan = compile_plan(items("FLAGS"))
        rows = [row(plan, uid, keywords="") for uid in (1, 2)]
        self.assertEqual(
            octets(plan.render([1, 2], FetchPage(rows, None), frozenset({2, 9}))),
            b"* 1 FETCH (FLAGS (\\Seen))\r\n* 2 FETCH (FLAGS (\\Recent \\Seen))\r\n",
        )


class NewlySeenTests(SynchronousTestCase):
    """Flags that FETCH itself changed are told."""

    def page(self, plan: FetchPlan, *newly: int) -> FetchPage:
        """Four messages, some of which became \\Seen."""
        rows = [
            row(plan, uid, b"x", flags=SEEN | DELETED * (uid == 4), keywords="", modseq=100 + uid)
            for uid in (1, 2, 3, 4)
        ]
        return FetchPage(rows, None, newly)

    def test_told_unasked(self) -> None:
        """Only for those that changed, in the order of the rows."""
        plan = compile_plan(items("BODY[]"))
        self.assertEqual(
            octets(plan.render([5, 6, 7, 8], self.page(plan, 2, 4))),
            b"* 5 FETCH (BODY[] {1}\r\nx)\r\n"
            b"* 6 FETCH (BODY[] {1}\r\nx FLAGS (\\Seen))\r\n"
            b"* 7 FETCH (BODY[] {1}\r\nx)\r\n"
            b"* 8 FETCH (BODY[] {1}\r\nx FLAGS (\\Seen \\Deleted))\r\n",
        )

    def test_condstore(self) -> None:
        """With their modseq for a client that wants it."""
        plan = compile_plan(items("BODY[]"), uid=True, condstore=True)
        found = octets(plan.render([5, 6, 7, 8], self.page(plan, 1)))
        self.assertEqual(
            found.split(b"\r\n")[1:3],
            [b"x FLAGS (\\Seen) MODSEQ (101))", b"* 6 FETCH (UID 2 BODY[] {1}"],
        )

    def test_asked(self) -> None:
        """Flags asked for are not told twice."""
        plan = compile_plan(items("(FLAGS BODY[])"))
        found = octets(plan.render([5, 6, 7, 8], self.page(plan, 1, 2, 3, 4)))
        self.assertEqual(found.count(b"FLAGS"), 4)

    def test_told(self) -> None:
        """The session learns which modseqs the client need not hear of again."""
        plan = compile_plan(items("(UID BODY[])"))
        self.assertEqual(list(plan.told(self.page(plan, 2, 4))), [(2, 102), (4, 104)])
        self.assertEqual(list(plan.told(self.page(plan))), [])
        peek = compile_plan(items("FLAGS"))
        self.assertEqual(list(peek.told(FetchPage([row(peek, 1)], None))), [])
