"""A volume is lost: all mailboxes come back from their backups, without anybody's password."""

import shutil
from datetime import timedelta
from pathlib import Path
from unittest import mock

from mailsrv.backup.interfaces import IObjectStore
from mailsrv.backup.machine import Machine, Outcome
from mailsrv.backup.objects.folder import FolderStore
from mailsrv.backup.restore import Restore
from mailsrv.backup.restore_sources import Backups, FromStore
from mailsrv.errors import BackupStoreFailed, InvalidInput
from mailsrv.store.volume import Volume
from tests.backup.world import ADDRESS, KeepingCase
from tests.store.world import World, now

OTHERS = ("a@example.com", "b@example.com", "c@example.com")


class MachineCase(KeepingCase):
    """One mailbox with a backup, and its file is lost."""

    def setUp(self) -> None:
        super().setUp()
        self.keeping.back_up(ADDRESS, self.password)
        self.keeping.append(ADDRESS, self.password, "too late")
        self.machine = self.new_machine()

    def new_machine(self, store: IObjectStore | None = None) -> Machine:
        store = store or self.keeping.store
        return Machine(self.world.directory, self.world.volume, now, lambda _: [store])

    def lose(self) -> None:
        shutil.rmtree(self.world.volume.mailboxes)
        self.world.volume.prepare()

    def run_all(self) -> dict[str, Outcome]:
        found = self.machine.restore_all(self.machine.missing(), 3)
        return {one.address: one for one in found}

    def states(self) -> dict[str, str]:
        return {address: one.state for address, one in self.run_all().items()}


class RestoreAllTests(MachineCase):
    def test_all_passwords_open_it(self) -> None:
        app = self.world.lifecycle.add_app_password(ADDRESS, self.password, "phone", ("imap",))
        lost = self.current()
        self.lose()
        outcome = self.run_all()[ADDRESS]
        self.assertEqual(outcome.state, "restored")
        self.assertEqual(outcome.taken, Backups.of([self.keeping.store], self.alias, now()).newest)
        self.assertEqual(self.read(), ["one", "two"])
        self.assertEqual(self.read(app), ["one", "two"])
        record = self.world.directory.mailbox(self.alias)
        assert record is not None
        self.assertNotEqual(record.id, lost)
        self.assertIsNotNone(record.restored)
        self.assertEqual(self.world.files(), [f"{record.id}.sqlite"])

    def test_several(self) -> None:
        for address in OTHERS:
            _, password = self.world.mailbox(address)
            self.keeping.append(address, password, address)
            self.keeping.back_up(address, password)
        self.world.alias("without@example.com")
        self.lose()
        self.assertEqual(self.states(), dict.fromkeys((ADDRESS, *OTHERS), "restored"))
        self.assertEqual(self.run_all(), {}, "nothing is missing any more")

    def test_what_is_there_is_not_touched(self) -> None:
        alias = self.world.directory.alias(ADDRESS)
        self.assertEqual(self.machine.missing(), [])
        self.assertEqual(self.machine.restore(alias).state, "here")
        self.assertEqual(self.read(), ["one", "two", "too late"])

    def test_twice_at_once(self) -> None:
        self.lose()
        aliases = self.machine.missing()
        states = sorted(one.state for one in self.machine.restore_all(aliases * 4, 4))
        self.assertEqual(states, ["here", "here", "here", "restored"])
        self.assertEqual(len(self.world.files("*.sqlite")), 1)

    def test_the_password_was_changed_since(self) -> None:
        new = self.world.lifecycle.change_password(ADDRESS, self.password).password
        self.lose()
        self.assertEqual(self.states(), {ADDRESS: "password"})
        self.assertEqual(self.world.files("*.sqlite"), [])
        restorer = Restore(self.world.directory, self.world.volume, now)
        source = FromStore(Backups.of([self.keeping.store], self.alias, now()))
        restorer.restore(ADDRESS, source, self.password, lambda: new)
        self.assertEqual(self.read(new), ["one", "two"])

    def test_a_newer_backup_of_another_file_is_told_of(self) -> None:
        """The directory is from a dump that is older than a change of the password."""
        dump: list[bytes] = []
        self.world.directory.dump(dump.append)
        new = self.world.lifecycle.change_password(ADDRESS, self.password).password
        newer = self.keeping.back_up(ADDRESS, new, now() + timedelta(seconds=1))
        self.lose()
        base = Path(self.mktemp())
        self.keeping.world = self.world = World(base)
        self.addCleanup(self.world.directory.close)
        self.world.volume.prepare()
        self.world.directory.load(dump)
        moment = lambda: now() + timedelta(seconds=2)  # noqa: E731
        self.machine = Machine(
            self.world.directory, self.world.volume, moment, lambda _: [self.keeping.store]
        )
        outcome = self.run_all()[ADDRESS]
        self.assertEqual(outcome.state, "restored")
        self.assertIn(f"a newer backup, of {newer.taken}", outcome.problem)
        self.assertEqual(self.read(), ["one", "two"])

    def test_waiting_mail_that_was_saved_is_read(self) -> None:
        public_key = self.keeping.opened(ADDRESS, self.password).public_key
        self.keeping.wait(ADDRESS, public_key, "waits")
        path = self.world.volume.waiting(public_key)
        saved = path.read_bytes()
        self.lose()
        self.assertEqual(self.states(), {ADDRESS: "restored"})
        path.write_bytes(saved)
        self.assertEqual(self.read(), ["one", "two", "waits"])

    def test_lost_again_before_anybody_came(self) -> None:
        for _ in range(3):
            self.lose()
            self.assertEqual(self.states(), {ADDRESS: "restored"})
        self.assertEqual(self.read(), ["one", "two"])

    def test_deleted_ones_that_can_be_had_back(self) -> None:
        self.world.directory.mark_deleted(self.alias)
        self.lose()
        self.assertEqual(self.states(), {ADDRESS: "restored"})
        self.world.directory.undelete_alias(self.alias)
        self.assertEqual(self.read(), ["one", "two"])

    def test_no_backup(self) -> None:
        self.world.mailbox(OTHERS[0])
        self.lose()
        outcome = self.run_all()[OTHERS[0]]
        self.assertEqual(outcome.state, "failed")
        self.assertEqual(outcome.problem, "no backup of this mailbox is kept")

    def test_kept_nowhere(self) -> None:
        self.machine = Machine(self.world.directory, self.world.volume, now, lambda _: [])
        self.lose()
        self.assertEqual(self.states(), {ADDRESS: "failed"})

    def test_a_store_that_fails_for_one(self) -> None:
        _, password = self.world.mailbox(OTHERS[0])
        self.keeping.back_up(OTHERS[0], password)
        real = FolderStore.get

        def get(store: FolderStore, name: str, path: Path) -> None:
            if self.alias in name:
                raise BackupStoreFailed("the bucket answered 503")
            real(store, name, path)

        self.lose()
        with mock.patch.object(FolderStore, "get", get):
            outcomes = self.run_all()
        self.assertEqual(outcomes[OTHERS[0]].state, "restored")
        self.assertEqual(outcomes[ADDRESS].problem, "the bucket answered 503")
        self.assertEqual(len(self.world.files()), 1)
        self.assertEqual(self.states(), {ADDRESS: "restored"})

    def test_damaged_octets(self) -> None:
        (path,) = self.keeping.folder.rglob("*.sqlite")
        path.chmod(0o600)
        path.write_bytes(path.read_bytes()[:-4096])
        self.lose()
        self.assertEqual(self.states(), {ADDRESS: "failed"})
        self.assertEqual(self.world.files(), [])

    def test_another_primarys_are_left_alone(self) -> None:
        record = self.world.directory.mailbox(self.alias)
        assert record is not None
        incoming = self.world.directory.begin_move(self.alias, record.id, "b")
        self.world.directory.finish_move(self.alias, record.id, incoming.id)
        self.assertEqual(self.machine.missing(), [])
        alias = self.world.directory.alias(ADDRESS)
        self.assertIn("primary b", self.machine.restore(alias).problem)

    def test_another_data_directory_has_to_be_forgotten_first(self) -> None:
        self.machine.claim()
        base = Path(self.mktemp())
        base.mkdir()
        other = Machine(self.world.directory, Volume(base), now, lambda _: [])
        said = str(self.assertRaises(InvalidInput, other.claim))
        self.assertIn("mailsrv primary forget primary", said)
        self.world.directory.forget_primary("primary")
        other.claim()
