"""Deleting an alias: marked first, so that it can be had back, then gone, then its traces.

A marked alias takes no mail and no logins, and keeps everything. The transaction that removes it
notes for every primary that there may be files, waiting mail and backups of it to remove; each
primary drops its note when it has done so. A crash anywhere leaves the mark or the notes.
"""

from datetime import timedelta

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    case,
    delete,
    func,
    insert,
    select,
    update,
)

from mailsrv.directory import schema
from mailsrv.directory.aliases import ALIASES, as_alias
from mailsrv.directory.base import Part, iso
from mailsrv.directory.values import Alias, Erasure
from mailsrv.errors import InvalidInput, MailboxMoved, NoSuchAlias

_aliases = schema.alias
_files = schema.mailbox
_erasures = schema.erasure

_STATE_WITHOUT_ALIAS = case(
    (_files.c.state.in_([schema.INCOMING, schema.MOVED, schema.LEFT]), schema.LEFT),
    else_=schema.DISCARDED,
)


class Erasures(Part):
    """Each method that writes is one durable transaction."""

    def mark_deleted(self, alias_id: str) -> Alias:
        """Let the alias take no mail and no logins; its sessions end within a second.

        One that is marked already keeps its date. NoSuchAlias.
        """
        when = func.coalesce(_aliases.c.deleted, self._time())
        with self._database.writing() as connection:
            connection.execute(
                update(_aliases).where(_aliases.c.id == alias_id).values(deleted=when)
            )
            return _alias(connection, alias_id)

    def undelete_alias(self, alias_id: str) -> Alias:
        """Take the mark away: everything is as before. NoSuchAlias; InvalidInput without one."""
        with self._database.writing() as connection:
            if _alias(connection, alias_id).deleted is None:
                raise InvalidInput("the alias is not deleted")
            connection.execute(
                update(_aliases).where(_aliases.c.id == alias_id).values(deleted=None)
            )
            return _alias(connection, alias_id)

    def due_erasures(self, grace: timedelta, primary: str) -> list[Alias]:
        """Return what this primary serves and was deleted so long ago, the oldest first."""
        due = (_aliases.c.deleted <= iso(self._now() - grace), _aliases.c.primary == primary)
        with self._database.reading() as connection:
            found = [as_alias(row) for row in connection.execute(ALIASES.where(*due))]
        return sorted(found, key=lambda one: (one.deleted, one.id))

    def delete_alias(self, alias_id: str, marked: str | None = None) -> list[str]:
        """Delete an alias with its credentials; return the ids of its files, archives included.

        Its address can be added again. What is left to remove, ``erasures`` tells until
        ``finish_erasure``. NoSuchAlias; MailboxMoved unless it is still ``marked`` since then.
        """
        mine = _files.c.alias_id == alias_id
        with self._database.writing() as connection:
            found = _alias(connection, alias_id)
            if marked not in (None, found.deleted):
                raise MailboxMoved("the alias was undeleted meanwhile")
            ids = list(connection.execute(select(_files.c.id).where(mine)).scalars())
            _note(connection, found, self._time())
            connection.execute(update(_files).where(mine).values(state=_STATE_WITHOUT_ALIAS))
            connection.execute(delete(_aliases).where(_aliases.c.id == alias_id))
        return ids

    def erasures(self, primary: str) -> list[Erasure]:
        """Return what this primary has to remove, the oldest first."""
        return self._erasures(_erasures.c.primary == primary)

    def erasures_of(self, alias_id: str) -> list[Erasure]:
        """Return what all primaries have to remove of an alias, by primary."""
        return self._erasures(_erasures.c.alias_id == alias_id)

    def forget_erased_files(self, erasure: Erasure) -> bool:
        """Drop the entries of files that were removed; whether all are gone.

        Those that were moving stay until the server knows that nobody is at work on them.
        """
        mine = _files.c.id.in_(erasure.files)
        with self._database.writing(announce=False) as connection:
            connection.execute(delete(_files).where(mine, _files.c.state == schema.DISCARDED))
            return connection.execute(select(_files.c.id).where(mine)).first() is None

    def finish_erasure(self, erasure: Erasure) -> None:
        """Drop the note of what a primary had to remove, when all is gone. May be repeated."""
        mine = (
            _erasures.c.alias_id == erasure.alias,
            _erasures.c.primary == erasure.primary,
        )
        with self._database.writing(announce=False) as connection:
            connection.execute(delete(_erasures).where(*mine))
        self._database.empty_log()

    def _erasures(self, which: ColumnElement[bool]) -> list[Erasure]:
        query = select(
            _erasures.c.alias_id,
            _erasures.c.address,
            _erasures.c.primary,
            _erasures.c.domain_id,
            _erasures.c.files,
            _erasures.c.public_keys,
            _erasures.c.begun,
        ).where(which)
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        found = [
            Erasure(
                *row[:4],
                files=msgspec.msgpack.decode(row.files, type=tuple[str, ...]),
                public_keys=msgspec.msgpack.decode(row.public_keys, type=tuple[bytes, ...]),
                begun=row.begun,
            )
            for row in rows
        ]
        return sorted(found, key=lambda one: (one.begun, one.alias, one.primary))


def _alias(connection: Connection, alias_id: str) -> Alias:
    row = connection.execute(ALIASES.where(_aliases.c.id == alias_id)).first()
    if row is None:
        raise NoSuchAlias("no such alias")
    return as_alias(row)


def _note(connection: Connection, gone: Alias, now: str) -> None:
    """For all primaries: a mailbox may have been on any, and has left its backups there."""
    query = select(_files.c.id, _files.c.primary, _files.c.public_key)
    files = connection.execute(query.where(_files.c.alias_id == gone.id)).all()
    started = connection.execute(select(schema.volume.c.primary)).scalars()
    domain_id = connection.execute(
        select(_aliases.c.domain_id).where(_aliases.c.id == gone.id)
    ).scalar_one()
    keys = sorted({bytes(one.public_key) for one in files})
    rows = [
        {
            "alias_id": gone.id,
            "primary": primary,
            "address": gone.address,
            "domain_id": domain_id,
            "files": msgspec.msgpack.encode(
                sorted(one.id for one in files if one.primary == primary)
            ),
            "public_keys": msgspec.msgpack.encode(keys),
            "begun": now,
        }
        for primary in sorted({gone.primary, *started, *(one.primary for one in files)})
    ]
    connection.execute(insert(_erasures), rows)
