"""A machine is lost, and another one takes its place; and a restore while the server runs."""

import contextlib
import json
import shutil
import smtplib
import time
from typing import Any

from click.testing import CliRunner
from twisted.trial.unittest import SynchronousTestCase

from mailsrv.cli.commands import main
from tests.clients.imap_case import mail
from tests.clients.imap_client import Client
from tests.running import RunningServer

HELLO = "hello@example.com"
CHANGED = "changed@example.com"
LATE = "late@example.com"


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.server = RunningServer()
        self.addCleanup(self.server.stop)
        self.kept = self.server.root / "kept"
        self.kept.mkdir()
        with self.server.config.open("a") as config:
            config.write(f'[backup]\nfolder = "{self.kept}"\n')
        self.configuration = self.server.config.read_text()

    def client(self, address: str, password: str) -> Client:
        client = Client(self.server.imap_port)
        self.addCleanup(client.close)
        client.ok(f"LOGIN {address} {password}")
        return client

    def subjects(self, client: Client) -> list[str]:
        """In INBOX, by UID."""
        client.ok("SELECT INBOX")
        found = client.fetch("1:*", "(UID ENVELOPE)") if client.exists else {}
        return [found[number]["ENVELOPE"][1].decode() for number in sorted(found)]

    def append(self, address: str, password: str, *subjects: str) -> None:
        client = self.client(address, password)
        for subject in subjects:
            client.append(mail(subject))
        client.ok("LOGOUT")

    def back_up(self, address: str, password: str) -> None:
        self.server.command("backup", "now", address, stdin=f"{password}\n")

    def deliver(self, address: str, subject: str) -> None:
        with smtplib.SMTP("127.0.0.1", self.server.smtp_port) as client:
            client.sendmail("you@example.org", address, mail(subject))

    def until_there(self, client: Client, subject: str) -> None:
        deadline = time.monotonic() + 30
        while subject not in self.subjects(client):
            self.assertLess(time.monotonic(), deadline, f"{subject} did not come")
            time.sleep(0.05)


class RehearsalTests(Case):
    """All by the commands that docs/operators.rst tells of."""

    def test_new_machine(self) -> None:
        server = self.server
        passwords = {one: server.add(one) for one in (HELLO, CHANGED, LATE)}
        server.start()
        app = server.command("password", HELLO, "--label", "phone", stdin=f"{passwords[HELLO]}\n")[
            "password"
        ]
        self.append(HELLO, passwords[HELLO], "one", "two")
        self.append(CHANGED, passwords[CHANGED], "three")
        self.append(LATE, passwords[LATE], "four")
        passwords[CHANGED] = self.change(CHANGED, passwords[CHANGED])
        for address, password in passwords.items():
            self.back_up(address, password)
        known = self.what_a_client_knows(passwords[HELLO])
        self.append(HELLO, app, "after the backup")
        former, passwords[LATE] = passwords[LATE], self.change(LATE, passwords[LATE])
        dump = server.root / "directory.dump"
        server.command("directory", "dump", str(dump))

        server.kill()
        shutil.rmtree(server.folder)

        server.command("init", str(server.folder), "--port-base", str(server.base), config=False)
        server.config.write_text(self.configuration)
        server.command("directory", "load", str(dump))
        self.assertIn("mailsrv primary forget primary", self.restore_all(1)["error"])
        server.command("primary", "forget", "primary")
        done = self.restore_all(1)
        states = {one["address"]: one["state"] for one in done["mailboxes"]}
        self.assertEqual(states, {HELLO: "restored", CHANGED: "restored", LATE: "password"})
        server.command("restore", LATE, stdin=f"{former}\n{passwords[LATE]}\n")
        self.assertEqual(self.restore_all(0)["missing"], 0)

        server.start()
        self.assertEqual(self.subjects(self.client(CHANGED, passwords[CHANGED])), ["three"])
        self.assertEqual(self.subjects(self.client(LATE, passwords[LATE])), ["four"])
        self.assertEqual(self.subjects(self.client(HELLO, app)), ["one", "two"])
        self.resynchronise(passwords[HELLO], known)
        self.deliver(HELLO, "the first of the new machine")
        self.until_there(self.client(HELLO, app), "the first of the new machine")

    def change(self, address: str, password: str) -> str:
        changed: str = self.server.command("password", address, stdin=f"{password}\n")["password"]
        return changed

    def restore_all(self, status: int) -> dict[str, Any]:
        words = ["--json", "--config", str(self.server.config), "restore", "--all"]
        done = CliRunner().invoke(main, words)
        self.assertEqual(done.exit_code, status, done.output)
        answer: dict[str, Any] = json.loads(done.stdout or done.stderr)
        return answer

    def what_a_client_knows(self, password: str) -> int:
        return int(self.client(HELLO, password).ok("SELECT INBOX").code("UIDVALIDITY"))

    def resynchronise(self, password: str, uidvalidity: int) -> None:
        """A client that was there before is told that all it knows is void, and reads anew."""
        client = self.client(HELLO, password)
        selected = client.ok("SELECT INBOX (CONDSTORE)")
        now = int(selected.code("UIDVALIDITY"))
        self.assertGreater(now, uidvalidity)
        self.assertEqual(client.exists, 2)
        found = client.ok("UID FETCH 1:* (UID FLAGS ENVELOPE)").messages
        self.assertEqual([found[one]["ENVELOPE"][1] for one in sorted(found)], [b"one", b"two"])
        self.assertEqual(self.what_a_client_knows(password), now, "once and for all")


class LiveTests(Case):
    def test_sessions_are_told_and_mail_that_waits_is_there(self) -> None:
        password = self.server.add(HELLO)
        self.server.start()
        self.append(HELLO, password, "one")
        self.back_up(HELLO, password)
        self.append(HELLO, password, "two")
        client = self.client(HELLO, password)
        self.assertEqual(self.subjects(client), ["one", "two"])
        former = int(client.ok("SELECT INBOX").code("UIDVALIDITY"))
        done = self.server.command("restore", HELLO, stdin=f"{password}\n")
        self.assertEqual(done["messages"], 1)
        self.assertEqual(client.hear("BYE").kind, "BYE")
        with contextlib.suppress(EOFError):
            client.read()
        self.deliver(HELLO, "three")
        client = self.client(HELLO, password)
        self.until_there(client, "three")
        self.assertEqual(self.subjects(client), ["one", "three"])
        self.assertGreater(int(client.ok("SELECT INBOX").code("UIDVALIDITY")), former)
        # undone
        words = ("restore", HELLO, "--archived", done["archived"])
        self.server.command(*words, stdin=f"{password}\n")
        self.assertEqual(self.subjects(self.client(HELLO, password)), ["one", "two"])
