"""What a mailbox does with expunged messages: keeps them for a time, and gives them back.

How long is said by who opens the file. Who does not say neither keeps nor purges: a tool that
adds a message must not decide about those that the owner may want back.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import apsw

from mailsrv.mailbox import recoverable, sql, undelete
from mailsrv.mailbox.opened import Opened
from mailsrv.mailbox.recoverable import Row
from mailsrv.mailbox.transaction import Database, Writer, iso
from mailsrv.mailbox.values import ExpungedPage, ExpungedQuery, Purged, Undeleted, Usage

PURGED_AT_ONCE = 200
"""Messages that one write purges, so that it does not hold up others for long."""

_PURGED_ON_THE_WAY = 50
_NEVER = iso(datetime.max)
_EVERYTHING = ExpungedQuery()


class Recovery(Opened):
    """The part of ``Mailbox`` that is about expunged messages."""

    def __init__(self, path: Path, database: Database, keep_expunged: timedelta | None) -> None:
        super().__init__(path, database)
        self._keep = keep_expunged

    def expunged(
        self, which: ExpungedQuery = _EVERYTHING, before: int | None = None, max_rows: int = 100
    ) -> ExpungedPage:
        """A page of the expunged messages that can be had back; ask again with its ``before``."""
        with self.reading() as connection:
            return undelete.listing(connection, which, self._horizon(), before, max_rows)

    def undelete(
        self, which: ExpungedQuery, to: str | None = None, write_id: str | None = None
    ) -> Undeleted:
        """Put messages back where they were, or into the folder ``to``; all or none, on disk.

        Folders that are not there are made. InvalidInput, TooManyResults.
        """
        with self.writing() as writer:
            return writer.once(
                write_id,
                Undeleted,
                lambda: undelete.undelete(writer, which, self._horizon(), to),
            )

    def purge(self, which: ExpungedQuery = _EVERYTHING, write_id: str | None = None) -> Purged:
        """Remove expunged messages for good, some at a time; the last of it is on disk.

        What a crash leaves of it is purged by the same call.
        """
        messages = octets = 0
        while True:
            with self.writing() as writer:
                limit = 0 if writer.is_repeated(write_id) else PURGED_AT_ONCE
                rows = undelete.matching(writer.connection, which, limit)
                recoverable.purge(writer.connection, rows)
                messages += len(rows)
                octets += sum(row.size for row in rows)
                if len(rows) < PURGED_AT_ONCE:
                    return writer.once(write_id, Purged, partial(Purged, messages, octets))

    def purge_expired(self) -> bool:
        """Purge some of those whose time is over; whether there were any."""
        with self.reading() as connection:
            if not self._expired(connection, 1):
                return False
        with self.writing(durable=False) as writer:
            self._purge_expired(writer, PURGED_AT_ONCE)
        return True

    def make_room(self, octets: int) -> bool:
        """Purge the oldest ones until so many octets of the quota are free; False, and nothing is
        purged, when all of them together are not enough."""
        with self.reading() as connection:
            if recoverable.octets(connection) < octets:
                return False
        while octets > 0:
            with self.writing(durable=False) as writer:
                rows = _enough(recoverable.oldest(writer.connection, PURGED_AT_ONCE), octets)
                recoverable.purge(writer.connection, rows)
            if not rows:  # others were faster
                return False
            octets -= sum(row.size for row in rows)
        return True

    def usage(self) -> Usage:
        """Octets and number of messages in all folders, and octets of expunged messages."""
        with self.reading() as connection:
            size, messages = sql.rows(
                connection,
                "SELECT coalesce(sum(size), 0), coalesce(sum(messages), 0) FROM folder",
            )[0]
            kept = recoverable.octets(connection)
        return Usage(size + kept, messages, kept)

    @property
    def _keeps(self) -> bool:
        """Whether what is expunged now can be had back."""
        return bool(self._keep)

    def _purge_expired(self, writer: Writer, limit: int = _PURGED_ON_THE_WAY) -> None:
        recoverable.purge(writer.connection, self._expired(writer.connection, limit))

    def _expired(self, connection: apsw.Connection, limit: int) -> list[Row]:
        horizon = self._horizon()
        return [] if horizon is None else recoverable.oldest(connection, limit, horizon)

    def _horizon(self) -> str | None:
        """What was expunged before this time can be had back no more."""
        if self._keep is None:
            return None
        return iso(self._database.now() - self._keep) if self._keep else _NEVER


def _enough(rows: Sequence[Row], octets: int) -> Sequence[Row]:
    """The first rows that have so many octets together, or all."""
    for number, row in enumerate(rows, 1):
        octets -= row.size
        if octets <= 0:
            return rows[:number]
    return rows
