"""Settings of the connection, migrations, errors, and what may be seen of it all."""

import os
import sqlite3
import stat
import sys
from datetime import UTC, datetime
from pathlib import Path
from unittest import mock

from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from twisted.trial.unittest import SynchronousTestCase

from mailsrv.directory import schema
from mailsrv.directory.database import Database
from mailsrv.directory.directory import Directory
from mailsrv.errors import (
    InvalidInput,
    MailsrvError,
    ReadOnlyVolume,
    SchemaMismatch,
    StorageFailed,
    Unavailable,
)
from tests import postgresql
from tests.directory.databases import DirectoryCase, OnNewPostgreSQL, OnSQLite


class MigrationTests(DirectoryCase):
    def test_tables_are_those_declared(self) -> None:
        with self.directory._database.reading() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            self.assertEqual(compare_metadata(context, schema.metadata), [])

    def test_partial_index_keeps_one_current_file(self) -> None:
        alias = self.add_alias()
        self.add_mailbox(alias.id)
        with (
            self.assertRaises(MailsrvError),
            self.directory._database.writing() as connection,
        ):
            connection.exec_driver_sql(
                "INSERT INTO mailbox (id, alias_id, state, public_key, created)"
                " SELECT 'x', alias_id, state, public_key, created FROM mailbox"
            )

    def test_again_is_harmless(self) -> None:
        self.add_alias()
        before = self.directory.revision()
        self.open().migrate()
        self.assertEqual(self.directory.revision(), before)
        self.assertEqual(len(self.directory.aliases()), 1)

    def test_newer_directory_is_refused(self) -> None:
        self.add_alias()
        with self.directory._database.writing() as connection:
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
        with self.assertRaises(SchemaMismatch) as caught:
            self.open().migrate()
        self.assertIn("newer", str(caught.exception))
        self.assertIn("9999", str(caught.exception))
        self.assertEqual(len(self.directory.aliases()), 1)

    def test_tables_that_are_missing(self) -> None:
        unmigrated = Directory(self.new_url(), self.clock)
        self.addCleanup(unmigrated.close)
        if unmigrated._database.is_sqlite:
            unmigrated._database.path.touch()
        for call in (unmigrated.domains, unmigrated.revision):
            with self.assertRaises(SchemaMismatch):
                call()


class MigrationOnSQLiteTests(MigrationTests, OnSQLite):
    pass


class MigrationOnPostgreSQLTests(MigrationTests, OnNewPostgreSQL):
    pass


del MigrationTests


class HeadTests(SynchronousTestCase):
    def test_head_is_the_newest_migration(self) -> None:
        config = Config()
        config.set_main_option("script_location", "mailsrv.directory:migrations")
        config.set_main_option("path_separator", "os")
        self.assertEqual(ScriptDirectory.from_config(config).get_heads(), [schema.HEAD])


class SQLiteTests(OnSQLite):
    def path(self) -> Path:
        return self.directory._database.path

    def test_only_the_owner_may_read(self) -> None:
        os.umask(os.umask(0o022))
        self.add_alias()
        files = sorted(self.path().parent.glob(self.path().name + "*"))
        self.assertEqual(len(files), 3)
        for file in files:
            self.assertEqual(stat.S_IMODE(file.stat().st_mode), 0o600, file.suffix)

    def test_settings(self) -> None:
        for writing in (False, True):
            database = self.directory._database
            with database.writing() if writing else database.reading() as connection:
                got = {
                    name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                    for name in ("journal_mode", "foreign_keys", "busy_timeout", "synchronous")
                }
            self.assertEqual(
                got,
                {"journal_mode": "wal", "foreign_keys": 1, "busy_timeout": 5000, "synchronous": 2},
            )

    def test_durable_again_after_a_quick_write(self) -> None:
        alias = self.add_alias()
        self.directory.add_usage(alias.id, 1, 1)
        with self.directory._database.writing() as connection:
            self.assertEqual(connection.exec_driver_sql("PRAGMA synchronous").scalar(), 2)

    def test_missing_file(self) -> None:
        self.directory.close()
        for file in self.path().parent.glob(self.path().name + "*"):
            file.unlink()
        with self.assertRaises(Unavailable):
            self.open().revision()
        self.assertFalse(self.path().exists())

    def test_missing_folder(self) -> None:
        directory = Directory(f"sqlite:///{self.path()}-no/directory.sqlite", self.clock)
        with self.assertRaises(StorageFailed):
            directory.migrate()

    def test_not_a_database(self) -> None:
        self.directory.close()
        self.path().write_bytes(b"something else entirely" * 100)
        with self.assertRaises(StorageFailed):
            self.open().migrate()

    def test_busy(self) -> None:
        other = sqlite3.connect(self.path(), isolation_level=None)
        self.addCleanup(other.close)
        other.execute("BEGIN IMMEDIATE")
        with self.directory._database.reading() as connection:
            connection.exec_driver_sql("PRAGMA busy_timeout = 10")
        with self.assertRaises(Unavailable):
            self.directory.add_domain("example.com")
        self.assertEqual(self.directory.domains(), [])
        other.execute("ROLLBACK")
        self.directory.add_domain("example.com")

    def test_read_only(self) -> None:
        with self.directory._database.reading() as connection:
            connection.exec_driver_sql("PRAGMA query_only = ON")
        with self.assertRaises(ReadOnlyVolume):
            self.directory.add_domain("example.com")


class PostgreSQLTests(SynchronousTestCase):
    skip = postgresql.missing()

    def test_server_that_is_away(self) -> None:
        directory = Directory(
            f"postgresql+psycopg://postgres:hunter2@/test?host={Path(self.mktemp()).name}",
            lambda: datetime.now(UTC),
        )
        self.addCleanup(directory.close)
        for call in (directory.revision, directory.domains, directory.migrate):
            with self.assertRaises(Unavailable) as caught:
                call()
            self.assertNotIn("hunter2", str(caught.exception))

    def test_connections_that_broke_are_replaced(self) -> None:
        server = postgresql.server()
        url = server.create()
        self.addCleanup(server.drop, url)
        directory = Directory(url, lambda: datetime.now(UTC))
        self.addCleanup(directory.close)
        directory.migrate()
        other = Directory(url, lambda: datetime.now(UTC))
        self.addCleanup(other.close)
        with other._database.reading() as connection:
            connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        self.assertEqual(directory.revision(), 0)
        self.assertEqual(directory.domains(), [])


class UrlTests(SynchronousTestCase):
    def test_refused(self) -> None:
        for url in (
            "",
            "nonsense",
            "sqlite://",
            "sqlite:///:memory:",
            "mysql://u:hunter2@h/d",
            "postgresql://u:hunter2@h/d",
        ):
            with self.subTest(url), self.assertRaises(InvalidInput) as caught:
                Database(url)
            self.assertNotIn("hunter2", str(caught.exception))

    def test_missing_driver(self) -> None:
        without = mock.patch.dict(sys.modules, {"psycopg": None})
        with without, self.assertRaises(InvalidInput) as caught:
            Database("postgresql+psycopg://h/d")
        self.assertIn("psycopg[binary]", str(caught.exception))

    def test_password_is_hidden(self) -> None:
        directory = Directory("postgresql+psycopg://u:hunter2@h/d", lambda: datetime.now(UTC))
        self.assertNotIn("hunter2", repr(directory))
        self.assertIn("***", repr(directory))
