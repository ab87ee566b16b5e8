"""``mailsrv undelete`` as an owner types it."""

from datetime import timedelta

from mailsrv.cli.main import now
from mailsrv.directory.directory import Directory
from mailsrv.mailbox.values import ALL_UIDS, DELETED, Flags, NewMessage
from mailsrv.settings import load
from mailsrv.store.beside import Beside, OpenedBeside
from mailsrv.store.volume import Volume
from tests.cli.test_commands import ADDRESS, CommandTestCase

EVIL = "\x1b]0;owned\x07 [bold]x \u202egnp.exe"


def message(subject: str) -> bytes:
    return f"From: Ann <ann@example.org>\r\nSubject: {subject}\r\n\r\nHello\r\n".encode()


class UndeleteTests(CommandTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.ok("init", str(self.folder), config=False)
        self.ok("domain", "add", "example.com")
        self.ok("alias", "add", ADDRESS)
        self.password = self.json("password", ADDRESS)["password"]
        settings = load(self.config)
        directory = Directory(settings.directory.url, now)
        self.addCleanup(directory.close)
        self.directory = directory
        volume = Volume(settings.base, settings.store.mailboxes)
        beside = Beside(directory, volume, now, settings.link.name, timedelta(days=7))
        opening = beside.open(ADDRESS, self.password, None)
        self.opened: OpenedBeside = opening.__enter__()
        self.addCleanup(opening.__exit__, None, None, None)
        self.mailbox = self.opened.mailbox

    def expunge(self, *subjects: str, folder: str = "INBOX") -> None:
        messages = [NewMessage(message(one), Flags(DELETED)) for one in subjects]
        self.mailbox.expunge(self.mailbox.append(folder, messages).folder_id, ALL_UIDS)
        usage = self.mailbox.usage()
        alias = self.directory.alias(ADDRESS).id
        self.directory.set_usage(alias, usage.octets, usage.messages, usage.recoverable)

    def listed(self, *words: str) -> list[str]:
        rows = self.json("undelete", ADDRESS, "--list", *words, stdin=f"{self.password}\n")
        return [row["subject"] for row in rows]

    def messages(self, name: str = "INBOX") -> int:
        return sum(one.messages for one in self.mailbox.folders() if one.name == name)

    def undelete(self, *words: str) -> dict:
        return self.json("undelete", ADDRESS, *words, stdin=f"{self.password}\n")

    def test_list(self) -> None:
        self.expunge("one", "two")
        self.expunge("three", folder="Archive")
        self.assertEqual(self.listed(), ["three", "two", "one"])
        self.assertEqual(self.listed("--limit", "2"), ["three", "two"])
        self.assertEqual(self.listed("--folder", "inbox"), ["two", "one"])
        self.assertEqual(self.listed("--subject", "THREE"), ["three"])
        self.assertEqual(self.listed("--since", "2099-01-01"), [])
        since = ("--since", "2001-01-01T00:00:00Z")
        self.assertEqual(self.listed(*since, "--subject", "t"), ["three", "two"])

    def test_list_for_people(self) -> None:
        self.expunge(EVIL)
        said = self.ok("undelete", ADDRESS, "--list", stdin=f"{self.password}\n")
        for words in ("]0;owned [bold]x", "\ufffdgnp.exe", "<ann@example.org>"):
            self.assertIn(words, said)
        for control in "\x1b\x07\u202e":
            self.assertNotIn(control, said)
        self.mailbox.purge()
        said = self.ok("undelete", ADDRESS, "--list", stdin=f"{self.password}\n")
        self.assertIn("No expunged messages", said)

    def test_put_back(self) -> None:
        self.expunge("one", "two", "three")
        first = self.mailbox.expunged().messages[0].id
        done = self.undelete("--id", str(first))
        self.assertEqual((done["undeleted"], done["folders"]), (1, ["INBOX"]))
        self.assertEqual(self.listed(), ["two", "one"])
        said = self.ok("undelete", ADDRESS, "--all", "--to", "Back", stdin=f"{self.password}\n")
        self.assertIn(f"Put 2 messages of {ADDRESS} back into Back", said)
        self.assertEqual((self.messages(), self.messages("Back")), (1, 2))
        usage = self.directory.usage(self.directory.alias(ADDRESS).id)
        self.assertEqual((usage.messages, usage.recoverable), (3, 0))
        said = self.ok("undelete", ADDRESS, "--all", stdin=f"{self.password}\n")
        self.assertIn("No such messages", said)

    def test_purge(self) -> None:
        self.expunge("one", "two")
        size = len(message("one"))
        done = self.undelete("--purge", "--subject", "one")
        self.assertEqual((done["purged"], done["octets"]), (1, size))
        self.assertEqual(self.listed(), ["two"])
        usage = self.directory.usage(self.directory.alias(ADDRESS).id)
        self.assertEqual((usage.octets, usage.messages, usage.recoverable), (size, 0, size))

    def test_passwords(self) -> None:
        self.expunge("one")
        words = ("password", ADDRESS, "--label", "phone", "--scope", "imap")
        app = self.json(*words, stdin=f"{self.password}\n")["password"]
        self.ok("undelete", ADDRESS, "--list", stdin=f"{app}\n")
        for words in (("--purge", "--all"), ("--all", "--to", "a//b")):
            self.refused("undelete", ADDRESS, *words, stdin=f"{app}\n")
        self.assertIn("wrong", self.refused("undelete", ADDRESS, "--all", stdin="no\n"))
        self.assertEqual(len(self.listed()), 1)

    def test_what_makes_no_sense_is_refused(self) -> None:
        for words in (
            (),
            ("--to", "Back"),
            ("--all", "--folder", "INBOX"),
            ("--list", "--purge"),
            ("--all", "--purge", "--to", "Back"),
            ("--since", "yesterday"),
        ):
            result = self.run_command("undelete", ADDRESS, *words, stdin=f"{self.password}\n")
            self.assertEqual(result.exit_code, 2, words)
        self.assertIn("nobody@example.com", self.refused("undelete", "nobody@example.com", "--all"))
