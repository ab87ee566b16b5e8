"""Opening and closing folders: rfc3501 6.3.1, 6.3.2, 6.4.1 to 6.4.3, UNSELECT, \\Recent, UIDs."""

from tests.clients.imap_case import ImapTestCase, mail
from tests.clients.imap_client import Answer

SYSTEM = {b"\\answered", b"\\flagged", b"\\deleted", b"\\seen", b"\\draft"}


def lowered(flags: list[bytes]) -> set[bytes]:
    return {flag.lower() for flag in flags}


class SelectTests(ImapTestCase):
    messages = 3

    def test_select_sends_everything_required(self) -> None:
        """rfc3501:1747"""
        client = self.login()
        client.ok("SELECT INBOX")
        client.ok("STORE 1 +FLAGS (\\Seen)")
        for command in ("SELECT INBOX", "EXAMINE INBOX"):
            answer = client.ok(command)
            self.assertEqual(answer.one("EXISTS").number, 3)
            answer.one("RECENT")
            self.assertLessEqual(SYSTEM, lowered(answer.one("FLAGS").value))
            self.assertEqual(int(answer.code("UNSEEN")), 2)
            self.assertGreater(int(answer.code("UIDNEXT")), max(self.uids))
            self.assertGreater(int(answer.code("UIDVALIDITY")), 0)
            answer.code("PERMANENTFLAGS")

    def test_unseen_is_left_out_when_all_are_seen(self) -> None:
        """rfc3501:1774"""
        client = self.login("INBOX")
        client.ok("STORE 1:* +FLAGS (\\Seen)")
        self.assertFalse(client.ok("SELECT INBOX").has_code("UNSEEN"))

    def test_select_says_read_write_and_examine_read_only(self) -> None:
        """rfc3501:1812"""
        client = self.login()
        self.assertEqual(client.ok("SELECT INBOX").status.code, "READ-WRITE")
        self.assertEqual(client.ok("EXAMINE INBOX").status.code, "READ-ONLY")

    def test_permanentflags_allow_new_keywords(self) -> None:
        """rfc3501:3574"""
        permanent = self.login().ok("SELECT INBOX").code("PERMANENTFLAGS").lower()
        self.assertIn(b"\\*", permanent)
        self.assertNotIn(b"\\recent", permanent)

    def test_examine_permits_no_flags(self) -> None:
        """rfc3501:1884"""
        self.assertEqual(self.login().ok("EXAMINE INBOX").code("PERMANENTFLAGS"), b"()")

    def test_failed_select_leaves_nothing_selected(self) -> None:
        """rfc3501:1808"""
        client = self.login("INBOX")
        self.assertEqual(client.no("SELECT Absent").status.code, "NONEXISTENT")
        client.bad("FETCH 1 FLAGS")

    def test_bad_select_changes_nothing(self) -> None:
        """rfc3501:1282"""
        client = self.login("INBOX")
        client.bad("SELECT")
        client.exists = 3
        self.assertEqual(set(client.fetch("1:*", "UID")), {1, 2, 3})

    def test_inbox_in_any_case(self) -> None:
        """rfc3501:4823"""
        client = self.login()
        for name in ("inbox", "iNbOx", '"InBox"'):
            self.assertEqual(client.ok(f"SELECT {name}").one("EXISTS").number, 3)

    def test_closed_code_when_another_folder_was_selected(self) -> None:
        """rfc7162:2112"""
        client = self.login()
        self.assertFalse(client.ok("SELECT INBOX").has_code("CLOSED"))
        answer = client.ok("SELECT Sent")
        self.assertEqual(answer.untagged[0].code, "CLOSED")
        client.ok("CLOSE")
        self.assertFalse(client.ok("SELECT Sent").has_code("CLOSED"))

    def test_examine_forbids_changes(self) -> None:
        """rfc3501:1869"""
        client = self.login()
        client.ok("EXAMINE INBOX")
        for command in ("STORE 1 +FLAGS (\\Seen)", "EXPUNGE", "MOVE 1 Trash", "UID EXPUNGE 1:*"):
            self.assertEqual(client.no(command).messages, {})
        client.ok("FETCH 1 BODY[]")
        self.assertEqual(client.flags(1), set())

    def test_examined_folder_can_be_copied_from(self) -> None:
        """rfc3501:3311"""
        client = self.login()
        client.ok("EXAMINE INBOX")
        client.ok("COPY 1:2 Archive")
        self.assertEqual(client.status("Archive", "MESSAGES"), {"MESSAGES": 2})

    def test_status_does_not_change_the_selected_folder(self) -> None:
        """rfc3501:2436"""
        client = self.login("INBOX")
        client.ok("STATUS Sent (MESSAGES)")
        self.assertEqual(set(client.fetch("1:*", "UID")), {1, 2, 3})

    def test_check_succeeds(self) -> None:
        """rfc3501:2648"""
        self.login("INBOX").ok("CHECK")


class ClosingTests(ImapTestCase):
    messages = 3

    def setUp(self) -> None:
        super().setUp()
        self.client = self.login("INBOX")
        self.client.ok("STORE 2 +FLAGS.SILENT (\\Deleted)")

    def left(self) -> int:
        return self.login().status("INBOX", "MESSAGES")["MESSAGES"]

    def test_close_expunges_without_a_word(self) -> None:
        """rfc3501:2661"""
        answer = self.client.ok("CLOSE")
        self.assertEqual(answer.of("EXPUNGE"), [])
        self.assertEqual(self.left(), 2)
        self.client.bad("FETCH 1 FLAGS")

    def test_close_of_an_examined_folder_removes_nothing(self) -> None:
        """rfc3501:2666"""
        self.client.ok("EXAMINE INBOX")
        self.client.ok("CLOSE")
        self.assertEqual(self.left(), 3)

    def test_unselect_removes_nothing(self) -> None:
        """rfc3691:74"""
        self.client.ok("UNSELECT")
        self.assertEqual(self.left(), 3)
        self.client.bad("FETCH 1 FLAGS")

    def test_select_examine_and_logout_do_not_expunge(self) -> None:
        """rfc3501:2671"""
        self.client.ok("SELECT Sent")
        self.client.ok("SELECT INBOX")
        self.client.ok("EXAMINE INBOX")
        self.client.ok("LOGOUT")
        self.assertEqual(self.left(), 3)

    def test_expunge_reports_each_message_with_numbers_counting_down(self) -> None:
        """rfc3501:4043"""
        self.client.ok("STORE 1:2 +FLAGS (\\Deleted)")
        answer = self.client.ok("EXPUNGE")
        self.assertIn(answer.numbers("EXPUNGE"), ([1, 1], [2, 1]))
        self.assertEqual(self.client.exists, 1)
        self.assertEqual(self.client.fetch("1", "UID"), {1: {"UID": self.uids[2]}})

    def test_uid_expunge_removes_only_what_is_named_and_deleted(self) -> None:
        """rfc4315:75"""
        self.client.ok("STORE 1:2 +FLAGS (\\Deleted)")
        answer = self.client.ok(f"UID EXPUNGE {self.uids[1]}:{self.uids[2]}")
        self.assertEqual(answer.numbers("EXPUNGE"), [2])
        self.assertEqual(self.client.search("DELETED"), [1])

    def test_uid_expunge_of_absent_uids_is_ok(self) -> None:
        """rfc3501:3350"""
        self.assertEqual(self.client.ok("UID EXPUNGE 4000:5000").of("EXPUNGE"), [])


class RecentTests(ImapTestCase):
    messages = 2

    def recent(self, answer: Answer) -> int:
        return answer.of("RECENT")[-1].number

    def test_only_the_first_session_sees_recent(self) -> None:
        """rfc3501:595"""
        first, second = self.login(), self.login()
        self.assertEqual(self.recent(first.ok("SELECT INBOX")), 2)
        self.assertEqual(self.recent(second.ok("SELECT INBOX")), 0)
        self.assertIn(b"\\Recent", first.fetch("1", "FLAGS")[1]["FLAGS"])
        self.assertNotIn(b"\\Recent", second.fetch("1", "FLAGS")[1]["FLAGS"])
        self.assertEqual((first.search("RECENT"), second.search("RECENT")), ([1, 2], []))

    def test_examine_does_not_take_recent_away(self) -> None:
        """rfc3501:1871"""
        client = self.login()
        self.assertEqual(self.recent(client.ok("EXAMINE INBOX")), 2)
        self.assertEqual(self.recent(client.ok("EXAMINE INBOX")), 2)
        self.assertEqual(self.recent(client.ok("SELECT INBOX")), 2)

    def test_status_does_not_take_recent_away(self) -> None:
        """rfc3501:2438"""
        client = self.login()
        self.assertEqual(client.status("INBOX", "RECENT"), {"RECENT": 2})
        self.assertEqual(client.status("INBOX", "RECENT"), {"RECENT": 2})
        self.assertEqual(self.recent(client.ok("SELECT INBOX")), 2)

    def test_copies_and_appended_messages_are_recent(self) -> None:
        """rfc3501:3313"""
        client = self.login("INBOX")
        client.ok("COPY 1:2 Archive")
        client.append(mail(), "Archive")
        self.assertEqual(client.status("Archive", "RECENT"), {"RECENT": 3})

    def test_recent_cannot_be_stored_or_appended(self) -> None:
        """rfc3501:630"""
        client = self.login("INBOX")
        client.ok("SELECT INBOX")
        client.bad("STORE 1 +FLAGS (\\Recent)")
        self.assertNotIn(b"\\Recent", client.fetch("1", "FLAGS")[1]["FLAGS"])

    def test_an_arrival_is_announced_with_exists_and_recent(self) -> None:
        """rfc3501:3501"""
        client = self.login("INBOX")
        self.login().append(mail())
        answer = client.ok("NOOP")
        self.assertEqual((answer.one("EXISTS").number, answer.one("RECENT").number), (3, 3))


class UidTests(ImapTestCase):
    messages = 3

    def test_uids_ascend_with_numbers(self) -> None:
        """rfc3501:537"""
        found = self.login("INBOX").fetch("1:*", "UID")
        self.assertEqual([found[n]["UID"] for n in (1, 2, 3)], sorted(self.uids))

    def test_uids_of_expunged_messages_do_not_come_back(self) -> None:
        """rfc3501:491"""
        client = self.login("INBOX")
        before = client.status("Sent", "UIDNEXT")["UIDNEXT"]
        client.ok("STORE 1:* +FLAGS.SILENT (\\Deleted)")
        client.ok("EXPUNGE")
        self.assertGreater(client.append(mail()), max(self.uids))
        self.assertGreaterEqual(client.status("Sent", "UIDNEXT")["UIDNEXT"], before)

    def test_uidnext_promises_that_later_uids_are_not_less(self) -> None:
        """rfc3501:473"""
        client = self.login()
        promised = client.status("INBOX", "UIDNEXT")["UIDNEXT"]
        self.assertGreaterEqual(client.append(mail()), promised)

    def test_uidvalidity_persists_between_sessions(self) -> None:
        """rfc3501:478"""
        first = self.login().ok("SELECT INBOX").code("UIDVALIDITY")
        self.assertEqual(self.login().ok("SELECT INBOX").code("UIDVALIDITY"), first)

    def test_a_folder_made_again_has_other_uids_or_another_uidvalidity(self) -> None:
        """rfc3501:1926"""
        client = self.login()
        client.ok("CREATE Twice")
        uid = client.append(mail(), "Twice")
        before = client.status("Twice", "UIDVALIDITY")["UIDVALIDITY"]
        client.ok("DELETE Twice")
        client.ok("CREATE Twice")
        after = client.status("Twice", "UIDVALIDITY")["UIDVALIDITY"]
        self.assertTrue(after > before or client.append(mail(), "Twice") > uid)

    def test_uid_fetch_and_store_always_name_the_uid(self) -> None:
        """rfc3501:3390"""
        client = self.login("INBOX")
        answer = client.ok(f"UID FETCH {self.uids[1]} FLAGS")
        self.assertEqual(answer.messages[2]["UID"], self.uids[1])
        answer = client.ok(f"UID STORE {self.uids[1]} +FLAGS (\\Seen)")
        self.assertEqual(answer.messages[2]["UID"], self.uids[1])

    def test_absent_uids_are_ignored(self) -> None:
        """rfc3501:3350"""
        client = self.login("INBOX")
        for command in ("UID FETCH 4000:5000 FLAGS", "UID STORE 4000 FLAGS (\\Seen)"):
            self.assertEqual(client.ok(command).messages, {})
        self.assertFalse(client.ok("UID COPY 4000 Archive").has_code("COPYUID"))
        self.assertFalse(client.ok("UID MOVE 4000 Archive").has_code("COPYUID"))

    def test_a_range_with_star_names_at_least_the_last_message(self) -> None:
        """rfc3501:3379"""
        client = self.login("INBOX")
        for numbers in ("5000:*", "*:5000", "*"):
            found = client.ok(f"UID FETCH {numbers} UID").messages
            self.assertEqual(found, {3: {"UID": self.uids[2]}})

    def test_ranges_run_both_ways_and_may_overlap(self) -> None:
        """rfc3501:5015"""
        client = self.login("INBOX")
        for numbers in ("3:1", "*:1", "1:2,2:3", "3,1,2", "1,1,1:3"):
            answer = client.ok(f"FETCH {numbers} UID")
            self.assertEqual(set(answer.messages), {1, 2, 3})

    def test_numbers_beyond_the_last_message_are_bad(self) -> None:
        """rfc3501:5009"""
        client = self.login("INBOX")
        for command in ("FETCH 4 FLAGS", "FETCH 2:4 FLAGS", "STORE 9 FLAGS ()", "COPY 4 Trash"):
            client.bad(command)
        client.ok("SELECT Sent")
        client.bad("FETCH * FLAGS")
        client.bad("FETCH 1:* FLAGS")
        self.assertEqual(client.ok("UID FETCH 1:* FLAGS").messages, {})

    def test_malformed_sets_are_bad(self) -> None:
        """rfc3501:5024"""
        client = self.login("INBOX")
        for numbers in ("0", "1:0", "01", "1,", ",1", "1:2:3", "a", "4294967296", "-1", "1 :2"):
            client.bad(f"FETCH {numbers} FLAGS")
