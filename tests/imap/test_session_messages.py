"""Reading and changing messages, one session alone."""

from typing import ClassVar

from mailsrv.errors import DiskFull, MailsrvError
from mailsrv.store.values import LARGE, SEEN
from tests.imap.talking import ADDRESS, Client, ImapTestCase, message


class MessagesTestCase(ImapTestCase):
    names: tuple[bytes, ...] = (b"one", b"two", b"three")

    def setUp(self) -> None:
        super().setUp()
        self.fill(self.names)
        self.inbox = self.store.mailbox(ADDRESS).named("INBOX")
        self.client = self.opened()

    def opened(self, name: bytes = b"INBOX") -> Client:
        client = self.logged_in()
        client.select(name)
        return client

    def system(self) -> dict[int, int]:
        return {uid: one.system for uid, one in self.inbox.messages.items()}


class FetchTests(MessagesTestCase):
    def test_numbers_and_uids(self) -> None:
        self.inbox.remove([1])
        client = self.opened()
        self.assertEqual(
            client.say(b"FETCH 1:2 (UID RFC822.SIZE)"),
            [
                b"* 1 FETCH (UID 2 RFC822.SIZE %d)" % len(message(b"two")),
                b"* 2 FETCH (UID 3 RFC822.SIZE %d)" % len(message(b"three")),
                b"OK FETCH completed",
            ],
        )
        self.assertEqual(
            client.say(b"UID FETCH 3:* (INTERNALDATE)"),
            [
                b'* 2 FETCH (UID 3 INTERNALDATE "23-Nov-2026 09:15:00 +0000")',
                b"OK FETCH completed",
            ],
        )
        self.assertEqual(client.say(b"UID FETCH 1 FLAGS"), [b"OK FETCH completed"])
        self.assertEqual(client.say(b"UID FETCH 17:* UID")[0], b"* 2 FETCH (UID 3)")

    def test_number_too_high(self) -> None:
        for numbers in (b"4", b"1:4", b"2,9"):
            self.assertEqual(
                self.client.say(b"FETCH " + numbers + b" FLAGS"),
                [b"BAD No message has such a number"],
            )

    def test_body_is_exact_and_makes_seen(self) -> None:
        content = message(b"two")
        self.client.send(b"a FETCH 2 BODY[]\r\n")
        self.assertEqual(
            self.client.raw(),
            b"* 2 FETCH (BODY[] {%d}\r\n%b FLAGS (\\Recent \\Seen))\r\na OK FETCH completed\r\n"
            % (len(content), content),
        )
        self.assertEqual(self.system(), {1: 0, 2: SEEN, 3: 0})
        self.client.send(b"a FETCH 2 BODY[]\r\n")
        self.assertNotIn(b"FLAGS", self.client.raw())

    def test_what_makes_seen_and_what_does_not(self) -> None:
        for item in (b"BODY.PEEK[]", b"RFC822.HEADER", b"BODY.PEEK[TEXT]", b"ENVELOPE", b"BODY"):
            self.client.say(b"FETCH 1 (" + item + b")")
            self.assertEqual(self.system()[1], 0, item)
        for number, item in ((1, b"RFC822"), (2, b"RFC822.TEXT"), (3, b"BODY[HEADER]")):
            self.client.say(b"FETCH %d (" % number + item + b")")
            self.assertEqual(self.system()[number], SEEN, item)

    def test_partials(self) -> None:
        content = message(b"one")
        for start, length in ((0, 20), (10, 1), (len(content) - 5, 50), (len(content), 5)):
            self.client.send(b"a FETCH 1 BODY.PEEK[]<%d.%d>\r\n" % (start, length))
            piece = content[start : start + length]
            self.assertEqual(
                self.client.raw(),
                b"* 1 FETCH (BODY[]<%d> {%d}\r\n%b)\r\na OK FETCH completed\r\n"
                % (start, len(piece), piece),
            )

    def test_large_section_comes_in_pieces(self) -> None:
        content = message(b"big") + b"0123456789abcde\r\n" * (LARGE // 16)
        self.client.say(b"APPEND INBOX {%d+}\r\n%b" % (len(content), content))
        self.client.send(b"a FETCH 4 (UID BODY.PEEK[] RFC822.SIZE)\r\n")
        self.assertEqual(
            self.client.raw(),
            b"* 4 FETCH (UID 4 BODY[] {%d}\r\n%b RFC822.SIZE %d)\r\na OK FETCH completed\r\n"
            % (len(content), content, len(content)),
        )
        self.assertGreater(self.store.calls.count("read"), 3)

    def test_large_section_that_breaks_off_ends_the_connection(self) -> None:
        content = message(b"big") + b"0123456789abcde\r\n" * (LARGE // 16)
        self.client.say(b"APPEND INBOX {%d+}\r\n%b" % (len(content), content))
        self.store.failures["read"] = DiskFull("page 7")
        self.client.send(b"a FETCH 4 BODY.PEEK[]\r\n")
        self.assertTrue(self.client.raw().endswith(b"BODY[] {%d}\r\n" % len(content)))
        self.assertTrue(self.client.closed)

    def test_pages(self) -> None:
        self.fill(b"m%d" % number for number in range(2500))
        self.client.say(b"NOOP")
        lines = self.client.say(b"FETCH 1:* UID")
        self.assertEqual(len(lines), 2504)
        self.assertEqual(lines[2502], b"* 2503 FETCH (UID 2503)")

    def test_failure_in_the_middle_is_told_once(self) -> None:
        self.fill(b"m%d" % number for number in range(1500))
        self.client.say(b"NOOP")
        client = self.client

        real = self.store.fetch

        def fetch(*arguments: object) -> object:
            self.store.failures["fetch"] = MailsrvError("gone")
            self.store.fetch = real  # type: ignore[method-assign]
            return first

        access = client.server.session.access
        from mailsrv.store.values import ALL_UIDS, FetchRequest

        first = real(access, self.inbox.id, FetchRequest(ALL_UIDS))
        self.store.fetch = fetch  # type: ignore[method-assign]
        lines = client.say(b"FETCH 1:* UID")
        self.assertEqual(len(lines), 1001)
        self.assertEqual(lines[-1], b"NO The server cannot do that now, try again")
        self.assertEqual(client.say(b"FETCH 1 UID")[0], b"* 1 FETCH (UID 1)")


class StoreTests(MessagesTestCase):
    def test_add_remove_replace(self) -> None:
        say = self.client.say
        self.assertEqual(
            say(b"STORE 1:2 +FLAGS (\\Seen $Junk)")[2:],
            [
                b"* 1 FETCH (FLAGS (\\Recent \\Seen $Junk))",
                b"* 2 FETCH (FLAGS (\\Recent \\Seen $Junk))",
                b"OK STORE completed",
            ],
        )
        self.assertEqual(
            say(b"UID STORE 2 -FLAGS $junk")[0], b"* 2 FETCH (UID 2 FLAGS (\\Recent \\Seen))"
        )
        self.assertEqual(say(b"STORE 1 FLAGS ()")[0], b"* 1 FETCH (FLAGS (\\Recent))")
        self.assertEqual(say(b"STORE 1:* FLAGS.SILENT \\Flagged"), [b"OK STORE completed"])
        self.assertEqual(
            say(b"FETCH 1 FLAGS"),
            [b"* 1 FETCH (FLAGS (\\Recent \\Flagged))", b"OK FETCH completed"],
        )

    def test_recent_is_nobodys_to_store(self) -> None:
        self.assertTrue(self.client.say(b"STORE 1 +FLAGS (\\Recent)")[0].startswith(b"BAD"))

    def test_new_keyword_is_announced_once(self) -> None:
        first = self.client.say(b"STORE 1 +FLAGS (blue)")
        self.assertTrue(first[0].startswith(b"* FLAGS (") and first[0].endswith(b" blue)"))
        self.assertTrue(first[1].startswith(b"* OK [PERMANENTFLAGS"))
        self.assertEqual(len(self.client.say(b"STORE 2 +FLAGS (BLUE)")), 2)


class CarryTests(MessagesTestCase):
    def test_copy(self) -> None:
        self.assertEqual(
            self.client.say(b"COPY 1,3 Archive"), [b"OK [COPYUID 1006 1,3 1:2] COPY completed"]
        )
        self.assertEqual(
            self.client.say(b"UID COPY 2 Archive"), [b"OK [COPYUID 1006 2 3] COPY completed"]
        )
        self.assertEqual(self.client.say(b"UID COPY 99 Archive"), [b"OK COPY completed"])

    def test_copy_into_the_same_folder(self) -> None:
        self.assertEqual(
            self.client.say(b"COPY 1 INBOX"),
            [b"* 4 EXISTS", b"* 4 RECENT", b"OK [COPYUID 1001 1 4] COPY completed"],
        )

    def test_missing_folder(self) -> None:
        expected = [b"NO [TRYCREATE] There is no such folder"]
        self.assertEqual(self.client.say(b"COPY 1 Nowhere"), expected)
        self.assertEqual(self.client.say(b"MOVE 1 Nowhere"), expected)
        self.assertEqual(self.client.say(b"APPEND Nowhere {1+}\r\nx"), expected)

    def test_move(self) -> None:
        self.assertEqual(
            self.client.say(b"MOVE 1,3 Archive"),
            [
                b"* OK [COPYUID 1006 1,3 1:2] Moved",
                b"* 3 EXPUNGE",
                b"* 1 EXPUNGE",
                b"OK MOVE completed",
            ],
        )
        self.assertEqual(
            self.client.say(b"UID MOVE 2 Trash"),
            [b"* OK [COPYUID 1005 2 1] Moved", b"* 1 EXPUNGE", b"OK MOVE completed"],
        )
        self.assertEqual(self.client.say(b"NOOP"), [b"OK NOOP completed"])

    def test_expunge(self) -> None:
        self.client.say(b"STORE 1,3 +FLAGS.SILENT (\\Deleted)")
        self.assertEqual(
            self.client.say(b"UID EXPUNGE 2:3"), [b"* 3 EXPUNGE", b"OK UID EXPUNGE completed"]
        )
        self.assertEqual(self.client.say(b"EXPUNGE"), [b"* 1 EXPUNGE", b"OK EXPUNGE completed"])
        self.assertEqual(self.client.say(b"EXPUNGE"), [b"OK EXPUNGE completed"])
        self.assertEqual(
            self.client.say(b"FETCH 1 UID"), [b"* 1 FETCH (UID 2)", b"OK FETCH completed"]
        )


class AppendTests(MessagesTestCase):
    def test_with_everything(self) -> None:
        content = message(b"new")
        self.client.send(
            b'a APPEND INBOX (\\Seen $Done) "23-Nov-2026 10:15:00 +0100" {%d}\r\n' % len(content)
        )
        self.assertEqual(self.client.heard(), [b"+ Ready for the literal"])
        self.client.send(content + b"\r\n")
        self.assertEqual(
            self.client.heard(),
            [b"* 4 EXISTS", b"* 4 RECENT", b"a OK [APPENDUID 1001 4] APPEND completed"],
        )
        stored = self.inbox.messages[4]
        self.assertEqual(
            (stored.content, stored.system, stored.keywords, stored.internal_date),
            (content, SEEN, "$Done", "2026-11-23T09:15:00Z"),
        )

    def test_to_another_folder_says_nothing_of_this_one(self) -> None:
        self.assertEqual(
            self.client.say(b"APPEND Sent {3+}\r\na\r\n"),
            [b"OK [APPENDUID 1003 1] APPEND completed"],
        )

    def test_nul(self) -> None:
        self.assertEqual(
            self.client.say(b"APPEND Sent {3+}\r\na\0b"), [b"BAD A message has no NUL"]
        )


class AppendLimitTests(MessagesTestCase):
    options: ClassVar[dict[str, int]] = {"append_limit": 1000}

    def test_is_advertised_and_kept_before_a_single_octet_is_sent(self) -> None:
        self.assertIn(b"APPENDLIMIT=1000", self.client.say(b"CAPABILITY")[0])
        refused = [b"NO [TOOBIG] The message is too large"]
        self.assertEqual(self.client.say(b"APPEND INBOX {1001}"), refused)
        self.assertEqual(
            self.client.say(b"APPEND INBOX {1001+}\r\n" + b"a NOOP\r\n" * 125 + b"x"), refused
        )
        self.assertEqual(self.client.say(b"APPEND INBOX {1000}"), [b"+ Ready for the literal"])

    def test_not_before_login(self) -> None:
        client = self.connect()
        self.assertTrue(client.say(b"APPEND INBOX {10}")[0].startswith(b"BAD"))


class SearchTests(MessagesTestCase):
    def test_forms_of_answer(self) -> None:
        say = self.client.say
        self.client.say(b"STORE 2 +FLAGS.SILENT (\\Flagged)")
        self.inbox.remove([1])
        self.client = self.opened()
        say = self.client.say
        self.assertEqual(say(b"SEARCH FLAGGED"), [b"* SEARCH 1", b"OK SEARCH completed"])
        self.assertEqual(say(b"UID SEARCH ALL")[0], b"* SEARCH 2 3")
        self.assertEqual(say(b"SEARCH SUBJECT nothing")[0], b"* SEARCH")
        self.assertEqual(say(b"UID SEARCH RETURN () 1:*")[0], b'* ESEARCH (TAG "t6") UID ALL 2:3')
        self.assertEqual(
            say(b"SEARCH RETURN (MIN MAX COUNT) UID 1:2")[0],
            b'* ESEARCH (TAG "t7") MIN 1 MAX 1 COUNT 1',
        )

    def test_recent_is_the_sessions_own(self) -> None:
        self.assertEqual(self.client.say(b"SEARCH RECENT")[0], b"* SEARCH 1 2 3")
        other = self.opened()
        self.assertEqual(other.say(b"SEARCH RECENT")[0], b"* SEARCH")
        self.assertEqual(other.say(b"SEARCH OLD")[0], b"* SEARCH 1 2 3")

    def test_charsets(self) -> None:
        self.assertTrue(self.client.say(b"SEARCH CHARSET UTF-8 ALL")[-1].startswith(b"OK"))
        self.assertTrue(
            self.client.say(b"SEARCH CHARSET KOI8-R ALL")[0].startswith(b"NO [BADCHARSET (")
        )

    def test_numbers_that_nobody_has_find_nothing(self) -> None:
        self.assertEqual(self.client.say(b"SEARCH 2:17")[0], b"* SEARCH 2 3")
        self.assertEqual(self.client.say(b"SEARCH 17")[0], b"* SEARCH")

    def test_bomb(self) -> None:
        for bomb in (b"NOT " * 500 + b"ALL", b"(" * 500, b"OR " * 3000):
            self.assertTrue(self.client.say(b"SEARCH " + bomb)[0].startswith(b"BAD"))


class CondstoreTests(MessagesTestCase):
    def test_enable(self) -> None:
        self.assertEqual(
            self.client.say(b"ENABLE X CONDSTORE"),
            [
                b"* OK [HIGHESTMODSEQ 4] Mod-sequences begin",
                b"* ENABLED CONDSTORE",
                b"OK ENABLE completed",
            ],
        )
        self.assertEqual(self.client.say(b"ENABLE CONDSTORE")[0], b"* ENABLED")

    def test_changed_since(self) -> None:
        self.client.say(b"STORE 2 +FLAGS.SILENT (\\Seen)")
        self.assertEqual(
            self.client.say(b"FETCH 1:* (FLAGS) (CHANGEDSINCE 4)"),
            [
                b"* OK [HIGHESTMODSEQ 5] Mod-sequences begin",
                b"* 2 FETCH (FLAGS (\\Recent \\Seen) MODSEQ (5))",
                b"OK FETCH completed",
            ],
        )

    def test_store_tells_modseq_even_when_silent(self) -> None:
        self.client.say(b"ENABLE CONDSTORE")
        self.assertEqual(
            self.client.say(b"STORE 1 +FLAGS (\\Seen)")[0],
            b"* 1 FETCH (UID 1 FLAGS (\\Recent \\Seen) MODSEQ (5))",
        )
        self.assertEqual(
            self.client.say(b"UID STORE 2 +FLAGS.SILENT (\\Seen)")[0],
            b"* 2 FETCH (UID 2 MODSEQ (6))",
        )

    def test_unchanged_since(self) -> None:
        self.client.say(b"STORE 2 +FLAGS.SILENT (\\Flagged)")
        lines = self.client.say(b"STORE 1:3 (UNCHANGEDSINCE 4) +FLAGS.SILENT (\\Seen)")
        self.assertEqual(
            lines[1:],
            [
                b"* 1 FETCH (UID 1 MODSEQ (6))",
                b"* 3 FETCH (UID 3 MODSEQ (6))",
                b"OK [MODIFIED 2] Some messages had changed",
            ],
        )
        self.inbox.remove([1])
        self.assertEqual(
            self.client.say(b"UID STORE 2:3 (UNCHANGEDSINCE 0) FLAGS ()")[-1],
            b"OK [MODIFIED 2:3] Some messages had changed",
        )

    def test_search(self) -> None:
        self.client.say(b"STORE 2 +FLAGS.SILENT (\\Seen)")
        self.client.say(b"STORE 3 +FLAGS.SILENT (\\Seen)")
        self.assertEqual(
            self.client.say(b"SEARCH MODSEQ 5")[1:],
            [b"* SEARCH 2 3 (MODSEQ 6)", b"OK SEARCH completed"],
        )
        self.assertEqual(
            self.client.say(b"SEARCH RETURN (MIN) MODSEQ 5")[0],
            b'* ESEARCH (TAG "t6") MIN 2 MODSEQ 5',
        )
        self.assertEqual(
            self.client.say(b"SEARCH RETURN (MIN ALL) MODSEQ 5")[0],
            b'* ESEARCH (TAG "t7") MIN 2 ALL 2:3 MODSEQ 6',
        )
        self.assertEqual(self.client.say(b"SEARCH MODSEQ 99")[0], b"* SEARCH")

    def test_select_and_status_enable_it(self) -> None:
        for command in (b"SELECT INBOX (CONDSTORE)", b"STATUS INBOX (HIGHESTMODSEQ)"):
            client = self.logged_in()
            client.say(command)
            self.assertEqual(client.say(b"ENABLE CONDSTORE")[0], b"* ENABLED")


class StatesTests(MessagesTestCase):
    def test_commands_belong_to_states(self) -> None:
        bad = b"BAD That is no command, or none for now"
        fresh = self.connect()
        self.assertEqual(fresh.say(b"SELECT INBOX"), [bad])
        self.assertEqual(fresh.say(b"IDLE"), [bad])
        authenticated = self.logged_in()
        self.assertEqual(authenticated.say(b"FETCH 1 FLAGS"), [bad])
        self.assertEqual(authenticated.say(b"LOGIN a b"), [bad])
        self.assertEqual(authenticated.say(b"XYZZY"), [bad])

    def test_three_bad_commands_before_login_and_twenty_after(self) -> None:
        client = self.connect()
        for _ in range(2):
            client.say(b"NONSENSE")
        client.say(b"NOOP")
        for _ in range(2):
            client.say(b"NONSENSE")
        self.assertFalse(client.closed)
        self.assertEqual(client.say(b"NONSENSE")[-1], b"* BYE Too many bad commands")
        self.assertTrue(client.closed)
        for _ in range(19):
            self.client.say(b"\xff\xfe")
        self.assertFalse(self.client.closed)
        self.client.say(b"NONSENSE")
        self.assertTrue(self.client.closed)

    def test_nothing_of_what_was_sent_comes_back(self) -> None:
        for command in (
            b"SECRETWORD",
            b"FETCH SECRETWORD FLAGS",
            b"FETCH 1 (SECRETWORD)",
            b"SELECT SECRETWORD",
            b"CREATE &SECRETWORD",
            b"SEARCH SECRETWORD",
            b"STATUS INBOX (SECRETWORD)",
            b"STORE 1 +FLAGS (\\SECRETWORD)",
        ):
            for line in self.client.say(command):
                self.assertNotIn(b"SECRETWORD", line)

    def test_line_too_long(self) -> None:
        self.client.send(b"a NOOP " + b"x" * 70000)
        self.assertEqual(self.client.heard()[-1], b"* BYE The connection cannot go on after that")
        self.assertTrue(self.client.closed)
        fresh = self.connect()
        fresh.send(b"a NOOP " + b"x" * 8200)
        self.assertTrue(fresh.closed)

    def test_unexpected_error_is_logged_without_its_text(self) -> None:
        self.store.failures["fetch"] = ValueError("Subject: the secret of the message")
        self.assertEqual(
            self.client.say(b"FETCH 1 UID"),
            [b"NO [SERVERBUG] Something went wrong in the server"],
        )
        (logged,) = self.flushLoggedErrors()
        self.assertNotIn("secret", logged.getTraceback())
        self.assertIn("ValueError", logged.getErrorMessage())
        self.assertEqual(self.client.say(b"FETCH 1 UID")[0], b"* 1 FETCH (UID 1)")

    def test_unexpected_error_between_commands_ends_the_session(self) -> None:
        other = self.opened()
        other.say(b"STORE 1 +FLAGS (\\Seen)")
        self.store.failures["changes"] = ValueError("Subject: the secret of the message")
        self.client.say(b"SEARCH ALL")
        self.assertTrue(self.client.closed)
        self.assertEqual(len(self.store.sessions), 1)
        (logged,) = self.flushLoggedErrors()
        self.assertNotIn("secret", logged.getTraceback())

    def test_identity(self) -> None:
        lines = self.client.say(b'ID ("name" "Thunderbird" "version" NIL)')
        self.assertTrue(lines[0].startswith(b'* ID ("name" "mailsrv" "version" "'))
        self.assertEqual(self.connect().say(b"ID NIL")[-1], b"OK ID completed")
