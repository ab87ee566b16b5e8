"""A wiped string is gone where it was, and no other changes with it."""

import ctypes
import secrets
import sys

from twisted.trial.unittest import SynchronousTestCase

from mailsrv.keys.wiping import wipe


class WipeTests(SynchronousTestCase):
    def test_overwrites_in_place(self) -> None:
        for length in (2, 64, 115, 5000):
            text = secrets.token_hex(length)
            kept = "".join(list(text))
            where, size = id(text), sys.getsizeof(text)
            wipe(text)
            self.assertEqual(text, "0" * len(text))
            octets = ctypes.string_at(where, size)
            self.assertNotIn(kept.encode(), octets)
            self.assertTrue(octets.endswith(b"0\0"))

    def test_leaves_what_is_shared_alone(self) -> None:
        for text in ("", "a"):
            wipe(text)
            self.assertEqual(text, chr(97) * len(text))

    def test_refuses_what_it_would_spoil(self) -> None:
        for text in ("ä" * 20, "漢字" * 20):
            kept = "".join(list(text))
            self.assertRaises(ValueError, wipe, text)
            self.assertEqual(text, kept)
