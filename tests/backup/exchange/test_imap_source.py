"""Bringing mail over from other servers: from our own, and from Dovecot where it is installed."""

import imaplib
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from mailsrv.backup.exchange import imap_source
from mailsrv.backup.exchange.imap_client import ImapClient
from mailsrv.backup.exchange.imap_source import Address, ImapSource, verified
from mailsrv.backup.exchange.importing import Import, Imported, Target
from mailsrv.cli.main import now
from mailsrv.directory.directory import Directory
from mailsrv.mailbox.incoming import marked
from mailsrv.mailbox.values import Flags, NewMessage
from mailsrv.store.beside import Beside, OpenedBeside
from mailsrv.store.volume import Volume
from tests.backup.exchange import dovecot
from tests.backup.exchange.boxes import (
    KEPT,
    LARGEST,
    MESSAGES,
    Cut,
    CutAfter,
    fill,
    held,
    nothing,
    tree,
)
from tests.running import RunningServer


class ServerCase(SynchronousTestCase):
    """One server with a mailbox that is full and one that is empty."""

    def setUp(self) -> None:
        self.server = RunningServer()
        self.addCleanup(self.server.stop)
        self.passwords = {
            name: self.server.add(f"{name}@example.com") for name in ("full", "empty")
        }
        self.directory = Directory(f"sqlite:///{self.server.folder}/directory.sqlite", now)
        self.addCleanup(self.directory.close)

    def opened(self, name: str) -> Any:
        address, volume = f"{name}@example.com", Volume(self.server.folder)
        beside = Beside(self.directory, volume, now, "primary", KEPT)
        return beside.open(address, self.passwords[name], None)

    def source(self, mine: OpenedBeside, port: int, user: str, password: str) -> ImapSource:
        client = ImapClient("localhost", port, verified(self.server.ca), LARGEST)
        client.login(user, password)
        self.addCleanup(client.close)
        address = Address(user, "localhost", port)
        return ImapSource(client, address, LARGEST, lambda name: marked(mine.mailbox, name))

    def bring(self, mine: OpenedBeside, source: ImapSource, progress: Any = nothing) -> Imported:
        target = Target(mine.mailbox, mine.alias.id, mine.usages, mine.changed)
        return Import(target, source, LARGEST, progress).run()

    def exported(self, name: str, form: str, target: str) -> Path:
        path = self.server.root / target
        password = self.passwords[name]
        words = ("export", f"{name}@example.com", "--format", form, str(path))
        self.server.command(*words, stdin=f"{password}\n")
        return path


class OwnServerTests(ServerCase):
    def test_everything_comes_once(self) -> None:
        self.patch(imap_source, "MESSAGES_AT_ONCE", 5)
        with self.opened("full") as full:
            fill(full.mailbox)
            full.mailbox.append("INBOX", [NewMessage(b"x" * (LARGEST + 1))])
            before = {**held(full.mailbox), "Junk": Counter()}
        self.server.start()
        user, port = "full@example.com", self.server.imaps_port
        with self.opened("empty") as mine:
            source = self.source(mine, port, user, self.passwords["full"])
            self.assertRaises(Cut, self.bring, mine, source, CutAfter(31))
            again = self.source(mine, port, user, self.passwords["full"])
            came = self.bring(mine, again)
            self.assertEqual(came.left, 1, came.told)
            self.assertIn(f"more than {LARGEST}", came.told[0].what)
            found = held(mine.mailbox)
            large = [key for key in before["INBOX"] if len(key[0]) > LARGEST]
            for key in large:
                del before["INBOX"][key]
            self.assertEqual(found, before)
            self.only_what_is_new(mine)
            self.an_inbox_that_was_made_anew(mine, before)

    def only_what_is_new(self, mine: OpenedBeside) -> None:
        client = imaplib.IMAP4("127.0.0.1", self.server.imap_port)
        client.login("full@example.com", self.passwords["full"])
        client.append("Archive", r"(\Seen)", None, b"Subject: later\r\n\r\n")
        client.logout()
        user, port = "full@example.com", self.server.imaps_port
        seen: list[str] = []
        source = self.source(mine, port, user, self.passwords["full"])
        came = self.bring(mine, source, lambda folder, *_: seen.append(folder))
        self.assertEqual((came.messages, seen), (1, ["Archive"]))

    def an_inbox_that_was_made_anew(self, mine: OpenedBeside, before: Any) -> None:
        """Other UIDs, the same mail."""
        client = imaplib.IMAP4("127.0.0.1", self.server.imap_port)
        client.login("full@example.com", self.passwords["full"])
        client.rename("work", "put-aside")
        client.create("work")
        client.select('"put-aside"')
        client.copy("1:*", "work")
        client.logout()
        user, port = "full@example.com", self.server.imaps_port
        came = self.bring(mine, self.source(mine, port, user, self.passwords["full"]))
        count = sum(before["work"].values())
        self.assertEqual((came.known, came.messages), (count, count))
        self.assertEqual(held(mine.mailbox)["work"], before["work"])


class DovecotTests(ServerCase):
    def setUp(self) -> None:
        if dovecot.program() is None:
            raise SkipTest("dovecot is not installed (Debian package dovecot-imapd)")
        super().setUp()
        tls = self.server.folder / "tls"
        self.dovecot = dovecot.Dovecot(tls / "cert.pem", tls / "key.pem")
        self.addCleanup(self.dovecot.stop)

    def test_an_export_goes_through_dovecot_and_comes_back_equal(self) -> None:
        with self.opened("full") as full:
            box = full.mailbox
            box.create_folder("Wörk/a.b")
            box.create_folder("back\\slash &- more")
            box.subscribe("gone", True)
            box.subscribe("Trash", False)
            for number, content in enumerate(one for one in MESSAGES if is_plain(one)):
                flags = Flags(number % 32, "$Forwarded todo" if number % 2 else "")
                date = f"20{40 - number}-01-15T10:15:00Z"
                for folder in ("INBOX", "Wörk/a.b"):
                    box.append(folder, [NewMessage(content, flags, date)])
        path = self.exported("full", "maildir", "one")
        shutil.rmtree(self.dovecot.mail)
        shutil.copytree(path, self.dovecot.mail)
        self.dovecot.start()
        with self.opened("empty") as mine:
            source = self.source(mine, self.dovecot.port, dovecot.USER, dovecot.PASSWORD)
            came = self.bring(mine, source)
            self.assertEqual(came.left, 0, came.told)
        self.assertTrue(tree(self.exported("empty", "maildir", "two")) == tree(path))

    def test_a_maildir_that_dovecot_made(self) -> None:
        self.dovecot.start()
        client = imaplib.IMAP4_SSL(
            "localhost", self.dovecot.port, ssl_context=verified(self.server.ca)
        )
        client.login(dovecot.USER, dovecot.PASSWORD)
        client.create('"W&APY-rk/a.b"')
        client.subscribe('"W&APY-rk/a.b"')
        date = '"23-Nov-2026 10:15:00 +0000"'
        for folder in ("INBOX", '"W&APY-rk/a.b"'):
            client.append(folder, r"(\Seen \Flagged todo)", date, b"Subject: a\r\n\r\nFrom b\r\n")
        client.logout()
        self.server.command(
            "import",
            "empty@example.com",
            str(self.dovecot.mail),
            stdin=f"{self.passwords['empty']}\n",
        )
        with self.opened("empty") as mine:
            key = (b"Subject: a\r\n\r\nFrom b\r\n", 1 | 4, "todo", "2026-11-23T10:15:00Z")
            found = {name: dict(held_) for name, held_ in held(mine.mailbox).items() if held_}
            self.assertEqual(found, {"INBOX": {key: 1}, "Wörk/a.b": {key: 1}})
            self.assertIn("Wörk/a.b", mine.mailbox.subscriptions())


def is_plain(content: bytes) -> bool:
    """Whether Dovecot, too, gives it back as it is: lines that end with CRLF, and no NUL."""
    return (
        content.count(b"\n") == content.count(b"\r\n") == content.count(b"\r")
        and bool(content)
        and b"\0" not in content
    )
