"""Deleting addresses, as an operator types it."""

import json
from pathlib import Path
from unittest import mock

from mailsrv.backup.objects.folder import FolderStore
from mailsrv.cli.main import now
from mailsrv.directory.directory import Directory
from mailsrv.errors import BackupStoreFailed
from mailsrv.settings import load
from tests.cli.test_commands import ADDRESS, CommandTestCase

DELETE = ("alias", "delete", ADDRESS)


class DeletingTests(CommandTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.ok("init", str(self.folder), "--hostname", "mail.example.com", config=False)
        self.ok("domain", "add", "example.com")
        self.ok("alias", "add", ADDRESS)
        self.directory = Directory(load(self.config).directory.url, now)
        self.addCleanup(self.directory.close)

    def configure(self, days: float) -> None:
        with self.config.open("a") as file:
            file.write(f"\n[erase]\ngrace_days = {days}\n")

    def back_up(self) -> Path:
        folder = self.folder / "backups" / "mailboxes" / self.directory.alias(ADDRESS).id
        (folder / "copies").mkdir(parents=True)
        (folder / "copies" / f"20261123T101500Z-{'a' * 24}.sqlite").write_bytes(b"copy")
        return folder

    def typed(self, *answers: str) -> "mock._patch[mock.Mock]":
        return mock.patch("click.prompt", side_effect=answers)

    def on_a_terminal(self) -> "mock._patch[mock.Mock]":
        terminal = mock.Mock()
        terminal.stdin.isatty.return_value = True
        return mock.patch("mailsrv.cli.aliases.sys", terminal)

    def test_and_back(self) -> None:
        self.configure(2)
        self.ok("password", ADDRESS)
        said = self.json(*DELETE, "--yes")
        deleted, until = said["deleted"], said["erased_after"]
        self.assertEqual(deleted, self.directory.alias(ADDRESS).deleted)
        self.assertEqual(until[10:], deleted[10:])
        self.assertGreater(until, deleted)
        (row,) = self.json("alias", "list")
        self.assertEqual((row["deleted"], row["password"]), (deleted, True))
        self.assertIn(f"deleted {deleted[:10]}", self.ok("alias", "list"))
        self.assertIn(f"after {until}", self.ok(*DELETE, "--yes"))
        refused = self.refused("alias", "add", ADDRESS)
        self.assertIn(f"kept until {until}", refused)
        self.assertIn(f"mailsrv alias undelete {ADDRESS}", refused)
        for words in (("alias", "enable", ADDRESS), ("alias", "disable", ADDRESS)):
            self.assertEqual(self.refused(*words), refused)
        self.assertIn("undelete it first", self.refused("password", ADDRESS, "--start-over"))
        self.assertIn("is back", self.ok("alias", "undelete", ADDRESS))
        self.assertIsNone(self.json("alias", "list")[0]["deleted"])
        self.assertIn("not deleted", self.refused("alias", "undelete", ADDRESS))
        self.assertIn("exists already", self.refused("alias", "add", ADDRESS))

    def test_now(self) -> None:
        self.ok("password", ADDRESS)
        backups = self.back_up()
        said = self.json(*DELETE, "--now", "--yes")
        self.assertEqual(said["address"], ADDRESS)
        self.assertTrue(said["erased"])
        self.assertEqual(said["mailboxes"]["files"], 1)
        self.assertEqual(said["waiting"], {"files": 0, "octets": 0, "messages": 0})
        (store,) = said["backups"]
        self.assertEqual(store.pop("store"), f"folder {self.folder / 'backups'}")
        self.assertEqual(store, {"files": 1, "octets": 4})
        self.assertEqual((said["problems"], said["elsewhere"]), ([], []))
        self.assertFalse(backups.exists())
        self.assertEqual(list((self.folder / "mailboxes").iterdir()), [])
        self.assertEqual(self.json("alias", "list"), [])
        self.assertIn("no such address", self.refused(*DELETE, "--yes"))
        self.ok("alias", "add", ADDRESS)

    def test_without_grace(self) -> None:
        self.configure(0)
        self.ok("password", ADDRESS)
        self.back_up()
        said = self.ok(*DELETE, "--yes")
        self.assertRegex(said, r"mailboxes: 1, \d+")
        self.assertRegex(said, r"messages that waited: 0, 0 B")
        self.assertRegex(said, r"objects in .*backups.*: 1, 4 B")
        self.assertEqual(self.json("alias", "list"), [])

    def test_deleted_and_then_at_once(self) -> None:
        self.ok(*DELETE, "--yes")
        self.ok(*DELETE, "--yes", "--now")
        self.assertEqual(self.json("alias", "list"), [])

    def test_a_store_that_refuses(self) -> None:
        self.back_up()
        for words in (("--json",), ()):
            with mock.patch.object(FolderStore, "remove", side_effect=BackupStoreFailed("no way")):
                result = self.run_command(*DELETE, "--now", "--yes", *words)
            self.assertEqual(result.exit_code, 1)
            self.assertIn("no way", result.stdout)
            if words:
                self.assertIs(json.loads(result.stdout)["erased"], False)
                self.ok("alias", "add", ADDRESS)
                self.back_up()
        self.assertIn("the server will try again", result.stdout)
        self.assertEqual(len(self.directory.erasures("primary")), 2)

    def test_asks(self) -> None:
        self.assertIn("expected --yes", self.refused(*DELETE))
        with self.on_a_terminal(), self.typed("other@example.com"):
            self.assertIn("nothing was deleted", self.run_command(*DELETE).stderr)
        self.assertIsNone(self.directory.alias(ADDRESS).deleted)
        with self.on_a_terminal(), self.typed(" Hello@example.com"):
            self.assertIn("Deleted", self.run_command(*DELETE).stdout)
        self.assertIsNotNone(self.directory.alias(ADDRESS).deleted)

    def test_where_another_primary_has_it(self) -> None:
        self.ok("alias", "add", "there@example.com", "--primary", "b")
        said = self.ok("alias", "delete", "there@example.com", "--now", "--yes")
        self.assertIn("Primary b erases what it has", said)
        said = self.json(*DELETE, "--now", "--yes")
        self.assertTrue(said["erased"])
