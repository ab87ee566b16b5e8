"""Passwords and keys on their way between two processes: sealed to the one that may read them.

Inside TLS they are sealed once more, to a key pair that the receiver made when it started, and
bound to the connection (by the nonce of its welcome), to a number that is good once, to what it is
for and whom it concerns. So a frame that was kept, or turned up in a dump, opens nothing later,
and cannot be played again on the same connection either.
"""

import secrets
from typing import Self

import attrs

from mailsrv.errors import SealBroken, StaleKey
from mailsrv.keys.sealing import generate_key_pair, seal, unseal
from mailsrv.link.wire.frames import Lent

PASSWORD = "password"  # noqa: S105
PROOF = "proof"
KEY = "key"
LEND = "lend"
ASK = "ask"

WINDOW = 65536
"""Numbers may come out of order, and so far apart: long requests are overtaken by short ones."""

_STALE = "sealed for another connection, or used before"


def new_ask() -> bytes:
    """16 octets that tell one question for a key from every other."""
    return secrets.token_bytes(16)


def _context(purpose: str, nonce: bytes, number: int, *about: str) -> bytes:
    head = b"mailsrv link\0" + purpose.encode() + b"\0" + nonce + number.to_bytes(8, "big")
    return head + "\0".join(about).encode("utf-8", "surrogatepass")


@attrs.frozen(repr=False)
class LinkKeys:
    """The key pair of a process, made when it starts and gone when it ends."""

    private: bytes
    public: bytes

    @classmethod
    def generate(cls) -> Self:
        """A new pair."""
        return cls(*generate_key_pair())

    def open(self, sealed: bytes, purpose: str, nonce: bytes, number: int, *about: str) -> bytes:
        """What was sealed to this process, to be wiped. StaleKey where it does not open."""
        try:
            return unseal(self.private, sealed, _context(purpose, nonce, number, *about))
        except SealBroken:
            raise StaleKey(_STALE) from None


def seal_for(
    public: bytes, secret: bytes, purpose: str, nonce: bytes, number: int, *about: str
) -> bytes:
    """Seal to another process's key. StaleKey for a key that is none."""
    try:
        return seal(public, secret, _context(purpose, nonce, number, *about))
    except SealBroken:
        raise StaleKey("the other side's key is not usable") from None


@attrs.define(repr=False)
class Sealer:
    """What a front end seals for one connection's primary; numbers rise with each use."""

    public: bytes
    nonce: bytes
    number: int = 0

    def seal(self, secret: bytes, purpose: str, *about: str) -> tuple[int, bytes]:
        """A new number and the sealed octets."""
        self.number += 1
        sealed = seal_for(self.public, secret, purpose, self.nonce, self.number, *about)
        return self.number, sealed

    def lend(self, key: bytes, alias: str, session: str) -> Lent:
        """A session's file key for a lease."""
        return Lent(*self.seal(key, LEND, alias, session))


class Numbers:
    """Which numbers of one connection were used: each is admitted once."""

    def __init__(self) -> None:
        self._highest = 0
        self._seen = 0
        """Bit n: the number ``_highest - n`` was used."""

    def admit(self, number: int) -> None:
        """Take a number. StaleKey when it was used, or is too far behind to tell."""
        if number > self._highest:
            ahead = number - self._highest
            self._seen = (self._seen << ahead) & _MASK if ahead < WINDOW else 0
            self._highest = number
        behind = self._highest - number
        if behind >= WINDOW or self._seen >> behind & 1:
            raise StaleKey(_STALE)
        self._seen |= 1 << behind


_MASK = (1 << WINDOW) - 1


@attrs.define(repr=False)
class Opener:
    """What the primary opens on one connection, each number once."""

    keys: LinkKeys
    nonce: bytes
    numbers: Numbers = attrs.Factory(Numbers)

    def open(self, sealed: bytes, purpose: str, number: int, *about: str) -> bytes:
        """The secret, to be wiped. StaleKey: sealed for another connection, or used before."""
        self.numbers.admit(number)
        return self.keys.open(sealed, purpose, self.nonce, number, *about)

    def lent(self, lent: Lent, alias: str, session: str) -> bytes:
        """The file key that a front end lends, to be wiped."""
        return self.open(lent.sealed, LEND, lent.number, alias, session)
