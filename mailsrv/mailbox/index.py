"""The full text of a mailbox: folded text of each content, and grams that lead to it.

``search_text`` holds the comparison form of a content's header and body (zstd), which decides
whether a text occurs. ``search_grams`` and ``search_pairs`` are FTS5 tables without content of
their own that name the candidates (see ``grams``). Their rowid is ``2 * content.id`` for the
header and one more for the body, so that a search in bodies is not misled by headers although
no positions or columns are stored, which would double their size.

A content with ``indexed = 0`` has no rows here yet; a search reads it in full instead.
"""

from collections.abc import Callable, Iterable
from typing import Any

import apsw
import msgspec
import zstandard

from mailsrv.mailbox import grams
from mailsrv.message.scan import scan
from mailsrv.message.text import body_text, fold, header_text, mime_text

_FTS = "text, content='', contentless_delete=1, detail=none, tokenize="
_SETTINGS = (("pgsz", 3900), ("automerge", 8))
"""A page of the index fits a page of the file; merging waits longer, which takes a tenth off
the time to index for a little more to search."""

_TEXT_COLUMNS = "content_id INTEGER PRIMARY KEY, head BLOB NOT NULL, body BLOB NOT NULL"

INDEX_DDL: tuple[str, ...] = (
    f"CREATE TABLE search_text ({_TEXT_COLUMNS})",
    f"CREATE VIRTUAL TABLE search_grams USING fts5({_FTS}'trigram case_sensitive 1')",
    f"CREATE VIRTUAL TABLE search_pairs USING fts5({_FTS}'ascii')",
    *(
        f"INSERT INTO {table}({table}, rank) VALUES ('{name}', {value})"  # noqa: S608 constants
        for table in ("search_grams", "search_pairs")
        for name, value in _SETTINGS
    ),
)
"""Makes the tables of this module, in a file that has none of them. FTS5 adds its own shadow
tables; ``content`` and its column ``indexed`` are the schema's."""

BATCH_OCTETS = 8 * 1024 * 1024
"""A batch ends after the message that passes this many octets: it bounds memory and the lock."""

LEVEL = 3

ReadContent = Callable[[int], bytes]
"""The octets of the message with this content id."""


class Texts(msgspec.Struct, frozen=True):
    """Comparison forms of a message's texts.

    ``head`` has a ``name: value`` line for each field of the header, then an empty line, then
    those of the headers of MIME parts, which TEXT sees and HEADER does not (rfc9051:3952).
    """

    head: str
    body: str


class Prepared(msgspec.Struct, frozen=True):
    """One content, ready to be written into the index."""

    content_id: int
    sha256: bytes
    """Of the content, since a deleted one's id may be given to another."""
    head: bytes
    body: bytes
    trigrams: tuple[str, str]
    pairs: tuple[str, str]


def comparable(text: str) -> str:
    """The form in which texts are compared: two texts match if these forms contain each other."""
    return grams.clean(fold(text))


def texts_of(content: bytes) -> Texts:
    """What a search looks at in a message; never raises, whatever the octets."""
    root = scan(content).root
    head = _lines(header_text(content, root))
    if root.children:
        head += "\n" + _lines(mime_text(content, root))
    return Texts(head, comparable(body_text(content, root)))


def _lines(text: str) -> str:
    """Fold each line of its own: a search does not match across two of them."""
    return "".join([f"{_line(line)}\n" for line in text.split("\n") if line])


def _line(line: str) -> str:
    """A field keeps its blank after the colon, also when it is empty; other lines have none."""
    name, colon, value = line.partition(": ")
    return f"{comparable(name)}: {comparable(value)}" if colon else comparable(line)


def prepare(connection: apsw.Connection, limit: int, read: ReadContent) -> list[Prepared]:
    """Extract the text of up to ``limit`` contents that are not indexed yet, oldest first.

    This is the slow half and takes no write lock. ``store`` makes it part of the file.
    """
    rows: list[Any] = connection.execute(
        "SELECT id, sha256 FROM content WHERE indexed = 0 ORDER BY id LIMIT ?", (limit,)
    ).fetchall()
    compress = zstandard.ZstdCompressor(level=LEVEL).compress
    batch = []
    octets = 0
    for content_id, sha256 in rows:
        content = read(content_id)
        texts = texts_of(content)
        both = (texts.head, texts.body)
        head, body = (compress(text.encode()) for text in both)
        trigrams = (grams.alphabetic(texts.head), grams.alphabetic(texts.body))
        pairs = (grams.pairs(texts.head), grams.pairs(texts.body))
        batch.append(Prepared(content_id, sha256, head, body, trigrams, pairs))
        octets += len(content)
        if octets > BATCH_OCTETS:
            break
    return batch


def store(connection: apsw.Connection, batch: Iterable[Prepared]) -> int:
    """Write a batch, inside a transaction of the caller; the number of contents left to index.

    A content that has gone or was indexed by another connection meanwhile is passed over.
    """
    for one in batch:
        claimed = connection.execute(
            "UPDATE content SET indexed = 1 WHERE id = ? AND sha256 = ? AND indexed = 0 "
            "RETURNING id",
            (one.content_id, one.sha256),
        ).fetchall()
        if claimed:
            _insert(connection, one)
    return pending(connection)


def _insert(connection: apsw.Connection, one: Prepared) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO search_text (content_id, head, body) VALUES (?, ?, ?)",
        (one.content_id, one.head, one.body),
    )
    for part in (0, 1):
        rowid = 2 * one.content_id + part
        if len(one.trigrams[part]) >= 3:
            connection.execute(
                "INSERT INTO search_grams (rowid, text) VALUES (?, ?)", (rowid, one.trigrams[part])
            )
        if one.pairs[part]:
            connection.execute(
                "INSERT INTO search_pairs (rowid, text) VALUES (?, ?)", (rowid, one.pairs[part])
            )


def pending(connection: apsw.Connection) -> int:
    """How many contents are not indexed yet."""
    count: Any = connection.execute("SELECT count(*) FROM content WHERE indexed = 0").get
    return int(count)


def remove(connection: apsw.Connection, content_ids: Iterable[int]) -> None:
    """Forget contents whose last message was expunged, in the transaction that deletes them."""
    for content_id in content_ids:
        connection.execute("DELETE FROM search_text WHERE content_id = ?", (content_id,))
        rowids = (2 * content_id, 2 * content_id + 1)
        connection.execute("DELETE FROM search_grams WHERE rowid IN (?, ?)", rowids)
        connection.execute("DELETE FROM search_pairs WHERE rowid IN (?, ?)", rowids)
