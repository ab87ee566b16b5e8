"""Real messages come out as they went in, by DATA and by BDAT."""

import re
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from mailsrv.smtp.trace import gap
from tests.smtp.conversation import Conversation

CORPUS = Path(__file__).resolve().parents[3] / "shared" / "corpus"
LINE_END = re.compile(rb"\r\n|\r|\n")
BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n|\0")


class CorpusTests(SynchronousTestCase):
    def setUp(self):
        self.messages = sorted(CORPUS.rglob("*.eml"))
        if not self.messages:
            raise SkipTest("the corpus of messages is not beside the project")
        self.client = Conversation(hop_limit=1000, hard_errors=10**6)

    def each(self):
        """Path, octets, and a transaction of its own: the corpus has some messages twice."""
        for number, path in enumerate(self.messages):
            self.client.store.delivered.clear()
            self.client.envelope(b"hello@example.com", sender=b"n%d@example.org" % number)
            yield path, path.read_bytes()

    def stored(self):
        return [delivery.content for _alias, delivery in self.client.store.delivered]

    def test_data_with_proper_line_ends(self):
        for path, octets in self.each():
            content = LINE_END.sub(b"\r\n", octets.replace(b"\0", b""))
            content += b"" if content.endswith(b"\r\n") else b"\r\n"
            stuffed = re.sub(rb"(?m)^\.", b"..", content)
            self.assertEqual(self.client.codes(b"DATA\r\n"), ["354 End"])
            self.assertEqual(self.client.codes(stuffed + b".\r\n", 1448), ["250 2.0.0"], path)
            [stored] = self.stored()
            self.assertTrue(stored.endswith(b" +0000\r\n" + gap(content) + content), path)

    def test_chunks_with_exact_octets(self):
        for path, content in self.each():
            [code] = self.client.codes(b"BDAT %d LAST\r\n%s" % (len(content), content), 16_384)
            if BARE.search(content):
                self.assertEqual((code, self.stored()), ("554 5.6.0", []), path)
            else:
                self.assertEqual(code, "250 2.0.0", path)
                self.assertTrue(
                    self.stored()[0].endswith(b" +0000\r\n" + gap(content) + content), path
                )
