"""Credentials: how one password of many opens one file, and a stolen directory opens none.

A credential holds a SCRAM verifier, an HPKE key pair whose private half is wrapped under a key
made from the password's ClientKey, and the key of the mailbox file sealed to the public half.
The server stores all of it and can open none of it without the password or a SCRAM proof; and
it can seal a new file key to every credential without knowing any password.
"""

import secrets
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import ClassVar

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mailsrv.errors import InvalidInput, SealBroken
from mailsrv.keys.filekey import FileKey
from mailsrv.keys.objectid import object_id
from mailsrv.keys.quiet import Quiet
from mailsrv.keys.scram import Verifier, accepts, recover_client_key, verifier_from_password
from mailsrv.keys.sealing import generate_key_pair, seal, unseal
from mailsrv.keys.wiping import wiped

_NONCE_LENGTH = 12


class Credential(Quiet, frozen=True):
    """One password of an alias. ``created`` and ``used`` are ISO 8601 UTC text."""

    shown: ClassVar[tuple[str, ...]] = ("id", "label", "scopes", "main")

    id: str
    label: str
    scopes: tuple[str, ...]
    main: bool
    """The password that is also the passphrase of the file; at most one of an alias."""
    verifier: Verifier
    public_key: bytes
    wrapped_private_key: bytes
    sealed_file_key: bytes
    created: str
    used: str | None = None
    """Last login, when known; as coarse as its writer's rate limit."""


def make_credential(
    password: str,
    *,
    salt: bytes,
    iterations: int,
    file_key: FileKey,
    alias: str,
    label: str,
    scopes: Iterable[str],
    main: bool,
    now: datetime,
) -> Credential:
    """Make a credential with which ``password`` opens the file of ``file_key``.

    ``salt`` and ``iterations`` are the alias's, shared by all its credentials; ``alias`` is its
    ObjectID; ``now`` is aware. InvalidInput for a password that cannot be prepared.
    """
    identity = object_id(now)
    verifier, client_key = verifier_from_password(password, salt, iterations)
    private, public = generate_key_pair()
    with wiped(file_key.pack()) as packed:
        sealed = seal(public, packed, _context("file key", alias, identity))
    return Credential(
        id=identity,
        label=label,
        scopes=tuple(scopes),
        main=main,
        verifier=verifier,
        public_key=public,
        wrapped_private_key=_wrap(private, client_key, alias, identity),
        sealed_file_key=sealed,
        created=now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    )


def unlock(credential: Credential, client_key: bytes, alias: str) -> FileKey:
    """Return the file's key. SealBroken for a wrong ClientKey, alias or damaged credential."""
    private = _unwrap(credential.wrapped_private_key, client_key, alias, credential.id)
    context = _context("file key", alias, credential.id)
    try:
        with wiped(unseal(private, credential.sealed_file_key, context)) as packed:
            return FileKey.unpack(packed)
    except InvalidInput:
        raise SealBroken("the sealed file key has the wrong length") from None


def reseal(credential: Credential, file_key: FileKey, alias: str) -> Credential:
    """Return the credential opening another file instead; the same password stays valid."""
    context = _context("file key", alias, credential.id)
    with wiped(file_key.pack()) as packed:
        sealed = seal(credential.public_key, packed, context)
    return msgspec.structs.replace(credential, sealed_file_key=sealed)


def match_client_key(credentials: Sequence[Credential], client_key: bytes) -> Credential | None:
    """Return the credential whose password gives this ClientKey (PLAIN); tries every one."""
    found = [c for c in credentials if accepts(c.verifier, client_key)]
    return found[0] if found else None


def match_proof(
    credentials: Sequence[Credential], auth_message: bytes, proof: bytes
) -> tuple[Credential, bytes] | None:
    """Return the credential that a SCRAM proof fits and its ClientKey; tries every one."""
    tried = [(c, recover_client_key(c.verifier, auth_message, proof)) for c in credentials]
    found = [(c, key) for c, key in tried if key is not None]
    return found[0] if found else None


def _context(purpose: str, alias: str, identity: str) -> bytes:
    return f"mailsrv {purpose}\0{alias}\0{identity}".encode()


def _wrapping_key(client_key: bytes, context: bytes) -> ChaCha20Poly1305:
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=context).derive(client_key)
    return ChaCha20Poly1305(derived)


def _wrap(private: bytes, client_key: bytes, alias: str, identity: str) -> bytes:
    context = _context("private key", alias, identity)
    nonce = secrets.token_bytes(_NONCE_LENGTH)
    return nonce + _wrapping_key(client_key, context).encrypt(nonce, private, context)


def _unwrap(wrapped: bytes, client_key: bytes, alias: str, identity: str) -> bytes:
    context = _context("private key", alias, identity)
    nonce, sealed = wrapped[:_NONCE_LENGTH], wrapped[_NONCE_LENGTH:]
    try:
        return _wrapping_key(client_key, context).decrypt(nonce, sealed, context)
    except (InvalidTag, ValueError):
        raise SealBroken("the credential does not open with this key") from None
