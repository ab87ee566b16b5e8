"""kill -9 of the server during delivery, merge, APPEND and EXPUNGE."""

import contextlib
import imaplib
import smtplib
import threading
import time

from tests.faults.common import ADDRESS, FaultTestCase, marked, rounds

GONE = (OSError, smtplib.SMTPException, imaplib.IMAP4.error)


class DeliveryTests(FaultTestCase):
    """What was answered with 250 is there, once; what was not is there once or not at all."""

    def send_until_killed(self, name: str, acknowledged: set[str], tried: set[str]) -> None:
        with contextlib.suppress(*GONE), smtplib.SMTP("127.0.0.1", self.server.smtp_port) as client:
            for number in range(100_000):
                mark = f"{name}-{number}"
                tried.add(mark)
                client.sendmail("a@example.org", ADDRESS, marked(mark))
                acknowledged.add(mark)

    def deliver_and_kill(self, name: str, acknowledged: set[str], tried: set[str]) -> None:
        senders = [
            threading.Thread(
                target=self.send_until_killed, args=(f"{name}-{sender}", acknowledged, tried)
            )
            for sender in range(3)
        ]
        for sender in senders:
            sender.start()
        time.sleep(self.dice.uniform(0.05, 0.5))
        self.server.kill()
        for sender in senders:
            sender.join()
        self.server.start()

    def verify(self, acknowledged: set[str], tried: set[str]) -> None:
        found = self.marks()
        self.assertEqual(acknowledged - set(found), set())
        self.assertEqual(set(found) - tried, set())
        self.assertEqual({mark for mark, count in found.items() if count > 1}, set())

    def test_to_an_absent_owner(self) -> None:
        acknowledged: set[str] = set()
        tried: set[str] = set()
        for number in range(rounds(4)):
            self.deliver_and_kill(str(number), acknowledged, tried)
        self.assertTrue(acknowledged)
        self.verify(acknowledged, tried)
        self.server.kill()
        self.check_mailbox()
        self.no_plaintext_databases()

    def test_to_a_connected_owner(self) -> None:
        acknowledged: set[str] = set()
        tried: set[str] = set()
        for number in range(rounds(4)):
            owner = self.client()
            owner.select()
            self.deliver_and_kill(str(number), acknowledged, tried)
            owner.shutdown()
        self.assertTrue(acknowledged)
        self.verify(acknowledged, tried)
        self.server.kill()
        self.check_mailbox()


class MergeTests(FaultTestCase):
    """Mail that waits moves into the mailbox once, however often the merge is cut short."""

    def test_merge_is_killed(self) -> None:
        expected: set[str] = set()
        for number in range(rounds(4)):
            with smtplib.SMTP("127.0.0.1", self.server.smtp_port) as client:
                for message in range(60):
                    mark = f"{number}-{message}"
                    client.sendmail("a@example.org", ADDRESS, marked(mark))
                    expected.add(mark)
            login = threading.Thread(target=self.login_quietly)
            login.start()
            time.sleep(self.dice.uniform(0, 0.25))
            self.server.kill()
            login.join()
            self.server.start()
        found = self.marks()
        self.assertEqual(dict(found), dict.fromkeys(expected, 1))
        self.server.kill()
        self.check_mailbox()

    def login_quietly(self) -> None:
        with contextlib.suppress(*GONE):
            self.client().select()


class AppendAndExpungeTests(FaultTestCase):
    def append_until_killed(self, name: str, appended: dict[str, int]) -> None:
        with contextlib.suppress(*GONE):
            client = self.client()
            for number in range(100_000):
                mark = f"{name}-{number}"
                _, answer = client.append("INBOX", "", None, marked(mark))
                appended[mark] = int(answer[0].split(b"]")[0].split()[-1])

    def test_append_is_killed(self) -> None:
        """A UID that was announced names that message for ever, and no other."""
        appended: dict[str, int] = {}
        for number in range(rounds(4)):
            worker = threading.Thread(target=self.append_until_killed, args=(str(number), appended))
            worker.start()
            time.sleep(self.dice.uniform(0.1, 0.5))
            self.server.kill()
            worker.join()
            self.server.start()
        self.assertTrue(appended)
        self.assertEqual(len(set(appended.values())), len(appended))
        found = self.marks()
        self.assertEqual(set(appended) - set(found), set())
        self.assertEqual(set(found.values()), {1})
        client = self.client()
        client.select(readonly=True)
        for mark, uid in self.dice.sample(sorted(appended.items()), min(50, len(appended))):
            (_, content), _ = client.uid("FETCH", str(uid), "(BODY.PEEK[])")[1]
            self.assertEqual(content, marked(mark))
        client.logout()
        self.server.kill()
        self.check_mailbox()

    def test_expunge_is_killed(self) -> None:
        """Every message is wholly there or wholly gone, and only those marked \\Deleted go."""
        for number in range(rounds(3)):
            client = self.client()
            folder = f"Round {number}"
            client.create(f'"{folder}"')
            for message in range(80):
                flags = "(\\Deleted)" if message % 2 else ""
                client.append(f'"{folder}"', flags, None, marked(f"{number}-{message}"))
            client.select(f'"{folder}"')
            worker = threading.Thread(target=self.expunge_quietly, args=(client,))
            worker.start()
            time.sleep(self.dice.uniform(0, 0.02))
            self.server.kill()
            worker.join()
            self.server.start()
            found = self.marks(f'"{folder}"')
            self.assertEqual(set(found.values()), {1})
            kept = {f"{number}-{message}" for message in range(0, 80, 2)}
            self.assertEqual(kept - set(found), set())
        self.server.kill()
        self.check_mailbox()

    def expunge_quietly(self, client: imaplib.IMAP4) -> None:
        with contextlib.suppress(*GONE):
            client.expunge()
