"""Contents: what never changes about a message, stored once for all its copies.

A message with the octets of one that is there already becomes another copy of that one. New
octets are scanned, split and packed before the write lock is taken. The header has a place of
its own, so that fetching headers reads nothing else; small bodies stay beside it in the skeleton;
attachments and large bodies become shared parts. Reading gives back the exact octets.
"""

import hashlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import apsw
import msgspec

from mailsrv.errors import MailboxDamaged
from mailsrv.keys.objectid import object_id
from mailsrv.mailbox import grams, index, layout, parts, sql
from mailsrv.mailbox.layout import Piece
from mailsrv.mailbox.packing import Codec, pack, unpack
from mailsrv.mailbox.transaction import Writer
from mailsrv.message.parts import Base64, Segment, split
from mailsrv.message.scan import Part, Scanned, scan

INLINE_OCTETS = 32 * 1024
"""Text to be read stays in the skeleton up to here: hardly any two messages share it."""

MAX_THREAD_REFERENCES = 100
"""Message ids looked up to find the thread of a new message; the last are the nearest."""

_USED = (
    "SELECT 1 WHERE EXISTS (SELECT 1 FROM message WHERE content_id = ?) "
    "OR EXISTS (SELECT 1 FROM recoverable WHERE content_id = ?)"
)

_root_decoder = msgspec.msgpack.Decoder(Part)


class _PreparedPiece(NamedTuple):
    length: int
    part: parts.PreparedPart | None
    base64: Base64 | None


class _Fresh(NamedTuple):
    """A new content, scanned and packed."""

    scanned: Scanned
    header: tuple[Codec, bytes]
    skeleton: tuple[Codec, bytes]
    pieces: list[_PreparedPiece] | None


class Prepared(NamedTuple):
    """A message ready to be stored; ``fresh`` is None when the mailbox seemed to have it."""

    sha256: bytes
    content: bytes
    fresh: _Fresh | None

    @property
    def size(self) -> int:
        """Octets of the message."""
        return len(self.content)


class Stored(NamedTuple):
    """The row of ``body``: what is needed to read a message."""

    header_codec: int
    header: bytes
    skeleton_codec: int
    skeleton: bytes
    layout: bytes | None


def prepare(connection: apsw.Connection, content: bytes) -> Prepared:
    """Do what can be done for a new message without the write lock."""
    sha256 = hashlib.sha256(content).digest()
    known = _find(connection, sha256) is not None
    return Prepared(sha256, content, None if known else _scan(connection, content))


def store(writer: Writer, prepared: Prepared) -> int:
    """The id of the content, which is stored if it is new. Its message row must follow."""
    connection = writer.connection
    content_id = _find(connection, prepared.sha256)
    if content_id is not None:
        return content_id
    # The copy that ``prepare`` saw may have been expunged since.
    fresh = prepared.fresh or _scan(connection, prepared.content)
    content_id = _insert_content(writer, prepared, fresh.scanned)
    _insert_fields(connection, content_id, fresh.scanned)
    pieces = None if fresh.pieces is None else list(_store_pieces(connection, fresh.pieces))
    connection.execute(
        "INSERT INTO body (content_id, header_codec, skeleton_codec, header, root, layout, "
        "skeleton) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            *(content_id, fresh.header[0], fresh.skeleton[0], fresh.header[1]),
            msgspec.msgpack.encode(fresh.scanned.root),
            *(None if pieces is None else layout.encode(pieces), fresh.skeleton[1]),
        ),
    )
    return content_id


def release(connection: apsw.Connection, content_ids: Iterable[int]) -> None:
    """Delete those of the contents that no message has any more, with what only they used.

    A message that was expunged and can be had back still has its content.
    """
    gone = [
        content_id
        for content_id in content_ids
        if not sql.row(connection, _USED, (content_id, content_id))
    ]
    used = []
    for content_id in gone:
        packed = sql.value(
            connection, "DELETE FROM body WHERE content_id = ? RETURNING layout", (content_id,)
        )
        used += [piece.part for piece in layout.decode(packed)] if packed else []
    parts.release(connection, [part_id for part_id in used if part_id])
    index.remove(connection, gone)
    connection.executemany("DELETE FROM content WHERE id = ?", [(one,) for one in gone])


def load(connection: sql.Executor, content_id: int) -> Stored:
    """The stored form of a content. MailboxDamaged when it is not there."""
    found = sql.row(
        connection,
        "SELECT header_codec, header, skeleton_codec, skeleton, layout FROM body "
        "WHERE content_id = ?",
        (content_id,),
    )
    if found is None:
        raise MailboxDamaged("the octets of a message are missing")
    return Stored(*found)


def header(stored: Stored) -> bytes:
    """The message's header with its blank line."""
    return unpack(stored.header_codec, stored.header)


def whole(connection: sql.Executor, stored: Stored) -> bytes:
    """All octets of the message."""
    head = unpack(stored.header_codec, stored.header)
    skeleton = unpack(stored.skeleton_codec, stored.skeleton)
    if stored.layout is None:
        return head + skeleton
    pieces = layout.decode(stored.layout)
    size = sum(piece.length for piece in pieces)
    return head + layout.read(pieces, skeleton, _part_reader(connection), 0, size)


def octets(connection: sql.Executor, stored: Stored, start: int, end: int) -> bytes:
    """Octets ``[start, end)`` of the message, without reading more parts than they touch."""
    head = unpack(stored.header_codec, stored.header)
    first = head[start:end]
    if end <= len(head):
        return first
    skeleton = unpack(stored.skeleton_codec, stored.skeleton)
    start, end = max(start - len(head), 0), end - len(head)
    if stored.layout is None:
        return first + skeleton[start:end]
    pieces = layout.decode(stored.layout)
    return first + layout.read(pieces, skeleton, _part_reader(connection), start, end)


def root(connection: apsw.Connection, content_id: int) -> Part:
    """The tree of parts of a content."""
    packed = sql.value(connection, "SELECT root FROM body WHERE content_id = ?", (content_id,))
    if packed is None:
        raise MailboxDamaged("the structure of a message is missing")
    return decode_root(packed)


def decode_root(packed: bytes) -> Part:
    """The tree of parts from the column of ``body``."""
    return _root_decoder.decode(packed)


def _part_reader(connection: sql.Executor) -> layout.ReadPart:
    return lambda part_id, start, end: parts.read(connection, part_id, start, end)


def _find(connection: apsw.Connection, sha256: bytes) -> int | None:
    found: int | None = sql.value(connection, "SELECT id FROM content WHERE sha256 = ?", (sha256,))
    return found


def _scan(connection: apsw.Connection, content: bytes) -> _Fresh:
    scanned = scan(content)
    start = scanned.root.body_start
    inline = set(_inline_texts(scanned.root))
    skeleton: list[bytes] = []
    pieces: list[_PreparedPiece] = []
    for segment in split(content, scanned.root):
        if segment.end <= start:
            continue
        piece = _prepare_piece(connection, content, start, segment, inline)
        pieces.append(piece)
        if piece.part is None:
            skeleton.append(content[max(segment.start, start) : segment.end])
    shared = any(piece.part is not None for piece in pieces)
    return _Fresh(
        scanned,
        pack(content[:start]),
        pack(b"".join(skeleton)),
        pieces if shared else None,
    )


def _inline_texts(root: Part) -> Iterator[int]:
    """Where the bodies of those leaf parts begin that are text to be read in the message."""
    waiting = [root]
    while waiting:
        part = waiting.pop()
        waiting.extend(part.children)
        if part.type == "text" and not part.children and part.disposition in (None, "inline"):
            yield part.body_start


def _prepare_piece(
    connection: apsw.Connection, content: bytes, body: int, segment: Segment, inline: set[int]
) -> _PreparedPiece:
    start = max(segment.start, body)
    length = segment.end - start
    is_small = length <= INLINE_OCTETS and segment.base64 is None
    if is_small and (not segment.is_part or segment.start in inline):
        return _PreparedPiece(length, None, None)
    if segment.start < body:
        return _PreparedPiece(length, parts.prepare(connection, content[start : segment.end]), None)
    data = segment.decoded(content)
    return _PreparedPiece(length, parts.prepare(connection, data), segment.base64)


def _store_pieces(connection: apsw.Connection, prepared: list[_PreparedPiece]) -> Iterator[Piece]:
    for piece in prepared:
        if piece.part is None:
            yield Piece(piece.length)
        else:
            part_id = parts.store(connection, piece.part)
            yield Piece(piece.length, part_id, len(piece.part.data), piece.base64)


def _insert_content(writer: Writer, prepared: Prepared, scanned: Scanned) -> int:
    connection = writer.connection
    connection.execute(
        "INSERT INTO content (size, object_id, thread_id, envelope, bodystructure, sha256) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        (
            prepared.size,
            object_id(writer.moment),
            _thread(writer, scanned),
            scanned.envelope,
            scanned.bodystructure,
            prepared.sha256,
        ),
    )
    return connection.last_insert_rowid()


def _insert_fields(connection: apsw.Connection, content_id: int, scanned: Scanned) -> None:
    comparable, clean = index.comparable, grams.clean
    connection.execute(
        "INSERT INTO field (content_id, sent, sent_day, subject, sender, recipients, cc, bcc, "
        "message_id, preview) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            content_id,
            scanned.sent,
            scanned.sent_day,
            comparable(scanned.subject),
            comparable(scanned.sender),
            comparable(scanned.to),
            comparable(scanned.cc),
            comparable(scanned.bcc),
            clean(scanned.message_id),
            clean(scanned.preview),
        ),
    )


def _thread(writer: Writer, scanned: Scanned) -> str:
    """The thread of the nearest message in the mailbox that this one refers to, or a new one."""
    nearest_first = (scanned.message_id, *reversed(scanned.references))
    for message_id in nearest_first[:MAX_THREAD_REFERENCES]:
        thread: str | None = message_id and sql.value(
            writer.connection,
            "SELECT c.thread_id FROM field AS f JOIN content AS c ON c.id = f.content_id "
            "WHERE f.message_id = ? AND f.message_id <> '' LIMIT 1",
            (grams.clean(message_id),),
        )
        if thread:
            return thread
    return object_id(writer.moment)
