"""The vault: where secrets of living sessions lie in memory, encrypted.

A key is in the clear only inside the call that needs it; between calls a memory dump, a swapped
page or a stray repr shows ciphertext. The vault's own key is drawn when the process starts and
dies with it.
"""

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from mailsrv.errors import KeyGone
from mailsrv.keys.wiping import wiped

_NONCE_LENGTH = 12


def new_handle() -> str:
    """Return a handle that nothing is kept under yet."""
    return secrets.token_hex(16)


class Vault:
    """Secrets by handle. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cipher: ChaCha20Poly1305 | None = ChaCha20Poly1305(ChaCha20Poly1305.generate_key())
        self._kept: dict[str, bytes] = {}

    def __repr__(self) -> str:
        return f"<Vault of {len(self._kept)}>"

    def __len__(self) -> int:
        return len(self._kept)

    def put(self, secret: bytes, handle: str | None = None) -> str:
        """Keep a secret and return its handle, which is no secret. KeyGone after ``close``.

        Under a ``handle`` that is given it takes the place of what was kept under it.
        """
        if handle is None:
            handle = new_handle()
        nonce = secrets.token_bytes(_NONCE_LENGTH)
        with self._lock:
            if self._cipher is None:
                raise KeyGone("the vault is closed")
            self._kept[handle] = nonce + self._cipher.encrypt(nonce, secret, handle.encode())
        return handle

    @contextmanager
    def use(self, handle: str) -> Iterator[bytes]:
        """Show a secret for the length of a ``with`` block. KeyGone when it was dropped."""
        with wiped(self.open(handle)) as secret:
            yield secret

    def open(self, handle: str) -> bytes:
        """The same, for who hands the secret on and has it wiped. KeyGone."""
        with self._lock:
            kept, cipher = self._kept.get(handle), self._cipher
        if kept is None or cipher is None:
            raise KeyGone("the session that brought the key has ended")
        return cipher.decrypt(kept[:_NONCE_LENGTH], kept[_NONCE_LENGTH:], handle.encode())

    def drop(self, handle: str) -> None:
        """Forget a secret; a handle that is gone already is fine."""
        with self._lock:
            self._kept.pop(handle, None)

    def close(self) -> None:
        """Forget everything, for good."""
        with self._lock:
            self._kept.clear()
            self._cipher = None
