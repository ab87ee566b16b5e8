"""Credentials of aliases, as the login asks for them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from mailsrv.directory import schema
from mailsrv.directory.addresses import parse
from mailsrv.directory.base import Part, iso
from mailsrv.errors import InvalidInput, MailboxMoved, NoSuchAlias
from mailsrv.keys.credential import Credential
from mailsrv.keys.scram import Verifier

MAX_CREDENTIALS = 64
"""Of one alias: a SCRAM proof is tried against each."""

_MAX_LABEL = 128


class Credentials(Part):
    """What verifies passwords; nothing here opens a mailbox."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._find_revision = self._database.lookup(select(schema.revision.c.value))

    def revision(self) -> int:
        """Return a number that has grown when a credential, alias or current file changed.

        The changes of all processes count; cheap enough to ask every second.
        """
        row = self._find_revision()
        return int(row[0])

    def scram_parameters(self, address: str) -> tuple[str, bytes, int] | None:
        """Return (ObjectID of the alias, salt, iterations) for a login.

        None where nobody can log in: no such address, no password yet, disabled, deleted.
        """
        try:
            normal = str(parse(address))
        except InvalidInput:
            return None
        table = schema.alias
        query = select(table.c.id, table.c.salt, table.c.iterations).where(
            table.c.address == normal,
            table.c.enabled,
            table.c.deleted.is_(None),
            table.c.salt.is_not(None),
        )
        with self._database.reading() as connection:
            row = connection.execute(query).first()
        return None if row is None else (row[0], row[1], row[2])

    def credentials(self, alias_id: str) -> list[Credential]:
        """Return the credentials that are not revoked, the oldest first."""
        with self._database.reading() as connection:
            rows = connection.execute(
                _CREDENTIALS.where(
                    schema.credential.c.alias_id == alias_id,
                    schema.credential.c.revoked_at.is_(None),
                )
            ).all()
        found = [_credential(row) for row in rows]
        return sorted(found, key=lambda one: (one.created, one.id))

    def add_credential(self, alias_id: str, credential: Credential) -> None:
        """Add an app password. NoSuchAlias, InvalidInput; MailboxMoved when salt or count are
        no longer the alias's, since the password was changed meanwhile."""
        table = schema.alias
        query = select(table.c.salt, table.c.iterations).where(table.c.id == alias_id)
        with self._database.writing() as connection:
            shared = connection.execute(query).first()
            if shared is None:
                raise NoSuchAlias("no such alias")
            if shared.salt is None:
                raise InvalidInput("the alias has no password yet")
            _check_room(connection, alias_id)
            insert_credentials(connection, alias_id, [credential], *shared)

    def revoke_credential(self, alias_id: str, credential_id: str) -> None:
        """End a credential at once and destroy what it could open. InvalidInput if unknown."""
        table = schema.credential
        wanted = (
            table.c.id == credential_id,
            table.c.alias_id == alias_id,
            table.c.revoked_at.is_(None),
        )
        with self._database.writing() as connection:
            changed = connection.execute(
                update(table)
                .where(*wanted)
                .values(revoked_at=self._time(), wrapped_private_key=b"", sealed_file_key=b"")
            )
            if changed.rowcount == 0:
                raise InvalidInput("no such credential")

    def used_credential(self, credential_id: str, when: datetime) -> None:
        """Note a login. Not synced to disk by itself, and not announced by ``revision``."""
        table = schema.credential
        with self._database.writing(durable=False, announce=False) as connection:
            connection.execute(
                update(table).where(table.c.id == credential_id).values(used=iso(when))
            )

    def last_used(self, credential_id: str) -> str | None:
        """Return when the credential was last noted as used, or None."""
        table = schema.credential
        with self._database.reading() as connection:
            found: str | None = connection.execute(
                select(table.c.used).where(table.c.id == credential_id)
            ).scalar()
        return found


_CREDENTIALS = select(
    schema.credential,
    schema.alias.c.salt,
    schema.alias.c.iterations,
).select_from(schema.credential.join(schema.alias))


def insert_credentials(
    connection: Connection,
    alias_id: str,
    credentials: Sequence[Credential],
    salt: bytes,
    iterations: int,
) -> None:
    """Insert credentials that share the alias's salt and count. MailboxMoved when they do not."""
    for credential in credentials:
        verifier = credential.verifier
        if verifier.salt != salt or verifier.iterations != iterations:
            raise MailboxMoved("the credential was made for an earlier password")
    if credentials:
        connection.execute(
            insert(schema.credential), [_row(alias_id, credential) for credential in credentials]
        )


def _check_room(connection: Connection, alias_id: str) -> None:
    table = schema.credential
    count = connection.execute(
        select(func.count()).where(table.c.alias_id == alias_id, table.c.revoked_at.is_(None))
    ).scalar_one()
    if count >= MAX_CREDENTIALS:
        raise InvalidInput(f"an alias has at most {MAX_CREDENTIALS} passwords: revoke one first")


def _row(alias_id: str, credential: Credential) -> dict[str, Any]:
    if not 0 < len(credential.label) <= _MAX_LABEL or not credential.label.isprintable():
        raise InvalidInput(f"a label has 1 to {_MAX_LABEL} printable characters")
    return {
        "id": credential.id,
        "alias_id": alias_id,
        "label": credential.label,
        "scopes": " ".join(credential.scopes),
        "main": credential.main,
        "stored_key": credential.verifier.stored_key,
        "server_key": credential.verifier.server_key,
        "public_key": credential.public_key,
        "wrapped_private_key": credential.wrapped_private_key,
        "sealed_file_key": credential.sealed_file_key,
        "created": credential.created,
        "used": credential.used,
        "revoked_at": None,
    }


def _credential(row: Row[*tuple[Any, ...]]) -> Credential:
    return Credential(
        id=row.id,
        label=row.label,
        scopes=tuple(row.scopes.split()),
        main=row.main,
        verifier=Verifier(
            salt=row.salt,
            iterations=row.iterations,
            stored_key=row.stored_key,
            server_key=row.server_key,
        ),
        public_key=row.public_key,
        wrapped_private_key=row.wrapped_private_key,
        sealed_file_key=row.sealed_file_key,
        created=row.created,
        used=row.used,
    )
