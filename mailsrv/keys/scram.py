"""SCRAM-SHA-256 on the server's side (RFC 5802, RFC 7677), without input or output.

The mathematics are plain functions, since the key of a mailbox hangs on them: the ClientKey
that a proof reveals unwraps the credential. The exchange is a small state machine that a front
end drives; it never sees a password and does not know whether the user exists.
"""

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from typing import ClassVar

import msgspec

from mailsrv.errors import AuthenticationFailed, InvalidInput
from mailsrv.keys.passwords import prepare_password
from mailsrv.keys.quiet import Quiet
from mailsrv.keys.saslprep import saslprep

DIGEST_LENGTH = 32
GENERATED_ITERATIONS = 4096
"""For generated passwords: the least that rfc7677:109 allows; 148 bits need no stretching."""
CHOSEN_ITERATIONS = 64007
"""For passwords that owners chose: as many as the file key has, so neither is the weak link."""

MAX_MESSAGE = 4096
"""Octets of a client message; a real one has some hundred."""

_NONCE_OCTETS = 18
_PRINTABLE = re.compile(r"[\x21-\x2b\x2d-\x7e]+")
_ATTRIBUTE = re.compile(r"[A-Za-z]=[^\0]+")
_CHANNEL_BINDING_NAME = re.compile(r"p=[A-Za-z0-9.-]+")


class ScramFailed(AuthenticationFailed):
    """The exchange broke a rule. ``reason`` is a server-error-value (rfc5802:972)."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"SCRAM exchange failed: {reason}")
        self.reason = reason

    def message(self) -> bytes:
        """Return the server-final-message that tells the client (optional, rfc5802:972)."""
        return b"e=" + self.reason.encode("ascii")


# Mathematics


class Verifier(Quiet, frozen=True):
    """What verifies a password without being one (rfc5802:413)."""

    shown: ClassVar[tuple[str, ...]] = ("iterations",)

    salt: bytes
    iterations: int
    stored_key: bytes
    server_key: bytes


def salted_password(password: str, salt: bytes, iterations: int) -> bytes:
    """Return SaltedPassword, 32 octets. InvalidInput for a password that cannot be prepared."""
    prepared = prepare_password(password)
    return hashlib.pbkdf2_hmac("sha256", prepared, salt, iterations, DIGEST_LENGTH)


def client_key(salted: bytes) -> bytes:
    """Return ClientKey, 32 octets, of a SaltedPassword."""
    return hmac.digest(salted, b"Client Key", "sha256")


def client_key_from_password(password: str, salt: bytes, iterations: int) -> bytes:
    """Return ClientKey for a password that came in the clear (PLAIN, LOGIN).

    AuthenticationFailed where no such password can exist.
    """
    try:
        return client_key(salted_password(password, salt, iterations))
    except InvalidInput:
        raise AuthenticationFailed("wrong address or password") from None


def verifier_from_password(password: str, salt: bytes, iterations: int) -> tuple[Verifier, bytes]:
    """Return the Verifier to store and the ClientKey, which is never stored."""
    salted = salted_password(password, salt, iterations)
    key = client_key(salted)
    verifier = Verifier(
        salt=salt,
        iterations=iterations,
        stored_key=hashlib.sha256(key).digest(),
        server_key=hmac.digest(salted, b"Server Key", "sha256"),
    )
    return verifier, key


def accepts(verifier: Verifier, key: bytes) -> bool:
    """Tell, in constant time, whether ``key`` is the ClientKey of the verifier's password."""
    return hmac.compare_digest(hashlib.sha256(key).digest(), verifier.stored_key)


def recover_client_key(verifier: Verifier, auth_message: bytes, proof: bytes) -> bytes | None:
    """Return the ClientKey that the proof reveals, or None when the proof is wrong."""
    if len(proof) != DIGEST_LENGTH:
        return None
    signature = hmac.digest(verifier.stored_key, auth_message, "sha256")
    key = bytes(a ^ b for a, b in zip(proof, signature, strict=True))
    return key if accepts(verifier, key) else None


def server_signature(verifier: Verifier, auth_message: bytes) -> bytes:
    """Return ServerSignature, which proves to the client that we know the ServerKey."""
    return hmac.digest(verifier.server_key, auth_message, "sha256")


# Exchange


class ClientFirst(msgspec.Struct, frozen=True):
    """What the client opened with."""

    username: str
    """After SASLprep."""
    gs2_header: str
    nonce: str


class ScramServer:
    """One exchange: ``first``, ``challenge``, ``final``, ``success``, in that order.

    Channel binding is not offered: clients that lack it ("n") and those that saw no -PLUS
    mechanism ("y") are served, those that insist ("p") are refused (rfc5802:801).
    """

    def __init__(self, nonce: str | None = None) -> None:
        """``nonce`` is the server's share; None draws a random one."""
        self._nonce = nonce if nonce is not None else secrets.token_urlsafe(_NONCE_OCTETS)
        self._first: ClientFirst | None = None
        self._first_bare = ""
        self._server_first = ""

    def first(self, client_first: bytes) -> ClientFirst:
        """Read the client-first-message. ScramFailed."""
        text = _decode(client_first)
        authzid, bare = _split_gs2(text)
        username, nonce = _parse_bare(bare)
        if authzid is not None and authzid != username:
            raise ScramFailed("other-error")
        self._first = ClientFirst(
            username=username, gs2_header=text[: len(text) - len(bare)], nonce=nonce
        )
        self._first_bare = bare
        return self._first

    def challenge(self, salt: bytes, iterations: int) -> bytes:
        """Return the server-first-message."""
        nonce = self._opened().nonce + self._nonce
        self._server_first = f"r={nonce},s={base64.b64encode(salt).decode()},i={iterations}"
        return self._server_first.encode()

    def final(self, client_final: bytes) -> tuple[bytes, bytes]:
        """Read the client-final-message; return AuthMessage and ClientProof. ScramFailed."""
        first = self._opened()
        if not self._server_first:
            raise RuntimeError("challenge() comes before final()")
        text = _decode(client_final)
        without_proof, comma, proof = text.rpartition(",p=")
        if not comma or "," not in without_proof:
            raise ScramFailed("invalid-encoding")
        channel, nonce, *extensions = without_proof.split(",")
        _check_extensions(extensions)
        expected = "c=" + base64.b64encode(first.gs2_header.encode()).decode()
        if not _equal(channel, expected):
            raise ScramFailed("channel-bindings-dont-match")
        if not _equal(nonce, f"r={first.nonce}{self._nonce}"):
            raise ScramFailed("other-error")
        message = f"{self._first_bare},{self._server_first},{without_proof}"
        return message.encode(), _decode_proof(proof)

    def success(self, signature: bytes) -> bytes:
        """Return the server-final-message that carries ServerSignature."""
        return b"v=" + base64.b64encode(signature)

    def _opened(self) -> ClientFirst:
        if self._first is None:
            raise RuntimeError("first() comes first")
        return self._first


def _equal(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


def _decode(message: bytes) -> str:
    if len(message) > MAX_MESSAGE:
        raise ScramFailed("no-resources")
    try:
        return message.decode()
    except UnicodeDecodeError:
        raise ScramFailed("invalid-encoding") from None


def _split_gs2(text: str) -> tuple[str | None, str]:
    """Split gs2-header from the rest (rfc5802:910): authzid or None, bare message."""
    flag, _, rest = text.partition(",")
    if _CHANNEL_BINDING_NAME.fullmatch(flag):
        raise ScramFailed("channel-binding-not-supported")
    authzid, comma, bare = rest.partition(",")
    if flag not in ("n", "y") or not comma:
        raise ScramFailed("invalid-encoding")
    if not authzid:
        return None, bare
    if not authzid.startswith("a="):
        raise ScramFailed("invalid-encoding")
    return _saslname(authzid[2:]), bare


def _parse_bare(bare: str) -> tuple[str, str]:
    """Read client-first-message-bare (rfc5802:945): user name and nonce."""
    name, *rest = bare.split(",")
    if name.startswith("m="):
        raise ScramFailed("extensions-not-supported")
    if not name.startswith("n=") or not rest or not rest[0].startswith("r="):
        raise ScramFailed("invalid-encoding")
    nonce = rest[0][2:]
    if not _PRINTABLE.fullmatch(nonce):
        raise ScramFailed("invalid-encoding")
    _check_extensions(rest[1:])
    return _saslname(name[2:]), nonce


def _check_extensions(extensions: list[str]) -> None:
    # Unknown optional extensions are ignored; "m" marks one that must be understood.
    for extension in extensions:
        if not _ATTRIBUTE.fullmatch(extension):
            raise ScramFailed("invalid-encoding")
        if extension.startswith("m="):
            raise ScramFailed("extensions-not-supported")


def _saslname(encoded: str) -> str:
    """Decode saslname (rfc5802:883) and prepare it as a query string."""
    plain = encoded.replace("=2C", "").replace("=3D", "")
    if not encoded or "=" in plain or "\0" in plain:
        raise ScramFailed("invalid-username-encoding")
    try:
        name = saslprep(encoded.replace("=2C", ",").replace("=3D", "="), stored=False)
    except InvalidInput:
        raise ScramFailed("invalid-username-encoding") from None
    if not name:
        raise ScramFailed("invalid-username-encoding")
    return name


def _decode_proof(encoded: str) -> bytes:
    try:
        proof = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise ScramFailed("invalid-encoding") from None
    # b64decode forgives stray bits in the last character; the canonical form does not.
    if base64.b64encode(proof).decode() != encoded or len(proof) != DIGEST_LENGTH:
        raise ScramFailed("invalid-encoding")
    return proof
