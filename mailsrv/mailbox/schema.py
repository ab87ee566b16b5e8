"""The tables of a mailbox file: declared here once, checked and mended at every open.

``content`` and ``message`` have short rows, because listings read them; ``field`` holds what
SEARCH and SORT compare; octets of messages live in ``body``, ``part`` and ``part_chunk``. A file
of an older version gets the tables, columns and indexes that it lacks. Any other difference is
refused with an error that names it, as is a file of a newer version.
"""

import re
from collections.abc import Iterator

import apsw
import msgspec

from mailsrv.errors import SchemaMismatch

SCHEMA_VERSION = 1
"""Kept in ``PRAGMA user_version``; raised whenever a table is added."""


class Table(msgspec.Struct, frozen=True):
    """One table. ``columns`` are (name, rest of the definition); ``tail`` follows the columns."""

    name: str
    columns: tuple[tuple[str, str], ...]
    tail: str = ""
    options: str = ""
    since: int = 1

    def sql(self) -> str:
        """Return the CREATE statement as sqlite_schema keeps it."""
        inside = [" ".join(column) for column in self.columns]
        if self.tail:
            inside.append(self.tail)
        return f"CREATE TABLE {self.name}({', '.join(inside)}){self.options}"


class Index(msgspec.Struct, frozen=True):
    """One index; ``on`` is the table, the columns and perhaps a WHERE."""

    name: str
    on: str
    unique: bool = False

    def sql(self) -> str:
        """Return the CREATE statement as sqlite_schema keeps it."""
        return f"CREATE {'UNIQUE ' if self.unique else ''}INDEX {self.name} ON {self.on}"


_ID = ("id", "INTEGER PRIMARY KEY")
_INT = "INTEGER NOT NULL DEFAULT 0"
_TEXT = "TEXT NOT NULL DEFAULT ''"

TABLES = (
    Table("meta", (("name", "TEXT PRIMARY KEY"), ("value", "")), options=" WITHOUT ROWID"),
    Table(
        "folder",
        (
            # AUTOINCREMENT: a session may still hold the id of a deleted folder.
            ("id", "INTEGER PRIMARY KEY AUTOINCREMENT"),
            ("name", "TEXT NOT NULL UNIQUE"),
            ("object_id", "TEXT NOT NULL"),
            ("special_use", "TEXT"),
            ("uidvalidity", "INTEGER NOT NULL"),
            ("uidnext", "INTEGER NOT NULL DEFAULT 1"),
            ("highestmodseq", "INTEGER NOT NULL DEFAULT 1"),
            ("messages", _INT),
            ("unseen", _INT),
            ("deleted", _INT),
            ("size", _INT),
            ("first_recent", "INTEGER NOT NULL DEFAULT 1"),
            # No modseq up to here is given out again after a power cut (durability.py).
            ("reserved", _INT),
            # The expunged table is complete for changes after this modseq.
            ("expunged_floor", _INT),
        ),
    ),
    Table("subscription", (("name", "TEXT PRIMARY KEY"),), options=" WITHOUT ROWID"),
    Table("keyword", (("name", "TEXT PRIMARY KEY COLLATE NOCASE"),), options=" WITHOUT ROWID"),
    Table(
        "content",
        (
            _ID,
            ("size", "INTEGER NOT NULL"),
            ("object_id", "TEXT NOT NULL"),
            ("thread_id", "TEXT NOT NULL"),
            ("envelope", "BLOB NOT NULL"),
            ("bodystructure", "BLOB NOT NULL"),
            ("sha256", "BLOB NOT NULL"),
            ("indexed", _INT),
        ),
    ),
    Table(
        "field",
        (
            ("content_id", "INTEGER PRIMARY KEY REFERENCES content ON DELETE CASCADE"),
            ("sent", "TEXT"),
            ("sent_day", "TEXT"),
            ("subject", _TEXT),
            ("sender", _TEXT),
            ("to_", _TEXT),
            ("cc", _TEXT),
            ("bcc", _TEXT),
            ("message_id", _TEXT),
            ("preview", _TEXT),
        ),
    ),
    Table(
        "body",
        (
            ("content_id", "INTEGER PRIMARY KEY REFERENCES content ON DELETE CASCADE"),
            ("header_codec", _INT),
            ("skeleton_codec", _INT),
            ("header", "BLOB NOT NULL"),
            ("root", "BLOB NOT NULL"),
            ("layout", "BLOB"),
            ("skeleton", "BLOB NOT NULL"),
        ),
    ),
    Table(
        "message",
        (
            ("folder_id", "INTEGER NOT NULL REFERENCES folder"),
            ("uid", "INTEGER NOT NULL"),
            ("content_id", "INTEGER NOT NULL REFERENCES content"),
            ("flags", _INT),
            ("keywords", _TEXT),
            ("internal_date", "TEXT NOT NULL"),
            ("saved", "TEXT NOT NULL"),
            ("modseq", "INTEGER NOT NULL"),
            ("size", "INTEGER NOT NULL"),
        ),
        tail="PRIMARY KEY (folder_id, uid)",
        options=" WITHOUT ROWID",
    ),
    Table(
        "part",
        (
            _ID,
            ("sha256", "BLOB NOT NULL UNIQUE"),
            ("size", "INTEGER NOT NULL"),
            ("refs", _INT),
        ),
    ),
    Table(
        "part_chunk",
        (
            ("part_id", "INTEGER NOT NULL REFERENCES part ON DELETE CASCADE"),
            ("number", "INTEGER NOT NULL"),
            ("codec", _INT),
            ("data", "BLOB NOT NULL"),
        ),
        tail="PRIMARY KEY (part_id, number)",
    ),
    Table(
        "expunged",
        (
            ("folder_id", "INTEGER NOT NULL REFERENCES folder ON DELETE CASCADE"),
            ("modseq", "INTEGER NOT NULL"),
            ("first", "INTEGER NOT NULL"),
            ("last", "INTEGER NOT NULL"),
        ),
        tail="PRIMARY KEY (folder_id, modseq, first)",
        options=" WITHOUT ROWID",
    ),
    Table(
        "applied",
        (("id", "TEXT PRIMARY KEY"), ("result", "BLOB NOT NULL"), ("at", "TEXT NOT NULL")),
        options=" WITHOUT ROWID",
    ),
)

INDEXES = (
    Index("message_modseq", "message(folder_id, modseq)"),
    Index("message_content", "message(content_id)"),
    Index("message_internal_date", "message(folder_id, internal_date)"),
    Index("message_saved", "message(folder_id, saved)"),
    Index("message_size", "message(folder_id, size)"),
    Index("message_unseen", "message(folder_id) WHERE flags & 1 = 0"),
    Index("message_answered", "message(folder_id) WHERE flags & 2 = 2"),
    Index("message_flagged", "message(folder_id) WHERE flags & 4 = 4"),
    Index("message_deleted", "message(folder_id) WHERE flags & 8 = 8"),
    Index("message_draft", "message(folder_id) WHERE flags & 16 = 16"),
    Index("message_keywords", "message(folder_id, keywords) WHERE keywords <> ''"),
    Index("content_sha256", "content(sha256)", unique=True),
    Index("content_thread", "content(thread_id)"),
    Index("content_object", "content(object_id)"),
    Index("content_pending", "content(id) WHERE indexed = 0"),
    Index("field_sent_day", "field(sent_day)"),
    Index("field_sent", "field(sent)"),
    Index("field_message_id", "field(message_id) WHERE message_id <> ''"),
    Index("applied_at", "applied(at)"),
)
