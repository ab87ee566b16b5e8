"""Deleting an alias: marked, had back, gone; what is left to remove of it, and whose that is."""

from datetime import timedelta
from pathlib import Path

from mailsrv.directory.directory import Directory
from mailsrv.errors import (
    AliasDisabled,
    AlreadyExists,
    InvalidInput,
    MailboxMoved,
    NoSuchAlias,
)
from tests.directory.databases import DirectoryCase, OnPostgreSQL, OnSQLite
from tests.directory.worker import move_to

WEEK = timedelta(days=7)


class MarkTests(DirectoryCase):
    def setUp(self) -> None:
        super().setUp()
        self.alias = self.add_alias()
        self.file = self.add_mailbox(self.alias.id)

    def test_takes_no_mail_and_no_logins(self) -> None:
        self.add_alias("*@example.com")
        before = self.directory.revision()
        marked = self.directory.mark_deleted(self.alias.id)
        self.assertGreater(self.directory.revision(), before)
        self.assertFalse(marked.active)
        self.assertEqual(self.open().alias(self.alias.address), marked)
        for address in ("hello@example.com", "HELLO+work@example.com"):
            with self.subTest(address), self.assertRaises(NoSuchAlias):
                self.directory.resolve(address)
        self.assertEqual(self.directory.resolve("you@example.com")[0].address, "*@example.com")
        self.assertIsNone(self.directory.scram_parameters(self.alias.address))

    def test_keeps_everything(self) -> None:
        credentials = self.directory.credentials(self.alias.id)
        parameters = self.directory.scram_parameters(self.alias.address)
        self.directory.set_usage(self.alias.id, 10, 1)
        self.directory.mark_deleted(self.alias.id)
        before = self.directory.revision()
        self.assertEqual(self.directory.undelete_alias(self.alias.id), self.alias)
        self.assertGreater(self.directory.revision(), before)
        self.assertEqual(self.directory.resolve("hello@example.com")[0], self.alias)
        self.assertEqual(self.directory.credentials(self.alias.id), credentials)
        self.assertEqual(self.directory.scram_parameters(self.alias.address), parameters)
        self.assertEqual(self.directory.usage(self.alias.id).octets, 10)
        mailbox = self.directory.mailbox(self.alias.id)
        self.assertEqual(mailbox and mailbox.id, self.file)

    def test_stays_disabled_when_it_was(self) -> None:
        self.directory.set_alias_enabled(self.alias.id, False)
        self.directory.mark_deleted(self.alias.id)
        self.assertRaises(NoSuchAlias, self.directory.resolve, self.alias.address)
        self.directory.undelete_alias(self.alias.id)
        self.assertRaises(AliasDisabled, self.directory.resolve, self.alias.address)

    def test_a_second_time_changes_nothing(self) -> None:
        first = self.directory.mark_deleted(self.alias.id)
        self.assertEqual(self.directory.mark_deleted(self.alias.id), first)

    def test_what_cannot_be(self) -> None:
        self.assertRaises(NoSuchAlias, self.directory.mark_deleted, "0" * 24)
        self.assertRaises(NoSuchAlias, self.directory.undelete_alias, "0" * 24)
        self.assertRaises(NoSuchAlias, self.directory.delete_alias, "0" * 24)
        self.assertRaises(InvalidInput, self.directory.undelete_alias, self.alias.id)

    def test_the_address_cannot_be_added_meanwhile(self) -> None:
        deleted = self.directory.mark_deleted(self.alias.id).deleted
        with self.assertRaises(AlreadyExists) as caught:
            self.directory.add_alias("HELLO@example.com")
        self.assertIn(f"deleted at {deleted}", str(caught.exception))
        self.directory.delete_alias(self.alias.id)
        made = self.directory.add_alias("hello@example.com")
        self.assertIsNone(made.deleted)
        self.assertIsNone(self.directory.mailbox(made.id))

    def test_due(self) -> None:
        other = self.add_alias("other@example.com")
        self.directory.add_alias("b@example.com", primary="b")
        here = self.directory.mark_deleted(self.alias.id)
        there = self.directory.mark_deleted(self.directory.alias("b@example.com").id)
        self.assertEqual(self.directory.due_erasures(WEEK, "primary"), [])
        self.assertEqual(self.directory.due_erasures(timedelta(0), "primary"), [here])
        self.clock.time += WEEK
        self.assertEqual(self.directory.due_erasures(WEEK, "primary"), [here])
        self.assertEqual(self.directory.due_erasures(WEEK, "b"), [there])
        self.directory.mark_deleted(other.id)
        self.assertEqual(self.directory.due_erasures(WEEK, "primary"), [here])
        self.directory.undelete_alias(here.id)
        self.assertEqual(self.directory.due_erasures(WEEK, "primary"), [])

    def test_who_came_back_is_not_deleted(self) -> None:
        due = self.directory.mark_deleted(self.alias.id)
        self.directory.undelete_alias(self.alias.id)
        self.assertRaises(MailboxMoved, self.directory.delete_alias, due.id, due.deleted)
        again = self.directory.mark_deleted(self.alias.id)
        self.assertRaises(MailboxMoved, self.directory.delete_alias, due.id, due.deleted)
        self.directory.delete_alias(again.id, again.deleted)
        self.assertEqual(self.directory.aliases(), [])


class ErasureTests(DirectoryCase):
    def setUp(self) -> None:
        super().setUp()
        self.alias = self.add_alias()
        self.first = self.add_mailbox(self.alias.id)
        self.second = self.add_mailbox(self.alias.id, replaces=self.first)
        self.other = self.add_mailbox(self.add_alias("other@example.com").id)

    def files(self, primary: str = "primary") -> list[str]:
        (erasure,) = self.directory.erasures(primary)
        return list(erasure.files)

    def test_what_is_noted(self) -> None:
        self.assertEqual(
            sorted(self.directory.delete_alias(self.alias.id)), sorted([self.first, self.second])
        )
        (erasure,) = self.directory.erasures("primary")
        self.assertEqual(
            (erasure.alias, erasure.address, erasure.domain_id),
            (self.alias.id, "hello@example.com", self.directory.domain("example.com").id),
        )
        self.assertEqual(len(erasure.public_keys), 2)
        self.assertEqual(self.files(), sorted([self.first, self.second]))
        self.assertEqual(self.directory.erasures("b"), [])
        self.assertTrue(self.directory.forget_erased_files(erasure))
        self.assertFalse(self.directory.knows_mailbox(self.first))
        self.assertTrue(self.directory.knows_mailbox(self.other))
        self.directory.finish_erasure(erasure)
        self.directory.finish_erasure(erasure)
        self.assertEqual(self.directory.erasures("primary"), [])
        mailbox = self.directory.mailbox(self.directory.alias("other@example.com").id)
        self.assertEqual(mailbox and mailbox.id, self.other)

    def test_without_a_mailbox(self) -> None:
        third = self.add_alias("third@example.com")
        self.assertEqual(self.directory.delete_alias(third.id), [])
        self.assertEqual(self.directory.erasures("primary")[0].public_keys, ())
        self.assertEqual(self.files(), [])

    def test_every_primary_has_its_part(self) -> None:
        for name in ("primary", "b", "c"):
            self.directory.claim_primary(name, name * 32)
        new = move_to(self.directory, self.alias.id, "b")
        coming = self.directory.begin_move(self.alias.id, new.id, "d")
        self.directory.delete_alias(self.alias.id)
        of = self.directory.erasures_of(self.alias.id)
        self.assertEqual([one.primary for one in of], ["b", "c", "d", "primary"])
        self.assertEqual(self.files("b"), [new.id])
        self.assertEqual(self.files("c"), [])
        self.assertEqual(self.files("d"), [coming.id])
        self.assertEqual(self.files(), sorted([self.first, self.second]))
        self.directory.finish_erasure(of[0])
        self.assertEqual(self.directory.erasures("b"), [])
        self.assertEqual(len(self.directory.erasures_of(self.alias.id)), 3)

    def test_a_file_that_was_moving_is_for_the_server_to_forget(self) -> None:
        coming = self.directory.begin_move(self.alias.id, self.second, "b")
        self.directory.delete_alias(self.alias.id)
        (erasure,) = self.directory.erasures("b")
        self.assertFalse(self.directory.forget_erased_files(erasure))
        self.directory.forget_left(coming.id)
        self.assertTrue(self.directory.forget_erased_files(erasure))


class MarkOnSQLiteTests(MarkTests, OnSQLite):
    pass


class MarkOnPostgreSQLTests(MarkTests, OnPostgreSQL):
    pass


class ErasureOnSQLiteTests(ErasureTests, OnSQLite):
    def test_nothing_stays_behind_in_the_file(self) -> None:
        path = Path(self.url.removeprefix("sqlite:///"))
        keeper: Directory = self.open()
        self.assertEqual(len(keeper.aliases()), 2)
        for _ in range(2):
            self.directory.set_usage(self.alias.id, 10, 1)
        self.directory.delete_alias(self.alias.id)
        (erasure,) = self.directory.erasures("primary")
        self.directory.forget_erased_files(erasure)
        self.directory.finish_erasure(erasure)
        self.assertEqual(len(keeper.aliases()), 1)
        for file in path.parent.glob(f"{path.name}*"):
            content = file.read_bytes()
            for trace in ("hello@example.com", self.alias.id, self.first, self.second):
                self.assertNotIn(trace.encode(), content, file.name)


class ErasureOnPostgreSQLTests(ErasureTests, OnPostgreSQL):
    pass


del MarkTests, ErasureTests
