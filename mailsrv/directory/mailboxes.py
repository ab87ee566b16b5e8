"""Which file is an alias's mailbox, and the one transaction that changes it (DESIGN 5.5)."""

from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from mailsrv.directory import schema
from mailsrv.directory.base import Part
from mailsrv.directory.credentials import insert_credentials
from mailsrv.directory.values import DEFAULT_PRIMARY, MailboxFile, MailboxRecord
from mailsrv.errors import Elsewhere, MailboxMoved, NoSuchAlias
from mailsrv.keys.credential import Credential

_RECORD = select(
    schema.mailbox.c.id,
    schema.mailbox.c.public_key,
    schema.mailbox.c.created,
    schema.mailbox.c.primary,
    schema.mailbox.c.restored,
)

_AGES = (
    schema.ARCHIVED,
    schema.DISCARDED,
    schema.LEFT,
    schema.MOVED,
    schema.CURRENT,
    schema.INCOMING,
)
"""Of files made in the same second, the older come first."""


class Mailboxes(Part):
    """Current, archived and discarded files."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        # Every write to a mailbox asks this, to learn whether the file is still the current one.
        table = schema.mailbox
        self._find_current = self._database.lookup(
            _RECORD.where(
                table.c.alias_id == bindparam("alias_id"), table.c.state == schema.CURRENT
            )
        )

    def mailbox(self, alias_id: str) -> MailboxRecord | None:
        """Return the current file, or None before the first password."""
        row = self._find_current(alias_id=alias_id)
        return None if row is None else MailboxRecord(*row)

    def settled_mailbox(self, alias_id: str) -> MailboxRecord | None:
        """Return the current file after all changes under way have ended.

        For who lost the database while it committed and has to know what became of it.
        """
        table = schema.mailbox
        query = _RECORD.where(table.c.alias_id == alias_id, table.c.state == schema.CURRENT)
        with self._database.reading() as connection:
            # every change of a mailbox holds this row until it ends
            connection.execute(select(schema.revision.c.value).with_for_update())
            row = connection.execute(query).first()
        return None if row is None else MailboxRecord(*row)

    def knows_mailbox(self, mailbox_id: str) -> bool:
        """Tell whether this file is anybody's, in whatever state."""
        table = schema.mailbox
        with self._database.reading() as connection:
            found = connection.execute(select(table.c.id).where(table.c.id == mailbox_id)).first()
        return found is not None

    def alias_of_mailbox(self, mailbox_id: str) -> str | None:
        """Return the alias (ObjectID) that has this as its current file; None for any other."""
        table = schema.mailbox
        current = (table.c.id == mailbox_id, table.c.state == schema.CURRENT)
        with self._database.reading() as connection:
            found = connection.execute(select(table.c.alias_id).where(*current)).first()
        return None if found is None else found[0]

    def archived_mailboxes(self, alias_id: str) -> list[MailboxRecord]:
        """Return the files that starting over left, oldest first."""
        table = schema.mailbox
        query = _RECORD.where(table.c.alias_id == alias_id, table.c.state == schema.ARCHIVED)
        with self._database.reading() as connection:
            found = [MailboxRecord(*row) for row in connection.execute(query)]
        return sorted(found, key=lambda one: (one.created, one.id))

    def set_mailbox(
        self,
        alias_id: str,
        record: MailboxRecord,
        *,
        credentials: list[Credential],
        salt: bytes,
        iterations: int,
        replaces: str | None,
        archive: bool,
    ) -> None:
        """Name another file, with the credentials that open it, in one durable transaction.

        ``replaces`` is the file that the caller took for the current one (None: there is none);
        MailboxMoved when it is not. It is kept among the archived with ``archive``, else among
        the discarded, and all earlier credentials are gone. NoSuchAlias; Elsewhere when another
        primary than the record's serves the alias.
        """
        with self._database.writing() as connection:
            check_primary(connection, alias_id, record.primary)
            _retire(connection, alias_id, replaces, archive)
            connection.execute(
                insert(schema.mailbox).values(
                    id=record.id,
                    alias_id=alias_id,
                    state=schema.CURRENT,
                    public_key=record.public_key,
                    created=record.created,
                    primary=record.primary,
                )
            )
            table = schema.alias
            connection.execute(
                update(table).where(table.c.id == alias_id).values(salt=salt, iterations=iterations)
            )
            old = schema.credential
            connection.execute(delete(old).where(old.c.alias_id == alias_id))
            insert_credentials(connection, alias_id, credentials, salt, iterations)

    def mailbox_files(self, alias_id: str) -> list[MailboxFile]:
        """Return all files of an alias, oldest first, in whatever state they are."""
        table = schema.mailbox
        query = select(table.c.id, table.c.state, table.c.primary, table.c.created).where(
            table.c.alias_id == alias_id
        )
        with self._database.reading() as connection:
            found = [MailboxFile(*row) for row in connection.execute(query)]
        return sorted(found, key=lambda one: (one.created, _AGES.index(one.state), one.id))

    def discarded_mailboxes(self, primary: str = DEFAULT_PRIMARY) -> list[str]:
        """Return the ids of files that nothing needs any more, to be removed from the volume
        of this primary."""
        table = schema.mailbox
        query = select(table.c.id).where(
            table.c.primary == primary, table.c.state == schema.DISCARDED
        )
        with self._database.reading() as connection:
            return sorted(connection.execute(query).scalars())

    def forget_mailbox(self, mailbox_id: str) -> None:
        """Drop the entry of a discarded file, after the file itself is gone."""
        table = schema.mailbox
        gone = (table.c.id == mailbox_id, table.c.state == schema.DISCARDED)
        with self._database.writing(announce=False) as connection:
            connection.execute(delete(table).where(*gone))


def check_primary(connection: Connection, alias_id: str, primary: str) -> None:
    """Elsewhere, unless this primary serves the alias. NoSuchAlias."""
    table = schema.alias
    found = connection.execute(select(table.c.primary).where(table.c.id == alias_id)).scalar()
    if found is None:
        raise NoSuchAlias("no such alias")
    if found != primary:
        raise Elsewhere(found)


def _retire(connection: Connection, alias_id: str, replaces: str | None, archive: bool) -> None:
    files = schema.mailbox
    mine = (files.c.alias_id == alias_id, files.c.state == schema.CURRENT)
    current = connection.execute(select(files.c.id).where(*mine)).scalar()
    if current != replaces:
        raise MailboxMoved("the mailbox was changed by another process meanwhile")
    state = schema.ARCHIVED if archive else schema.DISCARDED
    connection.execute(update(files).where(*mine).values(state=state))
    # old copies of the file that goes are of no more use
    leave_moved(connection, alias_id)


def leave_moved(connection: Connection, alias_id: str) -> None:
    """Let old copies of the alias's current file go."""
    files = schema.mailbox
    moved = (files.c.alias_id == alias_id, files.c.state == schema.MOVED)
    connection.execute(update(files).where(*moved).values(state=schema.LEFT))
