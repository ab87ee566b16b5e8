"""The declared tables against what a file has: mended where possible, refused where not."""

from collections.abc import Callable
from datetime import timedelta
from unittest import mock

import apsw

from mailsrv.errors import SchemaMismatch
from mailsrv.mailbox import connection, schema
from mailsrv.mailbox.criteria import Body
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.mailbox.values import ALL_UIDS, Flags, StoreFlags
from tests.mailbox.support import MailboxTestCase, message


class SchemaTests(MailboxTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.put(message(1), message(2, "the needle\r\n"))
        self.mailbox.store_flags(self.inbox, StoreFlags(((1, 1),), "add", Flags(9)))

    def change(self, *statements: str) -> None:
        connection = self.mailbox.connection
        connection.pragma("foreign_keys", "OFF")
        for statement in statements:
            connection.execute(statement)
        self.mailbox.close()

    def refused(self, *words: str) -> None:
        with self.assertRaises(SchemaMismatch) as caught:
            Mailbox.open(self.path, self.key, self.now)
        for word in words:
            self.assertIn(word, str(caught.exception))

    def shape(self) -> list[tuple[object, ...]]:
        return self.mailbox.connection.execute(
            "SELECT m.name, c.name FROM sqlite_schema AS m, pragma_table_xinfo(m.name) AS c "
            "UNION SELECT tbl_name, name FROM sqlite_schema WHERE type = 'index'"
        ).fetchall()

    def test_a_file_as_declared_is_not_written_to(self) -> None:
        before = self.mailbox.connection.pragma("data_version")
        self.open()
        self.assertEqual(self.mailbox.connection.pragma("data_version"), before)

    def test_missing_columns_and_indexes_are_added(self) -> None:
        before = self.shape()
        self.change(
            "ALTER TABLE field DROP COLUMN preview",
            "ALTER TABLE body DROP COLUMN layout",
            "DROP INDEX message_modseq",
            "DROP INDEX content_sha256",
        )
        self.mailbox = self.open()
        self.assertEqual(self.shape(), before)
        self.mailbox.check()
        self.assertEqual(self.content(1), message(1))

    def test_counters_that_were_lost_are_counted_again(self) -> None:
        before = self.folder("INBOX")
        self.change(
            "ALTER TABLE folder DROP COLUMN unseen",
            "ALTER TABLE folder DROP COLUMN deleted",
            "ALTER TABLE folder DROP COLUMN size",
        )
        self.mailbox = self.open()
        self.assertEqual(self.folder("INBOX"), before)
        self.mailbox.check()

    def test_an_index_that_differs_is_made_again(self) -> None:
        self.change("DROP INDEX message_modseq", "CREATE INDEX message_modseq ON message(size)")
        self.mailbox = self.open()
        sql = "SELECT sql FROM sqlite_schema WHERE name = 'message_modseq'"
        found = self.mailbox.connection.execute(sql).fetchall()
        self.assertEqual(found, [("CREATE INDEX message_modseq ON message(folder_id, modseq)",)])

    def test_lost_full_text_is_indexed_anew(self) -> None:
        self.assertEqual(self.mailbox.index_pending(10), 0)
        self.change("DROP TABLE search_grams")
        self.mailbox = self.open()
        pending = "SELECT count(*) FROM content WHERE indexed = 0"
        self.assertEqual(self.mailbox.connection.execute(pending).fetchall(), [(2,)])
        self.assertEqual(self.mailbox.index_pending(10), 0)
        found = self.mailbox.search(self.inbox, Body("needle"))
        self.assertEqual(found.uids, b"\x02\0\0\0")

    def test_a_missing_table_is_refused(self) -> None:
        self.change("DROP TABLE applied")
        self.refused("table applied is missing")

    def test_a_table_of_a_later_version_is_made(self) -> None:
        self.mailbox.close()
        version = schema.SCHEMA_VERSION + 1
        later = schema.Table("later", (("id", "INTEGER PRIMARY KEY"),), since=version)
        with (
            mock.patch.object(schema, "TABLES", (*schema.TABLES, later)),
            mock.patch.object(schema, "SCHEMA_VERSION", version),
        ):
            schema._expected.cache_clear()
            schema._declared_shapes.cache_clear()
            self.addCleanup(schema._expected.cache_clear)
            self.addCleanup(schema._declared_shapes.cache_clear)
            self.mailbox = self.open()
            self.assertEqual(self.mailbox.connection.pragma("user_version"), version)
            self.mailbox.connection.execute("INSERT INTO later VALUES (1)")

    def test_a_file_of_the_first_version_can_keep_what_is_expunged(self) -> None:
        before = self.shape()
        self.change("DROP TABLE recoverable", "PRAGMA user_version = 1")
        self.mailbox = self.open(keep_expunged=timedelta(days=1))
        self.assertEqual(self.shape(), before)
        self.mailbox.expunge(self.inbox, ALL_UIDS)
        self.assertEqual(self.mailbox.usage().recoverable, len(message(1)))
        self.mailbox.check()

    def test_the_file_of_a_newer_version_is_refused_unchanged(self) -> None:
        self.mailbox.connection.pragma("user_version", schema.SCHEMA_VERSION + 1)
        self.mailbox.close()
        before = self.path.read_bytes()
        self.refused(f"version {schema.SCHEMA_VERSION + 1}")
        self.assertEqual(self.path.read_bytes(), before)

    def test_a_column_of_another_type_is_refused(self) -> None:
        self.change(
            "ALTER TABLE field DROP COLUMN preview", "ALTER TABLE field ADD COLUMN preview INTEGER"
        )
        self.refused("table field", "column preview", "TEXT", "INTEGER")

    def test_a_column_too_many_is_refused(self) -> None:
        self.change("ALTER TABLE folder ADD COLUMN colour TEXT")
        self.refused("table folder", "column colour")

    def test_a_column_that_cannot_be_added_is_refused(self) -> None:
        self.change("ALTER TABLE content DROP COLUMN size")
        self.refused("table content", "column size", "cannot be added")

    def test_other_keys_or_references_are_refused(self) -> None:
        self.change(
            "DROP TABLE part",
            "CREATE TABLE part(id INTEGER PRIMARY KEY, sha256 BLOB NOT NULL, "
            "size INTEGER NOT NULL, refs INTEGER NOT NULL DEFAULT 0)",
        )
        self.refused("table part", "keys")

    def test_values_that_break_a_unique_index_are_refused(self) -> None:
        self.change("DROP INDEX content_sha256", "UPDATE content SET sha256 = x'00'")
        self.refused("index content_sha256")

    def test_a_refused_file_is_left_as_it_was(self) -> None:
        self.change("DROP INDEX message_modseq", "ALTER TABLE folder ADD COLUMN colour TEXT")
        self.refused("colour")
        with self.raw() as connection:
            found = connection.execute(
                "SELECT 1 FROM sqlite_schema WHERE name = 'message_modseq'"
            ).fetchall()
        self.assertEqual(found, [])

    def test_a_crash_in_mending_leaves_a_file_that_is_mended_next_time(self) -> None:
        self.change("DROP INDEX message_modseq", "DROP INDEX applied_at")

        def crash(*_: object) -> None:
            raise RuntimeError("power cut")

        crashing = mock.patch.object(schema, "_mend_full_text", crash)
        with crashing, self.assertRaises(RuntimeError):
            Mailbox.open(self.path, self.key, self.now)
        self.mailbox = self.open()
        self.mailbox.check()

    def test_a_read_only_file_is_not_mended(self) -> None:
        self.change("DROP INDEX message_modseq")
        writer = connection.connect(self.path, self.key)
        self.addCleanup(writer.close)
        with self.assertRaises(SchemaMismatch):
            Mailbox.open(self.path, self.key, self.now, readonly=True)

    def test_what_a_search_names_has_an_index(self) -> None:
        questions = {
            "message_modseq": "SELECT uid FROM message WHERE folder_id = 1 AND modseq >= 5",
            "message_internal_date": (
                "SELECT uid FROM message WHERE folder_id = 1 AND internal_date < '2026'"
            ),
            "message_saved": "SELECT uid FROM message WHERE folder_id = 1 AND saved < '2026'",
            "message_size": "SELECT uid FROM message WHERE folder_id = 1 AND size > 5",
            "message_flags": "SELECT uid FROM message WHERE folder_id = 1 AND flags IN (8, 9)",
            "message_keywords": (
                "SELECT keywords FROM message WHERE folder_id = 1 AND keywords <> ''"
            ),
            "message_content": "SELECT uid FROM message WHERE content_id = 1",
            "recoverable_content": "SELECT 1 FROM recoverable WHERE content_id = 1",
            "recoverable_expunged": (
                "SELECT id FROM recoverable WHERE expunged < '2026' ORDER BY expunged LIMIT 5"
            ),
            "field_sent_day": "SELECT content_id FROM field WHERE sent_day = '2026-11-23'",
        }
        for index, question in questions.items():
            plan = self.mailbox.connection.execute(f"EXPLAIN QUERY PLAN {question}").fetchall()
            self.assertIn(index, str(plan))

    def raw(self) -> apsw.Connection:
        connection = apsw.Connection(str(self.path))
        connection.pragma("key", self.key.pragma())
        return connection

    def test_everything_stays_after_mending(self) -> None:
        rows: Callable[[], object] = lambda: self.mailbox.changes(self.inbox, 0, False)  # noqa: E731
        before = rows()
        self.change("DROP INDEX message_flags")
        self.mailbox = self.open()
        self.assertEqual(rows(), before)
        self.assertEqual(self.mailbox.select("INBOX", False).folder.messages, 2)
        self.assertEqual(self.mailbox.expunge(self.inbox, ALL_UIDS).uids, ((1, 1),))
