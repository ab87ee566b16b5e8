"""Sealing: octets that only the holder of a private key can open, quantum computers included.

HPKE base mode with the hybrid KEM MLKEM768-X25519, HKDF-SHA256 and ChaCha20-Poly1305. The
``cryptography`` package does the work; only the serialisation of keys is ours, and it is that
of the KEM's specification (X-Wing, draft-connolly-cfrg-xwing-kem): a private key is a seed of
32 octets which SHAKE256 expands to the ML-KEM seed and the X25519 key, a public key is the two
public keys joined.
"""

import hashlib
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)

from mailsrv.errors import SealBroken

PRIVATE_KEY_LENGTH = 32
PUBLIC_KEY_LENGTH = 1216
OVERHEAD = 1120 + 16
"""Octets that a seal adds: the encapsulated key and the tag."""

_MLKEM_PUBLIC = 1184
_MLKEM_SEED = 64

_SUITE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)


def generate_key_pair() -> tuple[bytes, bytes]:
    """Return a private key (32 octets) and its public key (1216 octets)."""
    private = secrets.token_bytes(PRIVATE_KEY_LENGTH)
    return private, public_key(private)


def public_key(private: bytes) -> bytes:
    """Return the public key of a private key."""
    mlkem, x25519 = _expand(private)
    return mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()


def seal(public: bytes, plaintext: bytes, context: bytes) -> bytes:
    """Seal to a public key; ``context`` must be given again to open. SealBroken for a bad key."""
    if len(public) != PUBLIC_KEY_LENGTH:
        raise SealBroken("the public key has the wrong length")
    try:
        key = MLKEM768X25519PublicKey(
            MLKEM768PublicKey.from_public_bytes(public[:_MLKEM_PUBLIC]),
            X25519PublicKey.from_public_bytes(public[_MLKEM_PUBLIC:]),
        )
        return _SUITE.encrypt(plaintext, key, context)
    except ValueError:
        raise SealBroken("the public key is not usable") from None


def unseal(private: bytes, sealed: bytes, context: bytes) -> bytes:
    """Open what ``seal`` made. SealBroken for a wrong key or context, or damaged octets."""
    key = MLKEM768X25519PrivateKey(*_expand(private))
    try:
        return _SUITE.decrypt(sealed, key, context)
    except (InvalidTag, ValueError):
        raise SealBroken("sealed octets do not open with this key") from None


def _expand(private: bytes) -> tuple[MLKEM768PrivateKey, X25519PrivateKey]:
    if len(private) != PRIVATE_KEY_LENGTH:
        raise SealBroken("the private key has the wrong length")
    expanded = hashlib.shake_256(private).digest(_MLKEM_SEED + 32)
    return (
        MLKEM768PrivateKey.from_seed_bytes(expanded[:_MLKEM_SEED]),
        X25519PrivateKey.from_private_bytes(expanded[_MLKEM_SEED:]),
    )
