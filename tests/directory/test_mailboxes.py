"""Credentials and files: the one transaction that switches them, and what login reads."""

import threading
from datetime import UTC, datetime
from unittest import mock

import msgspec
from sqlalchemy import insert

from mailsrv.directory import schema
from mailsrv.directory.credentials import MAX_CREDENTIALS
from mailsrv.errors import InvalidInput, MailboxMoved, MailsrvError, NoSuchAlias
from mailsrv.keys.credential import unlock
from mailsrv.keys.scram import client_key_from_password
from tests.directory.databases import (
    ITERATIONS,
    KEY,
    SALT,
    DirectoryCase,
    OnPostgreSQL,
    OnSQLite,
)


class CredentialTests(DirectoryCase):
    def setUp(self) -> None:
        super().setUp()
        self.alias = self.add_alias()

    def labels(self) -> list[str]:
        return [one.label for one in self.directory.credentials(self.alias.id)]

    def test_scram_parameters(self) -> None:
        self.assertIsNone(self.directory.scram_parameters("hello@example.com"))
        self.add_mailbox(self.alias.id)
        expected = (self.alias.id, SALT, ITERATIONS)
        for address in ("hello@example.com", "HELLO@Example.com"):
            self.assertEqual(self.directory.scram_parameters(address), expected)
        for address in ("hell@example.com", "hello+x@example.com", "hello", "", "\0", "a@[1]"):
            self.assertIsNone(self.directory.scram_parameters(address))

    def test_nobody_logs_in_to_a_disabled_alias(self) -> None:
        self.add_mailbox(self.alias.id)
        self.directory.set_alias_enabled(self.alias.id, False)
        self.assertIsNone(self.directory.scram_parameters("hello@example.com"))

    def test_every_field_comes_back(self) -> None:
        first = self.add_mailbox(self.alias.id)
        made = self.credential(self.alias.id, "phone")
        self.directory.add_credential(self.alias.id, made)
        _, found = self.open().credentials(self.alias.id)
        self.assertEqual(found, made)
        key = client_key_from_password("password of phone", SALT, ITERATIONS)
        self.assertEqual(unlock(found, key, self.alias.id), KEY)
        mailbox = self.directory.mailbox(self.alias.id)
        self.assertEqual(mailbox and mailbox.id, first)

    def test_revoked(self) -> None:
        self.add_mailbox(self.alias.id, "main", "phone")
        _, phone = self.directory.credentials(self.alias.id)
        before = self.directory.revision()
        self.directory.revoke_credential(self.alias.id, phone.id)
        self.assertGreater(self.directory.revision(), before)
        self.assertEqual(self.labels(), ["main"])
        self.assertEqual([one.label for one in self.open().credentials(self.alias.id)], ["main"])
        for alias_id, credential_id in (
            (self.alias.id, phone.id),
            (self.alias.id, "0" * 24),
            ("0" * 24, self.directory.credentials(self.alias.id)[0].id),
        ):
            with self.assertRaises(InvalidInput):
                self.directory.revoke_credential(alias_id, credential_id)
        self.assertEqual(self.labels(), ["main"])

    def test_revoked_key_material_is_destroyed(self) -> None:
        self.add_mailbox(self.alias.id, "main", "phone")
        _, phone = self.directory.credentials(self.alias.id)
        self.directory.revoke_credential(self.alias.id, phone.id)
        with self.directory._database.reading() as connection:
            row = connection.exec_driver_sql(
                "SELECT wrapped_private_key, sealed_file_key FROM credential"
                " WHERE revoked_at IS NOT NULL"
            ).one()
        self.assertEqual(tuple(row), (b"", b""))

    def test_add_needs_the_password_of_now(self) -> None:
        with self.assertRaises(InvalidInput):
            self.directory.add_credential(self.alias.id, self.credential(self.alias.id, "phone"))
        self.add_mailbox(self.alias.id)
        other = self.credential(self.alias.id, "phone", salt=bytes(16))
        with self.assertRaises(MailboxMoved):
            self.directory.add_credential(self.alias.id, other)
        with self.assertRaises(NoSuchAlias):
            self.directory.add_credential("0" * 24, other)
        self.assertEqual(self.labels(), ["main"])

    def test_limits(self) -> None:
        self.add_mailbox(self.alias.id)
        made = self.credential(self.alias.id, "phone")
        for label in ("", "x" * 129, "a\nb", "a\0"):
            with self.subTest(label), self.assertRaises(InvalidInput):
                self.directory.add_credential(
                    self.alias.id, msgspec.structs.replace(made, label=label)
                )
        for number in range(MAX_CREDENTIALS - 1):
            self.directory.add_credential(
                self.alias.id, msgspec.structs.replace(made, id=f"{number:024}")
            )
        with self.assertRaises(InvalidInput):
            self.directory.add_credential(self.alias.id, made)
        self.directory.revoke_credential(self.alias.id, f"{0:024}")
        self.directory.add_credential(self.alias.id, made)

    def test_last_use(self) -> None:
        self.add_mailbox(self.alias.id)
        (main,) = self.directory.credentials(self.alias.id)
        self.assertIsNone(self.directory.last_used(main.id))
        before = self.directory.revision()
        self.directory.used_credential(main.id, datetime(2026, 12, 1, 8, 30, 15, tzinfo=UTC))
        self.assertEqual(self.directory.last_used(main.id), "2026-12-01T08:30:15Z")
        self.assertEqual(self.directory.credentials(self.alias.id)[0].used, "2026-12-01T08:30:15Z")
        self.assertEqual(self.directory.revision(), before)


class MailboxTests(DirectoryCase):
    def setUp(self) -> None:
        super().setUp()
        self.alias = self.add_alias()

    def test_files_of_one_second_come_in_the_order_of_their_lives(self) -> None:
        replaces = None
        with mock.patch("tests.directory.databases.object_id") as chosen:
            for digit in "fdb8":
                chosen.return_value = digit * 24
                replaces = self.add_mailbox(self.alias.id, replaces=replaces)
        files = self.directory.mailbox_files(self.alias.id)
        self.assertEqual(len({one.created for one in files}), 1)
        self.assertEqual([one.id[0] for one in files], ["b", "d", "f", "8"])

    def state(self) -> object:
        """All that a failed change must leave as it was."""
        return (
            self.directory.mailbox(self.alias.id),
            self.directory.credentials(self.alias.id),
            self.directory.scram_parameters("hello@example.com"),
            self.directory.archived_mailboxes(self.alias.id),
            self.directory.discarded_mailboxes(),
            self.directory.revision(),
        )

    def test_first(self) -> None:
        self.assertIsNone(self.directory.mailbox(self.alias.id))
        before = self.directory.revision()
        record = self.record()
        self.directory.set_mailbox(
            self.alias.id,
            record,
            credentials=[self.credential(self.alias.id)],
            salt=SALT,
            iterations=ITERATIONS,
            replaces=None,
            archive=True,
        )
        self.assertEqual(self.directory.mailbox(self.alias.id), record)
        self.assertEqual(self.open().mailbox(self.alias.id), record)
        self.assertGreater(self.directory.revision(), before)
        self.assertEqual(self.directory.archived_mailboxes(self.alias.id), [])

    def test_change_of_password(self) -> None:
        first = self.add_mailbox(self.alias.id, "main", "phone")
        second = self.add_mailbox(self.alias.id, "main", replaces=first)
        mailbox = self.directory.mailbox(self.alias.id)
        self.assertEqual(mailbox and mailbox.id, second)
        self.assertEqual([one.label for one in self.directory.credentials(self.alias.id)], ["main"])
        self.assertEqual(self.directory.discarded_mailboxes(), [first])
        self.directory.forget_mailbox(first)
        self.directory.forget_mailbox(second)
        self.assertEqual(self.directory.discarded_mailboxes(), [])
        self.assertIsNotNone(self.directory.mailbox(self.alias.id))

    def test_whose_file_it_is_now(self) -> None:
        first = self.add_mailbox(self.alias.id)
        self.assertEqual(self.directory.alias_of_mailbox(first), self.alias.id)
        second = self.add_mailbox(self.alias.id, replaces=first)
        self.assertIsNone(self.directory.alias_of_mailbox(first))
        self.assertEqual(self.directory.alias_of_mailbox(second), self.alias.id)
        self.assertIsNone(self.directory.alias_of_mailbox("0" * 24))

    def test_every_file_is_known_until_it_is_forgotten(self) -> None:
        first = self.add_mailbox(self.alias.id)
        second = self.add_mailbox(self.alias.id, replaces=first)
        known = self.directory.knows_mailbox
        self.assertEqual([known(one) for one in (first, second, "0" * 24)], [True, True, False])
        self.directory.forget_mailbox(first)
        self.assertEqual([known(one) for one in (first, second)], [False, True])

    def test_what_became_of_a_change_is_known_when_it_has_ended(self) -> None:
        self.assertIsNone(self.directory.settled_mailbox(self.alias.id))
        self.add_mailbox(self.alias.id)
        other = self.open()
        self.assertEqual(
            other.settled_mailbox(self.alias.id), self.directory.mailbox(self.alias.id)
        )

    def test_new_salt_and_count(self) -> None:
        first = self.add_mailbox(self.alias.id)
        salt = bytes(reversed(SALT))
        self.directory.set_mailbox(
            self.alias.id,
            self.record(),
            credentials=[self.credential(self.alias.id, salt=salt)],
            salt=salt,
            iterations=ITERATIONS,
            replaces=first,
            archive=False,
        )
        found = self.directory.scram_parameters("hello@example.com")
        self.assertEqual(found, (self.alias.id, salt, ITERATIONS))
        self.assertEqual(self.directory.credentials(self.alias.id)[0].verifier.salt, salt)

    def test_archive(self) -> None:
        names = []
        replaces = None
        for _ in range(3):
            record = self.record()
            self.directory.set_mailbox(
                self.alias.id,
                record,
                credentials=[self.credential(self.alias.id)],
                salt=SALT,
                iterations=ITERATIONS,
                replaces=replaces,
                archive=True,
            )
            names.append(record)
            replaces = record.id
        self.assertEqual(self.directory.archived_mailboxes(self.alias.id), names[:2])
        self.assertEqual(self.directory.mailbox(self.alias.id), names[2])
        self.assertEqual(self.directory.discarded_mailboxes(), [])

    def test_another_file_than_expected(self) -> None:
        with self.assertRaises(MailboxMoved):
            self.add_mailbox(self.alias.id, replaces="0" * 24)
        first = self.add_mailbox(self.alias.id)
        before = self.state()
        for replaces in (None, "0" * 24):
            with self.subTest(replaces), self.assertRaises(MailboxMoved):
                self.add_mailbox(self.alias.id, replaces=replaces)
        self.assertEqual(self.state(), before)
        second = self.add_mailbox(self.alias.id, replaces=first)
        with self.assertRaises(MailboxMoved):
            self.add_mailbox(self.alias.id, replaces=first)
        mailbox = self.directory.mailbox(self.alias.id)
        self.assertEqual(mailbox and mailbox.id, second)

    def test_failures_change_nothing(self) -> None:
        first = self.add_mailbox(self.alias.id)
        before = self.state()
        fine = self.credential(self.alias.id)
        for credentials in (
            [fine, self.credential(self.alias.id, salt=bytes(16))],
            [fine, msgspec.structs.replace(fine, id="x", label="")],
            [fine, fine],
        ):
            with self.assertRaises(MailsrvError):
                self.directory.set_mailbox(
                    self.alias.id,
                    self.record(),
                    credentials=credentials,
                    salt=SALT,
                    iterations=ITERATIONS,
                    replaces=first,
                    archive=False,
                )
            self.assertEqual(self.state(), before)
        with self.assertRaises(NoSuchAlias):
            self.add_mailbox("0" * 24)
        self.assertEqual(self.state(), before)

    def test_a_file_belongs_to_one_alias(self) -> None:
        other = self.add_alias("other@example.com")
        self.add_mailbox(self.alias.id)
        record = self.directory.mailbox(self.alias.id)
        assert record is not None
        with self.assertRaises(MailsrvError):
            self.directory.set_mailbox(
                other.id,
                record,
                credentials=[self.credential(other.id)],
                salt=SALT,
                iterations=ITERATIONS,
                replaces=None,
                archive=False,
            )
        self.assertIsNone(self.directory.mailbox(other.id))


class CredentialOnSQLiteTests(CredentialTests, OnSQLite):
    pass


class CredentialOnPostgreSQLTests(CredentialTests, OnPostgreSQL):
    pass


class MailboxOnSQLiteTests(MailboxTests, OnSQLite):
    pass


class MailboxOnPostgreSQLTests(MailboxTests, OnPostgreSQL):
    def test_a_commit_that_is_still_on_its_way_is_waited_for(self) -> None:
        found: list[object] = []
        asking = threading.Thread(
            target=lambda: found.append(self.open().settled_mailbox(self.alias.id))
        )
        row = insert(schema.mailbox).values(
            id="a" * 24,
            alias_id=self.alias.id,
            state=schema.CURRENT,
            public_key=b"k",
            created="2026-11-23T10:00:00Z",
        )
        with self.directory._database.writing() as connection:
            connection.execute(row)
            asking.start()
            asking.join(0.3)
            self.assertEqual(found, [])
        asking.join()
        self.assertEqual(found, [self.directory.mailbox(self.alias.id)])


del CredentialTests, MailboxTests
