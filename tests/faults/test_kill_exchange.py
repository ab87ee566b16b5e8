"""kill -9 of ``mailsrv export`` and ``mailsrv import``: given again they end as if nothing was."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from mailsrv.backup.exchange.exporting import PARTIAL
from mailsrv.backup.exchange.formats.index import MANIFEST
from mailsrv.directory.directory import Directory
from mailsrv.keys.filekey import derive_file_key
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.mailbox.values import Flags, NewMessage
from tests.backup.exchange.boxes import FORMATS, held, tree
from tests.faults.common import ADDRESS, SOAK, FaultTestCase, marked, now, rounds

OTHER = "other@example.com"
MESSAGES = 1000


class ExchangeTests(FaultTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.directory = Directory(f"sqlite:///{self.server.folder}/directory.sqlite", now)
        self.addCleanup(self.directory.close)
        with self.open(ADDRESS, self.password) as mailbox:
            for folder, count in (("INBOX", MESSAGES), ("Archive", MESSAGES // 10)):
                new = [
                    NewMessage(marked(f"{folder}-{n}", 500), Flags(n % 8), "2026-11-23T10:15:00Z")
                    for n in range(count)
                ]
                mailbox.append(folder, new)
            self.before = held(mailbox)

    def open(self, address: str, password: str) -> Mailbox:
        record = self.directory.mailbox(self.directory.alias(address).id)
        assert record is not None
        path = self.server.folder / "mailboxes" / f"{record.id}.sqlite"
        with path.open("rb") as file:
            salt = file.read(16)
        return Mailbox.open(path, derive_file_key(password, salt), now)

    def begin(self, password: str, *words: str) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(
            [sys.executable, "-m", "mailsrv.cli", "--config", str(self.server.config), *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=self.server.environment(),
        )
        assert process.stdin is not None
        process.stdin.write(f"{password}\n".encode())
        process.stdin.close()
        return process

    def kill(
        self, process: "subprocess.Popen[bytes]", begun: Callable[[], bool], seconds: float
    ) -> bool:
        """Kill it some time after ``begun()``; whether it ended before."""
        while process.poll() is None and not begun():
            time.sleep(0.001)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            return False
        return True

    def exported(self, form: str, name: str, address: str = ADDRESS, password: str = "") -> Path:
        target = self.server.root / name
        words = ("export", address, "--format", form, str(target))
        self.server.command(*words, stdin=f"{password or self.password}\n")
        return target

    def test_export(self) -> None:
        for number in range(rounds(1)):
            form = self.dice.choice(FORMATS)
            whole = self.exported(form, f"whole-{number}")
            target = self.server.root / f"cut-{number}"
            words = ("export", ADDRESS, "--format", form, str(target))
            for _ in range(2 if SOAK else 1):
                process = self.begin(self.password, *words)
                self.kill(process, (target / PARTIAL).exists, self.dice.uniform(0, 0.15))
            if not (target / MANIFEST).exists():
                self.exported(form, target.name)
            self.assertTrue(tree(target) == tree(whole), form)

    def test_import(self) -> None:
        for number in range(rounds(1)):
            form = self.dice.choice(FORMATS)
            whole = self.exported(form, f"whole-{number}")
            other = f"{number}{OTHER}"
            password = self.server.add(other)
            for _ in range(2 if SOAK else 1):
                process = self.begin(password, "import", other, str(whole))
                self.kill(process, self.growing(other), self.dice.uniform(0, 0.3))
            self.server.command("import", other, str(whole), stdin=f"{password}\n")
            with self.open(other, password) as mailbox:
                mailbox.check()
                self.assertTrue(held(mailbox) == self.before)
            again = self.exported(form, f"again-{number}", other, password)
            self.assertTrue(tree(again) == tree(whole), form)

    def growing(self, address: str) -> Callable[[], bool]:
        """Tells whether more messages came to the mailbox since now."""
        alias = self.directory.alias(address).id
        base = self.directory.usage(alias).messages
        return lambda: self.directory.usage(alias).messages > base
