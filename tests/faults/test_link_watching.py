"""Two secondaries, a client at each, one mailbox: what one does the other hears of, at once."""

import time

from tests.clients.imap_client import Client
from tests.faults.common import SOAK
from tests.faults.link_case import LinkTestCase
from tests.faults.link_frames import DOWN, UP
from tests.faults.link_model import Append, Deliver, Expunge, Store

SOON = 2.0
"""Seconds from a change to the news of it (link-idle): what is measured here is hundredths."""


class WatchingTests(LinkTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.fill("INBOX", "first", "second")
        self.watcher = self.b.client("INBOX")

    def timed(self, client: Client, kind: str, begun: float) -> int:
        """The number in the news of that kind, which must come soon."""
        number = client.hear(kind).number
        self.assertLess(time.monotonic() - begun, SOON)
        return number

    def test_idle_hears_of_all_changes(self) -> None:
        idle = self.watcher.idle()
        begun = time.monotonic()
        self.do(Append("INBOX", "third"))
        self.assertEqual(self.timed(self.watcher, "EXISTS", begun), 3)
        begun = time.monotonic()
        self.do(Store("INBOX", self.box.uids("INBOX")[1:2], "\\Deleted"))
        self.assertEqual(self.timed(self.watcher, "FETCH", begun), 2)
        begun = time.monotonic()
        self.do(Expunge("INBOX"))
        self.assertEqual(self.timed(self.watcher, "EXPUNGE", begun), 2)
        self.watcher.done(idle)
        self.agree()

    def test_both_ways(self) -> None:
        for number in range(100 if SOAK else 5):
            for writer, reader in ((self.a, self.b), (self.b, self.a)):
                client = reader.client("INBOX")
                idle = client.idle()
                begun = time.monotonic()
                self.do(Append("INBOX", f"mark-{number}"), writer)
                self.timed(client, "EXISTS", begun)
                client.done(idle)
        self.agree()

    def test_delivery_at_one_reaches_the_idle_client_of_the_other(self) -> None:
        """Stored in the mailbox itself: nothing waits sealed, not even for a moment."""
        self.a.forget()
        for number in range(100 if SOAK else 5):
            idle = self.watcher.idle()
            if number == 0:
                # the key that the last command brought is gone: it has to be asked for
                time.sleep(self.cluster.lease + 0.5)
            begun = time.monotonic()
            self.do(Deliver(f"mail-{number}"))
            self.assertEqual(self.cluster.waiting_files(), [])
            self.assertEqual(self.timed(self.watcher, "EXISTS", begun), 3 + number)
            self.watcher.done(idle)
        self.assertGreater(self.cluster.b.proxy.seen[DOWN, "Call", "lend_key"], 0)
        self.agree(self.b)

    def test_delivery_to_nobody_waits(self) -> None:
        for session in (self.a, self.b):
            seen = session.secondary.proxy.seen
            before = seen[UP, "Call", "logout"]
            session.forget()
            self.eventually(lambda seen=seen, before=before: seen[UP, "Call", "logout"] > before)
        self.do(Deliver("mail"))
        self.assertEqual(len(self.cluster.waiting_files()), 1)
        self.agree(self.b)

    def test_what_was_acknowledged_at_one_is_read_at_the_other(self) -> None:
        for number in range(300 if SOAK else 15):
            writer, reader = (self.a, self.b) if number % 2 else (self.b, self.a)
            flag = "\\Flagged" if number % 3 else "\\Answered"
            self.do(Store("INBOX", self.box.uids("INBOX"), flag, "+-"[number % 2]), writer)
            rows = reader.client("INBOX").fetch("1:*", "(FLAGS)")
            expected = [one.flags for one in self.box.folders["INBOX"]]
            found = [
                frozenset(one.decode() for one in rows[number]["FLAGS"]) - {"\\Recent"}
                for number in sorted(rows)
            ]
            self.assertEqual(found, expected)

    def test_news_outlive_a_lost_link(self) -> None:
        """What happened while the watcher's link was away is told when it is back."""
        idle = self.watcher.idle()
        self.cluster.b.proxy.down()
        self.do(Append("INBOX", "third"))
        self.do(Deliver("fourth"))
        self.cluster.b.proxy.up()
        while self.watcher.exists != 4:
            self.watcher.hear("EXISTS")
        self.watcher.done(idle)
        self.agree()
