"""APPEND, literals and the framing of commands: rfc3501 6.3.11, 4.3 and 9, LITERAL+, UIDPLUS."""

from datetime import UTC, datetime, timedelta, timezone

from tests.clients.imap_case import ImapTestCase, mail
from tests.clients.imap_client import Literal

RFC_EXAMPLE = (
    b"Date: Mon, 7 Feb 1994 21:52:25 -0800 (PST)\r\n"
    b"From: Fred Foobar <foobar@Blurdybloop.COM>\r\n"
    b"Subject: afternoon meeting\r\n"
    b"To: mooch@owatagu.siam.edu\r\n"
    b"Message-Id: <B27397-0100000@Blurdybloop.COM>\r\n"
    b"MIME-Version: 1.0\r\n"
    b"Content-Type: TEXT/PLAIN; CHARSET=US-ASCII\r\n"
    b"\r\n"
    b"Hello Joe, do you think we can meet at 3:30 tomorrow?\r\n"
    b"\r\n"
)


class AppendTests(ImapTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.client = self.login("INBOX")

    def test_the_example_of_the_standard(self) -> None:
        """rfc3501:2589"""
        self.client.ok("CREATE saved-messages")
        self.client.ok(f"APPEND saved-messages (\\Seen) {{{len(RFC_EXAMPLE)}+}}\r\n", RFC_EXAMPLE)
        self.client.ok("SELECT saved-messages")
        found = self.client.fetch("1", "(FLAGS BODY.PEEK[])")[1]
        self.assertEqual(found["BODY[]"], RFC_EXAMPLE)
        self.assertIn(b"\\Seen", found["FLAGS"])

    def test_flags_are_set_and_empty_by_default(self) -> None:
        """rfc3501:2555"""
        self.client.append(mail(), before="(\\Flagged \\Draft $Forwarded Custom) ")
        self.client.append(mail(), before="() ")
        self.client.append(mail())
        self.client.ok("NOOP")
        expected = {b"\\Flagged", b"\\Draft", b"$Forwarded", b"Custom"}
        self.assertEqual(self.client.flags(1), expected)
        self.assertEqual((self.client.flags(2), self.client.flags(3)), (set(), set()))

    def test_date_time_becomes_the_internal_date(self) -> None:
        """rfc3501:2560"""
        self.client.append(mail(), before='"17-Jul-1996 02:44:25 -0700" ')
        self.client.append(mail(), before='(\\Seen) " 1-Feb-2024 00:00:01 +0530" ')
        self.client.ok("NOOP")
        found = self.client.fetch("1:2", "INTERNALDATE")
        pacific, india = timezone(-timedelta(hours=7)), timezone(timedelta(hours=5, minutes=30))
        first = datetime(1996, 7, 17, 2, 44, 25, tzinfo=pacific)
        second = datetime(2024, 2, 1, 0, 0, 1, tzinfo=india)
        self.assertEqual(found[1]["INTERNALDATE"], first)
        self.assertEqual(found[2]["INTERNALDATE"], second)

    def test_internal_date_is_now_by_default(self) -> None:
        """rfc3501:2561"""
        before = datetime.now(UTC) - timedelta(seconds=2)
        self.client.append(mail())
        self.client.ok("NOOP")
        found = self.client.fetch("1", "INTERNALDATE")[1]["INTERNALDATE"]
        self.assertTrue(before <= found <= datetime.now(UTC) + timedelta(seconds=2))

    def test_malformed_dates_are_bad_and_append_nothing(self) -> None:
        """rfc3501:4713"""
        for date in (
            '"17-Jul-1996"',
            '"7-Jul-1996 02:44:25 -0700"',
            '"31-Feb-1996 02:44:25 -0700"',
            '"17-Jul-1996 25:44:25 -0700"',
            '"17-Foo-1996 02:44:25 -0700"',
        ):
            answer = self.client.command(f"APPEND INBOX {date} ", Literal(mail(), plus=True))
            self.assertIn(answer.status.kind, ("BAD", "NO"), date)
        self.assertEqual(self.client.status("INBOX", "MESSAGES"), {"MESSAGES": 0})

    def test_eight_bit_and_long_lines_and_bare_ends_are_preserved(self) -> None:
        """rfc3501:2543"""
        contents = [
            mail(body="Gr\u00fc\u00dfe \u4f60\u597d\r\n"),
            mail() + bytes(range(1, 256)) * 5,
            mail(body="x" * 100_000),
            b"Subject: unix\n\nline\nline\n",
            b"no header at all",
            b"\r\n",
            mail(body="ends without a line end"),
        ]
        for content in contents:
            self.client.append(content)
        self.client.ok("NOOP")
        found = self.client.fetch("1:*", "(BODY.PEEK[] RFC822.SIZE)")
        for number, content in enumerate(contents, 1):
            self.assertEqual(found[number]["BODY[]"], content)
            self.assertEqual(found[number]["RFC822.SIZE"], len(content))

    def test_absent_folder_is_trycreate_and_is_not_made(self) -> None:
        """rfc3501:2568"""
        self.assertEqual(self.client.no("APPEND Absent ", Literal(mail())).status.code, "TRYCREATE")
        self.assertNotIn("Absent", self.client.listed())

    def test_appenduid_is_right(self) -> None:
        """rfc4315:150"""
        validity = self.client.status("Sent", "UIDVALIDITY")["UIDVALIDITY"]
        for subject in ("First", "Second"):
            answer = self.client.ok("APPEND Sent ", Literal(mail(subject), plus=True))
            named, uid = answer.status.data.split()
            self.assertEqual((answer.status.code, int(named)), ("APPENDUID", validity))
            self.client.ok("EXAMINE Sent")
            found = self.client.ok(f"UID FETCH {int(uid)} ENVELOPE").messages
            (items,) = found.values()
            self.assertEqual(items["ENVELOPE"].subject, subject.encode())

    def test_the_selected_folder_tells_of_the_new_message_at_once(self) -> None:
        """rfc3501:2583"""
        answer = self.client.ok("APPEND INBOX ", Literal(mail()))
        self.assertEqual(answer.one("EXISTS").number, 1)

    def test_another_folder_says_nothing_into_the_selected_one(self) -> None:
        """rfc3501:3966"""
        answer = self.client.ok("APPEND Sent ", Literal(mail()))
        self.assertEqual(answer.of("EXISTS"), [])

    def test_nul_is_refused(self) -> None:
        """rfc3501:4512"""
        self.client.bad("APPEND INBOX ", Literal(b"Subject: a\0b\r\n\r\n", plus=True))
        self.assertEqual(self.client.status("INBOX", "MESSAGES"), {"MESSAGES": 0})

    def test_too_large_is_refused_before_the_octets_are_asked_for(self) -> None:
        """rfc7888:290"""
        limit = self.client.status("INBOX", "APPENDLIMIT")["APPENDLIMIT"]
        tag = self.client.tag()
        self.client.send(f"{tag} APPEND INBOX {{{limit + 1}}}\r\n".encode())
        self.assertEqual(self.client.read()[1].code, "TOOBIG")
        self.client.ok("NOOP")

    def test_quoted_message_is_bad(self) -> None:
        """rfc3501:4547"""
        self.client.bad('APPEND INBOX "Subject: x"')


class LiteralTests(ImapTestCase):
    shared = True

    def setUp(self) -> None:
        super().setUp()
        self.client = self.login()

    def test_synchronising_literals_draw_a_continuation_each(self) -> None:
        """rfc3501:4404"""
        self.client.send(b"t1 STATUS {5}\r\n")
        self.assertIsInstance(self.client.read(), bytes)
        self.client.send(b"INBOX (MESSAGES)\r\n")
        self.assertEqual(self.client.read().kind, "STATUS")
        self.assertEqual(self.client.read()[0], "t1")

    def test_non_synchronising_literals_draw_none(self) -> None:
        """rfc7888:176"""
        self.client.send(b"t1 STATUS {5+}\r\nINBOX (MESSAGES)\r\n")
        self.assertEqual(self.client.read().kind, "STATUS")

    def test_both_kinds_in_one_command(self) -> None:
        """rfc7888:181"""
        inbox, sent = Literal(b"Old Mail", plus=True), Literal(b"New Mail")
        self.client.ok("CREATE ", inbox)
        self.client.ok("RENAME ", inbox, " ", sent)
        self.client.ok("RENAME ", sent, " ", inbox)

    def test_empty_literals(self) -> None:
        """rfc3501:886"""
        for literal in (Literal(b""), Literal(b"", plus=True)):
            answer = self.client.ok("LIST ", literal, " ", literal)
            self.assertEqual(answer.one("LIST").value[2], b"")

    def test_a_literal_may_hold_line_ends_which_are_no_commands(self) -> None:
        """rfc3501:872"""
        evil = Literal(b"x\r\nt9 DELETE Sent\r\n", plus=True)
        self.client.command("SUBSCRIBE ", evil)
        self.client.ok("NOOP")
        self.assertIn("Sent", self.client.listed())

    def test_a_refused_non_synchronising_literal_is_read_and_never_executed(self) -> None:
        """rfc7888:184"""
        self.client.bad("SILLY ", Literal(b"t9 DELETE Sent\r\n", plus=True))
        self.assertIn("Sent", self.client.listed())

    def test_malformed_literals_are_bad(self) -> None:
        """rfc3501:4801"""
        for size in ("{-5}", "{1_0}", "{+5}", "{5000000000}", "{ 5}", "{}"):
            client = self.login()
            tag = client.tag()
            client.send(f"{tag} STATUS {size}\r\n".encode())
            self.assertEqual(client.read()[1].kind, "BAD", size)


class SyntaxTests(ImapTestCase):
    messages = 2
    shared = True

    def setUp(self) -> None:
        super().setUp()
        self.client = self.login("INBOX")

    def test_commands_and_items_in_any_case(self) -> None:
        """rfc3501:4502"""
        self.assertEqual(
            set(self.client.fetch("1", "(uid Flags rfc822.Size)")[1]),
            {
                "UID",
                "FLAGS",
                "RFC822.SIZE",
            },
        )
        self.client.ok("uid fetch 1:* (flags)")

    def test_exactly_one_space(self) -> None:
        """rfc3501:4508"""
        for command in ("FETCH  1 FLAGS", "FETCH 1  FLAGS", "FETCH 1\tFLAGS", "NOOP x"):
            self.client.bad(command)

    def test_missing_arguments_are_bad(self) -> None:
        """rfc3501:1306"""
        for command in ("FETCH", "FETCH 1", "STORE 1", "STORE 1 FLAGS", "COPY 1", "SEARCH", "UID"):
            self.client.bad(command)

    def test_quoted_strings_with_escapes(self) -> None:
        """rfc3501:4903"""
        self.client.ok('CREATE "a\\"b\\\\c"')
        self.assertIn('a"b\\c', self.client.listed())
        self.client.bad('CREATE "a\\b"')
        self.client.bad('CREATE "open')

    def test_bad_tags_are_bad(self) -> None:
        """rfc3501:5061"""
        for line in (b"+ NOOP", b"* NOOP", b"(x NOOP", b"", b"onlytag"):
            client = self.login()
            client.send(line + b"\r\n")
            response = client.read()
            status = response[1] if isinstance(response, tuple) else response
            self.assertEqual(status.kind, "BAD", line)

    def test_tags_come_back_unchanged(self) -> None:
        """rfc3501:3465"""
        for tag in (b"A001", b"x.y-z_1", b"{", b"}tag", b"]"):
            self.client.send(tag + b" NOOP\r\n")
            expected = b"* BAD" if tag == b"{" else tag + b" OK"
            self.assertTrue(self.client.response().startswith(expected), tag)

    def test_pipelined_commands_are_answered_in_order(self) -> None:
        """rfc3501:1204"""
        self.client.send(
            b"p1 UID SEARCH ALL\r\np2 STORE 1 +FLAGS.SILENT (\\Flagged)\r\n"
            b"p3 SEARCH FLAGGED\r\np4 SELECT Sent\r\np5 EXAMINE INBOX\r\np6 SEARCH ALL\r\n"
        )
        order, found = [], []
        self.client.command_name = "?"
        while len(order) < 6:
            self.client.exists = None
            response = self.client.read()
            if isinstance(response, tuple):
                self.assertEqual(response[1].kind, "OK")
                order.append(response[0])
            elif response.kind == "SEARCH":
                found.append(response.value[0])
        self.assertEqual(order, ["p1", "p2", "p3", "p4", "p5", "p6"])
        self.assertEqual(found, [self.uids, [1], [1, 2]])

    def test_many_pipelined_fetches_all_come(self) -> None:
        """rfc3501:1192"""
        count = 200
        self.client.send(b"".join(b"q%d FETCH 1:2 BODY.PEEK[]\r\n" % n for n in range(count)))
        tags = []
        while len(tags) < count:
            response = self.client.read()
            if isinstance(response, tuple):
                tags.append(response[0])
        self.assertEqual(tags, [f"q{n}" for n in range(count)])

    def test_one_octet_at_a_time(self) -> None:
        """rfc3501:1192"""
        for octet in b'z1 STATUS "INBOX" (MESSAGES)\r\n':
            self.client.send(bytes([octet]))
        self.assertEqual(self.client.read().value[1], {"MESSAGES": 2})

    def test_an_endless_line_is_cut_off(self) -> None:
        """rfc3501:3703"""
        self.client.send(b"z1 NOOP " + b"x" * 200_000 + b"\r\n")
        response = self.client.read()
        status = response[1] if isinstance(response, tuple) else response
        self.assertIn(status.kind, ("BAD", "BYE"))
