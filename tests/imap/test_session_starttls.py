"""TLS begins on a clean table, or not at all."""

from twisted.internet.interfaces import ISSLTransport

from tests.imap.talking import LOGIN, ImapTestCase

BEGIN = b"a STARTTLS\r\n"


class StartTlsTests(ImapTestCase):
    def test_begins(self) -> None:
        client = self.connect(secure=False)
        client.send(BEGIN)
        self.assertEqual(client.heard(), [b"a OK Begin TLS now"])
        self.assertTrue(ISSLTransport.providedBy(client.transport))
        line = client.say(b"CAPABILITY")[0]
        self.assertNotIn(b"STARTTLS", line)
        self.assertNotIn(b"LOGINDISABLED", line)
        self.assertIn(b"AUTH=PLAIN AUTH=SCRAM-SHA-256", line)
        self.assertTrue(client.say(LOGIN)[0].startswith(b"OK"))

    def test_whatever_follows_in_clear_text_ends_it(self) -> None:
        injections = (
            b"b NOOP\r\n",
            b"b LOGIN alice@example.com x\r\n",
            b"b LOGIN {100+}\r\n",
            b"b LOG",
            b"\r\n",
            b"\x16\x03\x01\x02\x00",
        )
        for injection in injections:
            client = self.connect(secure=False)
            client.send(BEGIN + injection)
            self.assertEqual(
                client.heard(),
                [b"* BYE Nothing may follow STARTTLS before TLS", b"a BAD Too early"],
            )
            self.assertFalse(ISSLTransport.providedBy(client.transport))
            self.assertTrue(client.closed)
            client.lose()

    def test_injection_as_the_last_of_too_many_bad_commands(self) -> None:
        client = self.connect(secure=False)
        client.say(b"nonsense")
        client.say(b"nonsense")
        client.send(BEGIN + b"b NOOP\r\n")
        self.assertEqual(client.heard()[-1], b"a BAD Too early")
        self.assertTrue(client.closed)

    def test_what_waits_behind_a_slow_command_counts_as_following(self) -> None:
        client = self.connect(secure=False)
        client.send(b"a0 NOOP\r\n" + BEGIN + b"b NOOP\r\n")
        self.assertIn(b"a BAD Too early", client.heard())
        self.assertFalse(ISSLTransport.providedBy(client.transport))

    def test_only_once_and_only_where_it_works(self) -> None:
        client = self.connect(secure=True)
        self.assertNotIn(b"STARTTLS", client.greeting[0])
        self.assertEqual(client.say(b"STARTTLS"), [b"BAD TLS cannot begin here"])
        self.factory = self.make_factory(tls=None)
        client = self.connect(secure=False)
        self.assertNotIn(b"STARTTLS", client.greeting[0])
        self.assertEqual(client.say(b"STARTTLS"), [b"BAD TLS cannot begin here"])

    def test_not_after_login_and_not_with_arguments(self) -> None:
        self.assertTrue(self.logged_in().say(b"STARTTLS")[0].startswith(b"BAD"))
        client = self.connect(secure=False)
        self.assertTrue(client.say(b"STARTTLS now")[0].startswith(b"BAD"))
        self.assertFalse(ISSLTransport.providedBy(client.transport))

    def test_the_old_session_is_forgotten(self) -> None:
        client = self.connect(secure=False)
        before = client.server.session
        client.say(b"nonsense")
        client.say(b"nonsense")
        client.send(BEGIN)
        client.heard()
        self.assertIsNot(client.server.session, before)
        # a third bad command in a row would have been the end
        client.say(b"nonsense")
        self.assertFalse(client.closed)

    def test_failed_logins_are_not_forgotten(self) -> None:
        client = self.connect(secure=False, host="127.0.0.1")
        client.server.login_failures = 3
        client.send(BEGIN)
        client.heard()
        client.say(b"LOGIN alice@example.com wrong")
        self.clock.advance(15)
        self.assertTrue(client.closed)
