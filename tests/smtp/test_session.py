"""Dialogues: order of commands, replies, envelope, BDAT."""

from twisted.trial.unittest import SynchronousTestCase

from mailsrv.errors import AliasDisabled, InvalidInput, OverQuota, Unavailable
from tests.smtp.conversation import HEADER, Conversation


class CommandTests(SynchronousTestCase):
    def test_greeting_and_extensions(self):
        client = Conversation(begin=False, message_limit=1000)
        self.assertEqual(client.greeting, ["220 mx.example.com ESMTP mailsrv"])
        lines = client.say(b"EHLO client.example.org\r\n")
        self.assertEqual(lines[0], "250-mx.example.com greets you")
        self.assertEqual(
            {line[4:] for line in lines[1:]},
            {"PIPELINING", "SIZE 1000", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "CHUNKING"},
        )
        self.assertTrue(lines[-1].startswith("250 "))

    def test_helo(self):
        client = Conversation(begin=False)
        self.assertEqual(client.say(b"HELO x\r\n"), ["250 mx.example.com greets you"])

    def test_simple_commands(self):
        client = Conversation()
        for line, expected in (
            (b"NOOP", "250 2.0.0"),
            (b"NOOP anything", "250 2.0.0"),
            (b"RSET", "250 2.0.0"),
            (b"RSET x", "501 5.5.4"),
            (b"VRFY someone", "252 2.5.0"),
            (b"VRFY", "501 5.5.4"),
            (b"EXPN list", "502 5.5.1"),
            (b"AUTH PLAIN AAAA", "502 5.5.1"),
            (b"AUTH", "502 5.5.1"),
            (b"STARTTLS", "502 5.5.1"),
            (b"STARTTLS x", "501 5.5.4"),
            (b"EHLO", "501 5.5.4"),
            (b"XCLIENT ADDR=1.2.3.4", "500 5.5.1"),
            (b"", "500 5.5.2"),
            ("ÑOOP".encode(), "500 5.5.2"),
            (b"NOOP\0", "500 5.5.2"),
            (b"NOOP\nQUIT", "500 5.5.2"),
            (b"HELP", "214 2.0.0"),
            (b"QUIT x", "501 5.5.4"),
            (b"QUIT", "221 2.0.0"),
        ):
            self.assertEqual(client.codes(line + b"\r\n"), [expected], line)
        self.assertTrue(client.closed)
        self.assertEqual(client.say(b"NOOP\r\n"), [])

    def test_order(self):
        client = Conversation(begin=False)
        for line, expected in (
            (b"MAIL FROM:<a@b.c>", "503 5.5.1"),
            (b"RCPT TO:<hello@example.com>", "503 5.5.1"),
            (b"DATA", "503 5.5.1"),
            (b"HELO x", "250 mx.example.com"),
            (b"RCPT TO:<hello@example.com>", "503 5.5.1"),
            (b"MAIL FROM:<a@b.c>", "250 2.1.0"),
            (b"MAIL FROM:<a@b.c>", "503 5.5.1"),
            (b"DATA", "554 5.5.1"),
            (b"DATA x", "501 5.5.4"),
            (b"RCPT TO:<hello@example.com>", "250 2.1.5"),
            (b"RSET", "250 2.0.0"),
            (b"DATA", "503 5.5.1"),
            (b"MAIL FROM:<>", "250 2.1.0"),
            (b"EHLO y", "250 CHUNKING"),
            (b"RCPT TO:<hello@example.com>", "503 5.5.1"),
        ):
            self.assertEqual(client.codes(line + b"\r\n"), [expected], line)

    def test_speaking_another_protocol_ends_the_connection(self):
        for octets in (b"GET / HTTP/1.1\r\n", b"POST /x HTTP/1.1\r\n", b"\x16\x03\x01\x02\r\n"):
            client = Conversation(begin=False)
            self.assertEqual(client.codes(octets + b"MAIL FROM:<>\r\n"), ["554 5.5.1"])
            self.assertTrue(client.closed)


class RecipientTests(SynchronousTestCase):
    def test_verdicts(self):
        client = Conversation()
        client.store.addresses |= {
            "off@example.com": AliasDisabled("off"),
            "full@example.com": OverQuota("full"),
            "away@example.com": Unavailable("away"),
            "odd@example.com": InvalidInput("odd"),
        }
        codes = client.envelope(
            b"hello@example.com", b"Hello+detail@EXAMPLE.com", b"nobody@example.com",
            b"a@example.org", b"off@example.com", b"full@example.com", b"away@example.com",
            b"odd@example.com", b"a@[192.0.2.1]",
        )  # fmt: skip
        self.assertEqual(
            codes,
            ["250 2.1.0", "250 2.1.5", "250 2.1.5", "550 5.1.1", "550 5.7.1", "550 5.2.1",
             "452 4.2.2", "451 4.3.2", "553 5.1.3", "550 5.7.1"],
        )  # fmt: skip

    def test_no_relay(self):
        client = Conversation(hard_errors=100)
        client.say(b"MAIL FROM:<a@b.c>\r\n")
        for path in (
            b"<v@evil.example>", b"<v%evil.example@example.com>", b"<evil.example!v@example.com>",
            b"<@example.com:v@evil.example>", b"<v@evil.example@example.com>",
            b'<"v@evil.example"@example.com>', b'<"v@evil.example">', b"<v@[127.0.0.1]>",
            b"<v@[IPv6:::1]>", b"<v@localhost>", b"<v>", b"<v@>", b"<>", b"v@evil.example",
            b"<v@evil.example\\@example.com>", b"<hello@example.com@evil.example>",
            b"<hello@example.com>,<v@evil.example>", b"<hello@example.com v@evil.example>",
            b"<v@evil.example>\0<hello@example.com>", b"<hello@example.com.>",
            b"<hello@example.com.evil.example>",
        ):  # fmt: skip
            [code] = client.codes(b"RCPT TO:" + path + b"\r\n")
            self.assertEqual(code[0], "5", path)
        self.assertEqual(client.codes(b"DATA\r\n"), ["554 5.5.1"])

    def test_store_that_breaks_is_a_temporary_error(self):
        client = Conversation()
        client.store.addresses["hello@example.com"] = RuntimeError("secret detail")
        self.assertEqual(client.envelope(b"hello@example.com"), ["250 2.1.0", "451 4.3.0"])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_postmaster_without_domain(self):
        client = Conversation()
        self.assertEqual(client.envelope(b"PostMaster"), ["250 2.1.0", "250 2.1.5"])
        self.assertEqual(
            client.store.asked, ["postmaster@mx.example.com", "postmaster@example.com"]
        )

    def test_postmaster_by_option(self):
        client = Conversation(postmaster="hello@example.com")
        client.envelope(b"Postmaster")
        self.assertEqual(client.store.asked, ["hello@example.com"])

    def test_no_postmaster(self):
        client = Conversation(hostname="mx.example.net")
        self.assertEqual(client.envelope(b"Postmaster"), ["250 2.1.0", "550 5.1.1"])

    def test_all_quoted_forms_are_one(self):
        client = Conversation()
        client.envelope(b'"hel\\lo"@example.com')
        self.assertEqual(client.store.asked, ["hello@example.com"])

    def test_utf8_addresses(self):
        client = Conversation()
        mail = "MAIL FROM:<pelé@exämple.org> SMTPUTF8\r\nRCPT TO:<grüße@example.com>\r\n".encode()
        self.assertEqual(client.codes(mail), ["250 2.1.0", "250 2.1.5"])
        client.say(b"DATA\r\n")
        self.assertEqual(client.codes("Subject: ü\r\n\r\n.\r\n".encode()), ["250 2.0.0"])
        content = client.store.delivered[0][1].content.decode()
        self.assertIn("Return-Path: <pelé@exämple.org>", content)
        self.assertIn("with UTF8SMTP id", content)
        self.assertIn("for <grüße@example.com>", content)

    def test_too_many_recipients(self):
        client = Conversation(recipient_limit=2)
        codes = client.envelope(b"hello@example.com", b"you@example.com", b"hello+2@example.com")
        self.assertEqual(codes[1:], ["250 2.1.5", "250 2.1.5", "452 4.5.3"])
        client.say(b"DATA\r\n")
        self.assertEqual(client.codes(HEADER + b"\r\n.\r\n"), ["250 2.0.0"])
        self.assertEqual([alias for alias, _ in client.store.delivered], ["a1", "a2"])


class SizeTests(SynchronousTestCase):
    def test_declared(self):
        client = Conversation(message_limit=1000, memory_limit=1000)
        other = Conversation(client.factory)
        other.envelope(b"hello@example.com")
        other.say(b"BDAT 100\r\n" + b"x" * 100)
        for size, expected in ((900, "250 2.1.0"), (901, "452 4.3.1"), (1001, "552 5.3.4")):
            self.assertEqual(client.codes(b"MAIL FROM:<a@b.c> SIZE=%d\r\n" % size), [expected])
            client.say(b"RSET\r\n")

    def test_at_and_over_the_limit(self):
        for length, expected in ((998, "250 2.0.0"), (999, "552 5.3.4"), (500_000, "552 5.3.4")):
            client = Conversation(message_limit=1000)
            self.assertEqual(client.deliver(b"x" * length + b"\r\n"), [expected])
            self.assertEqual(len(client.store.delivered), int(expected.startswith("250")))
            self.assertEqual(client.codes(b"NOOP\r\n"), ["250 2.0.0"])

    def test_largest_message_fits_whatever_the_memory_limit(self):
        client = Conversation(message_limit=1000, memory_limit=1)
        self.assertEqual(client.deliver(b"x" * 998 + b"\r\n"), ["250 2.0.0"])

    def test_dots_are_not_counted_twice(self):
        client = Conversation(message_limit=1000)
        self.assertEqual(client.deliver(b"..\r\n" * 333), ["250 2.0.0"])

    def test_memory_of_the_process(self):
        client = Conversation(message_limit=1500, memory_limit=1500)
        other = Conversation(client.factory)
        other.envelope(b"hello@example.com")
        other.say(b"DATA\r\n")
        other.say(b"x" * 1000)
        self.assertEqual(client.deliver(b"y" * 1000 + b"\r\n"), ["452 4.3.1"])
        self.assertEqual(client.factory.services.budget.free, 500)
        self.assertEqual(other.codes(b"\r\n.\r\n"), ["250 2.0.0"])
        self.assertEqual(client.deliver(b"y" * 1000 + b"\r\n"), ["250 2.0.0"])
        self.assertEqual(client.factory.services.budget.free, 1500)

    def test_long_lines_are_fine(self):
        client = Conversation()
        content = b"Subject: x\r\n\r\n" + b"a" * 16_390 + b"\r\n" + b"b" * 100_000 + b"\r\n"
        for size in (None, 16_384, 1000):
            client.envelope(b"hello@example.com")
            client.say(b"DATA\r\n")
            self.assertEqual(client.codes(content + b".\r\n", size), ["250 2.0.0"])
        self.assertEqual(client.contents(), [content] * 3)


class ChunkingTests(SynchronousTestCase):
    CONTENT = HEADER + b"Subject: x\r\n\r\n.\r\n..\r\nbody\r\n.\r\n"

    def test_any_cut_is_the_same_message(self):
        for cut in range(len(self.CONTENT) + 1):
            client = Conversation()
            client.envelope(b"hello@example.com")
            first, second = self.CONTENT[:cut], self.CONTENT[cut:]
            wire = b"BDAT %d\r\n%sBDAT %d LAST\r\n%s" % (len(first), first, len(second), second)
            self.assertEqual(client.codes(wire, 11), ["250 2.0.0", "250 2.0.0"])
            self.assertEqual(client.contents(), [self.CONTENT])

    def test_last_may_be_empty(self):
        client = Conversation()
        client.envelope(b"hello@example.com")
        self.assertEqual(client.codes(b"BDAT 4\r\na\r\n\r"), ["250 2.0.0"])
        self.assertEqual(client.codes(b"BDAT 1\r\n\nBDAT 0 LAST\r\n"), ["250 2.0.0", "250 2.0.0"])
        self.assertEqual(client.contents(), [b"a\r\n\r\n"])

    def test_refused_chunks_are_swallowed(self):
        smuggled = b"MAIL FROM:<s@evil.example>\r\n"
        chunk = b"BDAT %d LAST\r\n%s" % (len(smuggled), smuggled)
        client = Conversation()
        self.assertEqual(client.codes(chunk + b"NOOP\r\n"), ["503 5.5.1", "250 2.0.0"])
        client.envelope(b"nobody@example.com")
        self.assertEqual(client.codes(chunk + b"NOOP\r\n"), ["554 5.5.1", "250 2.0.0"])
        client.say(b"RSET\r\n")
        client.envelope(b"hello@example.com")
        self.assertEqual(client.codes(chunk + chunk), ["250 2.0.0", "503 5.5.1"])
        self.assertEqual(client.contents(), [smuggled])

    def test_order(self):
        client = Conversation()
        client.envelope(b"hello@example.com")
        self.assertEqual(client.codes(b"BDAT 1\r\nx"), ["250 2.0.0"])
        self.assertEqual(client.codes(b"DATA\r\n"), ["503 5.5.1"])
        self.assertEqual(client.codes(b"RCPT TO:<you@example.com>\r\n"), ["503 5.5.1"])
        self.assertEqual(client.codes(b"MAIL FROM:<a@b.c>\r\n"), ["503 5.5.1"])
        self.assertEqual(client.codes(b"RSET\r\n"), ["250 2.0.0"])
        self.assertEqual(client.codes(b"BDAT 1 LAST\r\nx"), ["503 5.5.1"])
        self.assertEqual(client.store.delivered, [])
        budget = client.factory.services.budget
        self.assertEqual(budget.free, client.factory.options.memory_limit)

    def test_unknown_length_ends_the_connection(self):
        for argument in (b"", b"x", b"-1", b"1 LASTx", b"99999999999999"):
            client = Conversation()
            client.envelope(b"hello@example.com")
            self.assertEqual(client.codes(b"BDAT %s\r\nMAIL FROM:<>\r\n" % argument), ["501 5.5.4"])
            self.assertTrue(client.closed)

    def test_too_large_is_swallowed_and_told_once(self):
        client = Conversation(message_limit=100)
        client.envelope(b"hello@example.com")
        chunk = b"BDAT 60\r\n" + b"x" * 60
        codes = client.codes(chunk * 3 + b"NOOP\r\n", 7)
        self.assertEqual(codes, ["250 2.0.0", "552 5.3.4", "503 5.5.1", "250 2.0.0"])
        self.assertEqual(client.store.delivered, [])

    def test_bare_line_ends_are_refused(self):
        for content in (b"a\nb\r\n", b"a\rb\r\n", b"a\r\n\n", b"a\r", b"\n", b"a\0\r\n"):
            client = Conversation()
            client.envelope(b"hello@example.com")
            codes = client.codes(b"BDAT %d LAST\r\n%s" % (len(content), content))
            self.assertEqual(codes, ["554 5.6.0"], content)
            self.assertEqual(client.store.delivered, [])

    def test_cut_between_cr_and_lf_is_no_bare_line_end(self):
        client = Conversation()
        client.envelope(b"hello@example.com")
        codes = client.codes(b"BDAT 2\r\na\rBDAT 1\r\n\nBDAT 2 LAST\r\nb\rNOOP\r\n")
        self.assertEqual(codes, ["250 2.0.0", "250 2.0.0", "554 5.6.0", "250 2.0.0"])


class PipeliningTests(SynchronousTestCase):
    GROUP = (
        b"MAIL FROM:<a@b.c>\r\nRCPT TO:<nobody@example.com>\r\n"
        b"RCPT TO:<hello@example.com>\r\nDATA\r\n"
    )
    CODES = ("250 2.1.0", "550 5.1.1", "250 2.1.5", "354 End")

    def test_one_segment_one_write_in_order(self):
        client = Conversation()
        writes = []
        client.transport.write = writes.append
        client.server.dataReceived(self.GROUP)
        self.assertEqual(len(writes), 1)
        self.assertEqual([line[:3] for line in writes[0].split(b"\r\n")[:-1]],
                         [b"250", b"550", b"250", b"354"])  # fmt: skip

    def test_slow_store_keeps_the_order(self):
        client = Conversation()
        client.store.slow = True
        self.assertEqual(client.codes(self.GROUP), [])
        client.store.release()
        self.assertEqual(client.store.waiting, 1)
        client.store.release()
        self.assertEqual(client.codes(b""), list(self.CODES))

    def test_stored_message_is_told_before_the_next_command_runs(self):
        client = Conversation()
        client.envelope(b"hello@example.com")
        client.say(b"DATA\r\n")
        client.store.slow = True
        client.say(b"x\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<hello@example.com>\r\n")
        client.store.release()
        self.assertEqual(client.codes(b""), ["250 2.0.0", "250 2.1.0"])

    def test_every_chunk_size(self):
        dialogue = self.GROUP
        for size in range(1, len(dialogue)):
            client = Conversation()
            self.assertEqual(client.codes(dialogue, size), list(self.CODES))
            self.assertEqual(
                client.codes(b"..a\r\n.\r\nMAIL FROM:<>\r\nQUIT\r\n", size),
                ["250 2.0.0", "250 2.1.0", "221 2.0.0"],
            )
            self.assertEqual(client.contents(), [b".a\r\n"])

    def test_commands_behind_one_that_must_be_last(self):
        for command in (b"EHLO x", b"HELO x", b"DATA"):
            client = Conversation()
            client.envelope(b"hello@example.com")
            self.assertEqual(client.codes(command + b"\r\nNOOP\r\n"), ["554 5.5.0"])
            self.assertTrue(client.closed)
