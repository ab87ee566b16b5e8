"""A wiped secret is gone where it was, and no other changes with it."""

import ctypes
import secrets
import sys

from twisted.trial.unittest import SynchronousTestCase

from mailsrv.keys.wiping import wipe, wiped


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

    def test_overwrites_octets(self) -> None:
        for length in (2, 32, 48, 5000):
            secret = secrets.token_bytes(length)
            kept = bytes(bytearray(secret))
            where, size = id(secret), sys.getsizeof(secret)
            wipe(secret)
            self.assertEqual(secret, b"0" * length)
            octets = ctypes.string_at(where, size)
            self.assertNotIn(kept, octets)
            self.assertTrue(octets.endswith(b"0\0"))

    def test_wiped_at_the_end_of_a_block(self) -> None:
        text, octets = secrets.token_hex(16), secrets.token_bytes(16)
        with wiped(text) as shown:
            self.assertNotEqual(shown, "0" * 32)
        with self.assertRaises(KeyError), wiped(octets) as seen:
            self.assertNotEqual(seen, b"0" * 16)
            raise KeyError
        self.assertEqual((text, octets), ("0" * 32, b"0" * 16))

    def test_leaves_what_is_shared_alone(self) -> None:
        for text in ("", "a"):
            wipe(text)
            self.assertEqual(text, chr(97) * len(text))
        for octets in (b"", b"a"):
            wipe(octets)
            self.assertEqual(octets, bytes([97]) * len(octets))

    def test_refuses_what_it_would_spoil(self) -> None:
        for text in ("ä" * 20, "漢字" * 20):
            kept = "".join(list(text))
            self.assertRaises(ValueError, wipe, text)
            self.assertEqual(text, kept)
