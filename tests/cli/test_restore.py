"""``mailsrv restore``, as a person types it."""

import shutil
import subprocess
import sys
from pathlib import Path

from tests.cli.test_commands import ADDRESS, CommandTestCase

OTHER = "copy@example.com"
ROOT = Path(__file__).parents[2]


class RestoreTests(CommandTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.ok("init", str(self.folder), "--hostname", "mail.example.com", config=False)
        self.ok("domain", "add", "example.com")
        self.ok("alias", "add", ADDRESS)
        self.password = self.json("password", ADDRESS)["password"]
        self.ok("backup", "now", ADDRESS, stdin=f"{self.password}\n")
        self.former = self.current()

    def current(self) -> str:
        (found,) = [
            one["mailbox"]
            for one in self.json("mailbox", "show", ADDRESS)
            if one["state"] == "current"
        ]
        return found

    def lines(self, *passwords: str) -> str:
        return "".join(f"{one}\n" for one in passwords)

    def test_the_newest(self) -> None:
        done = self.json("restore", ADDRESS, stdin=self.lines(self.password))
        self.assertEqual((done["address"], done["archived"]), (ADDRESS, self.former))
        self.assertFalse(done["set_password"])
        self.assertNotEqual(self.current(), self.former)
        states = [one["state"] for one in self.json("mailbox", "show", ADDRESS)]
        self.assertEqual(states, ["archived", "current"])

    def test_for_people(self) -> None:
        said = self.ok("restore", ADDRESS, stdin=self.lines(self.password))
        self.assertIn(f"Restored {ADDRESS} from the backup of 2", said)
        self.assertIn(f"mailsrv restore {ADDRESS} --archived {self.former}", said)
        self.assertNotIn(self.password, said)

    def test_and_undone(self) -> None:
        self.ok("restore", ADDRESS, stdin=self.lines(self.password))
        words = ("restore", ADDRESS, "--archived")
        self.ok(*words, self.former, stdin=self.lines(self.password))
        said = self.refused(*words, "f" * 24, stdin=self.lines(self.password))
        self.assertIn(self.former, said)

    def test_after_the_password_was_changed(self) -> None:
        new = self.json("password", ADDRESS, stdin=self.lines(self.password))["password"]
        said = self.refused("restore", ADDRESS, stdin=self.lines(self.password))
        self.assertIn(f"Main password of {ADDRESS} today: expected a line", said)
        self.refused("restore", ADDRESS, stdin=self.lines(self.password, "not this one"))
        self.ok("restore", ADDRESS, stdin=self.lines(self.password, new))
        self.ok("password", ADDRESS, stdin=self.lines(new))

    def test_when_todays_password_is_lost(self) -> None:
        self.json("password", ADDRESS, stdin=self.lines(self.password))
        done = self.json("restore", ADDRESS, "--password-lost", stdin=self.lines(self.password))
        self.assertTrue(done["set_password"])
        self.ok("password", ADDRESS, stdin=self.lines(self.password))

    def test_a_wrong_password_changes_nothing(self) -> None:
        said = self.refused("restore", ADDRESS, stdin=self.lines("not this one"))
        self.assertIn("nothing was changed", said)
        self.assertEqual(self.current(), self.former)

    def test_standard_input_is_closed(self) -> None:
        words = [sys.executable, "-m", "mailsrv.cli", "--config", str(self.config)]
        for command in (["restore", ADDRESS], ["alias", "delete", ADDRESS]):
            done = subprocess.run(
                ["/bin/sh", "-c", '"$@" <&-', "sh", *words, *command],
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=False,
            )
            self.assertEqual((done.returncode, done.stderr.count("\n")), (1, 1), done.stderr)
            self.assertIn("expected ", done.stderr)

    def test_from_a_file(self) -> None:
        path = Path(self.mktemp()).resolve()
        self.ok("backup", "download", ADDRESS, str(path))
        words = ("restore", ADDRESS, "--file", str(path))
        self.ok(*words, stdin=self.lines(self.password))
        path.unlink()
        self.assertIn("expected the file of a backup", self.refused(*words))

    def test_into_another_address(self) -> None:
        self.ok("alias", "add", OTHER)
        words = ("restore", ADDRESS, "--into", OTHER)
        done = self.json(*words, stdin=self.lines(self.password))
        self.assertEqual((done["address"], done["set_password"]), (OTHER, True))
        self.ok("password", OTHER, stdin=self.lines(self.password))
        self.assertIn("has a mailbox", self.refused(*words, stdin=self.lines(self.password)))
        self.assertEqual(self.current(), self.former)

    def test_at_a_moment(self) -> None:
        words = ("restore", ADDRESS, "--at")
        for moment, expected in (
            ("2001-01-01", "the oldest is of 2"),
            ("2999-01-01", "has not come yet"),
            ("soon", "expected a time such as"),
        ):
            self.assertIn(expected, self.refused(*words, moment, stdin=self.lines(self.password)))

    def test_all(self) -> None:
        self.assertEqual(self.json("restore", "--all")["missing"], 0)
        shutil.rmtree(self.folder / "mailboxes")
        done = self.json("restore", "--all")
        self.assertEqual((done["missing"], done["restored"]), (1, 1))
        self.assertEqual(done["mailboxes"][0]["address"], ADDRESS)
        self.ok("password", ADDRESS, stdin=self.lines(self.password))

    def test_all_but_what_needs_a_password(self) -> None:
        self.ok("alias", "add", OTHER)
        self.json("password", OTHER)
        new = self.json("password", ADDRESS, stdin=self.lines(self.password))["password"]
        shutil.rmtree(self.folder / "mailboxes")
        result = self.run_command("restore", "--all")
        self.assertEqual(result.exit_code, 1)
        self.assertIn("missing: 2; restored: 0", result.stdout)
        self.assertIn(f"mailsrv restore {ADDRESS}", result.stdout)
        self.assertIn(f"{OTHER}: no backup", result.stdout)
        self.ok("restore", ADDRESS, stdin=self.lines(self.password, new))
        self.ok("password", ADDRESS, stdin=self.lines(new))

    def test_what_does_not_go_together(self) -> None:
        for words in (
            ("restore",),
            ("restore", ADDRESS, "--all"),
            ("restore", "--all", "--at", "2026-11-23"),
            ("restore", ADDRESS, "--at", "2026-11-23", "--archived", self.former),
            ("restore", ADDRESS, "--into", OTHER, "--password-lost"),
        ):
            self.assertEqual(self.run_command(*words).exit_code, 2, words)
