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

HEAD = "0003"
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
    Column("deleted", Text),
    Column("touched", BigInteger, nullable=False, server_default="0"),
)
"""``salt`` and ``iterations`` are shared by all credentials of the alias, so that a SCRAM proof
can be tried against each; NULL until the first password. ``primary`` names the one that serves
the alias: its current file lies there. ``deleted`` is when its deletion was asked for: it takes no
mail and no logins, and is erased after a time of grace. ``touched`` is raised by who wrote to the
mailbox beside the server, which then tells the sessions."""

usage = Table(
    "usage",
    metadata,
    Column("alias_id", Text, ForeignKey("alias.id", ondelete="CASCADE"), primary_key=True),
    Column("octets", BigInteger, nullable=False),
    Column("messages", BigInteger, nullable=False),
    Column("recoverable", BigInteger, nullable=False, server_default="0"),
)
"""Apart from ``alias``, because every delivery writes it. Of the ``octets``, ``recoverable`` are
those of expunged messages, which make room for others."""

mailbox = Table(
    "mailbox",
    metadata,
    Column("id", Text, primary_key=True),
    Column("alias_id", Text, ForeignKey("alias.id", ondelete="SET NULL")),
    Column("state", Text, nullable=False),
    Column("public_key", LargeBinary, nullable=False),
    Column("created", Text, nullable=False),
    Column("primary", Text, nullable=False, server_default=DEFAULT_PRIMARY),
    Column("restored", Text),
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
leaves no file without an entry.) ``restored`` is when the file came from a backup without its
owner's key: the first who opens it gives its folders new UIDVALIDITYs."""

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

backup = Table(
    "backup",
    metadata,
    Column("alias_id", Text, ForeignKey("alias.id", ondelete="CASCADE"), primary_key=True),
    Column("mailbox", Text),
    Column("digest", LargeBinary),
    Column("taken", Text),
    Column("checked", Text),
    Column("wanted", Text),
    Column("failed", Text),
    Column("problem", Text),
)
"""How the backups of an alias stand. ``taken`` is when the newest was made, of the file ``mailbox``
whose content had this ``digest``; ``checked`` when it was last found to be still true. ``wanted``
is since when one is due that could have been made, ``failed`` and ``problem`` are when and why the
last attempt failed; NULL when all is well."""

bucket = Table(
    "bucket",
    metadata,
    Column("domain_id", Text, ForeignKey("domain.id", ondelete="CASCADE"), primary_key=True),
    Column("settings", Text, nullable=False),
    Column("sealed_secret", LargeBinary, nullable=False),
)
"""Where a domain's owner wants the backups of its mailboxes: JSON of the bucket, and its secret
access key under the server's secret."""

erasure = Table(
    "erasure",
    metadata,
    Column("alias_id", Text, primary_key=True),
    Column("primary", Text, primary_key=True),
    Column("address", Text, nullable=False),
    Column("domain_id", Text),
    Column("files", LargeBinary, nullable=False),
    Column("public_keys", LargeBinary, nullable=False),
    Column("begun", Text, nullable=False),
)
"""Aliases that are gone from here, and what each primary may have left to remove of them: files,
waiting mail, and backups that it had made while it served them. ``files`` (msgpack)
are those on the primary's volume, ``public_keys`` (msgpack) name the waiting mail."""
