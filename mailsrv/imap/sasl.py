"""The SASL mechanisms that can open a mailbox (rfc4422): PLAIN and SCRAM-SHA-256.

The mailbox's key hangs on the password, so only mechanisms that hand it over (PLAIN, inside TLS) or
from whose proof the ClientKey can be recovered (SCRAM, rfc5802:413) will do. A mechanism is a
coroutine that asks and is answered; how questions travel (``+`` lines in base64) is not its matter.
"""

import base64
import binascii
from collections.abc import Awaitable, Callable
from typing import Any

from mailsrv.errors import AuthenticationFailed
from mailsrv.imap.reply import Bad
from mailsrv.keys.scram import ScramServer
from mailsrv.store.values import Access, ScramProof

MAX_RESPONSE = 8 * 1024
"""Octets of one response line."""

Ask = Callable[[bytes], Awaitable[bytes]]
"""Send a challenge, await the response; raises Bad when the client cancels."""


def decode(line: bytes) -> bytes:
    """One response line: strict base64, or ``*`` for cancel (rfc3501:1519)."""
    if line == b"*":
        raise Bad("Authentication cancelled")
    try:
        return base64.b64decode(line, validate=True)
    except binascii.Error:
        raise Bad("Base64 expected") from None


async def plain(store: Any, ask: Ask, initial: bytes | None, listener: object) -> Access:
    """PLAIN (rfc4616): the address as authcid, the same or nothing as authzid."""
    message = await ask(b"") if initial is None else initial
    pieces = message.split(b"\0")
    if len(pieces) != 3:
        raise Bad("PLAIN has three parts")
    try:
        authzid, authcid, password = (piece.decode() for piece in pieces)
    except UnicodeDecodeError:
        raise AuthenticationFailed("credentials are not UTF-8") from None
    if authzid not in {"", authcid}:
        raise AuthenticationFailed("nobody may act for another")
    access: Access = await store.login(authcid, password, "imap", listener)
    return access


async def scram_sha_256(store: Any, ask: Ask, initial: bytes | None, listener: object) -> Access:
    """SCRAM-SHA-256 (rfc5802, rfc7677). The server's proof travels as a last challenge."""
    server = ScramServer()
    first = server.first(await ask(b"") if initial is None else initial)
    known = await store.scram_challenge(first.username)
    final = await ask(server.challenge(known.salt, known.iterations))
    auth_message, proof = server.final(final)
    accepted = await store.login_scram(
        first.username, ScramProof(auth_message=auth_message, proof=proof), "imap", listener
    )
    access: Access = accepted.access
    try:
        last = await ask(server.success(accepted.server_signature))
    except BaseException:
        store.logout(access)
        raise
    if last:
        store.logout(access)
        raise Bad("An empty response was expected")
    return access


Mechanism = Callable[[Any, Ask, bytes | None, object], Awaitable[Access]]

MECHANISMS: dict[str, Mechanism] = {"PLAIN": plain, "SCRAM-SHA-256": scram_sha_256}
"""In the order in which they are advertised."""
