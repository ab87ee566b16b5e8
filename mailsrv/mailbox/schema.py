"""The tables of a mailbox file: declared here once, checked and mended at every open.

``content`` and ``message`` have short rows, because listings read them; ``field`` holds what
SEARCH and SORT compare; octets of messages live in ``body``, ``part`` and ``part_chunk``. A file
of an older version gets the tables, columns and indexes that it lacks. Any other difference is
refused with an error that names it, as is a file of a newer version.
"""

from functools import cache

import apsw
import msgspec

from mailsrv.errors import SchemaMismatch
from mailsrv.mailbox import sql
from mailsrv.mailbox.index import INDEX_DDL

SCHEMA_VERSION = 2
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
            ("recipients", _TEXT),
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
        "recoverable",
        (
            # AUTOINCREMENT: who was shown the id of one that is gone never gets another by it.
            ("id", "INTEGER PRIMARY KEY AUTOINCREMENT"),
            # The folder may go: its name is then what is left to find a place by.
            ("folder_id", "INTEGER NOT NULL"),
            ("folder", "TEXT NOT NULL"),
            ("uid", "INTEGER NOT NULL"),
            ("content_id", "INTEGER NOT NULL REFERENCES content"),
            ("flags", _INT),
            ("keywords", _TEXT),
            ("internal_date", "TEXT NOT NULL"),
            ("saved", "TEXT NOT NULL"),
            ("size", "INTEGER NOT NULL"),
            ("expunged", "TEXT NOT NULL"),
        ),
        since=2,
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
    Index("message_flags", "message(folder_id, flags, modseq)"),
    Index("message_keywords", "message(folder_id, keywords) WHERE keywords <> ''"),
    Index("content_sha256", "content(sha256)", unique=True),
    Index("content_pending", "content(id) WHERE indexed = 0"),
    Index("field_sent_day", "field(sent_day)"),
    Index("field_message_id", "field(message_id) WHERE message_id <> ''"),
    Index("recoverable_content", "recoverable(content_id)"),
    Index("recoverable_folder", "recoverable(folder_id)"),
    Index("recoverable_expunged", "recoverable(expunged)"),
    Index("applied_at", "applied(at)"),
)


class _Shape(msgspec.Struct, frozen=True):
    """What SQLite says of a table: columns by name, and keys, options and references as text."""

    columns: dict[str, str]
    rest: str


def create(connection: apsw.Connection) -> None:
    """Make all tables and indexes, inside a transaction of the caller."""
    for statement in (*(one.sql() for one in (*TABLES, *INDEXES)), *INDEX_DDL):
        connection.execute(statement)
    connection.pragma("user_version", SCHEMA_VERSION)


def is_current(connection: apsw.Connection) -> bool:
    """Whether nothing needs to be mended. SchemaMismatch for the file of a newer version."""
    version = int(connection.pragma("user_version"))
    if version > SCHEMA_VERSION:
        raise SchemaMismatch(
            f"the mailbox has schema version {version}, this server knows {SCHEMA_VERSION}"
        )
    if version < 1:
        raise SchemaMismatch("the file holds no mailbox: its schema version is 0")
    found = set(sql.rows(connection, "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL"))
    return version == SCHEMA_VERSION and _expected() <= found


def mend(connection: apsw.Connection) -> bool:
    """Add what is missing, inside a write transaction of the caller.

    Tells whether columns were added, whose values must be counted again. SchemaMismatch names a
    difference that cannot be mended.
    """
    version = int(connection.pragma("user_version"))
    added = [_mend_table(connection, table, version) for table in TABLES]
    present = _names(connection, "SELECT name, sql FROM sqlite_schema WHERE type = 'index'")
    for index in INDEXES:
        if present.get(index.name) != index.sql():
            connection.execute(f"DROP INDEX IF EXISTS {index.name}")
            _apply(connection, index.sql(), f"index {index.name}")
    _mend_full_text(connection)
    if version != SCHEMA_VERSION:
        connection.pragma("user_version", SCHEMA_VERSION)
    return any(added)


def _mend_table(connection: apsw.Connection, table: Table, version: int) -> bool:
    found = _shape(connection, table.name)
    if found is None:
        if table.since <= version:
            raise SchemaMismatch(f"table {table.name} is missing")
        connection.execute(table.sql())
        return False
    expected = _declared_shapes()[table.name]
    for name, definition in found.columns.items():
        wanted = expected.columns.get(name, "no such column")
        if definition != wanted:
            raise SchemaMismatch(
                f"table {table.name}, column {name}: expected {wanted}, found {definition}"
            )
    if found.rest != expected.rest:
        raise SchemaMismatch(f"table {table.name}: expected {expected.rest}, found {found.rest}")
    missing = [column for column in table.columns if column[0] not in found.columns]
    for name, definition in missing:
        what = f"table {table.name}, column {name}"
        _apply(connection, f"ALTER TABLE {table.name} ADD COLUMN {name} {definition}", what)
    return bool(missing)


def _apply(connection: apsw.Connection, statement: str, what: str) -> None:
    try:
        connection.execute(statement)
    except (apsw.SQLError, apsw.ConstraintError):
        raise SchemaMismatch(f"{what} is missing and cannot be added") from None


def _mend_full_text(connection: apsw.Connection) -> None:
    """Make lost tables of the full text again; everything is then indexed anew."""
    names = {name for name, _ in _full_text()}
    if names <= _names(connection, "SELECT name, sql FROM sqlite_schema").keys():
        return
    for name in names:
        connection.execute(f"DROP TABLE IF EXISTS {name}")
    for statement in INDEX_DDL:
        connection.execute(statement)
    connection.execute("UPDATE content SET indexed = 0")


@cache
def _full_text() -> tuple[tuple[str, str], ...]:
    """Name and SQL of the full text's own tables, as sqlite_schema keeps them."""
    with apsw.Connection(":memory:") as memory:
        for statement in INDEX_DDL:
            memory.execute(statement)
        found = _names(memory, "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL")
    wanted = [name for name in found if any(f" {name} " in one for one in INDEX_DDL)]
    return tuple((name, found[name]) for name in wanted)


@cache
def _expected() -> frozenset[tuple[str, str]]:
    declared = ((one.name, one.sql()) for one in (*TABLES, *INDEXES))
    return frozenset((*declared, *_full_text()))


@cache
def _declared_shapes() -> dict[str, _Shape]:
    with apsw.Connection(":memory:") as memory:
        for table in TABLES:
            memory.execute(table.sql())
        shapes = {table.name: _shape(memory, table.name) for table in TABLES}
    return {name: shape for name, shape in shapes.items() if shape is not None}


def _names(
    connection: apsw.Connection, statement: str, bindings: sql.Bindings = ()
) -> dict[str, str]:
    """Rows of two texts, the second by the first."""
    return {row[0]: row[1] for row in sql.rows(connection, statement, bindings)}


def _shape(connection: apsw.Connection, table: str) -> _Shape | None:
    kind = sql.row(
        connection,
        "SELECT wr, strict FROM pragma_table_list WHERE schema = 'main' AND name = ? "
        "AND type = 'table'",
        (table,),
    )
    if kind is None:
        return None
    columns = _names(
        connection,
        "SELECT name, concat(type, ' ', iif(\"notnull\", 'NOT NULL ', ''), "
        "iif(pk, 'in the primary key ', ''), 'default ', coalesce(dflt_value, 'none')) "
        "FROM pragma_table_xinfo(?)",
        (table,),
    )
    keys = sql.rows(
        connection,
        "SELECT l.origin, group_concat(i.name) FROM pragma_index_list(?) AS l, "
        "pragma_index_info(l.name) AS i WHERE l.origin <> 'c' GROUP BY l.name ORDER BY 1, 2",
        (table,),
    )
    references = sql.rows(
        connection,
        'SELECT "from", "table", on_delete FROM pragma_foreign_key_list(?) ORDER BY 1',
        (table,),
    )
    rest = f"without rowid {kind[0]}, strict {kind[1]}, keys {keys}, references {references}"
    return _Shape(columns, rest)
