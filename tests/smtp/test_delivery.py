"""One reply for all recipients, and retries that store nothing twice."""

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mailsrv.errors import DiskFull, MailboxDamaged, MessageTooLarge, NoSuchAlias, OverQuota
from mailsrv.smtp.delivery import Message, Unfinished
from mailsrv.smtp.reply import LOCAL_ERROR
from mailsrv.store.interfaces import IStore
from tests.fakes.mx_store import MxStore
from tests.smtp.conversation import CLIENT, HEADER, Conversation

MESSAGE = HEADER + b"Subject: x\r\n\r\nbody\r\n"
BOTH = (b"hello@example.com", b"you@example.com")


class VerdictTests(SynchronousTestCase):
    def verdict(self, failing, *recipients):
        client = Conversation()
        client.store.failing = failing
        [code] = client.deliver(MESSAGE, *recipients)
        return code

    def test_one_recipient(self):
        for error, expected in (
            (OverQuota("x"), "452 4.2.2"),
            (DiskFull("x"), "452 4.3.1"),
            (MailboxDamaged("x"), "451 4.3.0"),
            (MessageTooLarge("x"), "552 5.3.4"),
            (NoSuchAlias("x"), "550 5.1.1"),
        ):
            self.assertEqual(self.verdict({"a1": error}, b"hello@example.com"), expected)

    def test_some_stored_is_always_temporary(self):
        for error, expected in (
            (OverQuota("x"), "451 4.2.2"),
            (NoSuchAlias("x"), "451 4.3.0"),
            (MessageTooLarge("x"), "451 4.3.0"),
        ):
            self.assertEqual(self.verdict({"a2": error}, *BOTH), expected)

    def test_none_stored(self):
        for first, second, expected in (
            (OverQuota("x"), OverQuota("x"), "452 4.2.2"),
            (NoSuchAlias("x"), NoSuchAlias("x"), "550 5.1.1"),
            (NoSuchAlias("x"), OverQuota("x"), "452 4.2.2"),
        ):
            self.assertEqual(self.verdict({"a1": first, "a2": second}, *BOTH), expected)

    def test_unexpected_error_is_temporary_and_tells_nothing(self):
        client = Conversation()
        client.store.failing = {"a1": RuntimeError("inner secret")}
        client.envelope(b"hello@example.com")
        client.say(b"DATA\r\n")
        lines = client.say(MESSAGE + b".\r\n")
        self.assertEqual(lines, ["451 4.3.0 Local error, try again later"])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_many_recipients_are_all_delivered(self):
        client = Conversation()
        client.store.addresses |= {f"n{n}@example.com": f"id{n}" for n in range(300)}
        client.store.slow = True
        names = [b"n%d@example.com" % n for n in range(300)]
        client.server.dataReceived(b"MAIL FROM:<a@b.c>\r\n")
        client.server.dataReceived(b"".join(b"RCPT TO:<%s>\r\n" % name for name in names))
        while client.store.waiting:
            client.store.release()
        client.say(b"DATA\r\n")
        client.say(MESSAGE + b".\r\n")
        most = 0
        while client.store.waiting:
            most = max(most, client.store.waiting)
            client.store.release()
        self.assertEqual(client.codes(b""), ["250 2.0.0"])
        self.assertEqual(len({alias for alias, _ in client.store.delivered}), 300)
        self.assertEqual(most, 16)


class RetryTests(SynchronousTestCase):
    def deliver(self, client, content=MESSAGE, *recipients, sender=b"x@example.org"):
        client.envelope(*(recipients or BOTH), sender=sender)
        client.say(b"DATA\r\n")
        [code] = client.codes(content + b".\r\n")
        return code

    def aliases(self, client):
        return [alias for alias, _delivery in client.store.delivered]

    def test_retry_stores_only_what_failed(self):
        client = Conversation()
        client.store.failing = {"a2": OverQuota("x")}
        self.assertEqual(self.deliver(client), "451 4.2.2")
        client.store.failing = {}
        later = Conversation(client.factory)
        self.assertEqual(self.deliver(later), "250 2.0.0")
        self.assertEqual(self.aliases(client), ["a1", "a2"])

    def test_retry_over_bdat_is_the_same_message(self):
        client = Conversation()
        self.deliver(client)
        client.envelope(*BOTH)
        client.say(b"BDAT %d LAST\r\n%s" % (len(MESSAGE), MESSAGE))
        self.assertEqual(self.aliases(client), ["a1", "a2"])

    def test_what_makes_another_message(self):
        client = Conversation()
        self.deliver(client, MESSAGE, b"hello@example.com")
        self.deliver(client, MESSAGE + b"more\r\n", b"hello@example.com")
        self.deliver(client, MESSAGE, b"hello@example.com", sender=b"other@example.org")
        self.assertEqual(self.aliases(client), ["a1"] * 3)

    def test_without_identity_nothing_is_taken_for_a_retry(self):
        date = b"Date: Mon, 23 Nov 2026 15:00:00 +0000\r\n"
        for content in (b"alarm\r\n", date + b"\r\nx\r\n", b"Message-ID: <1@x>\r\n\r\nx\r\n",
                        date + b"\r\nMessage-ID: <1@x>\r\n"):  # fmt: skip
            client = Conversation()
            self.deliver(client, content, b"hello@example.com")
            self.deliver(client, content, b"hello@example.com")
            self.assertEqual(self.aliases(client), ["a1", "a1"], content)

    def test_repeats_of_an_unfinished_one_store_only_what_failed(self):
        content = b"Subject: alarm\r\n\r\nx\r\n"
        client = Conversation()
        client.store.failing = {"a2": OverQuota("x")}
        for _ in range(3):
            self.assertEqual(self.deliver(client, content), "451 4.2.2")
        self.assertEqual(self.aliases(client), ["a1"])
        client.store.failing = {}
        self.assertEqual(self.deliver(client, content), "250 2.0.0")
        self.assertEqual(self.aliases(client), ["a1", "a2"])
        self.assertEqual(self.deliver(client, content), "250 2.0.0")
        self.assertEqual(self.aliases(client), ["a1", "a2", "a1", "a2"])

    def test_only_the_last_unfinished_ones_are_remembered(self):
        unfinished = Unfinished(most=2)
        seeds = [
            unfinished.seed(Message(f"t{number}", None, b"m%d" % number, "")) for number in range(3)
        ]
        for seed in (*seeds, seeds[1]):
            unfinished.note(seed, LOCAL_ERROR)
        again = [unfinished.seed(Message("t9", None, b"m%d" % n, "")).octets for n in range(3)]
        self.assertEqual(again, [b"t9", b"t1", b"t2"])

    def test_one_copy_for_each_mailbox(self):
        client = Conversation()
        self.deliver(client, MESSAGE, b"hello@example.com", b"hello+a@example.com",
                     b"hello@example.com", b"you@example.com")  # fmt: skip
        self.assertEqual(self.aliases(client), ["a1", "a2"])

    def test_each_copy_names_only_its_own_recipient(self):
        client = Conversation()
        self.deliver(client, MESSAGE, b"hello+list@example.com", b"you@example.com")
        first, second = (delivery.content for _alias, delivery in client.store.delivered)
        self.assertIn(b"for <hello+list@example.com>;", first)
        self.assertNotIn(b"you@", first)
        self.assertIn(b"for <you@example.com>;", second)
        self.assertNotIn(b"hello", second)

    def test_client_that_leaves_after_the_end_still_delivers(self):
        client = Conversation()
        client.envelope(b"hello@example.com")
        client.say(b"DATA\r\n")
        client.store.slow = True
        client.say(MESSAGE + b".\r\n")
        client.server.connectionLost(None)
        self.assertLess(client.factory.services.budget.free, client.factory.options.memory_limit)
        client.store.release()
        self.assertEqual(self.aliases(client), ["a1"])
        self.assertEqual(client.factory.services.budget.free, client.factory.options.memory_limit)


class ContentTests(SynchronousTestCase):
    def test_exact_content_under_our_fields(self):
        client = Conversation()
        client.deliver(b"Return-Path: <old@x.y>\r\n" + MESSAGE)
        [(alias, delivery)] = client.store.delivered
        self.assertEqual(alias, "a1")
        self.assertEqual(delivery.received, "2026-11-23T15:30:00Z")
        lines = delivery.content.split(b"\r\n")
        self.assertEqual(lines[0], b"Return-Path: <x@example.org>")
        self.assertTrue(lines[1].startswith(b"Received: from client.example.org"))
        self.assertIn(CLIENT.host.encode(), lines[1])
        self.assertTrue(delivery.content.endswith(b"Return-Path: <old@x.y>\r\n" + MESSAGE))

    def test_null_sender(self):
        client = Conversation()
        client.envelope(b"hello@example.com", sender=b"")
        client.say(b"DATA\r\n")
        client.say(MESSAGE + b".\r\n")
        content = client.store.delivered[0][1].content
        self.assertTrue(content.startswith(b"Return-Path: <>\r\n"))

    def test_eight_bit_without_declaring_it(self):
        client = Conversation()
        self.assertEqual(client.deliver(b"Subject: \xfc\r\n\r\n\xff\xfe\r\n"), ["250 2.0.0"])
        self.assertEqual(client.contents(), [b"Subject: \xfc\r\n\r\n\xff\xfe\r\n"])

    def test_hops(self):
        for hops, expected in ((100, "250 2.0.0"), (101, "554 5.4.6")):
            client = Conversation()
            self.assertEqual(client.deliver(b"Received: x\r\n" * hops + MESSAGE), [expected])

    def test_fake_is_a_store(self):
        self.assertTrue(verifyObject(IStore, MxStore()))
