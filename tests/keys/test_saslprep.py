"""SASLprep against the examples of RFC 4013 section 3 and the rules of RFC 3454."""

from twisted.trial.unittest import SynchronousTestCase

from mailsrv.errors import InvalidInput
from mailsrv.keys.saslprep import saslprep


class SaslprepTests(SynchronousTestCase):
    def test_examples_of_the_rfc(self) -> None:
        for given, expected in (
            ("I\u00adX", "IX"),
            ("user", "user"),
            ("USER", "USER"),
            ("\u00aa", "a"),
            ("\u2168", "IX"),
        ):
            with self.subTest(given):
                self.assertEqual(saslprep(given, stored=True), expected)
        for given in ("\u0007", "\u0627\u0031"):
            with self.subTest(given), self.assertRaises(InvalidInput):
                saslprep(given, stored=True)

    def test_other_blanks_become_the_blank(self) -> None:
        self.assertEqual(saslprep("a\u00a0b\u3000c", stored=True), "a b c")

    def test_right_to_left(self) -> None:
        self.assertEqual(saslprep("\u0627\u0628", stored=True), "\u0627\u0628")
        for given in ("\u0627a\u0628", "1\u0627"):
            with self.subTest(given), self.assertRaises(InvalidInput):
                saslprep(given, stored=True)

    def test_prohibited(self) -> None:
        for given in (
            "\x00",
            "\x7f",
            "\x80",
            "\u2028",
            "\ue000",
            "\ufdd0",
            "\ud800",
            "\ufffd",
            "\u2ff0",
            "\u200e",
            "\U000e0001",
        ):
            with self.subTest(ascii(given)), self.assertRaises(InvalidInput):
                saslprep("x" + given, stored=False)

    def test_unassigned_only_in_queries(self) -> None:
        new = "\U0001f980"
        self.assertEqual(saslprep(new, stored=False), new)
        with self.assertRaises(InvalidInput):
            saslprep(new, stored=True)

    def test_error_does_not_show_the_text(self) -> None:
        with self.assertRaises(InvalidInput) as caught:
            saslprep("hunter2\x07", stored=True)
        self.assertNotIn("hunter2", str(caught.exception))
