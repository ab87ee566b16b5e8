"""Files that came back from a backup without their owners' keys.

Their folders still have the UIDVALIDITYs of the lost file, under which clients may know messages
that the backup lacks. Who first opens such a file with its owner's key gives it new ones, and then
says so here.
"""

from sqlalchemy import insert, select, update

from mailsrv.directory import schema
from mailsrv.directory.base import Part
from mailsrv.directory.mailboxes import check_primary
from mailsrv.directory.values import MailboxRecord
from mailsrv.errors import MailboxMoved

_files = schema.mailbox


class Restores(Part):
    """Each method is one durable transaction."""

    def put_back(self, alias_id: str, record: MailboxRecord, *, replaces: str) -> None:
        """Name a file from a backup in place of a lost one that had the same key.

        All credentials stay. The lost file stays known as archived, and so does the old copy that
        a move left: it goes only when its owner has opened the new one. ``replaces`` is the file
        that the caller took for the current one, MailboxMoved when it is not. NoSuchAlias;
        Elsewhere when another primary than the record's serves the alias.
        """
        mine = (_files.c.alias_id == alias_id, _files.c.state == schema.CURRENT)
        with self._database.writing() as connection:
            check_primary(connection, alias_id, record.primary)
            if connection.execute(select(_files.c.id).where(*mine)).scalar() != replaces:
                raise MailboxMoved("the mailbox was changed by another process meanwhile")
            connection.execute(update(_files).where(*mine).values(state=schema.ARCHIVED))
            connection.execute(
                insert(_files).values(
                    id=record.id,
                    alias_id=alias_id,
                    state=schema.CURRENT,
                    public_key=record.public_key,
                    created=record.created,
                    primary=record.primary,
                    restored=record.restored,
                )
            )

    def settle_restore(self, mailbox_id: str) -> None:
        """The folders of this file have new UIDVALIDITYs. Harmless to repeat."""
        with self._database.writing(announce=False) as connection:
            connection.execute(
                update(_files).where(_files.c.id == mailbox_id).values(restored=None)
            )
