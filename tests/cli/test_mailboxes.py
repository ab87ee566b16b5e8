"""Where mailboxes lie and how they move, as an operator types it."""

import subprocess
import sys
from pathlib import Path
from unittest import mock

from mailsrv.cli import mailboxes
from mailsrv.cli.main import now
from mailsrv.directory.directory import Directory
from mailsrv.errors import InvalidInput, Unavailable
from mailsrv.link.moving.mover import Moved
from mailsrv.link.transport.endpoints import client_endpoint
from mailsrv.settings import Primary, load
from tests.cli.test_commands import ADDRESS, CommandTestCase

MOVED = Moved(mailbox="f" * 24, octets=3 * 1024**2, waiting=2, pause=0.25, seconds=4.0)


class MailboxTests(CommandTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.ok("init", str(self.folder), "--hostname", "mail.example.com", config=False)
        with self.config.open("a") as file:
            file.write(
                '\n[link]\nname = "a"\nsocket = "/nowhere/a.sock"\n'
                '[link.primaries.b]\nendpoint = "unix:/nowhere/link.sock"\n'
            )
        self.ok("domain", "add", "example.com")
        self.ok("alias", "add", ADDRESS)
        self.directory = Directory(load(self.config).directory.url, now)
        self.addCleanup(self.directory.close)

    def primary(self) -> str:
        return self.directory.alias(ADDRESS).primary

    def test_an_alias_is_served_where_it_was_made(self) -> None:
        self.assertEqual(self.primary(), "a")
        self.ok("alias", "add", "there@example.com", "--primary", "b")
        rows = self.json("mailbox", "list")
        self.assertEqual(
            [(row["address"], row["primary"], row["mailbox"]) for row in rows],
            [(ADDRESS, "a", None), ("there@example.com", "b", None)],
        )
        rows = self.json("mailbox", "list", "--primary", "b", "--domain", "example.com")
        self.assertEqual([row["address"] for row in rows], ["there@example.com"])
        self.assertIn("primary:", self.refused("alias", "add", "x@example.com", "--primary", "B"))

    def test_passwords_are_changed_where_the_mailbox_is(self) -> None:
        self.ok("alias", "add", "there@example.com", "--primary", "b")
        said = "mailsrv: there@example.com is served by primary b: run this there\n"
        for words in (
            ("password", "there@example.com"),
            ("password", "there@example.com", "--start-over"),
        ):
            self.assertEqual(self.refused(*words), said)
        refused = self.refused("password", "there@example.com", "--label", "x", stdin="old\n")
        self.assertEqual(refused, said)
        self.assertEqual(self.json("mailbox", "show", "there@example.com"), [])
        self.ok("password", ADDRESS)

    def test_names_of_primaries(self) -> None:
        self.assertEqual(self.json("primary", "list"), [])
        self.assertIn("got a", self.refused("primary", "forget", "a"))
        self.directory.claim_primary("a", "0" * 32)
        self.assertEqual([row["primary"] for row in self.json("primary", "list")], ["a"])
        self.assertIn("starts as a is primary a", self.ok("primary", "forget", "a"))
        self.assertEqual(self.json("primary", "list"), [])

    def test_show(self) -> None:
        self.assertIn("primary a serves", self.ok("mailbox", "show", ADDRESS))
        self.ok("password", ADDRESS)
        self.ok("password", ADDRESS, "--start-over")
        rows = self.json("mailbox", "show", ADDRESS)
        self.assertEqual(
            [(row["state"], row["primary"]) for row in rows],
            [("archived", "a"), ("current", "a")],
        )
        self.assertIn("archived", self.ok("mailbox", "show", ADDRESS))

    def test_move(self) -> None:
        self.ok("password", ADDRESS)
        with mock.patch.object(mailboxes, "run", return_value=MOVED) as run:
            answer = self.json("mailbox", "move", ADDRESS, "b")
            said = self.ok("mailbox", "move", ADDRESS, "b")
        self.assertEqual(run.call_count, 2)
        self.assertEqual(
            answer,
            {
                "address": ADDRESS,
                "primary": "b",
                "from": "a",
                "moved": True,
                "mailbox": "f" * 24,
                "octets": 3 * 1024**2,
                "waiting": 2,
                "seconds": 4.0,
                "pause_seconds": 0.25,
            },
        )
        self.assertIn("3 MiB in 4.0 s, held still for 0.25 s", said)

    def test_what_fails_is_one_line(self) -> None:
        self.ok("password", ADDRESS)
        with mock.patch.object(mailboxes, "run", side_effect=Unavailable("the link went away")):
            self.assertEqual(
                self.refused("mailbox", "move", ADDRESS, "b"), "mailsrv: the link went away\n"
            )

    def test_without_a_mailbox_only_the_name_changes(self) -> None:
        answer = self.json("mailbox", "move", ADDRESS, "b")
        self.assertEqual((answer["primary"], answer["moved"]), ("b", False))
        self.assertEqual(self.primary(), "b")
        again = self.ok("mailbox", "move", ADDRESS, "b")
        self.assertIn("is served by primary b", again)

    def test_where_nobody_is_known(self) -> None:
        self.assertIn(
            "link.primaries: expected one of a, b, got c",
            self.refused("mailbox", "move", ADDRESS, "c"),
        )
        self.assertIn("no such", self.refused("mailbox", "move", "who@example.com", "b"))
        self.assertEqual(self.primary(), "a")

    def test_from_where_nobody_is_known(self) -> None:
        self.ok("password", ADDRESS)
        text = self.config.read_text().replace('name = "a"', 'name = "c"')
        self.config.write_text(text)
        self.assertIn(
            f"link.primaries.a: expected an entry, {ADDRESS} is there",
            self.refused("mailbox", "move", ADDRESS, "b"),
        )

    def test_a_socket_whose_path_no_system_takes(self) -> None:
        primary = Primary(endpoint=f"unix:/{'long' * 30}")
        error = self.assertRaises(InvalidInput, client_endpoint, primary, None)
        self.assertIn("at most 107 octets", str(error))

    def test_nobody_listens(self) -> None:
        self.ok("password", ADDRESS)
        (self.folder / "link.token").write_text("operator " + "0" * 64 + "\n")
        (self.folder / "link.token").chmod(0o600)
        done = subprocess.run(
            [
                *(sys.executable, "-m", "mailsrv.cli", "--config", str(self.config), "--json"),
                *("mailbox", "move", ADDRESS, "b"),
            ],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertEqual(done.stdout, "")
        self.assertTrue(done.stderr.startswith('{"error": "primary a at unix:'), done.stderr)
        self.assertEqual(self.primary(), "a")
