"""Grams: what is cut out of a text, and that no query text is taken for FTS5 syntax."""

import apsw
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailsrv.mailbox import grams
from mailsrv.mailbox.index import INDEX_DDL, comparable


def index_of(texts: list[str]) -> apsw.Connection:
    connection = apsw.Connection(":memory:")
    for statement in INDEX_DDL:
        connection.execute(statement)
    for rowid, text in enumerate(texts):
        for table, cut in (("search_grams", grams.alphabetic), ("search_pairs", grams.pairs)):
            connection.execute(
                f"INSERT INTO {table} (rowid, text) VALUES (?, ?)", (rowid, cut(text))
            )
    return connection


def candidates(connection: apsw.Connection, needle: str) -> set[int] | None:
    """Rows that the grams of a needle name; None when it has no grams."""
    found = None
    for table, expression in zip(
        ("search_grams", "search_pairs"), grams.match(needle), strict=True
    ):
        if expression is not None:
            sql = f"SELECT rowid FROM {table} WHERE {table} MATCH ?"
            rows = {row[0] for row in connection.execute(sql, (expression,))}
            found = rows if found is None else found & rows
    return found


class CutTests(SynchronousTestCase):
    def test_scripts_do_not_mix(self) -> None:
        text = comparable("회의는 3월 5일 at Cafe")
        self.assertEqual(grams.alphabetic(text).split(), ["3", "5", "at", "cafe"])
        self.assertEqual(set(grams.pairs(text).split()), {"회의", "의는", "는", "월", "일"})

    def test_ascii_has_no_pairs(self) -> None:
        self.assertEqual(grams.pairs("plain text"), "")

    def test_short_latin_has_no_grams(self) -> None:
        self.assertEqual(grams.match("ab"), (None, None))

    def test_one_character_is_a_prefix(self) -> None:
        self.assertEqual(grams.match("會"), (None, '"會" *'))

    def test_two_characters_are_a_pair(self) -> None:
        self.assertEqual(grams.match("회의"), (None, '"회의"'))

    def test_mixed_needs_both(self) -> None:
        self.assertEqual(grams.match("abc회의"), ('"abc"', '"회의"'))

    def test_long_text_uses_few_grams(self) -> None:
        expression = grams.match("".join(map(chr, range(0x400, 0x1000))))[0]
        assert expression is not None
        self.assertEqual(expression.count(" AND ") + 1, grams.MAX_GRAMS)

    def test_surrogates_become_replacement_characters(self) -> None:
        self.assertEqual(grams.clean("a\ud800b"), "a\ufffdb")
        self.assertEqual(grams.clean("a\U0001f600b"), "a\U0001f600b")


class SyntaxTests(SynchronousTestCase):
    def test_operators_and_quotes_are_text(self) -> None:
        texts = [
            'say "hello" and not near(x, 2) or *',
            "column: value^2 + {a b}: -minus",
            "100% of under_score \\ back",
            "nothing of these",
        ]
        connection = index_of([comparable(text) for text in texts])
        for needle, expected in (
            ('"hello"', {0}),
            ('"""', set()),
            ("near(", {0}),
            ("and not", {0}),
            (" or *", {0}),
            ("umn: ", {1}),
            ("^2 + {", {1}),
            (": -min", {1}),
            ("0% ", {2}),
            ("r_s", {2}),
            ("***", set()),
            ('" OR "', set()),
        ):
            self.assertEqual(candidates(connection, needle), expected, needle)

    def test_nul_hides_nothing_behind_it(self) -> None:
        connection = index_of(["abc\0defg", "\0\0\0"])
        self.assertEqual(candidates(connection, "defg"), {0})
        self.assertEqual(candidates(connection, "c\0defg"), {0})
        self.assertIsNone(candidates(connection, "c\0d"))

    def test_odd_code_points(self) -> None:
        odd = "\ufffe\uffff\U0010ffff \u200d\ufe0f\u0301\u202e"
        connection = index_of([odd, "plain"])
        for start in range(len(odd) - 3):
            needle = odd[start : start + 4]
            self.assertEqual(candidates(connection, needle), {0}, ascii(needle))


class CandidateTests(SynchronousTestCase):
    @settings(max_examples=150, deadline=None)
    @given(
        st.lists(st.text(st.characters(codec="utf-8"), max_size=30), min_size=1, max_size=8),
        st.data(),
    )
    def test_whoever_holds_the_text_is_a_candidate(
        self, texts: list[str], data: st.DataObject
    ) -> None:
        folded = [comparable(text) for text in texts]
        connection = index_of(folded)
        text = data.draw(st.sampled_from(folded))
        start = data.draw(st.integers(0, len(text)))
        needle = text[start : data.draw(st.integers(start, len(text)))]
        found = candidates(connection, needle)
        if found is not None:
            holders = {row for row, other in enumerate(folded) if needle in other}
            self.assertLessEqual(holders, found)
            if grams.is_exact(needle):
                self.assertEqual(holders, found)

    def test_one_whole_gram_is_exact(self) -> None:
        for needle in ("dns", "회의", "會", "🎉", "שלו"):
            self.assertTrue(grams.is_exact(needle), needle)
        for needle in ("", "ab", "abcd", "a b", "회의록", "a회", "a\0b"):
            self.assertFalse(grams.is_exact(needle), needle)

    def test_a_blank_may_stand_for_something_else(self) -> None:
        connection = index_of(["ab회c", "x\0yz"])
        for needle in ("b c", "x y"):
            self.assertNotEqual(candidates(connection, needle), set())
            self.assertFalse(grams.is_exact(needle), needle)
