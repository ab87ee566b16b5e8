"""``mailsrv export`` and ``mailsrv import`` as they are typed, beside a server and without one."""

import imaplib
import os
import signal
import time
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from mailsrv.backup.exchange.importing import Import
from tests.backup.exchange.boxes import tree
from tests.cli.test_commands import ADDRESS, CommandTestCase
from tests.running import RunningServer

MESSAGE = b"Subject: taken away\r\n\r\nFrom here\r\n"
OTHER = "other@example.com"


class ExchangeTests(CommandTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.ok("init", str(self.folder), "--hostname", "mail.example.com", config=False)
        self.ok("domain", "add", "example.com")
        self.passwords = {}
        for address in (ADDRESS, OTHER):
            self.ok("alias", "add", address)
            self.passwords[address] = self.json("password", address)["password"]
        self.mail = self.folder.parent / f"{self.folder.name}-mail"
        self.mail.mkdir()
        (self.mail / "one.eml").write_bytes(MESSAGE)

    def line(self, address: str) -> str:
        return f"{self.passwords[address]}\n"

    def target(self, name: str) -> str:
        return str(self.mail.with_name(f"{self.mail.name}-{name}"))

    def test_there_and_back(self) -> None:
        came = self.json("import", ADDRESS, str(self.mail), stdin=self.line(ADDRESS))
        self.assertEqual((came["messages"], came["known"], came["remarks"]), (1, 0, 0))
        for form in ("mbox", "maildir", "eml"):
            target = self.target(form)
            words = ("export", ADDRESS, "--format", form, target)
            done = self.json(*words, stdin=self.line(ADDRESS))
            self.assertEqual(
                (done["messages"], done["octets"], done["encrypted"]), (1, len(MESSAGE), False)
            )
            back = self.json("import", OTHER, target, stdin=self.line(OTHER))
            self.assertEqual(back["messages"] + back["known"], 1)
        words = ("export", OTHER, "--format", "mbox", self.target("again"))
        said = self.ok(*words, stdin=self.line(OTHER))
        self.assertIn("not encrypted", said)
        self.assertEqual(tree(Path(self.target("mbox"))), tree(Path(self.target("again"))))
        usage = {row["address"]: row["messages"] for row in self.json("alias", "list")}
        self.assertEqual(usage, {ADDRESS: 1, OTHER: 1})

    def test_the_file_itself(self) -> None:
        self.json("import", ADDRESS, str(self.mail), stdin=self.line(ADDRESS))
        target = self.target("file.sqlite")
        said = self.ok("export", ADDRESS, "--format", "sqlite", target, stdin=self.line(ADDRESS))
        self.assertIn("opens with the main password", said)
        self.assertEqual(Path(target).stat().st_mode & 0o777, 0o600)
        words = ("import", OTHER, target)
        stdin = self.line(OTHER)
        self.assertIn("does not open", self.refused(*words, stdin=f"{stdin}wrong\n"))
        came = self.json(*words, stdin=stdin + self.line(ADDRESS))
        self.assertEqual(came["messages"], 1)
        again = self.refused(
            "export", ADDRESS, "--format", "sqlite", target, stdin=self.line(ADDRESS)
        )
        self.assertIn("expected a name that is free", again)

    def test_sqlcipher_opens_it(self) -> None:
        try:
            import sqlcipher3
        except ImportError:
            raise SkipTest("sqlcipher3 is not installed (pip install sqlcipher3)") from None
        self.json("import", ADDRESS, str(self.mail), stdin=self.line(ADDRESS))
        target = self.target("file.db")
        words = ("export", ADDRESS, "--format", "sqlcipher", target)
        self.assertTrue(self.json(*words, stdin=self.line(ADDRESS))["encrypted"])
        theirs = sqlcipher3.connect(target)
        self.addCleanup(theirs.close)
        theirs.execute(f"PRAGMA key='{self.passwords[ADDRESS]}'")
        found = theirs.execute("SELECT subject FROM field").fetchall()
        self.assertEqual(found, [("taken away",)])
        self.assertEqual(theirs.execute("PRAGMA integrity_check").fetchall(), [("ok",)])
        wrong = sqlcipher3.connect(target)
        self.addCleanup(wrong.close)
        wrong.execute("PRAGMA key='wrong'")
        self.assertRaises(sqlcipher3.DatabaseError, wrong.execute, "SELECT 1 FROM field")

    def test_what_is_refused(self) -> None:
        target = self.target("out")
        words = ("export", ADDRESS, "--format", "mbox", target)
        self.assertIn("wrong address or password", self.refused(*words, stdin="wrong\n"))
        self.assertFalse(Path(target).exists())
        for source, said in (
            (str(self.mail / "missing"), "there is no such file"),
            ("imaps://nobody/", "expected imaps://USER@HOST"),
            ("https://example.org/", "expected imaps://USER@HOST"),
        ):
            refused = self.refused("import", ADDRESS, source, stdin=self.line(ADDRESS))
            self.assertIn(said, refused)
        app = self.json("password", ADDRESS, "--label", "phone", stdin=self.line(ADDRESS))
        refused = self.refused(*words, stdin=f"{app['password']}\n")
        self.assertIn("wrong address or password", refused)

    def test_ctrl_c_in_the_middle_of_a_library(self) -> None:
        def fails(_: object) -> None:
            try:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(10)
            except KeyboardInterrupt:
                raise AssertionError("something is not as it was") from None

        self.patch(Import, "run", fails)
        before = signal.getsignal(signal.SIGINT)
        said = self.refused("import", ADDRESS, str(self.mail), stdin=self.line(ADDRESS))
        self.assertIn("interrupted: give the same command again", said)
        self.assertIs(signal.getsignal(signal.SIGINT), before)

    def test_what_was_not_taken_is_told(self) -> None:
        (self.mail / "large.eml").write_bytes(b"x" * 70_000)
        text = self.config.read_text()
        self.config.write_text(f"{text}\n[limits]\nmessage_size = 65536\n")
        said = self.ok("import", ADDRESS, str(self.mail), stdin=self.line(ADDRESS))
        self.assertIn("INBOX: large.eml is larger than 65536 octets", said)
        came = self.json("import", ADDRESS, str(self.mail), stdin=self.line(ADDRESS))
        self.assertEqual((came["messages"], came["known"], came["remarks"]), (0, 1, 1))


class RunningTests(SynchronousTestCase):
    """Beside a server that has the mailbox open."""

    def hears(self, top: str) -> None:
        server = RunningServer(top)
        self.addCleanup(server.stop)
        password = server.add(ADDRESS)
        server.start()
        server.await_ready()
        client = imaplib.IMAP4("127.0.0.1", server.imap_port, timeout=30)
        self.addCleanup(client.shutdown)
        client.login(ADDRESS, password)
        client.select("INBOX")
        client.send(b"a IDLE\r\n")
        self.assertTrue(client.readline().startswith(b"+"))
        mail = server.root / "mail"
        mail.mkdir()
        for number in range(3):
            (mail / f"{number}.eml").write_bytes(b"Subject: %d\r\n\r\n" % number)
        came = server.command("import", ADDRESS, str(mail), stdin=f"{password}\n")
        self.assertEqual(came["messages"], 3)
        told = [client.readline()]
        while b"EXISTS" not in told[-1]:
            told.append(client.readline())
        self.assertEqual(told[-1], b"* 3 EXISTS\r\n")
        client.send(b"DONE\r\n")
        while not client.readline().startswith(b"a OK"):
            pass
        found = client.fetch("1:*", "(BODY.PEEK[])")[1]
        self.assertEqual(len([one for one in found if isinstance(one, tuple)]), 3)
        target = server.root / "out"
        words = ("export", ADDRESS, "--format", "mbox", str(target))
        self.assertEqual(server.command(*words, stdin=f"{password}\n")["messages"], 3)

    def test_an_idling_client_hears_of_it(self) -> None:
        self.hears("")

    def test_an_idling_client_of_a_worker_too(self) -> None:
        self.hears("workers = 1")
