"""From a password or a SCRAM proof to the credential it belongs to and the key of the file.

All credentials of an alias share salt and count, so one derivation serves to compare with every
one of them. An unknown address costs the same work and gets the same answer as a wrong password.
SCRAM-SHA-256: rfc5802:247, rfc7677.
"""

import secrets

import attrs

from mailsrv.directory.addresses import parse
from mailsrv.directory.directory import Directory
from mailsrv.errors import AuthenticationFailed, InvalidInput, NoSuchAlias
from mailsrv.keys.credential import Credential, match_client_key, match_proof, unlock
from mailsrv.keys.filekey import FileKey
from mailsrv.keys.scram import Verifier, client_key_from_password, server_signature
from mailsrv.store.secret import ServerSecret
from mailsrv.store.values import ScramChallenge, ScramProof

FAILED = "wrong address or password"


@attrs.frozen(repr=False)
class Opened:
    """Whose credential it was, and the key that it opens."""

    alias: str
    address: str
    mailbox: str
    public_key: bytes
    credential: Credential
    key: FileKey
    signature: bytes = b""
    """What proves to a SCRAM client that the server knows it (rfc5802:340)."""
    restored: str | None = None
    """When the file came from a backup, if nobody has opened it since."""


class Authentication:
    """Blocking, for worker threads and the command line."""

    def __init__(self, directory: Directory, secret: ServerSecret) -> None:
        self._directory = directory
        self._secret = secret

    def challenge(self, address: str) -> ScramChallenge:
        """Salt and count for an address; steady invented ones when it is not ours."""
        return self._parameters(address)[1]

    def with_password(self, address: str, password: str, scope: str | None) -> Opened:
        """PLAIN and LOGIN. ``scope`` None asks for the main credential. AuthenticationFailed."""
        alias, challenge = self._parameters(address)
        client_key = client_key_from_password(password, challenge.salt, challenge.iterations)
        found = match_client_key(self._credentials(alias), client_key)
        return self._open(alias, found, client_key, scope)

    def with_proof(self, address: str, proof: ScramProof, scope: str) -> Opened:
        """AUTHENTICATE SCRAM-SHA-256. AuthenticationFailed."""
        alias, _ = self._parameters(address)
        found = match_proof(self._credentials(alias), proof.auth_message, proof.proof)
        if found is None:
            raise AuthenticationFailed(FAILED)
        opened = self._open(alias, found[0], found[1], scope)
        signature = server_signature(found[0].verifier, proof.auth_message)
        return attrs.evolve(opened, signature=signature)

    def _parameters(self, address: str) -> tuple[str, ScramChallenge]:
        """The alias and its parameters; for a stranger the same questions and work."""
        invented = self._secret.invented(_one_spelling(address))
        known = self._directory.scram_parameters(address)
        if known is None:
            return _NO_ALIAS, invented
        alias, salt, iterations = known
        return alias, ScramChallenge(salt=salt, iterations=iterations)

    def _credentials(self, alias: str) -> list[Credential]:
        return self._directory.credentials(alias) or [_NOBODY]

    def _open(
        self, alias_id: str, credential: Credential | None, client_key: bytes, scope: str | None
    ) -> Opened:
        if credential is None or not _allowed(credential, scope):
            raise AuthenticationFailed(FAILED)
        try:
            alias = self._directory.alias_by_id(alias_id)
        except NoSuchAlias:
            raise AuthenticationFailed(FAILED) from None
        record = self._directory.mailbox(alias.id)
        if record is None or not alias.active:
            raise AuthenticationFailed(FAILED)
        return Opened(
            alias=alias.id,
            address=alias.address,
            mailbox=record.id,
            public_key=record.public_key,
            credential=credential,
            key=unlock(credential, client_key, alias.id),
            restored=record.restored,
        )


def _one_spelling(address: str) -> str:
    # every spelling of an address that is ours has one salt; so it has to be for the others
    try:
        return str(parse(address))
    except InvalidInput:
        return address.casefold()


_NO_ALIAS = "0" * 24
_NOBODY = Credential(
    id="",
    label="",
    scopes=(),
    main=False,
    verifier=Verifier(
        salt=bytes(16), iterations=1, stored_key=secrets.token_bytes(32), server_key=bytes(32)
    ),
    public_key=b"",
    wrapped_private_key=b"",
    sealed_file_key=b"",
    created="",
)
"""What an unknown address is compared with: nothing is the SHA-256 of a known ClientKey."""


def _allowed(credential: Credential, scope: str | None) -> bool:
    return credential.main if scope is None else scope in credential.scopes
