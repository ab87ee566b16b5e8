"""What is noted about backups, and who is found to want one."""

from mailsrv.directory.directory import BackupRecord
from mailsrv.errors import NoSuchAlias
from tests.directory.databases import DirectoryCase, OnPostgreSQL, OnSQLite

DIGEST = b"d" * 32
TAKEN = "2026-11-23T10:00:00Z"


class BackupTests(DirectoryCase):
    def setUp(self) -> None:
        super().setUp()
        self.alias = self.add_alias("a@example.com")
        self.file = self.add_mailbox(self.alias.id)

    def known(self) -> BackupRecord:
        return self.directory.backup(self.alias.id)

    def test_nothing_yet(self) -> None:
        self.assertEqual(self.known(), BackupRecord())
        (standing,) = self.directory.backup_standings([self.alias.id])
        self.assertEqual((standing.mailbox, standing.record), (self.file, BackupRecord()))
        self.assertEqual(self.directory.pending_backups("primary"), [])

    def test_success_ends_what_was_wrong(self) -> None:
        self.directory.note_backup_failed(self.alias.id, "no room")
        failed = self.known()
        self.assertEqual((failed.problem, failed.taken), ("no room", None))
        self.assertTrue(failed.wanted and failed.failed and failed.wanted <= failed.failed)
        self.directory.note_backup(self.alias.id, self.file, DIGEST, TAKEN)
        good = BackupRecord(mailbox=self.file, digest=DIGEST, taken=TAKEN, checked=TAKEN)
        self.assertEqual(self.known(), good)
        self.directory.note_backup_failed(self.alias.id, "no room")
        self.directory.note_backup_checked(self.alias.id)
        checked = self.known()
        self.assertEqual(checked, BackupRecord(self.file, DIGEST, TAKEN, checked.checked))
        self.assertGreater(checked.checked or "", TAKEN)

    def test_since_when_it_is_wanted_stays(self) -> None:
        self.directory.note_backups_wanted([self.alias.id, "0" * 24])
        wanted = self.known().wanted
        self.assertIsNotNone(wanted)
        self.directory.note_backups_wanted([self.alias.id])
        self.directory.note_backup_failed(self.alias.id, "no room")
        self.assertEqual(self.known().wanted, wanted)

    def test_a_damaged_copy_is_not_compared_with(self) -> None:
        self.directory.note_backup(self.alias.id, self.file, DIGEST, TAKEN)
        self.directory.note_backup_damaged(self.alias.id, "damaged")
        self.assertIsNone(self.known().digest)
        self.assertIsNotNone(self.known().wanted)

    def test_pending(self) -> None:
        peer = self.add_alias("b@example.com")
        self.add_mailbox(peer.id)
        fine = self.add_alias("c@example.com")
        self.add_mailbox(fine.id)
        self.directory.note_backup_failed(peer.id, "no room")
        self.directory.note_backups_wanted([self.alias.id])
        self.directory.note_backup_checked(fine.id)
        found = [one.address for one in self.directory.pending_backups("primary")]
        self.assertEqual(found, ["a@example.com", "b@example.com"])
        self.assertEqual(self.directory.pending_backups("another"), [])
        self.assertEqual(len(self.directory.all_backup_standings()), 3)
        self.assertEqual(self.directory.all_backup_standings("another"), [])

    def test_without_alias_or_mailbox(self) -> None:
        empty = self.add_alias("d@example.com")
        self.assertEqual(self.directory.backup_standings([empty.id, "0" * 24]), [])
        for call in (
            lambda: self.directory.note_backup("0" * 24, self.file, DIGEST, TAKEN),
            lambda: self.directory.note_backup_checked("0" * 24),
            lambda: self.directory.note_backup_failed("0" * 24, "x"),
        ):
            self.assertRaises(NoSuchAlias, call)

    def test_goes_with_its_alias(self) -> None:
        self.directory.note_backup_checked(self.alias.id)
        self.directory.delete_alias(self.alias.id)
        self.assertEqual(self.known(), BackupRecord())
        self.assertEqual(self.directory.all_backup_standings(), [])


class BackupOnSQLiteTests(BackupTests, OnSQLite):
    pass


class BackupOnPostgreSQLTests(BackupTests, OnPostgreSQL):
    pass


del BackupTests
