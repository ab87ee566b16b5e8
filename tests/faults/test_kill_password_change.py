"""kill -9 of ``mailsrv password``: exactly one password opens the mailbox, and nothing is lost."""

import imaplib
import signal
import smtplib
import subprocess
import sys

from tests.faults.common import ADDRESS, FaultTestCase, marked, rounds

CHOSEN = tuple(f"copper-{word}-lantern-7-orbit-velvet" for word in ("walrus", "turnip", "beacon"))


class PasswordChangeTests(FaultTestCase):
    def change_and_kill(self, old: str, new: str, seconds: float) -> bool:
        """Whether the command ended by itself."""
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "mailsrv.cli",
                "--config",
                str(self.server.config),
                "password",
                ADDRESS,
                "--stdin",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=self.server.environment(),
        )
        process.stdin.write(f"{old}\n{new}\n".encode())
        process.stdin.close()
        try:
            return process.wait(seconds) == 0
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            return False

    def opens(self, password: str) -> bool:
        client = imaplib.IMAP4("127.0.0.1", self.server.imap_port, timeout=60)
        try:
            client.login(ADDRESS, password)
        except imaplib.IMAP4.error:
            return False
        else:
            return True
        finally:
            client.shutdown()

    def test_killed_at_any_moment(self) -> None:
        expected: set[str] = set()
        finished = 0
        for number in range(rounds(8)):
            new = f"{self.dice.choice(CHOSEN)}-{number}"
            mark = f"round-{number}"
            with smtplib.SMTP("127.0.0.1", self.server.smtp_port) as client:
                client.sendmail("a@example.org", ADDRESS, marked(mark))
            expected.add(mark)
            finished += self.change_and_kill(self.password, new, self.dice.uniform(0.3, 1.6))
            old_opens, new_opens = self.opens(self.password), self.opens(new)
            self.assertNotEqual(old_opens, new_opens)
            if new_opens:
                self.password = new
        found = self.marks()
        self.assertEqual(dict(found), dict.fromkeys(expected, 1))
        self.server.kill()
        self.check_mailbox()
        self.no_plaintext_databases()
