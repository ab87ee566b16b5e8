"""Folders' names as files: safe, distinct, and to be read back."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailsrv.backup.exchange.formats.layouts import levels_of
from mailsrv.backup.exchange.formats.maildir import directory_names, folder_name
from mailsrv.backup.exchange.formats.paths import level_of, paths
from mailsrv.errors import BackupDamaged

LEVEL = st.one_of(
    st.text(
        st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp"), exclude_characters="/"),
        min_size=1,
        max_size=60,
    ),
    st.sampled_from(
        [
            ".",
            "..",
            "a",
            "A",
            "con",
            "mailsrv-export.json",
            "a.mbox",
            "a.jsonl",
            "%41",
            "%",
            "~",
            "a ",
            "x" * 250,
            "é",
            "É",
        ]
    ),
).map(lambda text: unicodedata.normalize("NFC", text))
NAMES = st.lists(st.lists(LEVEL, min_size=1, max_size=4).map("/".join), max_size=12, unique=True)


class PathsTests(SynchronousTestCase):
    @given(NAMES)
    def test_safe_and_distinct(self, names: list[str]) -> None:
        found = paths(names)
        self.assertEqual(list(found), names)
        keys = set()
        for levels in found.values():
            keys.add(tuple(unicodedata.normalize("NFD", one).casefold() for one in levels))
            self.assertEqual(levels_of("/".join(levels)), levels)
            for level in levels:
                self.assertLessEqual(len(level.encode()), 240)
                self.assertNotEqual(level[0], ".")
                self.assertNotIn(level[-1], ". ")
                self.assertFalse(set(level) & set('/\\:*?"<>|\0'))
                self.assertFalse(level.endswith((".mbox", ".jsonl", ".eml")))
                self.assertFalse(level.startswith("mailsrv-export."))
        self.assertEqual(len(keys), len(names))

    @given(NAMES)
    def test_they_are_read_back(self, names: list[str]) -> None:
        for name, levels in paths(names).items():
            if not any("%~" in level for level in levels):
                self.assertEqual("/".join(map(level_of, levels)), name)

    @given(NAMES)
    def test_steady(self, names: list[str]) -> None:
        self.assertEqual(paths(names), paths(list(reversed(names))))

    def test_examples(self) -> None:
        self.assertEqual(
            paths(["INBOX", "a/.b", "a/..", "Work", "work", "x:y", "nul", "end.", "50%", "日本"]),
            {
                "INBOX": ("INBOX",),
                "a/.b": ("a", "%2Eb"),
                "a/..": ("a", "%2E%2E"),
                "Work": ("Work",),
                "work": ("%77%6F%72%6B",),
                "x:y": ("x%3Ay",),
                "nul": ("%6Eul",),
                "end.": ("end%2E",),
                "50%": ("50%25",),
                "日本": ("日本",),
            },
        )

    def test_what_is_too_long(self) -> None:
        deep, wide = "/".join(["d" * 9] * 99), "w" * 1000
        found = paths([deep, wide])
        self.assertEqual(len(found[deep]), 1)
        self.assertIn("%~", found[wide][0])

    def test_paths_that_lead_elsewhere(self) -> None:
        for path in ("..", "a/../b", "/etc", "a//b", "a/.", "a\0b"):
            self.assertRaises(BackupDamaged, levels_of, path)


class MaildirNamesTests(SynchronousTestCase):
    @given(NAMES)
    def test_distinct_and_read_back(self, names: list[str]) -> None:
        found = directory_names(names)
        self.assertEqual(len({one.casefold() for one in found.values()}), len(names))
        for name, directory in found.items():
            self.assertEqual(directory[:1], "" if name == "INBOX" else ".")
            self.assertLessEqual(len(directory), 255)
            self.assertTrue(directory.isascii())
            if directory and "~" not in directory:
                self.assertEqual(folder_name(directory), name)

    def test_examples(self) -> None:
        self.assertEqual(
            directory_names(["INBOX", "INBOX/Sub", "Wörk/a.b", "back\\slash"]),
            {
                "INBOX": "",
                "INBOX/Sub": ".INBOX.Sub",
                "Wörk/a.b": ".W&APY-rk.a\\2eb",
                "back\\slash": ".back\\5cslash",
            },
        )
