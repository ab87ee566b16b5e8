"""Searching in real messages, against plain Python."""

from pathlib import Path

from mailsrv.mailbox import criteria as c
from mailsrv.mailbox.values import NewMessage
from tests.mailbox.naive import Message, naive_search
from tests.mailbox.searching import MailboxCase

CORPUS = Path(__file__).parents[3] / "shared" / "corpus"
LARGEST = 100_000

WORDS = (
    *("the", "meeting", "unsubscribe", "http://", "example.com", "re: ", "ab", "z", "=", "--"),
    *("é", "ü", "ß", "грам", "会", "日本", "メール", "안녕", "ไทย", "שלום", "€", '"', "*", "%"),
    *("received: from", "boundary=", "base64", "\u00a0", "i̇", "№", "…"),
)
FIELDS = (
    "Subject",
    "Received",
    "X-Mailer",
    "Content-Type",
    "List-Id",
    "Message-ID",
    "DKIM-Signature",
)


class SearchCorpusTests(MailboxCase):
    if not CORPUS.is_dir():
        skip = "needs ../shared/corpus beside the checkout"

    def criteria(self, stored: list[Message]) -> list[c.Criteria]:
        found: list[c.Criteria] = []
        for word in WORDS:
            found += [c.Text(word), c.Body(word), c.Subject(word), c.Address("from", word)]
            found.append(c.And((c.Text(word), c.Not(c.Body(word)))))
        found += [c.Header(field, "") for field in FIELDS]
        found += [c.Header(field, "a") for field in FIELDS]
        found += [c.Header(field, "mail") for field in FIELDS]
        for one in stored[::40]:
            middle = len(one.body) // 2
            found.append(c.Body(one.body[middle : middle + 3 + one.uid % 20]))
            found.append(c.Text(one.lines[len(one.lines) // 2][: 20 + one.uid % 20]))
            found.append(c.Header("Message-ID", one.scanned.message_id))
            found.append(c.Address("to", one.scanned.to[:12]))
        return found

    def test_agrees_with_plain_python(self) -> None:
        paths = sorted(path for path in CORPUS.rglob("*.eml") if path.stat().st_size <= LARGEST)
        self.assertGreater(len(paths), 1000)
        with self.new_mailbox() as mailbox:
            new = [NewMessage(path.read_bytes()) for path in paths]
            mailbox.append("INBOX", new, None)
            stored = self.stored(mailbox)
            criteria = self.criteria(stored)
            expected = [naive_search(stored, one) for one in criteria]
            self.assertGreater(sum(1 for uids in expected if 0 < len(uids) < len(paths) / 10), 100)
            mailbox.index_pending(900)
            for one, uids in zip(criteria[::4], expected[::4], strict=True):
                self.assertEqual(self.search(mailbox, one), uids, one)
            while mailbox.index_pending(100):
                pass
            for one, uids in zip(criteria, expected, strict=True):
                self.assertEqual(self.search(mailbox, one), uids, one)
