"""A mailbox goes from one primary to another: the transactions between which files are copied.

A move names an *incoming* file first, then copies, then switches: one transaction makes the
incoming file the current one, keeps the old one as *moved*, and gives the alias to the other
primary. It needs the incoming row, and who gives up takes that row away first; so of switch and
abort only one happens, whoever dies meanwhile. A moved file goes once the new one was opened
with its owner's key. What goes is *left* in the directory until its primary has removed it.
"""

from collections.abc import Collection

import msgspec
from sqlalchemy import ColumnElement, Connection, delete, insert, select, update

from mailsrv.directory import schema
from mailsrv.directory.base import Part, checked_primary
from mailsrv.directory.mailboxes import leave_moved
from mailsrv.directory.values import MailboxRecord, Unverified
from mailsrv.errors import AlreadyExists, InvalidInput, MailboxMoved, NoSuchAlias

_files = schema.mailbox
_RECORD = select(
    _files.c.id,
    _files.c.public_key,
    _files.c.created,
    _files.c.primary,
    _files.c.restored,
)

_HERE = (schema.CURRENT, schema.ARCHIVED, schema.INCOMING)
"""States of files whose waiting mail, on the same volume, is theirs."""


class Moves(Part):
    """Each method is one durable transaction."""

    def set_primary(self, alias_id: str, primary: str) -> None:
        """Give an alias that has no mailbox yet to another primary.

        NoSuchAlias, InvalidInput; AlreadyExists when it has a mailbox, which has to be moved.
        """
        checked_primary(primary)
        with self._database.writing() as connection:
            if _current(connection, alias_id) is not None:
                raise AlreadyExists("the alias has a mailbox, which has to be moved")
            _give(connection, alias_id, primary)

    def begin_move(self, alias_id: str, replaces: str, primary: str) -> MailboxRecord:
        """Name an incoming file on the volume of ``primary``, before it is made there.

        ``replaces`` is the current file, MailboxMoved when it is not. A move that was begun
        earlier comes to nothing. InvalidInput when the file is there already.
        """
        with self._database.writing() as connection:
            current = _expected(connection, alias_id, replaces)
            if current.primary == checked_primary(primary):
                raise InvalidInput(f"the mailbox is on primary {primary} already")
            record = MailboxRecord(
                id=self._new_id(),
                public_key=current.public_key,
                created=self._time(),
                primary=primary,
            )
            _change(connection, schema.INCOMING, schema.LEFT, _files.c.alias_id == alias_id)
            connection.execute(
                insert(_files).values(
                    id=record.id,
                    alias_id=alias_id,
                    state=schema.INCOMING,
                    public_key=record.public_key,
                    created=record.created,
                    primary=record.primary,
                )
            )
        return record

    def abort_move(self, incoming: str) -> bool:
        """Let an incoming file go. False when it is none: it became current, or is gone."""
        with self._database.writing() as connection:
            return _change(connection, schema.INCOMING, schema.LEFT, _files.c.id == incoming) > 0

    def abort_moves(self, primary: str, but: Collection[str]) -> list[str]:
        """Let all files go that were coming in to a primary when it died; return their ids.

        ``but`` are those that are coming in to it now.
        """
        mine = (
            _files.c.primary == primary,
            _files.c.state == schema.INCOMING,
            _files.c.id.not_in(list(but)),
        )
        dead = select(_files.c.id).where(*mine)
        with self._database.reading() as connection:
            if connection.execute(dead).first() is None:  # asked again and again
                return []
        with self._database.writing() as connection:
            found = sorted(connection.execute(dead).scalars())
            connection.execute(update(_files).where(*mine).values(state=schema.LEFT))
        return found

    def finish_move(self, alias_id: str, replaces: str, incoming: str) -> MailboxRecord:
        """The switch: the incoming file is the mailbox from now on. Returns its record.

        MailboxMoved when ``replaces`` is not the current file any more, or the incoming one was
        given up.
        """
        with self._database.writing() as connection:
            current = _expected(connection, alias_id, replaces)
            wanted = (
                _files.c.id == incoming,
                _files.c.alias_id == alias_id,
                _files.c.state == schema.INCOMING,
            )
            row = connection.execute(_RECORD.where(*wanted)).first()
            if row is None:
                raise MailboxMoved("the move was given up meanwhile")
            record = MailboxRecord(*row)
            _change(connection, schema.CURRENT, schema.MOVED, _files.c.id == replaces)
            _change(connection, schema.INCOMING, schema.CURRENT, _files.c.id == incoming)
            # the copy waits for its owner's key as the file did
            restored = update(_files).where(_files.c.id == incoming)
            connection.execute(restored.values(restored=current.restored))
            _give(connection, alias_id, record.primary)
        return msgspec.structs.replace(record, restored=current.restored)

    def unverified_mailboxes(self, primary: str) -> list[Unverified]:
        """Return the current files of a primary of which an old copy is still kept."""
        old = schema.mailbox.alias("old")
        # few files are moved: they are looked for first
        query = (
            select(_files.c.alias_id, _files.c.id)
            .distinct()
            .select_from(_files.join(old, old.c.alias_id == _files.c.alias_id))
            .where(
                _files.c.primary == primary,
                _files.c.state == schema.CURRENT,
                old.c.state == schema.MOVED,
            )
        )
        with self._database.reading() as connection:
            return sorted(Unverified(*row) for row in connection.execute(query))

    def settle_move(self, alias_id: str, verified: str) -> bool:
        """The current file was opened and is whole: old copies of it may go.

        False, and nothing happens, when ``verified`` is not the current file any more.
        """
        with self._database.writing() as connection:
            current = _current(connection, alias_id)
            if current is None or current.id != verified:
                return False
            leave_moved(connection, alias_id)
        return True

    def left_mailboxes(self, primary: str) -> list[MailboxRecord]:
        """Return the files on a volume that lost or never won a move, to be removed with the
        waiting mail beside them, unless ``needs_waiting_mail``."""
        return self._on(primary, schema.LEFT)

    def moved_mailboxes(self, primary: str) -> list[MailboxRecord]:
        """Return the old copies on a volume; mail that waited for them is with the new ones."""
        return self._on(primary, schema.MOVED)

    def needs_waiting_mail(self, public_key: bytes, primary: str) -> bool:
        """Tell whether a file on this volume has this key, for which mail may wait here."""
        wanted = (
            _files.c.primary == primary,
            _files.c.state.in_(_HERE),
            _files.c.public_key == public_key,
        )
        with self._database.reading() as connection:
            return connection.execute(select(_files.c.id).where(*wanted)).first() is not None

    def forget_left(self, mailbox_id: str) -> None:
        """Drop the entry of a left file, after the file itself is gone."""
        gone = (_files.c.id == mailbox_id, _files.c.state == schema.LEFT)
        with self._database.writing(announce=False) as connection:
            connection.execute(delete(_files).where(*gone))

    def _on(self, primary: str, state: str) -> list[MailboxRecord]:
        query = _RECORD.where(_files.c.primary == primary, _files.c.state == state)
        with self._database.reading() as connection:
            found = [MailboxRecord(*row) for row in connection.execute(query)]
        return sorted(found, key=lambda one: one.id)


def _current(connection: Connection, alias_id: str) -> MailboxRecord | None:
    mine = (_files.c.alias_id == alias_id, _files.c.state == schema.CURRENT)
    row = connection.execute(_RECORD.where(*mine)).first()
    return None if row is None else MailboxRecord(*row)


def _expected(connection: Connection, alias_id: str, file_id: str) -> MailboxRecord:
    current = _current(connection, alias_id)
    if current is None or current.id != file_id:
        raise MailboxMoved("the mailbox was changed by another process meanwhile")
    return current


def _change(connection: Connection, old: str, new: str, which: ColumnElement[bool]) -> int:
    changed = connection.execute(
        update(_files).where(which, _files.c.state == old).values(state=new)
    )
    return changed.rowcount


def _give(connection: Connection, alias_id: str, primary: str) -> None:
    table = schema.alias
    changed = connection.execute(
        update(table).where(table.c.id == alias_id).values(primary=primary)
    )
    if changed.rowcount == 0:
        raise NoSuchAlias("no such alias")
