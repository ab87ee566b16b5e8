"""Which of what is kept comes closest: a copy, or the log that was shipped after a base."""

import shutil
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mailsrv.backup.copies import put_copy
from mailsrv.backup.layout import CopyManifest, iso
from mailsrv.backup.restore_sources import Backups, Fetched, FromStore
from mailsrv.errors import BackupDamaged, NoSuchBackup
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.mailbox.snapshot import take
from tests.backup.shipped import ALIAS, FILE, Shipped, content_of

OTHER = "f" * 24


class SourcesCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.shipped = Shipped(self.folder, 1)
        self.addCleanup(self.shipped.end)
        self.target = self.folder / "target.sqlite"

    def copy(self, mailbox: str = FILE) -> CopyManifest:
        """Made now; time goes on by a minute before and after it."""
        shipped = self.shipped
        shipped.ticks.milliseconds += 60_000
        path = self.folder / "copy.sqlite"
        made = take(shipped.box, shipped.key, path)
        manifest = CopyManifest(
            alias=ALIAS,
            mailbox=mailbox,
            taken=iso(shipped.ticks.moment()),
            octets=made.octets,
            sha256=made.sha256.hex(),
            digest=made.digest.hex(),
            messages=made.messages,
        )
        put_copy(shipped.store, path, manifest)
        path.unlink()
        shipped.ticks.milliseconds += 60_000
        return manifest

    def append(self) -> None:
        shipped = self.shipped
        shipped.append(shipped.box)
        shipped.record()
        shipped.ship()

    def begin_chain(self) -> None:
        self.append()
        self.assertTrue(self.shipped.make_base(), self.shipped.problems)
        self.shipped.ship()

    def fetch(self, milliseconds: int | None = None, files: set[str] | None = None) -> Fetched:
        self.target.unlink(missing_ok=True)
        moment = self.shipped.ticks.moment(milliseconds)
        backups: Backups | None = Backups.of([self.shipped.store], ALIAS, moment)
        if backups is not None and files is not None:
            backups = backups.only(files)
        assert backups is not None
        return backups.fetch(self.target)

    def messages(self) -> int:
        shipped = self.shipped
        with Mailbox.open(self.target, shipped.key, shipped.ticks.moment) as mailbox:
            mailbox.check()
            return mailbox.usage().messages


class ClosestTests(SourcesCase):
    def test_the_log_after_the_copy(self) -> None:
        self.begin_chain()
        copy = self.copy()
        self.append()
        last, state = self.shipped.history[-1]
        found = self.fetch()
        self.assertEqual((found.mailbox, found.problem), (FILE, ""))
        self.assertEqual(found.taken, iso(self.shipped.ticks.moment(last)))
        self.assertGreater(found.taken, copy.taken)
        with Mailbox.open(self.target, self.shipped.key, self.shipped.ticks.moment) as mailbox:
            self.assertEqual(content_of(mailbox)["INBOX"][3], state["INBOX"][3])

    def test_any_second(self) -> None:
        self.begin_chain()
        counts = []
        for number in range(3):
            self.append()
            counts.append((self.shipped.history[-1][0], number + 2))
            self.copy()
        for milliseconds, count in counts:
            self.fetch(milliseconds)
            self.assertEqual(self.messages(), count)

    def test_the_copy_where_the_log_ends_before_it(self) -> None:
        self.begin_chain()
        copy = self.copy()
        found = self.fetch()
        self.assertEqual(found, Fetched(FILE, copy.taken))
        self.assertEqual(self.messages(), 1)

    def test_the_log_alone(self) -> None:
        self.begin_chain()
        self.assertEqual(self.fetch().mailbox, FILE)
        self.assertEqual(self.messages(), 1)

    def test_only_backups_of_one_file(self) -> None:
        self.begin_chain()
        copy = self.copy(OTHER)
        self.append()
        self.assertEqual(self.fetch(files={OTHER}).taken, copy.taken)
        self.assertGreater(self.fetch(files={FILE}).taken, copy.taken)
        every = Backups.of([self.shipped.store], ALIAS, self.shipped.ticks.moment())
        self.assertIsNone(every.only({"e" * 24}))

    def test_what_its_owner_is_asked_for(self) -> None:
        """The one password of a chain is that of its beginning."""
        self.begin_chain()
        moment = self.shipped.ticks.moment
        for said in ("the changes shipped since", "the backup of"):
            source = FromStore(Backups.of([self.shipped.store], ALIAS, moment()))
            self.assertEqual(source.name, f"{said} {source.backups.newest}")
            self.copy()

    def test_before_everything(self) -> None:
        before = self.shipped.ticks.milliseconds - 10_000
        self.begin_chain()
        said = str(self.assertRaises(NoSuchBackup, self.fetch, before))
        self.assertIn("the oldest is of", said)


class DamageTests(SourcesCase):
    def damage(self) -> None:
        for name in self.shipped.store.names(".frames"):
            path = self.shipped.store.folder / name
            path.write_bytes(path.read_bytes()[:-100] + bytes(100))

    def test_the_copy_serves_and_the_answer_says_why(self) -> None:
        self.begin_chain()
        copy = self.copy()
        self.append()
        self.damage()
        found = self.fetch()
        self.assertEqual(found.taken, copy.taken)
        self.assertIn(".frames", found.problem)
        self.assertEqual(self.messages(), 1)

    def test_without_a_copy_it_is_an_error(self) -> None:
        self.begin_chain()
        self.append()
        self.damage()
        self.assertRaises(BackupDamaged, self.fetch)
        self.assertFalse(self.target.exists())
