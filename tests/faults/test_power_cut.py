"""What was acknowledged is still there when the power comes back, with only what was synced."""

import contextlib
import imaplib
import json
import smtplib
import threading
from collections import Counter

from tests.faults.common import ADDRESS, SOAK, marked, rounds
from tests.faults.disk import KILL, SYNCS
from tests.faults.mirror import FOLDERS, Mirror, told
from tests.faults.on_disk import GONE, DiskFaultTestCase

CHOSEN = "copper-walrus-lantern-7-orbit-velvet"


class DeliveryTests(DiskFaultTestCase):
    def sender(self, name: str, acknowledged: set[str], tried: set[str]) -> threading.Thread:
        def send() -> None:
            with (
                contextlib.suppress(*GONE),
                smtplib.SMTP("127.0.0.1", self.server.smtp_port, timeout=60) as client,
            ):
                for number in range(100_000):
                    mark = f"{name}-{number}"
                    tried.add(mark)
                    client.sendmail("a@example.org", ADDRESS, marked(mark))
                    acknowledged.add(mark)

        return threading.Thread(target=send)

    def verify(self, acknowledged: set[str], tried: set[str]) -> dict[int, str]:
        self.assertTrue(acknowledged)
        self.marks()  # waits for the merge
        client = self.client()
        found = self.contents(client, "INBOX")
        client.logout()
        count = Counter(found.values())
        self.assertEqual(acknowledged - set(count), set(), f"seed {self.seed}")
        self.assertEqual(set(count) - tried, set())
        self.assertEqual({mark for mark, times in count.items() if times > 1}, set())
        return found

    def test_to_an_absent_owner(self) -> None:
        acknowledged: set[str] = set()
        tried: set[str] = set()
        for number in range(rounds(4)):
            senders = [
                self.sender(f"{number}-{sender}", acknowledged, tried) for sender in range(3)
            ]
            delay = self.dice.uniform(0.05, 0.4)
            self.cut_power(number, delay, *senders, begun=lambda: acknowledged)
        self.verify(acknowledged, tried)
        self.server.kill()
        self.check_mailbox()

    def test_to_a_connected_owner(self) -> None:
        """Also the UIDs that the owner saw stay with their messages."""
        acknowledged: set[str] = set()
        tried: set[str] = set()
        names: dict[int, bytes] = {}
        status: dict[str, int] = {}
        for number in range(rounds(3)):
            watcher = threading.Thread(target=self.watch, args=(self.client(), names, status))
            senders = [
                self.sender(f"{number}-{sender}", acknowledged, tried) for sender in range(2)
            ]
            delay = self.dice.uniform(0.2, 0.5)
            self.cut_power(number, delay, watcher, *senders, begun=lambda: names and status)
            client = self.client()
            now = told(client, "INBOX")
            client.logout()
            self.assertEqual(now["UIDVALIDITY"], status["UIDVALIDITY"])
            self.assertGreaterEqual(now["UIDNEXT"], max(*names, status["UIDNEXT"] - 1) + 1)
            self.assertGreaterEqual(now["HIGHESTMODSEQ"], status["HIGHESTMODSEQ"])
        found = self.verify(acknowledged, tried)
        self.assertEqual({uid: found.get(uid, "").encode() for uid in names}, names)
        self.server.kill()
        self.check_mailbox()

    def watch(self, client: imaplib.IMAP4, names: dict[int, bytes], status: dict[str, int]) -> None:
        with contextlib.suppress(*GONE):
            client.select()
            while True:
                first = max(names, default=0) + 1
                fields = "(UID BODY.PEEK[HEADER.FIELDS (X-MARK)])"
                for answer in client.uid("FETCH", f"{first}:*", fields)[1]:
                    if isinstance(answer, tuple):
                        uid = int(answer[0].split(b"UID ")[1].split()[0])
                        names[uid] = answer[1].split()[1]
                client.noop()
                status.update(told(client, "INBOX"))

    def test_merge_is_cut_short(self) -> None:
        expected: set[str] = set()
        for number in range(rounds(4)):
            with smtplib.SMTP("127.0.0.1", self.server.smtp_port, timeout=60) as client:
                for message in range(40):
                    mark = f"{number}-{message}"
                    client.sendmail("a@example.org", ADDRESS, marked(mark))
                    expected.add(mark)
            clients: list[imaplib.IMAP4] = []
            login = threading.Thread(target=self.login_quietly, args=(clients,))
            self.cut_power(number, self.dice.uniform(0, 0.4), login)
        self.verify(expected, expected)
        self.server.kill()
        self.check_mailbox()

    def login_quietly(self, clients: list[imaplib.IMAP4]) -> None:
        """Stay, since the server writes everything to its place when the last client leaves."""
        with contextlib.suppress(*GONE):
            clients.append(self.client())


class ClientTests(DiskFaultTestCase):
    """APPEND, COPY, MOVE, EXPUNGE and changes of flags."""

    def test_what_a_client_was_told_still_holds(self) -> None:
        client = self.client()
        for folder in FOLDERS:
            client.create(folder)
        client.logout()
        mirror = Mirror(self.dice)
        for number in range(rounds(6)):
            worker = threading.Thread(target=self.work_quietly, args=(mirror, self.client()))
            self.cut_power(number, self.dice.uniform(0.1, 0.6), worker)
            self.compare(mirror)
        self.assertGreater(mirror.answers, 20)
        self.server.kill()
        self.check_mailbox()

    def work_quietly(self, mirror: Mirror, client: imaplib.IMAP4) -> None:
        with contextlib.suppress(*GONE):
            mirror.work(client)

    def compare(self, mirror: Mirror) -> None:
        client = self.client()
        found = {folder: self.contents(client, folder) for folder in FOLDERS}
        status = {folder: told(client, folder) for folder in FOLDERS}
        client.logout()
        told_marks, possible_marks, found_marks = (
            {folder: Counter(marks.values()) for folder, marks in state.items()}
            for state in (mirror.state, mirror.possible, found)
        )
        if found_marks == told_marks:
            self.assertEqual(found, mirror.state, f"seed {self.seed}")
        else:
            self.assertEqual(found_marks, possible_marks, f"seed {self.seed}")
        for folder in FOLDERS:
            for uid, mark in found[folder].items():
                mirror.put(folder, uid, mark)
            known = max((uid for name, uid in mirror.names if name == folder), default=0)
            self.assertGreater(status[folder]["UIDNEXT"], known)
            for name, value in mirror.status[folder].items():
                self.assertGreaterEqual(status[folder][name], value, f"seed {self.seed}")
            self.assertEqual(
                status[folder]["UIDVALIDITY"],
                mirror.status[folder].get("UIDVALIDITY", status[folder]["UIDVALIDITY"]),
            )
        mirror.state = found


class PasswordTests(DiskFaultTestCase):
    """The command's process and the server are both on the disk that loses its power."""

    def opens(self, address: str, password: str) -> bool:
        client = imaplib.IMAP4("127.0.0.1", self.server.imap_port, timeout=60)
        try:
            client.login(address, password)
        except imaplib.IMAP4.error:
            return False
        else:
            return True
        finally:
            client.shutdown()

    def change_until_sync(self, old: str, new: str, sync: int) -> bool:
        """Whether the command ended before the sync at which the power goes."""
        self.disk.fail(KILL, SYNCS, first=sync)
        process = self.server.spawn("password", ADDRESS, "--stdin", stdin=f"{old}\n{new}\n")
        process.communicate()
        return process.returncode == 0

    def test_change_is_cut_at_any_sync(self) -> None:
        expected: set[str] = set()
        usual = sorted(self.dice.sample(range(1, 16), 3))
        finished = False
        for number, sync in enumerate(range(1, 60) if SOAK else [*usual, 60]):
            mark = f"at sync {sync}".replace(" ", "-")
            self.assertEqual(self.send(mark), (250, b""))
            expected.add(mark)
            new = f"{CHOSEN}-{number}"
            finished = self.change_until_sync(self.password, new, sync)
            self.cut_power(number)
            old_opens = self.opens(ADDRESS, self.password)
            new_opens = self.opens(ADDRESS, new)
            self.assertNotEqual(old_opens, new_opens, f"at sync {sync}, seed {self.seed}")
            if finished:
                self.assertTrue(new_opens)
                break
            if new_opens:
                self.password = new
        self.assertTrue(finished)
        self.password = new
        self.assertEqual(dict(self.marks()), dict.fromkeys(expected, 1))
        self.server.kill()
        self.check_mailbox()
        self.no_plaintext_databases()

    def test_new_aliases_and_passwords_last(self) -> None:
        """What the commands printed is true after the cut."""
        made: dict[str, str] = {}
        for number in range(rounds(1)):
            address = f"friend-{number}@example.com"
            added = self.server.spawn("alias", "add", address)
            self.assertEqual(added.wait(), 0, added.communicate())
            self.cut_power(number)
            changed = self.server.spawn("password", address)
            printed, errors = changed.communicate()
            self.assertEqual(changed.returncode, 0, errors)
            made[address] = json.loads(printed)["password"]
            self.cut_power(number)
            for known, password in made.items():
                self.assertTrue(self.opens(known, password))
