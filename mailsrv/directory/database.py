"""The connection to SQLite or PostgreSQL: settings, transactions, errors, one fast path.

Several threads and processes (server, command line) work at the same time. On SQLite a writing
transaction begins IMMEDIATE, so that it never fails half way for want of the lock; on PostgreSQL
those that raise the revision queue on its row. Errors of the driver become ours, without values.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy
from sqlalchemy import Connection, Engine, Select, event, exc, update
from sqlalchemy.engine import URL, make_url

from mailsrv.directory import schema
from mailsrv.errors import (
    AlreadyExists,
    DiskFull,
    InvalidInput,
    MailsrvError,
    ReadOnlyVolume,
    SchemaMismatch,
    StorageFailed,
    Unavailable,
)

BUSY_SECONDS = 5
"""How long a writer waits for another."""

_POOL_SIZE = 5
_POOL_OVERFLOW = 15
_DURABLE = "mailsrv_durable"

Lookup = Callable[..., Any]
"""Called with the parameters by name, answers the first row as a tuple, or None."""


class Database:
    """One database. Methods block and may be called from any thread."""

    def __init__(self, url: str) -> None:
        """Take ``sqlite:///PATH`` or ``postgresql+psycopg://...``. No input or output yet."""
        self.url = _checked(url)
        self.is_sqlite = self.url.drivername.startswith("sqlite")
        try:
            self._engine = self._sqlite() if self.is_sqlite else self._postgresql()
        except ImportError:
            raise InvalidInput(
                "directory.url: PostgreSQL needs a driver: pip install 'psycopg[binary]'"
            ) from None

    def __repr__(self) -> str:
        return f"<Database {self.url.render_as_string(hide_password=True)}>"

    @property
    def path(self) -> Path:
        """The file, when it is SQLite."""
        return Path(self.url.database or "")

    def close(self) -> None:
        """Close all connections that no thread is using now."""
        self._engine.dispose()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that only reads."""
        with self._translated(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """A transaction that only reads, and sees one moment however often it asks."""
        engine = self._engine
        if not self.is_sqlite:
            engine = engine.execution_options(isolation_level="REPEATABLE READ")
        with self._translated(), engine.begin() as connection:
            yield connection

    @contextmanager
    def writing(self, *, durable: bool = True, announce: bool = True) -> Iterator[Connection]:
        """A transaction that writes: whole or not at all, on disk at the end when ``durable``.

        ``announce`` raises the revision, first thing: its row is the lock that puts the
        transactions of all processes one after another.
        """
        engine = self._engine.execution_options(**{_DURABLE: durable})
        with self._translated(), engine.begin() as connection:
            if announce:
                row = schema.revision
                connection.execute(update(row).values(value=row.c.value + 1))
            yield connection

    def lookup(self, statement: Select[Any]) -> Lookup:
        """Compile a query once, for questions that every write or poll asks.

        Goes to the driver directly: 10 us instead of 45 on SQLite. Columns come as the driver
        gives them, so it suits text, numbers and octets, not booleans.
        """
        compiled = statement.compile(dialect=self._engine.dialect)
        sql, defaults, names = str(compiled), compiled.params, compiled.positiontup

        def run(**values: Any) -> Any:
            parameters = {**defaults, **values}
            bound = parameters if names is None else [parameters[name] for name in names]
            with self._translated():
                return self._first_row(sql, bound)

        return run

    def use_wal(self) -> None:
        """Put the file of an SQLite directory into WAL mode, which lasts. Unavailable if busy."""
        with self._translated():
            self._first_row("PRAGMA journal_mode = WAL", ())

    def empty_log(self) -> None:
        """Let the log beside an SQLite file keep nothing of what was deleted, unless it is busy."""
        if self.is_sqlite:
            self._first_row("PRAGMA wal_checkpoint(TRUNCATE)", ())

    def _first_row(self, sql: str, bound: Any) -> Any:
        connection = self._engine.raw_connection()
        try:
            cursor = connection.cursor()
            try:
                cursor.execute(sql, bound)
                return cursor.fetchone()
            finally:
                cursor.close()
        finally:
            connection.close()

    # Engines

    def _sqlite(self) -> Engine:
        # mode=rw: a directory that is missing is an error, not an empty one made on the way
        address = f"file:{quote(str(self.path))}?mode=rw"

        def connect() -> sqlite3.Connection:
            return sqlite3.connect(
                address,
                uri=True,
                timeout=BUSY_SECONDS,
                check_same_thread=False,
                isolation_level=None,
            )

        engine = sqlalchemy.create_engine(
            self.url,
            creator=connect,
            hide_parameters=True,
            pool_size=0,
            poolclass=sqlalchemy.QueuePool,
        )
        event.listen(engine, "connect", _set_pragmas)
        event.listen(engine, "begin", _begin)
        return engine

    def _postgresql(self) -> Engine:
        engine = sqlalchemy.create_engine(
            self.url,
            hide_parameters=True,
            pool_pre_ping=True,
            pool_size=_POOL_SIZE,
            max_overflow=_POOL_OVERFLOW,
            pool_timeout=BUSY_SECONDS,
            connect_args={"connect_timeout": BUSY_SECONDS},
        )
        event.listen(engine, "connect", _set_timeouts)
        return engine

    # Errors

    @contextmanager
    def _translated(self) -> Iterator[None]:
        dbapi = self._engine.dialect.loaded_dbapi
        try:
            yield
        except exc.IntegrityError:
            raise AlreadyExists("the directory has an entry of that name already") from None
        except exc.DBAPIError as error:
            raise _translate(error.orig) from None
        except exc.TimeoutError:
            raise Unavailable("the directory has no connection left") from None
        except dbapi.Error as error:
            raise _translate(error) from None


def _checked(text: str) -> URL:
    try:
        url = make_url(text)
    except exc.ArgumentError:
        raise InvalidInput("directory.url is not a URL of a database") from None
    if url.drivername in ("sqlite", "sqlite+pysqlite"):
        if url.database in (None, "", ":memory:"):
            raise InvalidInput("directory.url: expected a file, several processes share it")
    elif url.drivername != "postgresql+psycopg":
        raise InvalidInput("directory.url: expected sqlite:///PATH or postgresql+psycopg://...")
    return url


def _set_pragmas(connection: Any, _record: Any) -> None:
    connection.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA secure_delete = ON")


def _begin(connection: Connection) -> None:
    durable = connection.get_execution_options().get(_DURABLE)
    if durable is None:
        connection.exec_driver_sql("BEGIN")
        return
    connection.exec_driver_sql(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _set_timeouts(connection: Any, _record: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SET lock_timeout = '{BUSY_SECONDS}s'")
    connection.commit()


# Result codes of SQLite (primary) and SQLSTATEs of PostgreSQL.
_MEANINGS: dict[int | str, tuple[type[MailsrvError], str]] = {
    5: (Unavailable, "the directory is busy"),
    8: (ReadOnlyVolume, "the directory may not be written"),
    10: (StorageFailed, "the disk of the directory failed"),
    11: (StorageFailed, "the directory is damaged"),
    13: (DiskFull, "no room for the directory"),
    14: (Unavailable, "the directory does not exist or may not be opened"),
    26: (StorageFailed, "the file of the directory is not a database"),
    "25006": (ReadOnlyVolume, "the directory may not be written"),
    "53100": (DiskFull, "no room for the directory"),
    "55P03": (Unavailable, "the directory is busy"),
    "28000": (Unavailable, "the directory's server refuses the user of directory.url"),
    "28P01": (Unavailable, "the directory's server refuses the password of directory.url"),
    "3D000": (Unavailable, "the directory's server has no database of the name in directory.url"),
    "42P01": (SchemaMismatch, "the directory has no tables yet"),
}


def _translate(error: BaseException | None) -> MailsrvError:
    code = getattr(error, "sqlite_errorcode", None)
    key = code & 0xFF if isinstance(code, int) else getattr(error, "sqlstate", None)
    if key in _MEANINGS:
        meaning, text = _MEANINGS[key]
        return meaning(text)
    if "no such table" in str(error):
        return SchemaMismatch("the directory has no tables yet")
    if type(error).__name__ == "OperationalError" and key is None:
        return Unavailable("the server that directory.url names cannot be reached")
    return Unavailable(f"the directory failed: {type(error).__name__}")


def create_file(path: Path) -> None:
    """Make an empty file that only its owner may read, unless there is one."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return
    except OSError as error:
        raise StorageFailed(f"directory.url: cannot create {path}: {error.strerror}") from None
    os.close(descriptor)
