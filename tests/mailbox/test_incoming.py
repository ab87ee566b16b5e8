"""Messages from elsewhere: as often as the source has them, and no more."""

import hashlib

from mailsrv.errors import NoSuchFolder
from mailsrv.mailbox.incoming import (
    Incoming,
    Mark,
    Wanted,
    append_missing,
    marked,
    missing,
    settle,
)
from mailsrv.mailbox.values import Flags
from tests.mailbox.support import MailboxTestCase, message

DATE = "2026-11-23T10:15:00Z"


def incoming(content: bytes, occurrence: int = 1, date: str = DATE) -> Incoming:
    return Incoming(content, hashlib.sha256(content).digest(), Flags(), date, occurrence)


class AppendMissingTests(MailboxTestCase):
    def count(self) -> int:
        return self.folder("INBOX").messages

    def test_as_often_as_the_source_has_it(self) -> None:
        twice = [incoming(message(1), 1), incoming(message(1), 2)]
        for _ in range(2):
            append_missing(self.mailbox, "INBOX", twice)
            self.assertEqual(self.count(), 2)
        append_missing(self.mailbox, "INBOX", [incoming(message(1), 3)])
        self.assertEqual(self.count(), 3)
        self.assertEqual(missing(self.mailbox, "INBOX", twice), [])

    def test_another_date_or_folder_is_another_message(self) -> None:
        append_missing(self.mailbox, "INBOX", [incoming(message(1))])
        other = incoming(message(1), date="2026-11-23T10:15:01Z")
        self.assertEqual(missing(self.mailbox, "INBOX", [other]), [other])
        again = incoming(message(1))
        self.assertEqual(missing(self.mailbox, "Archive", [again]), [again])

    def test_only_if_it_is_nowhere(self) -> None:
        append_missing(self.mailbox, "INBOX", [incoming(message(1))])
        known, new = incoming(message(1), 0), incoming(message(2), 0)
        self.assertEqual(missing(self.mailbox, "Archive", [known, new]), [new])

    def test_marks_come_with_the_messages(self) -> None:
        self.assertEqual(marked(self.mailbox, "a"), 0)
        append_missing(self.mailbox, "INBOX", [incoming(message(1))], [Mark("a", 5)])
        self.assertEqual(marked(self.mailbox, "a"), 5)
        self.assertRaises(NoSuchFolder, append_missing, self.mailbox, "nowhere", [], [Mark("a", 6)])
        append_missing(self.mailbox, "INBOX", [], [Mark("a", 7), Mark("b", 1)])
        self.assertEqual((marked(self.mailbox, "a"), marked(self.mailbox, "b")), (7, 1))

    def test_settling_twice_changes_nothing(self) -> None:
        wanted = [
            Wanted("Work/Sub", None, subscribed=False),
            Wanted("S", "\\Sent", subscribed=True),
        ]
        for _ in range(2):
            settle(self.mailbox, wanted, ["gone"], whole=True)
            found = {one.name: (one.special_use, one.subscribed) for one in self.mailbox.folders()}
            self.assertEqual(
                found,
                {
                    "INBOX": (None, True),
                    "S": ("\\Sent", True),
                    "Work": (None, False),
                    "Work/Sub": (None, False),
                },
            )
            self.assertEqual(self.mailbox.subscriptions(), ["INBOX", "S", "gone"])
