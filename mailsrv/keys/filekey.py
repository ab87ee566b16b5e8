"""The key of a mailbox file, derived as SQLite3MultipleCiphers derives it.

An owner can open a downloaded mailbox with any SQLite3MC tool (cipher chacha20, "sqleet") and
the password, because the file's key is what that tool computes: PBKDF2-HMAC-SHA256 over the
password's UTF-8 octets, 64007 rounds, salted with the first 16 octets of the file. Deriving it
here lets a file be opened with the raw key, which costs well under a millisecond.
"""

import hashlib
import secrets
import sys
from typing import ClassVar, Self

from mailsrv.errors import InvalidInput
from mailsrv.keys.passwords import prepare_password
from mailsrv.keys.quiet import Quiet
from mailsrv.keys.wiping import wipe

FILE_KEY_ROUNDS = 64007
SALT_LENGTH = 16
KEY_LENGTH = 32


class FileKey(Quiet, frozen=True):
    """A raw key and the salt that stands in the first 16 octets of its file.

    The raw key is wiped with the last reference to it.
    """

    shown: ClassVar[tuple[str, ...]] = ()

    raw: bytes
    salt: bytes

    def __post_init__(self) -> None:
        if len(self.raw) != KEY_LENGTH or len(self.salt) != SALT_LENGTH:
            raise InvalidInput("a file key is 32 octets of key and 16 octets of salt")

    def __del__(self) -> None:
        # two references: this object's, and that of the question
        if sys.getrefcount(self.raw) == 2:
            wipe(self.raw)

    def pragma(self) -> str:
        """Return the value for ``PRAGMA key``: ``raw:`` and 96 hex digits. It is the secret."""
        # The length is checked above because SQLite3MC takes raw: with any other length as a
        # passphrase, without a word.
        digits = self.raw.hex()
        text = f"raw:{digits}{self.salt.hex()}"
        wipe(digits)
        return text

    def pack(self) -> bytes:
        """Return 48 octets, key then salt, to be sealed or put into the vault. Wipe them."""
        return self.raw + self.salt

    @classmethod
    def unpack(cls, packed: bytes) -> Self:
        """Reverse ``pack``. InvalidInput when it is not 48 octets."""
        return cls(raw=packed[:KEY_LENGTH], salt=packed[KEY_LENGTH:])


def derive_file_key(password: str, salt: bytes) -> FileKey:
    """Derive the key of the file that begins with ``salt`` (16 octets).

    Takes about 15 ms and releases the GIL. InvalidInput for a password that cannot be prepared.
    """
    prepared = prepare_password(password)
    raw = hashlib.pbkdf2_hmac("sha256", prepared, salt, FILE_KEY_ROUNDS, KEY_LENGTH)
    return FileKey(raw=raw, salt=salt)


def new_salt() -> bytes:
    """Return 16 random octets for a new file or a new alias."""
    return secrets.token_bytes(SALT_LENGTH)
