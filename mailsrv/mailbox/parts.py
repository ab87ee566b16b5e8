"""Attachments and large bodies: stored once, however many messages have them.

A part is known by the SHA-256 of its decoded octets and kept in chunks, so that a range of it is
read without the rest. ``refs`` counts the places in messages that use it; with the last of them
the part goes.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable

import apsw
import msgspec

from mailsrv.errors import MailboxDamaged
from mailsrv.mailbox import sql
from mailsrv.mailbox.packing import Codec, pack, unpack

CHUNK = 256 * 1024


class PreparedPart(msgspec.Struct, frozen=True):
    """Decoded octets of a part, and their packed chunks unless the mailbox has them already."""

    sha256: bytes
    data: bytes
    chunks: list[tuple[Codec, bytes]] | None


def prepare(connection: apsw.Connection, data: bytes) -> PreparedPart:
    """Hash and pack; this is the slow half and needs no lock."""
    sha256 = hashlib.sha256(data).digest()
    known = sql.row(connection, "SELECT 1 FROM part WHERE sha256 = ?", (sha256,))
    return PreparedPart(sha256, data, None if known else _chunks(data))


def store(connection: apsw.Connection, part: PreparedPart) -> int:
    """Add a reference to a part, which is stored if it is new; its id."""
    known: int | None = sql.value(
        connection, "UPDATE part SET refs = refs + 1 WHERE sha256 = ? RETURNING id", (part.sha256,)
    )
    if known is not None:
        return known
    connection.execute(
        "INSERT INTO part (sha256, size, refs) VALUES (?, ?, 1)", (part.sha256, len(part.data))
    )
    part_id = connection.last_insert_rowid()
    chunks = _chunks(part.data) if part.chunks is None else part.chunks
    connection.executemany(
        "INSERT INTO part_chunk (part_id, number, codec, data) VALUES (?, ?, ?, ?)",
        [(part_id, number, codec, data) for number, (codec, data) in enumerate(chunks)],
    )
    return part_id


def release(connection: apsw.Connection, part_ids: Iterable[int]) -> None:
    """Take references away, one for each time that an id is given."""
    counts = Counter(part_ids)
    connection.executemany(
        "UPDATE part SET refs = refs - ? WHERE id = ?",
        [(count, part_id) for part_id, count in counts.items()],
    )
    connection.executemany(
        "DELETE FROM part WHERE id = ? AND refs <= 0", [(part_id,) for part_id in counts]
    )


def read(connection: sql.Executor, part_id: int, start: int, end: int) -> bytes:
    """Decoded octets ``[start, end)`` of a part. MailboxDamaged when some are not there."""
    if start >= end:
        return b""
    first = start // CHUNK
    chunks = sql.rows(
        connection,
        "SELECT codec, data FROM part_chunk WHERE part_id = ? AND number BETWEEN ? AND ? "
        "ORDER BY number",
        (part_id, first, (end - 1) // CHUNK),
    )
    data = b"".join([unpack(codec, chunk) for codec, chunk in chunks])
    found = data[start - first * CHUNK : end - first * CHUNK]
    if len(found) != end - start:
        raise MailboxDamaged("octets of a part are missing")
    return found


def _chunks(data: bytes) -> list[tuple[Codec, bytes]]:
    return [pack(data[at : at + CHUNK]) for at in range(0, len(data), CHUNK)]
