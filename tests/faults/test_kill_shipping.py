"""A server that ships its logs is killed again and again: any second can be restored anyhow."""

import time
from datetime import UTC, datetime
from pathlib import Path

from mailsrv.backup.chains import list_chains, restore_at
from mailsrv.backup.objects.folder import FolderStore
from mailsrv.directory.directory import Directory
from mailsrv.errors import NoSuchBackup
from mailsrv.keys.filekey import derive_file_key
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.mailbox.values import Section
from tests.faults.common import ADDRESS, MARK, FaultTestCase, marked, now, rounds
from tests.mailbox.support import fetch_all
from tests.waiting import eventually


class TestKillShipping(FaultTestCase):
    tables = '[backup]\nfolder = "backups"\npoint_in_time = true\n'

    def setUp(self) -> None:
        super().setUp()
        self.store = FolderStore(self.server.folder / "backups")
        directory = Directory(f"sqlite:///{self.server.folder / 'directory.sqlite'}", now)
        self.alias = directory.alias(ADDRESS).id
        directory.close()
        self.said: list[tuple[datetime, str]] = []

    def append(self, count: int) -> None:
        client = self.client()
        for _ in range(count):
            mark = f"mark-{len(self.said)}"
            size = 200 if self.dice.random() < 0.7 else 30_000
            client.append("INBOX", "", None, marked(mark, size))
            self.said.append((now(), mark))
            time.sleep(0.002)
        client.shutdown()

    def marks_at(self, moment: datetime) -> list[str]:
        target = Path(self.mktemp())
        restore_at(self.store, self.alias, moment, target)
        with target.open("rb") as file:
            salt = file.read(16)
        with Mailbox.open(target, derive_file_key(self.password, salt), now) as mailbox:
            mailbox.check()
            inbox = mailbox.folders()[0].id
            rows = fetch_all(mailbox, inbox, (), (Section(),))
        return [MARK.search(row[1])[1].decode() for row in rows]

    def manifests(self) -> int:
        return sum(chain.bases for chain in list_chains(self.store, self.alias))

    def test_what_was_acknowledged_is_there_from_then_on(self) -> None:
        self.append(3)
        self.assertTrue(eventually(self.manifests), self.server.log.read_text()[-3000:])
        first = list_chains(self.store, self.alias)[0].earliest
        for _ in range(rounds(1)):
            self.append(self.dice.randrange(10, 60))
            time.sleep(self.dice.uniform(0, 1))
            self.server.kill()
            self.server.start()
        self.append(3)
        every = [mark for _, mark in self.said]
        self.assertTrue(eventually(lambda: self.marks_at(now()) == every, 60))
        self.server.kill(15)
        chains = list_chains(self.store, self.alias)
        self.assertEqual(len(chains), 1)
        self.assertRaises(
            NoSuchBackup, self.marks_at, datetime.fromtimestamp(first.timestamp() - 60, UTC)
        )
        instants = [moment for moment, _ in self.said if moment > first]
        for moment in [*self.dice.sample(instants, 3), now()]:
            wanted = [mark for at, mark in self.said if at <= moment]
            found = self.marks_at(moment)
            # one more may have been committed, and not yet answered
            self.assertIn(len(found) - len(wanted), (0, 1))
            self.assertEqual(found[: len(wanted)], wanted)
