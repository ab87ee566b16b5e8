"""LIST patterns, against a slow matcher that is easy to believe."""

import time

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailsrv.imap.listing import Matcher, ancestors, join


def matches(pattern: str, name: str) -> bool:
    """What rfc3501, 6.3.8 says, letter by letter; exponential."""
    if not pattern:
        return not name
    if pattern[0] in "*%":
        if matches(pattern[1:], name):
            return True
        return bool(name) and (pattern[0] == "*" or name[0] != "/") and matches(pattern, name[1:])
    return bool(name) and pattern[0] == name[0] and matches(pattern[1:], name[1:])


class MatcherTests(SynchronousTestCase):
    """One pattern or several."""

    def test_patterns(self) -> None:
        """What is and what is not meant."""
        cases = [
            ("*", "a/b/c", True),
            ("%", "a", True),
            ("%", "a/b", False),
            ("a/%", "a/b", True),
            ("a/%", "a/b/c", False),
            ("a/%", "a", False),
            ("a*", "a", True),
            ("a*c", "a/b/c", True),
            ("%/%", "a/b", True),
            ("%/", "a/", True),
            ("%b%", "abc", True),
            ("", "", True),
            ("", "a", False),
            ("a.c", "abc", False),
            ("[a-c]", "b", False),
            ("a", "A", False),
            ("%%%", "a/b", False),
            ("%*%", "a/b", True),
            ("\u53f0%", "\u53f0\u5317", True),
        ]
        for pattern, name, expected in cases:
            self.assertEqual(Matcher([pattern]).matches(name), expected, (pattern, name))

    @given(
        st.text("ab/*%", max_size=7),
        st.text("ab/", max_size=8),
    )
    def test_as_written(self, pattern: str, name: str) -> None:
        """Same answers as the slow matcher."""
        self.assertEqual(Matcher([pattern]).matches(name), matches(pattern, name))

    def test_inbox(self) -> None:
        """INBOX is found in any case, its children only as they are."""
        for pattern in ("inbox", "INBOX", "iN%", "*x", "*X", "%", "INBOX*"):
            self.assertTrue(Matcher([pattern]).matches("INBOX"), pattern)
        for pattern in ("inb", "inbox/%", "a*"):
            self.assertFalse(Matcher([pattern]).matches("INBOX"), pattern)
        self.assertFalse(Matcher(["inbox/%"]).matches("INBOX/a"))

    def test_several(self) -> None:
        """One of them is enough; none is none."""
        matcher = Matcher(["a", "b/%"])
        self.assertTrue(matcher.matches("a"))
        self.assertTrue(matcher.matches("b/c"))
        self.assertFalse(matcher.matches("b"))
        self.assertFalse(Matcher([]).matches("INBOX"))

    def test_no_blow_up(self) -> None:
        """Wildcards by the thousand cost no more than letters."""
        start = time.perf_counter()
        name = "a" * 1000 + "/" + "a" * 1000
        for pattern in ("*a" * 500 + "b", "%a" * 5000, "*" * 60_000 + "b", "%*" * 30_000 + "b"):
            self.assertFalse(Matcher([pattern]).matches(name))
        self.assertLess(time.perf_counter() - start, 2)

    def test_parents(self) -> None:
        """Levels above that only their children make visible."""
        self.assertEqual(list(ancestors("a/b/c")), ["a", "a/b"])
        self.assertEqual(list(ancestors("a")), [])
        self.assertEqual(Matcher(["%"]).parents(["a/b", "c", "d/e/f", "c/x"]), ["a", "d"])
        self.assertEqual(Matcher(["%/%"]).parents(["d/e/f"]), ["d/e"])
        self.assertEqual(Matcher(["x"]).parents(["d/e/f"]), [])

    def test_join(self) -> None:
        """The reference stands before the pattern."""
        self.assertEqual(join("a/", "%"), "a/%")
        self.assertEqual(join("", "%"), "%")
