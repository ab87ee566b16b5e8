"""The whole directory out and in again, from either database into either."""

import json
from typing import Any

from sqlalchemy import insert, select

from mailsrv.directory import schema
from mailsrv.directory.directory import Directory
from mailsrv.errors import AlreadyExists, InvalidInput, SchemaMismatch
from tests.directory.databases import DirectoryCase, OnNewPostgreSQL, OnPostgreSQL, OnSQLite


def rows(directory: Directory) -> dict[str, list[dict[str, Any]]]:
    """Everything, but for the revision, which may have grown."""
    found = {}
    with directory._database.reading() as connection:
        for table in schema.metadata.sorted_tables:
            if table is not schema.revision:
                query = select(table).order_by(*table.primary_key.columns)
                found[table.name] = [dict(row) for row in connection.execute(query).mappings()]
    return found


def dumped(directory: Directory) -> list[bytes]:
    lines: list[bytes] = []
    directory.dump(lines.append)
    return lines


def unchanging(lines: list[bytes]) -> list[bytes]:
    """All but the time in the first line, and the revision."""
    return [line for line in lines[1:] if b'"table":"revision"' not in line]


class DumpTests(DirectoryCase):
    """What is dumped here is loaded into each kind of database."""

    def setUp(self) -> None:
        super().setUp()
        directory = self.directory
        directory.add_account("somebody", quota=2**40)
        directory.add_domain("example.com", account="somebody")
        first = self.add_alias()
        self.add_mailbox(first.id, "main", "phone")
        directory.revoke_credential(first.id, directory.credentials(first.id)[1].id)
        directory.set_usage(first.id, 2**40, 7)
        self.add_alias('"odd \u00fc\\""@example.com')
        directory.claim_primary("primary", "0" * 32)
        self.fill(
            schema.backup,
            alias_id=first.id,
            mailbox="f" * 24,
            digest=bytes(range(256)),
            taken="2026-11-23T10:00:00Z",
        )
        domain = directory.domain("example.com").id
        self.fill(schema.bucket, domain_id=domain, settings='{"a": 1}', sealed_secret=b"\0\xff")
        self.fill(
            schema.erasure,
            alias_id="e" * 24,
            address="gone@example.com",
            primary="primary",
            files=b"\x90",
            public_keys=b"\x90",
            begun="2026-11-23T10:00:00Z",
        )

    def fill(self, table: Any, **values: Any) -> None:
        with self.directory._database.writing() as connection:
            connection.execute(insert(table).values(values))

    def other(self, kind: type[DirectoryCase]) -> Directory:
        url = kind.new_url(self)
        opened = Directory(url, self.clock)
        self.addCleanup(opened.close)
        opened.migrate()
        return opened

    def into(self, kind: type[DirectoryCase]) -> None:
        lines = dumped(self.directory)
        before = rows(self.directory)
        self.assertEqual(
            {name for name, found in before.items() if not found}, set(), "all are tried"
        )
        other = self.other(kind)
        self.assertEqual(other.load(lines), len(lines) - 2)
        self.assertEqual(rows(other), before)
        self.assertGreaterEqual(other.revision(), self.directory.revision())
        self.assertEqual(unchanging(dumped(other)), unchanging(lines))
        self.assertRaises(AlreadyExists, other.load, lines)

    def test_into_sqlite(self) -> None:
        self.into(OnSQLite)

    def test_into_postgresql(self) -> None:
        self.into(OnNewPostgreSQL)

    if OnNewPostgreSQL.skip:
        test_into_postgresql.skip = OnNewPostgreSQL.skip  # type: ignore[attr-defined]

    def test_it_is_of_one_moment(self) -> None:
        """What is added while it is written comes whole or not at all."""
        lines: list[bytes] = []
        writer = self.open()

        def write(line: bytes) -> None:
            if b'"table":"domain"' in line and len(writer.domains()) == 1:
                writer.add_domain("late.example")
                writer.add_alias("late@late.example")
            lines.append(line)

        self.directory.dump(write)
        self.assertEqual(len(writer.domains()), 2)
        self.assertNotIn(b"late", b"".join(lines))
        other = self.other(OnSQLite)
        other.load(lines)


class SQLiteDumpTests(DumpTests, OnSQLite):
    pass


class PostgreSQLDumpTests(DumpTests, OnPostgreSQL):
    pass


del DumpTests


class RefusalTests(OnSQLite):
    """All or nothing."""

    def setUp(self) -> None:
        super().setUp()
        alias = self.add_alias()
        self.add_mailbox(alias.id)
        self.lines = dumped(self.directory)
        other = Directory(OnSQLite.new_url(self), self.clock)
        self.addCleanup(other.close)
        other.migrate()
        self.other = other

    def refused(self, lines: list[bytes], error: type[Exception] = InvalidInput) -> str:
        said = str(self.assertRaises(error, self.other.load, lines))
        self.assertEqual(self.other.aliases(), [])
        self.assertEqual(self.other.domains(), [])
        return said

    def changed(self, number: int, **values: Any) -> list[bytes]:
        lines = list(self.lines)
        document = json.loads(lines[number])
        document.update(values)
        lines[number] = json.dumps(document).encode()
        return lines

    def number(self, table: str) -> int:
        marks = f'"table":"{table}"'.encode()
        return next(number for number, line in enumerate(self.lines) if marks in line)

    def test_another_schema(self) -> None:
        said = self.refused(self.changed(0, schema="0001"), SchemaMismatch)
        self.assertIn("the dump has schema 0001, this version knows 0003", said)
        self.refused(self.changed(0, format=2), SchemaMismatch)

    def test_what_is_no_dump(self) -> None:
        for lines in ([], [b"hello\n"], [b"{}"], self.lines[1:]):
            self.assertIn("no dump", self.refused(lines))

    def test_cut_short(self) -> None:
        self.assertIn("cut short", self.refused(self.lines[:-1]))
        number = self.number("credential")
        lines = self.lines[:number] + self.lines[number + 1 :]
        self.assertIn("expected 6 rows, found 5", self.refused(lines))
        self.assertIn("after the end", self.refused([*self.lines, self.lines[1]]))

    def test_rows_that_are_none(self) -> None:
        number = self.number("alias")
        row = json.loads(self.lines[number])["row"]
        for wrong in (
            row | {"enabled": "perhaps"},
            row | {"salt": "not base64!"},
            row | {"unheard": 1},
            row | {"address": None},
            {"id": row["id"]},
        ):
            said = self.refused(self.changed(number, row=wrong))
            self.assertEqual(said, f"line {number + 1}: expected a row of table alias")
        self.assertIn("no table", self.refused(self.changed(number, table="sqlite_schema")))
        self.assertIn("line 3", self.refused([*self.lines[:2], b"{", *self.lines[3:]]))

    def test_a_row_that_refers_to_none(self) -> None:
        number = self.number("alias")
        row = json.loads(self.lines[number])["row"] | {"domain_id": "f" * 24}
        self.assertIn("contradicts", self.refused(self.changed(number, row=row)))

    def test_it_names_itself_and_holds_no_password(self) -> None:
        self.assertIn(b"no passwords", self.lines[0])
        self.assertNotIn(b"password of main", b"".join(self.lines))

    def test_a_directory_that_is_in_use_is_none_to_load_into(self) -> None:
        said = str(self.assertRaises(AlreadyExists, self.directory.load, self.lines))
        self.assertIn("is not empty", said)
