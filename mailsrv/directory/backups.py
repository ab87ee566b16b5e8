"""How the backups of each alias stand: what was made last, what is wanted, what went wrong."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Select, func, insert, or_, select, update

from mailsrv.directory import schema
from mailsrv.directory.base import Part
from mailsrv.directory.values import BackupRecord, BackupStanding
from mailsrv.errors import NoSuchAlias

_AT_ONCE = 500
"""Values in one query."""

_WELL: dict[str, Any] = {"wanted": None, "failed": None, "problem": None}


class Backups(Part):
    """Changes here end no session, and so are not announced."""

    def backup(self, alias_id: str) -> BackupRecord:
        """Return how the backups of an alias stand; all None before anything happened."""
        table = schema.backup
        query = select(*_RECORD).where(table.c.alias_id == alias_id)
        with self._database.reading() as connection:
            row = connection.execute(query).first()
        return BackupRecord() if row is None else BackupRecord(*row)

    def backup_standings(self, aliases: Sequence[str]) -> list[BackupStanding]:
        """Return those of these aliases (ObjectIDs) that have a mailbox and are not deleted."""
        found: list[BackupStanding] = []
        with self._database.reading() as connection:
            for start in range(0, len(aliases), _AT_ONCE):
                some = aliases[start : start + _AT_ONCE]
                found += _standings(connection, _STANDING.where(schema.alias.c.id.in_(some)))
        return found

    def all_backup_standings(self, primary: str | None = None) -> list[BackupStanding]:
        """Return all, or those that one primary serves, by address."""
        query = _STANDING if primary is None else _of(primary)
        with self._database.reading() as connection:
            found = _standings(connection, query)
        return sorted(found, key=lambda one: one.address)

    def pending_backups(self, primary: str) -> list[BackupStanding]:
        """Return those of a primary of which a backup is wanted, or failed, by address."""
        table = schema.backup.c
        query = _of(primary).where(or_(table.wanted.is_not(None), table.failed.is_not(None)))
        with self._database.reading() as connection:
            found = _standings(connection, query)
        return sorted(found, key=lambda one: one.address)

    def note_backup(self, alias_id: str, mailbox: str, digest: bytes, taken: str) -> None:
        """A copy of this file was made and is kept. NoSuchAlias."""
        made = {"mailbox": mailbox, "digest": digest, "taken": taken, "checked": taken}
        self._note(alias_id, made | _WELL)

    def note_backup_checked(self, alias_id: str) -> None:
        """Nothing has changed since the last copy. NoSuchAlias."""
        self._note(alias_id, {"checked": self._time()} | _WELL)

    def note_backups_wanted(self, aliases: Sequence[str]) -> None:
        """A backup of these is due and could be made; since when stays what it was."""
        table = schema.backup
        for alias_id in aliases:
            with self._database.writing(durable=False, announce=False) as connection:
                if _made_row(connection, alias_id):
                    since = (table.c.alias_id == alias_id, table.c.wanted.is_(None))
                    connection.execute(update(table).where(*since).values(wanted=self._time()))

    def note_backup_failed(self, alias_id: str, problem: str) -> None:
        """It could not be made, and why. NoSuchAlias."""
        self._fail(alias_id, {"problem": problem})

    def note_backup_damaged(self, alias_id: str, problem: str) -> None:
        """The newest copy is no good: a new one is wanted, changed or not. NoSuchAlias."""
        self._fail(alias_id, {"problem": problem, "digest": None})

    def _fail(self, alias_id: str, values: dict[str, Any]) -> None:
        now = self._time()
        wanted = func.coalesce(schema.backup.c.wanted, now)
        self._note(alias_id, values | {"wanted": wanted, "failed": now})

    def _note(self, alias_id: str, values: dict[str, Any]) -> None:
        table = schema.backup
        with self._database.writing(announce=False) as connection:
            if not _made_row(connection, alias_id):
                raise NoSuchAlias("no such alias")
            mine = table.c.alias_id == alias_id
            connection.execute(update(table).where(mine).values(values))


def _made_row(connection: Connection, alias_id: str) -> bool:
    """Have an entry; False when there is no such alias."""
    alias, table = schema.alias, schema.backup
    # whoever makes the first entry of an alias holds its row
    locked = select(alias.c.id).where(alias.c.id == alias_id).with_for_update()
    if connection.execute(locked).first() is None:
        return False
    known = connection.execute(select(table.c.alias_id).where(table.c.alias_id == alias_id))
    if known.first() is None:
        connection.execute(insert(table).values(alias_id=alias_id))
    return True


_RECORD = (
    schema.backup.c.mailbox,
    schema.backup.c.digest,
    schema.backup.c.taken,
    schema.backup.c.checked,
    schema.backup.c.wanted,
    schema.backup.c.failed,
    schema.backup.c.problem,
)

_CURRENT = (schema.mailbox.c.alias_id == schema.alias.c.id) & (
    schema.mailbox.c.state == schema.CURRENT
)

_STANDING = (
    select(
        schema.alias.c.id,
        schema.alias.c.address,
        schema.mailbox.c.id,
        schema.mailbox.c.created,
        *_RECORD,
    )
    .select_from(
        schema.alias.join(schema.mailbox, _CURRENT).outerjoin(
            schema.backup, schema.backup.c.alias_id == schema.alias.c.id
        )
    )
    .where(schema.alias.c.deleted.is_(None))
)


def _of(primary: str) -> Select[Any]:
    return _STANDING.where(schema.alias.c.primary == primary)


def _standings(connection: Connection, query: Select[Any]) -> list[BackupStanding]:
    return [
        BackupStanding(alias, address, mailbox, created, BackupRecord(*record))
        for alias, address, mailbox, created, *record in connection.execute(query)
    ]
