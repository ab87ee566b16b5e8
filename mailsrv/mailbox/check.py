"""Count everything again: whether a file is whole and its numbers are true."""

import apsw

from mailsrv.errors import MailboxDamaged
from mailsrv.mailbox import layout, sql

_COUNTED = (
    "SELECT f.id, count(m.uid) AS messages, coalesce(sum(m.flags & 1 = 0), 0) AS unseen, "
    "coalesce(sum(m.flags & 8 = 8), 0) AS deleted, coalesce(sum(m.size), 0) AS size, "
    "coalesce(max(m.uid), 0) AS last, coalesce(max(m.modseq), 0) AS modseq "
    "FROM folder AS f LEFT JOIN message AS m ON m.folder_id = f.id GROUP BY f.id"
)

_MUST_BE_EMPTY = (
    (
        "a folder's counters are wrong",
        (
            "SELECT 1 FROM folder AS f JOIN counted AS n USING (id) WHERE (f.messages, f.unseen, "
            "f.deleted, f.size) <> (n.messages, n.unseen, n.deleted, n.size)"
        ),
    ),
    (
        "a folder's next UID or modseq is below one in use",
        (
            "SELECT 1 FROM folder AS f JOIN counted AS n USING (id) "
            "WHERE f.uidnext <= n.last OR f.highestmodseq < n.modseq"
        ),
    ),
    (
        "a content belongs to no message",
        (
            "SELECT 1 FROM content WHERE id NOT IN (SELECT content_id FROM message) "
            "AND id NOT IN (SELECT content_id FROM recoverable)"
        ),
    ),
    (
        "a content lacks its octets or fields",
        (
            "SELECT 1 FROM content AS c LEFT JOIN body AS b ON b.content_id = c.id "
            "LEFT JOIN field AS f ON f.content_id = c.id WHERE b.content_id IS NULL "
            "OR f.content_id IS NULL"
        ),
    ),
    (
        "a message's size differs from that of its content",
        (
            "SELECT 1 FROM (SELECT content_id, size FROM message UNION ALL "
            "SELECT content_id, size FROM recoverable) AS m JOIN content AS c "
            "ON c.id = m.content_id WHERE m.size <> c.size"
        ),
    ),
    (
        "the octets of expunged messages are counted wrongly",
        (
            "SELECT 1 WHERE (SELECT coalesce(sum(size), 0) FROM recoverable) "
            "<> coalesce((SELECT value FROM meta WHERE name = 'recoverable'), 0)"
        ),
    ),
    ("a row refers to one that is not there", "SELECT 1 FROM pragma_foreign_key_check"),
)


def check(connection: apsw.Connection) -> None:
    """Read every page and count again, inside a transaction of the caller. MailboxDamaged."""
    problem: str = sql.value(connection, "PRAGMA integrity_check(1)")
    if problem != "ok":
        raise MailboxDamaged("the mailbox file does not pass SQLite's integrity check")
    for sentence, query in _MUST_BE_EMPTY:
        if sql.row(connection, f"WITH counted AS ({_COUNTED}) {query}"):
            raise MailboxDamaged(sentence)
    _check_references(connection)


def recount(connection: apsw.Connection) -> None:
    """Set the counters of all folders to what is there, inside a write transaction."""
    connection.execute(
        "UPDATE folder SET messages = n.messages, unseen = n.unseen, deleted = n.deleted, "  # noqa: S608
        f"size = n.size FROM ({_COUNTED}) AS n WHERE folder.id = n.id"
    )


def _check_references(connection: apsw.Connection) -> None:
    """Compare the reference counts of parts with the messages that use them."""
    counted: dict[int, int] = {}
    for (packed,) in connection.execute("SELECT layout FROM body WHERE layout IS NOT NULL"):
        for piece in layout.decode(packed):
            if piece.part:
                counted[piece.part] = counted.get(piece.part, 0) + 1
    if counted != dict(sql.rows(connection, "SELECT id, refs FROM part")):
        raise MailboxDamaged("a part's number of references is wrong")
    missing = sql.row(
        connection,
        "SELECT 1 FROM part AS p WHERE (SELECT count(*) FROM part_chunk AS c "
        "WHERE c.part_id = p.id) <> (p.size + 262143) / 262144",
    )
    if missing:
        raise MailboxDamaged("octets of a part are missing")
