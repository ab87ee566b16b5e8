"""Folders: opening, making, listing."""

from mailsrv.errors import MailboxBusy
from mailsrv.store.values import DELETED, SEEN
from tests.imap.talking import ADDRESS, ImapTestCase

SYSTEM = b"\\Seen \\Answered \\Flagged \\Deleted \\Draft"


class SelectTests(ImapTestCase):
    def test_select_tells_all_that_is_required(self) -> None:
        self.fill([b"one", b"two", b"three"])
        inbox = self.store.mailbox(ADDRESS).named("INBOX")
        inbox.messages[1].system = SEEN
        inbox.messages[2].keywords = "$Junk"
        client = self.logged_in()
        expected = [
            b"* FLAGS (" + SYSTEM + b" $Junk)",
            b"* OK [PERMANENTFLAGS (" + SYSTEM + b" $Junk \\*)] Flags kept",
            b"* 3 EXISTS",
            b"* 3 RECENT",
            b"* OK [UNSEEN 2] The first that was not read",
            b"* OK [UIDVALIDITY 1001] UIDs are valid",
            b"* OK [UIDNEXT 4] The next UID",
            b"* OK [HIGHESTMODSEQ 4] The highest mod-sequence",
            b"OK [READ-WRITE] SELECT completed",
        ]
        self.assertEqual(client.say(b"SELECT inbox"), expected)

    def test_examine_takes_nothing_and_lets_nothing_be_written(self) -> None:
        self.fill([b"one"])
        inbox = self.store.mailbox(ADDRESS).named("INBOX")
        inbox.messages[1].system = DELETED
        client = self.logged_in()
        lines = client.say(b"EXAMINE INBOX")
        self.assertEqual(lines[-1], b"OK [READ-ONLY] EXAMINE completed")
        self.assertIn(b"* OK [PERMANENTFLAGS ()] Flags kept", lines)
        self.assertIn(b"* 1 RECENT", lines)
        for command in (b"STORE 1 FLAGS ()", b"EXPUNGE", b"UID EXPUNGE 1", b"MOVE 1 Trash"):
            self.assertEqual(client.say(command), [b"NO The folder is open for reading only"])
        self.assertTrue(client.say(b"FETCH 1 BODY[TEXT]")[-1].startswith(b"OK"))
        self.assertEqual(client.say(b"CLOSE"), [b"OK CLOSE completed"])
        self.assertEqual(list(inbox.messages), [1])
        self.assertEqual(inbox.messages[1].system, DELETED)
        self.assertIn(b"* 1 RECENT", client.select())

    def test_failing_select_leaves_nothing_selected(self) -> None:
        client = self.logged_in()
        client.select()
        lines = client.say(b"SELECT Nowhere")
        self.assertEqual(lines[0], b"* OK [CLOSED] The folder before is closed")
        self.assertEqual(lines[1], b"NO [NONEXISTENT] There is no such folder")
        self.assertTrue(client.say(b"FETCH 1 FLAGS")[0].startswith(b"BAD"))

    def test_close_expunges_silently_and_unselect_does_not(self) -> None:
        inbox = self.store.mailbox(ADDRESS).named("INBOX")
        self.fill([b"one", b"two"])
        client = self.logged_in()
        client.select()
        client.say(b"STORE 1 +FLAGS.SILENT (\\Deleted)")
        self.assertEqual(client.say(b"UNSELECT"), [b"OK UNSELECT completed"])
        self.assertEqual(list(inbox.messages), [1, 2])
        client.select()
        self.assertEqual(client.say(b"CLOSE"), [b"OK CLOSE completed"])
        self.assertEqual(list(inbox.messages), [2])
        self.assertTrue(client.say(b"CHECK")[0].startswith(b"BAD"))

    def test_news_between_question_and_answer_of_select_are_not_lost(self) -> None:
        client = self.logged_in()
        self.store.hold()
        client.say(b"SELECT INBOX")
        self.fill([b"meanwhile"])
        self.store.release()
        lines = client.heard()
        self.assertLess(lines.index(b"* 0 EXISTS"), lines.index(b"* 1 EXISTS"))
        self.assertEqual(client.say(b"SEARCH ALL")[0], b"* SEARCH 1")


class FolderTests(ImapTestCase):
    def test_create_delete_rename(self) -> None:
        client = self.logged_in()
        self.assertEqual(client.say(b"CREATE Work/2026/"), [b"OK CREATE completed"])
        self.assertEqual(client.say(b"CREATE Work"), [b"NO [ALREADYEXISTS] That exists already"])
        self.assertEqual(client.say(b"RENAME Work Done"), [b"OK RENAME completed"])
        self.assertEqual(
            client.say(b'LIST "" Done*')[:-1],
            [
                b'* LIST (\\HasChildren) "/" Done',
                b'* LIST (\\HasNoChildren) "/" Done/2026',
            ],
        )
        self.assertEqual(
            client.say(b"DELETE Done"),
            [b"NO [HASCHILDREN] There are folders below it, delete those first"],
        )
        self.assertEqual(client.say(b"DELETE Done/2026"), [b"OK DELETE completed"])
        self.assertEqual(client.say(b"DELETE Done"), [b"OK DELETE completed"])
        self.assertEqual(client.say(b"DELETE Done"), [b"NO [NONEXISTENT] There is no such folder"])
        self.assertEqual(client.say(b"DELETE INBOX"), [b"NO [CANNOT] That is not possible"])

    def test_rename_of_inbox_moves_its_messages(self) -> None:
        self.fill([b"one"])
        client = self.logged_in()
        client.select()
        lines = client.say(b"RENAME INBOX Old")
        self.assertEqual(lines, [b"* 1 EXPUNGE", b"OK RENAME completed"])
        self.assertEqual(client.say(b"STATUS Old (MESSAGES)")[0], b"* STATUS Old (MESSAGES 1)")

    def test_names_in_every_script(self) -> None:
        client = self.logged_in()
        self.assertEqual(client.say(b"CREATE &ZeVnLIqe-/&AOQ-"), [b"OK CREATE completed"])
        self.assertIsNotNone(self.store.mailbox(ADDRESS).find("日本語/ä"))
        self.assertIn(b'* LIST (\\HasNoChildren) "/" &ZeVnLIqe-/&AOQ-', client.say(b'LIST "" *'))
        self.assertTrue(client.say(b"CREATE &AGE-")[0].startswith(b"NO [CANNOT]"))

    def test_special_use(self) -> None:
        client = self.logged_in()
        self.assertEqual(client.say(b"CREATE Versendet (USE (\\Sent))"), [b"OK CREATE completed"])
        self.assertIn(b'* LIST (\\HasNoChildren \\Sent) "/" Versendet', client.say(b'LIST "" V*'))
        for uses in (b"\\All", b"\\Sent \\Trash", b"\\Nonsense"):
            answer = client.say(b"CREATE Another (USE (" + uses + b"))")
            self.assertEqual(answer, [b"NO [USEATTR] A folder has one of the known uses, or none"])

    def test_deleting_the_selected_folder(self) -> None:
        client = self.logged_in()
        client.select(b"Junk")
        self.assertEqual(
            client.say(b"DELETE Junk"),
            [b"* OK [CLOSED] The selected folder is deleted", b"OK DELETE completed"],
        )
        self.assertTrue(client.say(b"CHECK")[0].startswith(b"BAD"))

    def test_somebody_else_deletes_the_selected_folder(self) -> None:
        client, other = self.logged_in(), self.logged_in()
        client.select(b"Junk")
        other.say(b"DELETE Junk")
        client.say(b"NOOP")
        self.assertTrue(client.closed)

    def test_namespace(self) -> None:
        self.assertEqual(self.logged_in().say(b"NAMESPACE")[0], b'* NAMESPACE (("" "/")) NIL NIL')

    def test_errors_of_the_store_have_their_codes(self) -> None:
        client = self.logged_in()
        self.store.failures["create_folder"] = MailboxBusy("held by secret process")
        self.assertEqual(client.say(b"CREATE x"), [b"NO [INUSE] The mailbox is busy, try again"])


class ListTests(ImapTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.client = self.logged_in()
        for name in (b"Foo", b"Foo/Bar", b"Foo/Bar/Deep", b"Zap"):
            self.client.say(b"CREATE " + name)

    def listed(self, command: bytes) -> list[bytes]:
        lines = self.client.say(command)
        self.assertTrue(lines[-1].startswith(b"OK"), lines)
        return [line.split(b" ", 2)[2] for line in lines[:-1]]

    def test_root(self) -> None:
        self.assertEqual(self.listed(b'LIST "" ""'), [b'(\\Noselect) "/" ""'])

    def test_percent_stops_at_a_level(self) -> None:
        names = [line.rsplit(b" ", 1)[1] for line in self.listed(b'LIST "" %')]
        self.assertEqual(
            names,
            [b"INBOX", b"Archive", b"Drafts", b"Foo", b"Junk", b"Sent", b"Trash", b"Zap"],
        )
        self.assertEqual(self.listed(b"LIST Foo/ %"), [b'(\\HasChildren) "/" Foo/Bar'])

    def test_lsub_shows_parents_of_what_is_subscribed(self) -> None:
        for name in (b"INBOX", b"Archive", b"Drafts", b"Junk", b"Sent", b"Trash"):
            self.client.say(b"UNSUBSCRIBE " + name)
        self.client.say(b"SUBSCRIBE Foo/Bar")
        self.client.say(b"SUBSCRIBE Gone")
        self.assertEqual(self.listed(b'LSUB "" *'), [b'() "/" Foo/Bar', b'(\\Noselect) "/" Gone'])
        self.assertEqual(
            self.listed(b'LSUB "" %'), [b'(\\Noselect) "/" Gone', b'(\\Noselect) "/" Foo']
        )

    def test_extended(self) -> None:
        for name in (b"Archive", b"Drafts", b"Junk", b"Sent", b"Trash"):
            self.client.say(b"UNSUBSCRIBE " + name)
        self.client.say(b"SUBSCRIBE Foo/Bar/Deep")
        self.client.say(b"SUBSCRIBE Gone")
        self.assertEqual(
            self.listed(b'LIST (SUBSCRIBED) "" *'),
            [
                b'(\\Subscribed \\HasNoChildren) "/" INBOX',
                b'(\\Subscribed \\HasNoChildren) "/" Foo/Bar/Deep',
                b'(\\NonExistent \\Subscribed \\HasNoChildren) "/" Gone',
            ],
        )
        self.assertEqual(
            self.listed(b'LIST (SUBSCRIBED RECURSIVEMATCH) "" Foo%'),
            [b'(\\HasChildren) "/" Foo ("CHILDINFO" ("SUBSCRIBED"))'],
        )
        self.assertEqual(
            self.listed(b'LIST (SPECIAL-USE) "" * RETURN (SUBSCRIBED)'),
            [
                b'(\\HasNoChildren \\%b) "/" %b' % (name, name)
                for name in (b"Archive", b"Drafts", b"Junk", b"Sent", b"Trash")
            ],
        )
        self.assertEqual(
            self.listed(b'LIST "" ("Foo/%" Zap) RETURN (CHILDREN)'),
            [b'(\\HasChildren) "/" Foo/Bar', b'(\\HasNoChildren) "/" Zap'],
        )

    def test_list_status(self) -> None:
        self.fill([b"one"])
        self.client.say(b"SUBSCRIBE Gone")
        lines = self.client.say(
            b'LIST (SUBSCRIBED) "" (INBOX Gone) RETURN (STATUS (MESSAGES UNSEEN))'
        )
        self.assertEqual(
            lines[:-1],
            [
                b'* LIST (\\Subscribed \\HasNoChildren) "/" INBOX',
                b"* STATUS INBOX (MESSAGES 1 UNSEEN 1)",
                b'* LIST (\\NonExistent \\Subscribed \\HasNoChildren) "/" Gone',
            ],
        )

    def test_pattern_that_makes_others_sweat(self) -> None:
        self.client.say(b"CREATE " + b"a" * 200)
        self.assertEqual(self.listed(b'LIST "" "' + b"*a" * 60 + b'X"'), [])


class StatusTests(ImapTestCase):
    def test_every_item(self) -> None:
        self.fill([b"one", b"two"])
        inbox = self.store.mailbox(ADDRESS).named("INBOX")
        inbox.messages[1].system = SEEN | DELETED
        size = inbox.messages[1].scanned.size
        client = self.logged_in()
        items = (
            b"MESSAGES RECENT UIDNEXT UIDVALIDITY UNSEEN SIZE DELETED DELETED-STORAGE APPENDLIMIT"
        )
        self.assertEqual(
            client.say(b"STATUS INBOX (" + items + b")"),
            [
                b"* STATUS INBOX (MESSAGES 2 RECENT 2 UIDNEXT 3 UIDVALIDITY 1001 UNSEEN 1 "
                b"SIZE %d DELETED 1 DELETED-STORAGE %d APPENDLIMIT 52428800)" % (2 * size, size),
                b"OK STATUS completed",
            ],
        )

    def test_name_that_needs_quotes(self) -> None:
        client = self.logged_in()
        client.say(b'CREATE "Sent Items"')
        self.assertEqual(
            client.say(b'STATUS "Sent Items" (MESSAGES)')[0],
            b'* STATUS "Sent Items" (MESSAGES 0)',
        )
        self.assertEqual(
            client.say(b"STATUS Nowhere (MESSAGES)"),
            [b"NO [NONEXISTENT] There is no such folder"],
        )


class QuotaTests(ImapTestCase):
    def test_no_limit(self) -> None:
        self.assertEqual(
            self.logged_in().say(b"GETQUOTAROOT INBOX"),
            [b'* QUOTAROOT INBOX ""', b'* QUOTA "" ()', b"OK GETQUOTAROOT completed"],
        )

    def test_limit_in_units_of_1024(self) -> None:
        self.store.add_alias("small@example.com", "password", quota=10 * 1024)
        client = self.connect()
        client.say(b"LOGIN small@example.com password")
        client.say(b"APPEND INBOX {1025+}\r\n" + b"x" * 1025)
        self.assertEqual(client.say(b'GETQUOTA ""')[0], b'* QUOTA "" (STORAGE 2 10)')
        self.assertEqual(
            client.say(b"GETQUOTA other"), [b"NO [NONEXISTENT] There is no such quota root"]
        )
        self.assertEqual(
            client.say(b"APPEND INBOX {10000+}\r\n" + b"x" * 10000),
            [b"NO [OVERQUOTA] The quota is used up"],
        )
        self.assertTrue(client.say(b'SETQUOTA "" (STORAGE 512)')[0].startswith(b"BAD"))
