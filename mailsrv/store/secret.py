"""What the server derives from its own secret: keys of waiting files, invented parameters.

The secret opens no mailbox. The file key keeps the waiting mail's sizes and ids from a reader of
the volume; its contents are sealed to the owner. Derivation is HKDF-SHA256 (rfc5869).
"""

import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mailsrv.errors import SealBroken
from mailsrv.keys.filekey import SALT_LENGTH, FileKey
from mailsrv.keys.scram import CHOSEN_ITERATIONS, GENERATED_ITERATIONS
from mailsrv.store.values import ScramChallenge

_NONCE = 12


class ServerSecret:
    """Holds the secret of the volume; its repr shows nothing."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def waiting_key(self, public_key: bytes) -> FileKey:
        """The file key of the waiting mail (and what was set aside) of one mailbox."""
        return FileKey.unpack(self._derive(b"waiting mail", public_key, 48))

    def volume(self) -> str:
        """What tells this volume from others, and tells nothing else: anybody may know it."""
        return self._derive(b"volume", b"", 16).hex()

    def invented(self, address: str) -> ScramChallenge:
        """Parameters for an address that is not ours: always the same, and plausible."""
        material = self._derive(b"invented parameters", address.encode(), SALT_LENGTH + 1)
        chosen = material[SALT_LENGTH] % 4 == 0
        iterations = CHOSEN_ITERATIONS if chosen else GENERATED_ITERATIONS
        return ScramChallenge(salt=material[:SALT_LENGTH], iterations=iterations)

    def seal(self, purpose: bytes, subject: str, data: bytes) -> bytes:
        """Seal what this server alone shall read; ``purpose`` and ``subject`` say of what it is."""
        nonce = secrets.token_bytes(_NONCE)
        return nonce + self._cipher(purpose, subject).encrypt(nonce, data, None)

    def unseal(self, purpose: bytes, subject: str, sealed: bytes) -> bytes:
        """Open it. SealBroken with another secret, purpose or subject, and for damaged octets."""
        try:
            return self._cipher(purpose, subject).decrypt(sealed[:_NONCE], sealed[_NONCE:], None)
        except (InvalidTag, ValueError):
            raise SealBroken("sealed octets do not open with the secret of this server") from None

    def _cipher(self, purpose: bytes, subject: str) -> ChaCha20Poly1305:
        # a key of its own for each subject: what is sealed for one opens for no other
        return ChaCha20Poly1305(self._derive(b"seal " + purpose, subject.encode(), 32))

    def _derive(self, purpose: bytes, subject: bytes, length: int) -> bytes:
        info = b"mailsrv " + purpose + b"\0" + subject
        return HKDF(algorithm=SHA256(), length=length, salt=None, info=info).derive(self._secret)
