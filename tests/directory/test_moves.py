"""Moves between primaries: what each transaction does; directories made before there were any."""

from alembic import command
from alembic.config import Config
from sqlalchemy import text

from mailsrv.directory import schema
from mailsrv.directory.database import create_file
from mailsrv.directory.directory import Directory, Unverified
from mailsrv.errors import AlreadyExists, Elsewhere, InvalidInput, MailboxMoved, NoSuchAlias
from tests.directory.databases import Clock, DirectoryCase, OnNewPostgreSQL, OnPostgreSQL, OnSQLite
from tests.directory.worker import move_to


def states(directory: Directory, alias_id: str) -> dict[str, tuple[str, str]]:
    return {one.id: (one.state, one.primary) for one in directory.mailbox_files(alias_id)}


class MoveTests(DirectoryCase):
    def setUp(self) -> None:
        super().setUp()
        self.alias = self.add_alias()
        self.old = self.add_mailbox(self.alias.id)

    def test_names(self) -> None:
        self.assertEqual(self.alias.primary, "primary")
        made = self.directory.add_alias("b@example.com", primary="b")
        self.assertEqual(made.primary, "b")
        for found in (
            self.directory.alias("b@example.com"),
            self.directory.alias_by_id(made.id),
            self.directory.resolve("B+x@example.com")[0],
        ):
            self.assertEqual(found, made)
        for wrong in ("", "B", "two words", "-b", "b" * 64, "b\n", "b.c", "\u00e4"):
            with self.assertRaises(InvalidInput):
                self.directory.add_alias("c@example.com", primary=wrong)

    def test_a_file_is_named_only_where_its_alias_is_served(self) -> None:
        other = self.directory.add_alias("b@example.com", primary="b")
        before = self.directory.revision()
        with self.assertRaises(Elsewhere) as caught:
            self.add_mailbox(other.id)
        self.assertEqual(caught.exception.primary, "b")
        self.assertIsNone(self.directory.mailbox(other.id))
        self.assertEqual(self.directory.revision(), before)

    def test_without_a_mailbox_the_name_is_enough(self) -> None:
        other = self.directory.add_alias("b@example.com")
        self.directory.set_primary(other.id, "b")
        self.assertEqual(self.directory.alias_by_id(other.id).primary, "b")
        self.assertRaises(InvalidInput, self.directory.set_primary, other.id, "B!")
        self.assertRaises(NoSuchAlias, self.directory.set_primary, "0" * 24, "b")
        self.assertRaises(AlreadyExists, self.directory.set_primary, self.alias.id, "b")
        self.assertEqual(self.directory.alias_by_id(self.alias.id).primary, "primary")

    def test_a_move(self) -> None:
        credentials = self.directory.credentials(self.alias.id)
        parameters = self.directory.scram_parameters(self.alias.address)
        old = self.directory.mailbox(self.alias.id)
        new = self.directory.begin_move(self.alias.id, self.old, "b")
        assert old is not None
        self.assertEqual(new.public_key, old.public_key)
        self.assertEqual(new.primary, "b")
        self.assertEqual(self.directory.mailbox(self.alias.id), old)
        self.assertTrue(self.directory.knows_mailbox(new.id))
        before = self.directory.revision()
        self.assertEqual(self.directory.finish_move(self.alias.id, self.old, new.id), new)
        self.assertGreater(self.directory.revision(), before)
        self.assertEqual(self.directory.mailbox(self.alias.id), new)
        self.assertEqual(self.directory.settled_mailbox(self.alias.id), new)
        self.assertEqual(self.directory.alias_by_id(self.alias.id).primary, "b")
        self.assertEqual(self.directory.credentials(self.alias.id), credentials)
        self.assertEqual(self.directory.scram_parameters(self.alias.address), parameters)
        self.assertEqual(self.directory.moved_mailboxes("primary"), [old])
        self.assertEqual(self.directory.moved_mailboxes("b"), [])

    def test_the_old_file_goes_when_the_new_one_was_opened(self) -> None:
        new = move_to(self.directory, self.alias.id, "b")
        self.assertEqual(
            self.directory.unverified_mailboxes("b"), [Unverified(self.alias.id, new.id)]
        )
        self.assertEqual(self.directory.unverified_mailboxes("primary"), [])
        self.assertFalse(self.directory.settle_move(self.alias.id, self.old))
        self.assertEqual(len(self.directory.moved_mailboxes("primary")), 1)
        self.assertTrue(self.directory.settle_move(self.alias.id, new.id))
        self.assertEqual(self.directory.unverified_mailboxes("b"), [])
        self.assertEqual(self.directory.moved_mailboxes("primary"), [])
        self.assertEqual([one.id for one in self.directory.left_mailboxes("primary")], [self.old])
        self.assertEqual(self.directory.left_mailboxes("b"), [])
        self.directory.forget_left(new.id)
        self.directory.forget_left(self.old)
        self.assertEqual(states(self.directory, self.alias.id), {new.id: (schema.CURRENT, "b")})

    def test_round_and_round(self) -> None:
        first = move_to(self.directory, self.alias.id, "b")
        second = move_to(self.directory, self.alias.id, "c")
        third = move_to(self.directory, self.alias.id, "primary")
        self.assertEqual(len({self.old, first.id, second.id, third.id}), 4)
        self.assertEqual(
            self.directory.unverified_mailboxes("primary"), [Unverified(self.alias.id, third.id)]
        )
        self.directory.settle_move(self.alias.id, third.id)
        for primary, left in (("primary", self.old), ("b", first.id), ("c", second.id)):
            self.assertEqual([one.id for one in self.directory.left_mailboxes(primary)], [left])

    def test_of_switch_and_abort_only_one_happens(self) -> None:
        new = self.directory.begin_move(self.alias.id, self.old, "b")
        self.assertTrue(self.directory.abort_move(new.id))
        self.assertFalse(self.directory.abort_move(new.id))
        with self.assertRaises(MailboxMoved):
            self.directory.finish_move(self.alias.id, self.old, new.id)
        self.assertEqual(self.directory.left_mailboxes("b"), [new])
        again = move_to(self.directory, self.alias.id, "b")
        self.assertFalse(self.directory.abort_move(again.id))
        self.assertEqual(self.directory.mailbox(self.alias.id), again)

    def test_the_last_to_begin_moves(self) -> None:
        first = self.directory.begin_move(self.alias.id, self.old, "b")
        second = self.directory.begin_move(self.alias.id, self.old, "c")
        with self.assertRaises(MailboxMoved):
            self.directory.finish_move(self.alias.id, self.old, first.id)
        self.directory.finish_move(self.alias.id, self.old, second.id)
        self.assertEqual(self.directory.left_mailboxes("b"), [first])

    def test_nobody_moves_what_is_not_there(self) -> None:
        other = self.add_alias("b@example.com")
        mailbox = self.add_mailbox(other.id)
        new = self.directory.begin_move(self.alias.id, self.old, "b")
        for arguments in (
            (self.alias.id, mailbox, new.id),
            (other.id, mailbox, new.id),
            ("0" * 24, self.old, new.id),
            (self.alias.id, self.old, self.old),
            (self.alias.id, self.old, "0" * 24),
        ):
            with self.assertRaises(MailboxMoved):
                self.directory.finish_move(*arguments)
        for alias, replaces, primary, error in (
            (self.alias.id, mailbox, "c", MailboxMoved),
            ("0" * 24, self.old, "c", MailboxMoved),
            (self.alias.id, self.old, "primary", InvalidInput),
            (self.alias.id, self.old, "Not a name", InvalidInput),
        ):
            with self.assertRaises(error):
                self.directory.begin_move(alias, replaces, primary)
        self.directory.finish_move(self.alias.id, self.old, new.id)

    def test_a_password_change_defeats_the_move(self) -> None:
        new = self.directory.begin_move(self.alias.id, self.old, "b")
        changed = self.add_mailbox(self.alias.id, replaces=self.old)
        with self.assertRaises(MailboxMoved):
            self.directory.finish_move(self.alias.id, self.old, new.id)
        with self.assertRaises(MailboxMoved):
            self.directory.finish_move(self.alias.id, changed, self.old)
        current = self.directory.mailbox(self.alias.id)
        self.assertEqual(current and current.id, changed)

    def test_another_file_makes_old_copies_useless(self) -> None:
        new = move_to(self.directory, self.alias.id, "b")
        record = self.record()
        with self.assertRaises(Elsewhere):
            self.add_mailbox(self.alias.id, replaces=new.id)
        self.directory.set_mailbox(
            self.alias.id,
            type(record)(record.id, record.public_key, record.created, "b"),
            credentials=[self.credential(self.alias.id)],
            salt=bytes(range(16)),
            iterations=4096,
            replaces=new.id,
            archive=True,
        )
        self.assertEqual([one.id for one in self.directory.left_mailboxes("primary")], [self.old])
        self.assertEqual(self.directory.unverified_mailboxes("b"), [])
        archived = self.directory.archived_mailboxes(self.alias.id)
        self.assertEqual([(one.id, one.primary) for one in archived], [(new.id, "b")])

    def test_archives_stay_where_they_are(self) -> None:
        record = self.record()
        self.directory.set_mailbox(
            self.alias.id,
            record,
            credentials=[],
            salt=bytes(16),
            iterations=1,
            replaces=self.old,
            archive=True,
        )
        move_to(self.directory, self.alias.id, "b")
        archived = self.directory.archived_mailboxes(self.alias.id)
        self.assertEqual([(one.id, one.primary) for one in archived], [(self.old, "primary")])

    def test_whose_waiting_mail(self) -> None:
        old = self.directory.mailbox(self.alias.id)
        assert old is not None
        key = old.public_key

        def needed() -> list[bool]:
            return [self.directory.needs_waiting_mail(key, one) for one in ("primary", "b")]

        self.assertEqual(needed(), [True, False])
        new = self.directory.begin_move(self.alias.id, self.old, "b")
        self.assertEqual(needed(), [True, True])
        self.directory.finish_move(self.alias.id, self.old, new.id)
        self.assertEqual(needed(), [False, True])
        back = self.directory.begin_move(self.alias.id, new.id, "primary")
        self.assertEqual(needed(), [True, True])
        self.directory.abort_move(back.id)
        self.assertEqual(needed(), [False, True])
        self.assertFalse(self.directory.needs_waiting_mail(b"another", "b"))

    def test_what_a_primary_died_with(self) -> None:
        other = self.add_alias("b@example.com")
        now_coming = self.directory.begin_move(other.id, self.add_mailbox(other.id), "b")
        dead = self.directory.begin_move(self.alias.id, self.old, "b")
        before = self.directory.revision()
        self.assertEqual(self.directory.abort_moves("c", []), [])
        self.assertEqual(self.directory.revision(), before)
        self.assertEqual(self.directory.abort_moves("b", [now_coming.id]), [dead.id])
        self.assertEqual(self.directory.left_mailboxes("b"), [dead])
        self.assertEqual(self.directory.abort_moves("b", []), [now_coming.id])

    def test_discarded_files_are_those_of_one_volume(self) -> None:
        changed = self.add_mailbox(self.alias.id, replaces=self.old)
        self.assertEqual(self.directory.discarded_mailboxes("primary"), [self.old])
        self.assertEqual(self.directory.discarded_mailboxes("b"), [])
        self.directory.forget_left(self.old)
        self.assertEqual(self.directory.discarded_mailboxes("primary"), [self.old])
        self.assertEqual(
            [one.state for one in self.directory.mailbox_files(self.alias.id)],
            [schema.DISCARDED, schema.CURRENT],
        )
        self.assertTrue(changed)

    def test_deleting_the_alias_leaves_every_file_an_entry(self) -> None:
        new = move_to(self.directory, self.alias.id, "b")
        coming = self.directory.begin_move(self.alias.id, new.id, "c")
        self.directory.delete_alias(self.alias.id)
        self.assertEqual(self.directory.discarded_mailboxes("b"), [new.id])
        self.assertEqual([one.id for one in self.directory.left_mailboxes("primary")], [self.old])
        self.assertEqual([one.id for one in self.directory.left_mailboxes("c")], [coming.id])
        with self.assertRaises(MailboxMoved):
            self.directory.finish_move(self.alias.id, new.id, coming.id)


class MovesOnSQLiteTests(MoveTests, OnSQLite):
    pass


class MovesOnPostgreSQLTests(MoveTests, OnPostgreSQL):
    pass


class UpgradeTests(DirectoryCase):
    """A directory of the first version, with rows."""

    def setUp(self) -> None:
        self.url = self.new_url()
        self.clock = Clock()
        self.directory = self.open()
        self.migrate_to("0001")

    def migrate_to(self, revision: str) -> None:
        database = self.directory._database
        if database.is_sqlite:
            create_file(database.path)
            database.use_wal()
        config = Config()
        config.set_main_option("script_location", "mailsrv.directory:migrations")
        config.set_main_option("path_separator", "os")
        with database.writing(announce=False) as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, revision)

    def test_everything_belongs_to_the_one_primary(self) -> None:
        with self.directory._database.writing() as connection:
            for statement in (
                "INSERT INTO domain (id, name, created) VALUES ('d', 'example.com', 't')",
                "INSERT INTO alias (id, domain_id, address, enabled, iterations, created)"  # noqa: ISC004
                " VALUES ('a', 'd', 'hello@example.com', true, 4096, 't')",
                "INSERT INTO usage (alias_id, octets, messages) VALUES ('a', 5, 1)",
                "INSERT INTO mailbox (id, alias_id, state, public_key, created)"  # noqa: ISC004
                " VALUES ('m', 'a', 'current', :key, 't'), ('n', 'a', 'archived', :key, 's'),"
                " ('o', NULL, 'discarded', :key, 's')",
            ):
                values = {"key": b"key"} if ":key" in statement else {}
                connection.execute(text(statement), values)
        before = self.directory.revision()
        self.open().migrate()
        self.assertEqual(self.directory.revision(), before)
        self.assertEqual(self.directory.alias("hello@example.com").primary, "primary")
        self.assertEqual(
            states(self.directory, "a"), {"m": ("current", "primary"), "n": ("archived", "primary")}
        )
        self.assertEqual(self.directory.discarded_mailboxes("primary"), ["o"])
        self.assertEqual(self.directory.usage("a").octets, 5)
        new = self.directory.begin_move("a", "m", "b")
        self.directory.finish_move("a", "m", new.id)
        self.assertEqual(self.directory.alias("hello@example.com").primary, "b")


class UpgradeOnSQLiteTests(UpgradeTests, OnSQLite):
    pass


class UpgradeOnPostgreSQLTests(UpgradeTests, OnNewPostgreSQL):
    pass


del MoveTests, UpgradeTests
