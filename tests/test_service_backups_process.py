"""A server as it is started: what is overdue is backed up at a login, and told at /metrics."""

import imaplib
import signal
import urllib.request
from datetime import timedelta

from twisted.trial.unittest import SynchronousTestCase

from mailsrv.cli.main import now
from mailsrv.directory.directory import Directory
from mailsrv.settings import load
from tests.faults.common import ADDRESS
from tests.running import RunningServer
from tests.waiting import eventually


class ServerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.server = RunningServer()
        self.addCleanup(self.server.stop)
        self.password = self.server.add(ADDRESS)

    def forget_the_last(self) -> None:
        """Have the mailbox backed up last long ago."""
        long_ago = (now() - timedelta(days=9)).strftime("%Y-%m-%dT%H:%M:%SZ")
        directory = Directory(load(self.server.config).directory.url, now)
        try:
            alias = directory.alias(ADDRESS).id
            record = directory.mailbox(alias)
            assert record is not None
            directory.note_backup(alias, record.id, b"of another content".ljust(32), long_ago)
        finally:
            directory.close()

    def metrics(self) -> str:
        url = f"http://127.0.0.1:{self.server.health_port}/metrics"
        with urllib.request.urlopen(url) as answer:
            return answer.read().decode()

    def test_overdue_at_login(self) -> None:
        self.forget_the_last()
        self.server.start()
        client = imaplib.IMAP4("127.0.0.1", self.server.imap_port, timeout=60)
        client.login(ADDRESS, self.password)
        self.assertTrue(
            eventually(lambda: 'mailsrv_backups_total{outcome="taken"} 1.0' in self.metrics())
        )
        client.logout()
        (row,) = self.server.command("backup", "list", ADDRESS)
        self.assertEqual(row["password"], "today's")
        words = ("backup", "verify", ADDRESS, "--password")
        self.assertTrue(self.server.command(*words, stdin=f"{self.password}\n")["opened"])
        self.assertEqual(list((self.server.folder / "backups.tmp").iterdir()), [])
        self.server.kill(signal.SIGTERM)
        self.assertNotIn("rror", self.server.log.read_text())
