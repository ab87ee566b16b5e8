"""Whatever arrives: no exception, no lost synchronisation, no unasked delivery."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.smtp.conversation import Conversation

WORDS = (
    b"EHLO x", b"HELO", b"MAIL FROM:<a@b.c>", b"MAIL FROM:<> SIZE=10 BODY=8BITMIME SMTPUTF8",
    b"RCPT TO:<hello@example.com>", b"RCPT TO:<@a:\"x\"@example.com>", b"RCPT TO:<postmaster>",
    b"DATA", b"BDAT 3", b"BDAT 0 LAST", b"BDAT 5 LAST", b"RSET", b"NOOP", b"VRFY x", b"STARTTLS",
    b"AUTH PLAIN", b"\r\n", b"\r\n", b"\r\n", b"\r", b"\n", b".", b"\r\n.\r\n", b"\0", b"\xff\xfe",
    b"<", b">", b"\"", b"\\", b"[IPv6:", b"=", b" ", b"x" * 3000,
)  # fmt: skip


class FuzzTests(SynchronousTestCase):
    def check(self, octets, size):
        client = Conversation(greeting_delay=0, hard_errors=50)
        lines = client.say(octets, size)
        for line in lines:
            self.assertRegex(line, r"\A[2345]\d\d[ -][\x20-\x7e]+\Z")
        client.server.connectionLost(None)
        self.assertEqual(client.factory.services.budget.free, client.factory.options.memory_limit)
        self.assertEqual(client.clock.getDelayedCalls(), [])
        return lines

    @settings(max_examples=300, deadline=None)
    @given(st.lists(st.sampled_from(WORDS), max_size=40), st.integers(1, 50))
    def test_words(self, words, size):
        self.check(b"".join(words), size)

    @settings(max_examples=200, deadline=None)
    @given(st.binary(max_size=500), st.integers(1, 50))
    def test_octets(self, octets, size):
        self.check(octets, size)

    def test_pieces_do_not_matter(self):
        """The same octets give the same codes, however they are cut.

        Commands that must be last in their group are left out: for them the cut does matter.
        """
        chance = random.Random(5321)
        words = [
            word for word in WORDS if not word.startswith((b"DATA", b"EHLO", b"HELO", b"STARTT"))
        ]
        for _ in range(100):
            octets = b"".join(chance.choices(words, k=30))
            whole, *others = (
                [line.split(" ")[:2] for line in self.check(octets, size)] for size in (None, 1, 7)
            )
            self.assertEqual([whole, whole], others)
