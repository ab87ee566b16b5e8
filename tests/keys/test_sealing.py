"""Sealed octets open for the private key and the context, and for nothing else."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailsrv.errors import SealBroken
from mailsrv.keys.sealing import (
    OVERHEAD,
    PRIVATE_KEY_LENGTH,
    PUBLIC_KEY_LENGTH,
    generate_key_pair,
    public_key,
    seal,
    unseal,
)


class SealingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.private, self.public = generate_key_pair()

    def test_sizes(self) -> None:
        self.assertEqual(len(self.private), PRIVATE_KEY_LENGTH)
        self.assertEqual(len(self.public), PUBLIC_KEY_LENGTH)
        self.assertEqual(len(seal(self.public, b"", b"")), OVERHEAD)

    def test_key_format_is_the_published_one(self) -> None:
        # first test vector of X-Wing (draft-connolly-cfrg-xwing-kem, appendix C)
        seed = bytes.fromhex("7f9c2ba4e88f827d616045507605853ed73b8093f6efbc88eb1a6eacfa66ef26")
        start = "e2236b35a8c24b39b10aa1323a96a919a2ced88400633a7b07131713fc14b2b5b19cfc3d"
        self.assertTrue(public_key(seed).hex().startswith(start))

    @settings(max_examples=25, deadline=None)
    @given(st.binary(max_size=5000), st.binary(max_size=100))
    def test_round_trip(self, plaintext: bytes, context: bytes) -> None:
        sealed = seal(self.public, plaintext, context)
        self.assertEqual(unseal(self.private, sealed, context), plaintext)
        self.assertEqual(len(sealed), len(plaintext) + OVERHEAD)

    def test_two_seals_differ(self) -> None:
        self.assertNotEqual(seal(self.public, b"x", b""), seal(self.public, b"x", b""))

    def test_wrong_context(self) -> None:
        with self.assertRaises(SealBroken):
            unseal(self.private, seal(self.public, b"x", b"one"), b"two")

    def test_wrong_key(self) -> None:
        other, _ = generate_key_pair()
        with self.assertRaises(SealBroken):
            unseal(other, seal(self.public, b"x", b""), b"")

    def test_every_part_is_protected(self) -> None:
        sealed = seal(self.public, b"plaintext", b"")
        for position in (0, 500, 1087, 1088, 1119, 1120, len(sealed) - 1):
            damaged = bytearray(sealed)
            damaged[position] ^= 1
            with self.subTest(position), self.assertRaises(SealBroken):
                unseal(self.private, bytes(damaged), b"")
        for cut in (0, 1, 1119, OVERHEAD - 1, len(sealed) - 1):
            with self.subTest(cut), self.assertRaises(SealBroken):
                unseal(self.private, sealed[:cut], b"")

    def test_unusable_keys(self) -> None:
        for public in (
            b"",
            self.public[:-1],
            self.public + b"\0",
            self.public[:-32] + bytes(32),
            b"\xff" * PUBLIC_KEY_LENGTH,
        ):
            with self.subTest(len(public)), self.assertRaises(SealBroken):
                seal(public, b"x", b"")
        for private in (b"", bytes(31), bytes(96)):
            with self.subTest(len(private)), self.assertRaises(SealBroken):
                unseal(private, seal(self.public, b"x", b""), b"")
