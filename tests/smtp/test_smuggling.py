"""Only CRLF.CRLF ends a message, and what follows anything else is never a command."""

from twisted.trial.unittest import SynchronousTestCase

from tests.smtp.conversation import Conversation

BARE = (
    b"\n.\n", b"\n.\r", b"\r.\n", b"\r.\r", b"\n.\r\n", b"\r.\r\n", b"\r\n.\n", b"\r\n.\r",
    b"\r\r\n.\r\r\n", b"\r\n.\r\r\n",
)  # fmt: skip
NUL = (b"\r\n.\0\r\n", b"\r\n\0.\r\n")
HARMLESS = (
    b"\r\n. \r\n", b"\r\n .\r\n", b"\r\n.\t\r\n", b"\r\n.\x0b\r\n", b"\x85.\x85",
    b"\xc2\x85.\xc2\x85", b"\r\n..\r\n",
)  # fmt: skip
SMUGGLED = (
    b"MAIL FROM:<s@evil.example>\r\nRCPT TO:<you@example.com>\r\nDATA\r\nSubject: smuggled\r\n\r\nx"
)


class EndOfDataTests(SynchronousTestCase):
    def attack(self, look_alike, size):
        client = Conversation()
        client.envelope(b"hello@example.com")
        client.say(b"DATA\r\n")
        octets = b"Subject: a\r\n\r\nbody" + look_alike + SMUGGLED + b"\r\n.\r\n"
        codes = client.codes(octets, size)
        self.assertEqual(client.codes(b"NOOP\r\n"), ["250 2.0.0"])
        self.assertNotIn("you@example.com", client.store.asked)
        return client, codes

    def test_bare_line_ends_are_refused_once(self):
        for look_alike in BARE + NUL:
            for size in (None, 1, 2, 3, 5):
                client, codes = self.attack(look_alike, size)
                self.assertEqual(codes, ["554 5.6.0"], look_alike)
                self.assertEqual(client.store.delivered, [])

    def test_harmless_ones_are_content(self):
        for look_alike in HARMLESS:
            for size in (None, 1, 2, 3, 5):
                client, codes = self.attack(look_alike, size)
                self.assertEqual(codes, ["250 2.0.0"], look_alike)
                [content] = client.contents()
                kept = look_alike.replace(b"\r\n.", b"\r\n")
                self.assertEqual(
                    content, b"Subject: a\r\n\r\nbody" + kept + SMUGGLED + b"\r\n", look_alike
                )

    def test_all_nineteen(self):
        self.assertEqual(len(set(BARE + NUL + HARMLESS)), 19)

    def test_message_sent_before_354_is_refused(self):
        client = Conversation()
        client.envelope(b"hello@example.com")
        self.assertEqual(client.codes(b"DATA\r\nbody\r\n.\r\n"), ["554 5.5.0"])
        self.assertTrue(client.closed)
        self.assertEqual(client.store.delivered, [])

    def test_over_long_line_does_not_end_data(self):
        client = Conversation()
        content = b"x" * 20_000 + b"\r\n" + SMUGGLED + b"\r\n"
        self.assertEqual(client.deliver(content), ["250 2.0.0"])
        self.assertEqual(client.contents(), [content])

    def test_end_of_data_inside_a_chunk_is_content(self):
        client = Conversation()
        client.envelope(b"hello@example.com")
        content = b"a\r\n.\r\n" + SMUGGLED + b"\r\n.\r\n"
        codes = client.codes(b"BDAT %d LAST\r\n%s" % (len(content), content), 3)
        self.assertEqual(codes, ["250 2.0.0"])
        self.assertEqual(client.contents(), [content])

    def test_cut_before_the_end_stores_nothing(self):
        content = b"Subject: a\r\n\r\nbody\r\n.\r"
        for end in range(len(content) + 1):
            client = Conversation()
            client.envelope(b"hello@example.com")
            client.say(b"DATA\r\n")
            client.say(content[:end])
            client.server.connectionLost(None)
            self.assertEqual(client.store.delivered, [])
            budget = client.factory.services.budget
            self.assertEqual(budget.free, client.factory.options.memory_limit)
