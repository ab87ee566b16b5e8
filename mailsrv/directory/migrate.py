"""Bringing a directory to the shape that this version of the code knows.

Alembic's migrations travel inside the package and run without any alembic.ini. Several processes
may do this at once: the check and the migrations happen in one transaction under one lock.
"""

import time
from typing import Any

from sqlalchemy import Connection, inspect, text

from mailsrv.directory.database import BUSY_SECONDS, Database, create_file
from mailsrv.directory.schema import HEAD
from mailsrv.errors import SchemaMismatch, Unavailable

_PACKAGE = "mailsrv.directory:migrations"
_ADVISORY_LOCK = 0x6D61696C73727600
_RETRY_SECONDS = 0.02


def migrate(database: Database) -> None:
    """Create or upgrade the tables. SchemaMismatch for a directory newer than this code."""
    if database.is_sqlite:
        create_file(database.path)
        _use_wal(database)
    with database.reading() as connection:
        if _version(connection) == HEAD:
            return
    with database.writing(announce=False) as connection:
        if not database.is_sqlite:
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})"))
        if _version(connection) != HEAD:
            _upgrade(connection)


def _use_wal(database: Database) -> None:
    """Switch the file to WAL, which it remembers.

    SQLite does not always wait for its lock here, so two first starts at once have to.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            database.use_wal()
        except Unavailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(_RETRY_SECONDS)
        else:
            return


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return found


def _upgrade(connection: Connection) -> None:
    # Alembic takes a tenth of a second to load, which a directory that is up to date need not pay
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", _PACKAGE)
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    found: Any = _version(connection)
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if found is not None and found not in known:
        raise SchemaMismatch(
            f"the directory was made by a newer mailsrv (its schema is {found}, "
            f"this version knows up to {HEAD}): upgrade mailsrv"
        )
    command.upgrade(config, "head")
