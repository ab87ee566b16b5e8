"""The tables, declared once for SQLite and PostgreSQL.

Migrations bring a database to this shape (a test compares the two). Times are ISO 8601 UTC text,
sizes octets, ids ObjectIDs.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    text,
)

from mailsrv.directory.values import DEFAULT_PRIMARY

HEAD = "0002"
"""The newest migration, known without loading Alembic."""

CURRENT = "current"
ARCHIVED = "archived"
DISCARDED = "discarded"
INCOMING = "incoming"
MOVED = "moved"
LEFT = "left"

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
    }
)

revision = Table(
    "revision",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("value", BigInteger, nullable=False),
)
"""One row. Raised in the transaction of every change that ends or alters a session; writers of
such changes take its lock first and so come one after another."""

account = Table(
    "account",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("quota", BigInteger),
    Column("created", Text, nullable=False),
)

domain = Table(
    "domain",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("account_id", Text, ForeignKey("account.id"), index=True),
    Column("quota", BigInteger),
    Column("created", Text, nullable=False),
)

alias = Table(
    "alias",
    metadata,
    Column("id", Text, primary_key=True),
    Column("domain_id", Text, ForeignKey("domain.id"), nullable=False, index=True),
    Column("address", Text, nullable=False, unique=True),
    Column("enabled", Boolean, nullable=False),
    Column("quota", BigInteger),
    Column("salt", LargeBinary),
    Column("iterations", Integer),
    Column("created", Text, nullable=False),
    Column("primary", Text, nullable=False, server_default=DEFAULT_PRIMARY),
)
"""``salt`` and ``iterations`` are shared by all credentials of the alias, so that a SCRAM proof
can be tried against each; NULL until the first password. ``primary`` names the one that serves
the alias: its current file lies there."""

usage = Table(
    "usage",
    metadata,
    Column("alias_id", Text, ForeignKey("alias.id", ondelete="CASCADE"), primary_key=True),
    Column("octets", BigInteger, nullable=False),
    Column("messages", BigInteger, nullable=False),
)
"""Apart from ``alias``, because every delivery writes it."""

mailbox = Table(
    "mailbox",
    metadata,
    Column("id", Text, primary_key=True),
    Column("alias_id", Text, ForeignKey("alias.id", ondelete="SET NULL")),
    Column("state", Text, nullable=False),
    Column("public_key", LargeBinary, nullable=False),
    Column("created", Text, nullable=False),
    Column("primary", Text, nullable=False, server_default=DEFAULT_PRIMARY),
    Index("ix_mailbox_alias_id", "alias_id", "state"),
    Index("ix_mailbox_primary", "primary", "state"),
    Index(
        "uq_mailbox_current",
        "alias_id",
        unique=True,
        sqlite_where=text("state = 'current'"),
        postgresql_where=text("state = 'current'"),
    ),
)
"""Every file, and on the volume of which primary it lies. An alias has one current file, archived
ones, and while it moves an incoming one. A moved file is the old copy of the current one, kept
until that was opened with its owner's key. A discarded file waits to be removed, a left one too,
and with it the waiting mail that was copied along. (The row outlives the alias, so that a crash
leaves no file without an entry.)"""

volume = Table(
    "volume",
    metadata,
    Column("primary", Text, primary_key=True),
    Column("volume", Text, nullable=False),
    Column("created", Text, nullable=False),
)
"""Which data directory a primary's name belongs to, told by a digest of that one's secret."""

credential = Table(
    "credential",
    metadata,
    Column("id", Text, primary_key=True),
    Column(
        "alias_id", Text, ForeignKey("alias.id", ondelete="CASCADE"), nullable=False, index=True
    ),
    Column("label", Text, nullable=False),
    Column("scopes", Text, nullable=False),
    Column("main", Boolean, nullable=False),
    Column("stored_key", LargeBinary, nullable=False),
    Column("server_key", LargeBinary, nullable=False),
    Column("public_key", LargeBinary, nullable=False),
    Column("wrapped_private_key", LargeBinary, nullable=False),
    Column("sealed_file_key", LargeBinary, nullable=False),
    Column("created", Text, nullable=False),
    Column("used", Text),
    Column("revoked_at", Text),
)
