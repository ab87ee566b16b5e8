"""What a session sees of a folder: SELECT, and what changed since a modseq (rfc7162:430)."""

from itertools import chain, starmap

import apsw
import msgspec

from mailsrv.mailbox import folders, keywords, sql
from mailsrv.mailbox import uids as uid_sets
from mailsrv.mailbox.values import Changes, FlagRow, Folder, Selected, UidSet

_UNSEEN = ", ".join(str(flags) for flags in range(0, 32, 2))
"""All values of the flags column without \\Seen, so that its index serves."""


def select(connection: apsw.Connection, folder: Folder, first_recent: int) -> Selected:
    """What SELECT answers with; ``first_recent`` is the first UID that no session saw."""
    held = chain.from_iterable(
        sql.rows(
            connection, "SELECT uid FROM message WHERE folder_id = ? ORDER BY uid", (folder.id,)
        )
    )
    first_unseen: int | None = folder.unseen and sql.value(
        connection,
        f"SELECT min(uid) FROM message WHERE folder_id = ? AND flags IN ({_UNSEEN})",  # noqa: S608
        (folder.id,),
    )
    return Selected(
        folder,
        uid_sets.pack(held),
        recent(connection, folder, first_recent),
        first_unseen or None,
        keywords.in_use(connection),
    )


def recent(connection: apsw.Connection, folder: Folder, first_recent: int) -> UidSet:
    """UIDs of messages from ``first_recent`` on."""
    if first_recent >= folder.uidnext:
        return ()
    held = sql.rows(
        connection,
        "SELECT uid FROM message WHERE folder_id = ? AND uid >= ? ORDER BY uid",
        (folder.id, first_recent),
    )
    return uid_sets.ranges(uid for (uid,) in held)


def first_recent(connection: apsw.Connection, folder_id: int) -> int:
    """The first UID that no session has claimed as \\Recent."""
    found: int = sql.value(connection, "SELECT first_recent FROM folder WHERE id = ?", (folder_id,))
    return found


def changes(connection: apsw.Connection, folder_id: int, since: int) -> Changes:
    """Messages that are new or have new flags, and UIDs that went, after modseq ``since``."""
    folder = folders.with_id(connection, folder_id)
    if folder.highestmodseq <= since:
        return Changes(folder.highestmodseq, folder.uidnext, [], ())
    changed = sql.rows(
        connection,
        "SELECT uid, flags, keywords, modseq FROM message WHERE folder_id = ? AND modseq > ? "
        "ORDER BY uid",
        (folder_id, since),
    )
    return Changes(
        folder.highestmodseq,
        folder.uidnext,
        list(starmap(FlagRow, changed)),
        _vanished(connection, folder, since),
    )


def changes_with_recent(connection: apsw.Connection, folder_id: int, since: int) -> Changes:
    """Changes, and the \\Recent messages, which no later session gets."""
    found = changes(connection, folder_id, since)
    folder = folders.with_id(connection, folder_id)
    claimed = recent(connection, folder, first_recent(connection, folder_id))
    folders.claim_recent(connection, folder)
    return msgspec.structs.replace(found, recent=claimed)


def _vanished(connection: apsw.Connection, folder: Folder, since: int) -> UidSet:
    floor = sql.value(connection, "SELECT expunged_floor FROM folder WHERE id = ?", (folder.id,))
    if since < floor:
        # The log no longer goes back so far: everything that is not there may be new to the
        # asker, who passes over what it never had (rfc7162:1979).
        held = sql.rows(
            connection, "SELECT uid FROM message WHERE folder_id = ? ORDER BY uid", (folder.id,)
        )
        return uid_sets.missing((uid for (uid,) in held), folder.uidnext)
    spans = sql.rows(
        connection,
        "SELECT first, last FROM expunged WHERE folder_id = ? AND modseq > ?",
        (folder.id, since),
    )
    return uid_sets.merged((first, last) for first, last in spans)
