"""The SASL mechanisms that can open a mailbox (rfc4422): PLAIN and SCRAM-SHA-256.

The mailbox's key hangs on the password, so only mechanisms that hand it over (PLAIN, inside TLS) or
from whose proof the ClientKey can be recovered (SCRAM, rfc5802:413) will do. A mechanism is a
coroutine that asks and is answered; how questions travel (``+`` lines in base64) is not its matter.
"""

import base64
import binascii
from collections.abc import Awaitable, Callable

from mailsrv.errors import AuthenticationFailed
from mailsrv.imap.entrance import Entrance
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


async def plain(entrance: Entrance, ask: Ask, initial: bytes | None) -> Access:
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
    return await entrance.login(authcid, password)


async def scram_sha_256(entrance: Entrance, ask: Ask, initial: bytes | None) -> Access:
    """SCRAM-SHA-256 (rfc5802, rfc7677). The server's proof travels as a last challenge."""
    server = ScramServer()
    first = server.first(await ask(b"") if initial is None else initial)
    known = await entrance.scram_challenge(first.username)
    final = await ask(server.challenge(known.salt, known.iterations))
    auth_message, proof = server.final(final)
    accepted = await entrance.login_scram(first.username, ScramProof(auth_message, proof))
    access = accepted.access
    try:
        last = await ask(server.success(accepted.server_signature))
    except BaseException:
        entrance.logout(access)
        raise
    if last:
        entrance.logout(access)
        raise Bad("An empty response was expected")
    return access


Mechanism = Callable[[Entrance, Ask, bytes | None], Awaitable[Access]]

MECHANISMS: dict[str, Mechanism] = {"PLAIN": plain, "SCRAM-SHA-256": scram_sha_256}
"""In the order in which they are advertised."""
