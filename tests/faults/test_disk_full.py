"""A full disk: the answer is "later", nothing is half stored, and all is well afterwards."""

import errno
import imaplib
from collections import Counter
from collections.abc import Callable

from tests.faults.common import SOAK, marked
from tests.faults.disk import GROWTH, WRITES
from tests.faults.on_disk import DiskFaultTestCase

STEP = 1 if SOAK else 3

Attempt = Callable[[str], tuple[str, bytes]]
"""Stores the message of this mark; "yes", "full", "later" or another word, and the whole answer.

It may be "later" where a file beside the database could not be made: SQLite does not tell why.
"""


class DiskFullTests(DiskFaultTestCase):
    def by_smtp(self, mark: str) -> tuple[str, bytes]:
        code, text = self.send(mark)
        return {250: "yes", 451: "later", 452: "full"}.get(code, str(code)), text

    def by_append(self, client: imaplib.IMAP4) -> Attempt:
        def attempt(mark: str) -> tuple[str, bytes]:
            answer, (text, *_) = client.append("INBOX", "", None, marked(mark))
            if text.startswith(b"[UNAVAILABLE]"):
                return ("full" if b"no room" in text else "later"), text
            return {"OK": "yes"}.get(answer, answer), text

        return attempt

    def at_each_write(self, kind: str, attempt: Attempt) -> None:
        """Refused while the disk is full, stored once when it is not any more."""
        stored: set[str] = set()
        refused: Counter[str] = Counter()
        first = 1
        while True:
            mark = f"{kind}-{first}"
            with self.disk.failing(errno.ENOSPC, kind, first):
                answer, text = attempt(mark)
            hits = self.disk.hits
            self.assertIn(answer, ("yes", "full", "later") if hits else ("yes",), (first, text))
            if answer == "yes":
                stored.add(mark)
            else:
                refused[answer] += 1
            again = f"{mark}-again"
            answer, text = attempt(again)
            self.assertEqual(answer, "yes", (first, text))
            stored.add(again)
            if not hits:
                break
            first += self.dice.randint(1, STEP)
        if kind == WRITES:  # the log may have grown before, and then needs no room
            self.assertGreater(refused["full"], 2 * refused["later"])
        self.assertEqual(dict(self.marks()), dict.fromkeys(stored, 1))

    def finish(self) -> None:
        self.server.kill()
        self.check_mailbox()
        self.no_plaintext_databases()

    def test_delivery_to_an_absent_owner(self) -> None:
        for kind in (WRITES, GROWTH):
            self.at_each_write(kind, self.by_smtp)
            self.clear()
        self.finish()

    def test_delivery_to_a_connected_owner(self) -> None:
        owner = self.client()
        owner.select()
        for kind in (WRITES, GROWTH):
            self.at_each_write(kind, self.by_smtp)
            self.clear()
        owner.logout()
        self.finish()

    def test_append(self) -> None:
        client = self.client()
        for kind in (WRITES, GROWTH):
            self.at_each_write(kind, self.by_append(client))
            self.clear()
        client.logout()
        self.finish()

    def clear(self) -> None:
        client = self.client()
        client.select()
        client.store("1:*", "+FLAGS", "(\\Deleted)")
        client.expunge()
        client.logout()

    def test_reading_and_deleting_on_a_full_disk(self) -> None:
        for number in range(5):
            self.send(f"before-{number}")
        client = self.client()
        client.select()
        with self.disk.failing(errno.ENOSPC, WRITES):
            self.assertEqual(len(self.contents(client, "INBOX")), 5)
            client.select()
            for command in (
                lambda: client.store("1", "+FLAGS", "(\\Deleted)"),
                client.expunge,
                lambda: client.copy("1", "Trash"),
            ):
                answer, (text, *_) = command()
                self.assertEqual((answer, text[:13]), ("NO", b"[UNAVAILABLE]"))
            self.assertEqual(self.send("refused")[0], 452)
        self.assertEqual(self.send("after"), (250, b""))
        client.select()
        self.assertEqual(client.store("1:2", "+FLAGS", "(\\Deleted)")[0], "OK")
        self.assertEqual(client.expunge()[0], "OK")
        client.logout()
        self.assertEqual(
            dict(self.marks()), dict.fromkeys(("before-2", "before-3", "before-4", "after"), 1)
        )
        self.finish()
