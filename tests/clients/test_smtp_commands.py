"""Unusual but legal clients are served, and every address finds its mailbox or its refusal."""

from tests.clients.common import SENDER
from tests.clients.smtp_case import SmtpTestCase, without_trace

CONTENT = b"Subject: a\r\n\r\nbody\r\n"


class CommandTests(SmtpTestCase):
    def test_helo_only(self) -> None:
        """rfc5321:1818"""
        client = self.connect(hello=b"HELO old.example.org")
        self.assertEqual(client.hello.lines, ["localhost greets you"])
        self.assertEqual(client.deliver(CONTENT, self.address), "250 2.0.0")
        [mail] = self.mails()
        self.assertIn(b"Received: from old.example.org ([127.1.", mail)
        self.assertIn(b" with SMTP id ", mail)

    def test_case_and_blanks(self) -> None:
        """Verbs in any case (rfc5321:862), blanks where clients are known to put them."""
        client = self.connect(hello=b"ehlo\tc.example.org  ")
        for mail, rcpt in (
            (b"mail from:<a@b.c>", b"rcpt to:<%b>"),
            (b"Mail From: <a@b.c>", b"Rcpt To: <%b>"),
            (b"MAIL FROM:<a@b.c>  ", b"RCPT TO:<%b>\t "),
            (b"MAIL FROM : <a@b.c> body=8bitmime  size=99", b"RCPT  TO : <%b>"),
            (b"MAIL   FROM:   <> BODY=7BIT SMTPUTF8", b"RCPT\tTO:<@one.example,@two.example:%b>"),
        ):
            self.assertEqual(client.say(mail).short, "250 2.1.0", mail)
            self.assertEqual(client.say(rcpt % self.address.encode()).short, "250 2.1.5", rcpt)
            self.assertEqual(client.say(b"dAtA ").code, 354)
            client.send(CONTENT + b".\r\n")
            self.assertEqual(client.reply().short, "250 2.0.0")
        self.assertEqual(client.say(b"quit ").short, "221 2.0.0")
        self.assertEqual(self.bodies(), [CONTENT] * 5)

    def test_hello_names(self) -> None:
        """A name that is none is no reason to refuse mail (rfc5321:2483), nor to forge trace."""
        for name in (
            b"[127.0.0.1]", b"[IPv6:::1]", b"under_score", b"x", b"a" * 500, b"-", b"a) by evil (b",
            b"a;\tid x", "größe.example".encode(), b"mail.example.org extra words", b"\\", b'"',
        ):  # fmt: skip
            client = self.connect(hello=b"EHLO " + name)
            self.assertEqual(client.deliver(CONTENT, self.address), "250 2.0.0", name)
            client.close()
        mails = self.mails()
        self.assertEqual(len(mails), 12)
        for mail in mails:
            received = mail.partition(b"Received: ")[2].partition(b"\r\n\tby ")[0]
            self.assertRegex(
                received,
                rb"\Afrom (\S+ \(\[127[.0-9]+\]\)|\[127[.0-9]+\] \(HELO [^()\\\";\s]*\))\Z",
            )
            self.assertEqual(without_trace(mail), CONTENT)

    def test_senders(self) -> None:
        longest = "a" * 64 + "@" + ".".join(["d" * 60] * 3)
        for sender in (
            "", longest, '"a b"@example.org', '"a\\"b"@example.org', '"<>"@example.org',
            "a@[192.0.2.1]", "a@[IPv6:2001:db8::1]", "jürgen@bücher.example", "a+b=c@d.example",
            "root@host_name.example",
        ):  # fmt: skip
            client = self.connect()
            self.assertEqual(client.envelope(self.address, sender=sender)[0], "250 2.1.0", sender)
            self.assertEqual(client.data(CONTENT), "250 2.0.0")
            path = self.mails()[-1].partition(b"\r\n")[0]
            self.assertEqual(path.decode(), f"Return-Path: <{sender}>")
            client.close()

    def test_senders_that_are_none(self) -> None:
        client = self.connect()
        for path, status in (
            (b"a@b.c", "501 5.1.7"), (b"<a@b.c", "501 5.1.7"), (b"<a>", "501 5.1.7"),
            (b"<a@b c>", "501 5.1.7"), (b"<a@b.c>SIZE=1", "501 5.5.4"),
            (b"<a@b.c> SIZE=-1", "501 5.5.4"), (b"<a@b.c> SIZE=1 size=2", "501 5.5.4"),
            (b"<a@b.c> BODY=BINARYMIME", "501 5.5.4"), (b"<a@b.c> FOO=bar", "555 5.5.4"),
            (b"<a@b.c>\r<a@b.c>", "500 5.5.2"), (b"<a\x00@b.c>", "500 5.5.2"),
            (b"<\xff@b.c>", "500 5.5.2"), (b"<a@b.c> AUTH=<>", "555 5.5.4"),
        ):  # fmt: skip
            self.assertEqual(client.say(b"MAIL FROM:" + path).short, status, path)

    def test_group_with_bad_recipients(self) -> None:
        """One reply for each command, in their order (rfc2920:204)."""
        client = self.connect()
        client.send(
            b"RSET\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<nobody@example.com>\r\n"
            b"RCPT TO:<%b>\r\nRCPT TO:<x@elsewhere.example>\r\nRCPT TO:what\r\nRCPT TO:<%b>\r\n"
            b"VERB\r\nDATA\r\n" % (self.address.encode(), self.address.replace("@", "+x@").encode())
        )
        self.assertEqual(
            client.shorts(9),
            ["250 2.0.0", "250 2.1.0", "550 5.1.1", "250 2.1.5", "550 5.7.1", "501 5.1.3",
             "250 2.1.5", "500 5.5.1", "354"],
        )  # fmt: skip
        client.send(CONTENT + b".\r\nMAIL FROM:<c@b.c>\r\nRCPT TO:<nobody@example.com>\r\nDATA\r\n")
        self.assertEqual(client.shorts(4), ["250 2.0.0", "250 2.1.0", "550 5.1.1", "554 5.5.1"])
        self.assertEqual(client.say(b"RSET").short, "250 2.0.0")
        self.assertEqual(client.deliver(CONTENT, self.address), "250 2.0.0")
        # Two addresses of one mailbox are one copy.
        self.assertEqual(self.bodies(), [CONTENT] * 2)

    def test_octet_by_octet(self) -> None:
        client = self.connect(hello=b"")
        whole = f"EHLO c\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<{self.address}>\r\nDATA\r\n".encode()
        for line in whole.splitlines(keepends=True):
            client.send(line, 1)
            client.reply(bare=True)
        client.send(CONTENT + b".\r\n", 1)
        self.assertEqual(client.shorts(1), ["250 2.0.0"])
        self.assertEqual(self.bodies(), [CONTENT])

    def test_every_answer_has_a_status(self) -> None:
        """rfc2034:123; the client refuses replies without one."""
        client = self.connect()
        for line, short in (
            (b"NOOP x", "250 2.0.0"), (b"VRFY x", "252 2.5.0"), (b"VRFY", "501 5.5.4"),
            (b"EXPN x", "502 5.5.1"), (b"HELP", "214 2.0.0"), (b"AUTH PLAIN AAAA", "502 5.5.1"),
            (b"", "500 5.5.2"), (b" NOOP", "500 5.5.2"), (b"N" * 2100, "500 5.5.2"),
            (b"DATA", "503 5.5.1"), (b"RCPT TO:<a@b.c>", "503 5.5.1"), (b"RSET x", "501 5.5.4"),
            (b"XCLIENT ADDR=1.2.3.4", "500 5.5.1"), (b"QUIT", "221 2.0.0"),
        ):  # fmt: skip
            self.assertEqual(client.say(line).short, short, line)
        self.assertTrue(client.ended())


class RecipientTests(SmtpTestCase):
    def rcpt(self, path: str) -> str:
        client = self.connect()
        client.say(b"MAIL FROM:<a@b.c>")
        short = client.say(f"RCPT TO:{path}".encode()).short
        client.close()
        return short

    def add(self, address: str, *words: str) -> str:
        self.server.command("alias", "add", address, *words)
        return self.server.command("password", address)["password"]

    def test_other_spellings_of_an_address(self) -> None:
        """Plus addresses, case, quotes; each copy says which was used."""
        local, _, domain = self.address.partition("@")
        client = self.connect()
        for spelled in (f"{local}+Shop@{domain}", f"{local.upper()}@{domain.upper()}",
                        f'"{local}"@{domain}', f'"{local[0]}\\{local[1:]}"@{domain}'):  # fmt: skip
            self.assertEqual(client.deliver(CONTENT, spelled), "250 2.0.0", spelled)
        mails = self.mails()
        self.assertEqual([without_trace(mail) for mail in mails], [CONTENT] * 4)
        self.assertIn(f"for <{local}+Shop@{domain}>;".encode(), mails[0])
        self.assertIn(f"for <{self.address}>;".encode(), mails[2])

    def test_quoted_local_part(self) -> None:
        password = self.add('"a b"@example.com')
        client = self.connect()
        self.assertEqual(client.deliver(CONTENT, '"a b"@example.com'), "250 2.0.0")
        self.assertEqual(client.deliver(CONTENT, '"A\\ b"@example.com'), "250 2.0.0")
        imap_name = '"\\"a b\\"@example.com"'
        mails = self.mails(imap_name, password)
        self.assertEqual([without_trace(mail) for mail in mails], [CONTENT] * 2)
        self.assertIn(b'for <"a b"@example.com>', mails[0])

    def test_catch_all(self) -> None:
        self.server.command("domain", "add", "catch.example")
        password = self.add("*@catch.example")
        self.add("own@catch.example")
        client = self.connect()
        for address in ("anything@catch.example", "x+y@Catch.Example", "own@catch.example"):
            self.assertEqual(client.deliver(CONTENT, address), "250 2.0.0")
        mails = self.mails('"*@catch.example"', password)
        self.assertEqual(len(mails), 2)
        self.assertIn(b"for <anything@catch.example>", mails[0])

    def test_utf8(self) -> None:
        """rfc6531: in U-labels and in A-labels it is one mailbox."""
        self.server.command("domain", "add", "bücher.example")
        password = self.add("grüße@bücher.example")
        client = self.connect()
        for domain in ("bücher.example", "BÜCHER.example", "xn--bcher-kva.example"):
            client.send(
                f"MAIL FROM:<ö@x.example> SMTPUTF8\r\nRCPT TO:<grüße@{domain}>\r\n".encode()
            )
            self.assertEqual(client.shorts(2), ["250 2.1.0", "250 2.1.5"])
            self.assertEqual(client.data(CONTENT), "250 2.0.0")
        mails = self.mails_of_utf8("grüße@bücher.example", password)
        self.assertEqual(len(mails), 3)
        for mail in mails:
            self.assertTrue(mail.startswith("Return-Path: <ö@x.example>\r\n".encode()))
            self.assertIn(b" with UTF8SMTP id ", mail)

    def mails_of_utf8(self, address: str, password: str) -> list[bytes]:
        return self.mails(f"{{{len(address.encode())}+}}\r\n{address}", password)

    def test_refused(self) -> None:
        self.add("off@example.com")
        self.server.command("alias", "disable", "off@example.com")
        for path, short in (
            ("<nobody@example.com>", "550 5.1.1"), ("<off@example.com>", "550 5.2.1"),
            ("<off+x@example.com>", "550 5.2.1"), ("<x@elsewhere.example>", "550 5.7.1"),
            ("<x@[127.0.0.1]>", "550 5.7.1"), ("<>", "501 5.1.3"),
            ("<@>", "501 5.1.3"), ("<a@example.com> NOTIFY=NEVER", "555 5.5.4"),
            ("<x%elsewhere.example@example.com>", "550 5.1.1"),
            ("<elsewhere.example!x@example.com>", "550 5.1.1"),
            ('<"x@elsewhere.example"@example.com>', "550 5.1.1"),
            ("<@example.com:x@elsewhere.example>", "550 5.7.1"),
            (f"<{'a' * 64}@example.com>", "550 5.1.1"), (f"<{'a' * 300}@example.com>", "501 5.1.3"),
        ):  # fmt: skip
            self.assertEqual(self.rcpt(path), short, path)

    def test_enabled_again(self) -> None:
        self.server.command("alias", "disable", self.address)
        self.assertEqual(self.rcpt(f"<{self.address}>"), "550 5.2.1")
        self.server.command("alias", "enable", self.address)
        self.assertEqual(self.rcpt(f"<{self.address}>"), "250 2.1.5")

    def test_without_a_password_yet(self) -> None:
        """There is no key to seal to: the sender tries again, and then it arrives."""
        self.server.command("alias", "add", "new@example.com")
        client = self.connect()
        verdicts = client.envelope("new@example.com")
        short = client.data(CONTENT) if verdicts[1] == "250 2.1.5" else verdicts[1]
        self.assertEqual(short, "450 4.2.1")
        client.say(b"RSET")
        password = self.server.command("password", "new@example.com")["password"]
        self.assertEqual(client.deliver(CONTENT, "new@example.com"), "250 2.0.0")
        self.assertEqual(self.bodies("new@example.com", password), [CONTENT])

    def test_over_quota(self) -> None:
        """452 for the full one alone; what others were promised is kept."""
        password = self.add("small@example.com", "--quota", "100K")
        client = self.connect()
        large = CONTENT + b"x" * 70_000 + b"\r\n"
        self.assertEqual(client.deliver(large, "small@example.com"), "250 2.0.0")
        client.envelope("small@example.com")
        self.assertEqual(client.data(large), "452 4.2.2")
        self.assertEqual(client.deliver(CONTENT, "small@example.com"), "250 2.0.0")
        self.assertEqual(client.deliver(CONTENT, self.address), "250 2.0.0")
        self.assertEqual(self.bodies("small@example.com", password), [large, CONTENT])

    def test_postmaster_without_domain(self) -> None:
        """rfc5321:3401: wherever the host's own postmaster is."""
        self.server.command("domain", "add", "localhost")
        password = self.add("postmaster@localhost")
        client = self.connect()
        self.assertEqual(client.deliver(CONTENT, "PostMaster"), "250 2.0.0")
        self.assertEqual(self.bodies("postmaster@localhost", password), [CONTENT])

    def test_log_holds_no_addresses_and_no_text(self) -> None:
        client = self.connect()
        client.envelope(self.address, "nobody-here@example.com", sender="Secret.Sender@example.org")
        self.assertEqual(client.data(b"Subject: hush-hush\r\n\r\nwhispered\r\n"), "250 2.0.0")
        client.envelope(self.address, sender=SENDER)
        client.say(b"DATA")
        client.send(b"whispered\nbadly\r\n.\r\n")
        self.assertEqual(client.reply().short, "554 5.6.0")
        said = self.server.log.read_text()
        self.assertIn("from=example.org recipients=1 refused=1 ", said)
        self.assertIn("reply=554 5.6.0", said)
        for secret in ("hush", "whispered", "Secret", "Sender@", "nobody-here", self.address,
                       "Traceback", "Unhandled"):  # fmt: skip
            self.assertNotIn(secret, said)
