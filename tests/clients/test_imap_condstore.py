"""CONDSTORE: mod-sequences, conditional STORE, CHANGEDSINCE (rfc7162 3.1)."""

from tests.clients.imap_case import ImapTestCase, mail
from tests.clients.imap_client import Answer, Client
from tests.clients.imap_responses import number_set


class CondstoreTestCase(ImapTestCase):
    messages = 4

    def setUp(self) -> None:
        super().setUp()
        self.client = self.login()
        self.client.ok("ENABLE CONDSTORE")
        self.selected = self.client.ok("SELECT INBOX")
        self.highest = int(self.selected.code("HIGHESTMODSEQ"))

    def modseqs(self, client: Client | None = None) -> list[int]:
        found = (client or self.client).fetch("1:*", "(MODSEQ)")
        return [found[number]["MODSEQ"] for number in sorted(found)]

    def store(self, words: str) -> Answer:
        return self.client.command(f"STORE {words}")


class ModseqTests(CondstoreTestCase):
    def test_select_and_examine_tell_the_highest(self) -> None:
        """rfc7162:425"""
        self.assertGreater(self.highest, 0)
        self.assertEqual(int(self.client.ok("EXAMINE INBOX").code("HIGHESTMODSEQ")), self.highest)

    def test_the_highest_is_at_least_each_message_own(self) -> None:
        """rfc7162:441"""
        self.assertLessEqual(max(self.modseqs()), self.highest)

    def test_status_tells_the_highest(self) -> None:
        """rfc7162:1132"""
        found = self.login().status("INBOX", "HIGHESTMODSEQ")
        self.assertEqual(found, {"HIGHESTMODSEQ": self.highest})

    def test_every_change_makes_a_greater_one(self) -> None:
        """rfc7162:290"""
        last = self.highest
        for operation in ("+FLAGS (\\Seen)", "-FLAGS (\\Seen)", "FLAGS ($Junk)"):
            self.store(f"2 {operation}")
            now = self.modseqs()[1]
            self.assertGreater(now, last)
            last = now
        self.assertEqual(self.client.status("INBOX", "HIGHESTMODSEQ"), {"HIGHESTMODSEQ": last})

    def test_only_the_changed_message_changes(self) -> None:
        """rfc7162:312"""
        before = self.modseqs()
        self.store("2 +FLAGS.SILENT (\\Seen)")
        after = self.modseqs()
        self.assertEqual([a == b for a, b in zip(before, after, strict=True)], [1, 0, 1, 1])

    def test_storing_what_is_there_already_changes_nothing(self) -> None:
        """rfc7162:312"""
        self.store("2 +FLAGS (\\Seen)")
        before = self.modseqs()
        self.store("2 +FLAGS (\\Seen)")
        self.store("2 -FLAGS (\\Draft)")
        self.assertEqual(self.modseqs(), before)

    def test_a_new_message_has_a_greater_one(self) -> None:
        """rfc7162:290"""
        self.client.append(mail())
        self.client.ok("NOOP")
        self.assertGreater(self.modseqs()[-1], self.highest)

    def test_expunge_raises_the_highest(self) -> None:
        """rfc7162:1332"""
        self.store("1 +FLAGS.SILENT (\\Deleted)")
        before = self.client.status("INBOX", "HIGHESTMODSEQ")["HIGHESTMODSEQ"]
        self.client.ok("EXPUNGE")
        self.assertGreater(self.client.status("INBOX", "HIGHESTMODSEQ")["HIGHESTMODSEQ"], before)

    def test_setting_seen_by_fetch_is_a_change(self) -> None:
        """rfc7162:389"""
        items = self.client.fetch("1", "(BODY[])")[1]
        self.assertIn(b"\\Seen", items["FLAGS"])
        self.assertGreater(items["MODSEQ"], self.highest)

    def test_moved_messages_have_a_modseq_in_the_target(self) -> None:
        """rfc6851:293"""
        before = self.client.status("Archive", "HIGHESTMODSEQ")["HIGHESTMODSEQ"]
        self.client.ok("MOVE 1 Archive")
        self.client.ok("SELECT Archive")
        self.assertGreater(self.modseqs()[0], before)


class AwareTests(ImapTestCase):
    """What makes a client aware of mod-sequences (rfc7162:389)."""

    messages = 1

    def aware(self, client: Client) -> bool:
        return (
            "MODSEQ"
            in client.ok("STORE 1 +FLAGS (\\Flagged)").messages[1]
            | (client.ok("STORE 1 -FLAGS (\\Flagged)").messages[1])
        )

    def test_nobody_is_at_first(self) -> None:
        """rfc3501:3801"""
        client = self.login("INBOX")
        self.assertFalse(self.aware(client))
        self.assertNotIn("MODSEQ", client.fetch("1", "(FLAGS)")[1])

    def test_each_enabling_command(self) -> None:
        """rfc7162:389"""
        for command in (
            "SELECT INBOX (CONDSTORE)",
            "STATUS INBOX (HIGHESTMODSEQ)",
            "FETCH 1 (MODSEQ)",
            "UID FETCH 1:* (FLAGS) (CHANGEDSINCE 1)",
            "STORE 1 (UNCHANGEDSINCE 99999999) FLAGS.SILENT ()",
            "SEARCH MODSEQ 1",
        ):
            client = self.login("INBOX")
            client.ok(command)
            self.assertTrue(self.aware(client), command)

    def test_enabling_in_a_selected_folder_tells_where_it_stands(self) -> None:
        """rfc7162:404"""
        client = self.login("INBOX")
        self.assertTrue(client.ok("FETCH 1 (MODSEQ)").has_code("HIGHESTMODSEQ"))


class UnchangedSinceTests(CondstoreTestCase):
    def test_unchanged_messages_are_stored(self) -> None:
        """rfc7162:543"""
        answer = self.store(f"1:2 (UNCHANGEDSINCE {self.highest}) +FLAGS (\\Seen)")
        self.assertEqual((answer.status.kind, answer.has_code("MODIFIED")), ("OK", False))
        self.assertEqual(self.client.flags(1), {b"\\Seen"})

    def test_modseq_is_told_even_when_silent(self) -> None:
        """rfc7162:549"""
        answer = self.store(f"2 (UNCHANGEDSINCE {self.highest}) +FLAGS.SILENT (\\Seen)")
        self.assertGreater(answer.messages[2]["MODSEQ"], self.highest)

    def test_changed_messages_are_left_alone_and_named(self) -> None:
        """rfc7162:557; rfc7162:574"""
        self.store("2 +FLAGS.SILENT (\\Flagged)")
        self.store("4 +FLAGS.SILENT (\\Flagged)")
        answer = self.store(f"1:4 (UNCHANGEDSINCE {self.highest}) +FLAGS.SILENT (\\Deleted)")
        self.assertEqual(number_set(answer.status.data), [2, 4])
        self.assertEqual(answer.status.code, "MODIFIED")
        self.assertEqual(self.client.search("DELETED"), [1, 3])

    def test_modified_names_uids_for_uid_store(self) -> None:
        """rfc7162:574"""
        self.store("2 +FLAGS.SILENT (\\Flagged)")
        answer = self.client.command(
            f"UID STORE 1:* (UNCHANGEDSINCE {self.highest}) +FLAGS.SILENT (\\Deleted)"
        )
        self.assertEqual(number_set(answer.code("MODIFIED")), [self.uids[1]])

    def test_zero_always_fails_for_system_flags(self) -> None:
        """rfc7162:641"""
        answer = self.store("1 (UNCHANGEDSINCE 0) +FLAGS (\\Seen)")
        self.assertEqual(answer.code("MODIFIED"), b"1")
        self.assertEqual(self.client.flags(1), set())

    def test_a_change_of_the_same_session_needs_its_new_modseq(self) -> None:
        """rfc7162:715"""
        first = self.store(f"1 (UNCHANGEDSINCE {self.highest}) +FLAGS (\\Seen)")
        again = self.store(f"1 (UNCHANGEDSINCE {first.messages[1]['MODSEQ']}) +FLAGS (\\Flagged)")
        self.assertFalse(again.has_code("MODIFIED"))

    def test_another_sessions_change_is_told_with_the_failure_or_soon_after(self) -> None:
        """rfc7162:661"""
        self.login("INBOX").ok("STORE 2 +FLAGS (\\Answered)")
        answer = self.store(f"2 (UNCHANGEDSINCE {self.highest}) +FLAGS (\\Seen)")
        self.assertEqual(answer.code("MODIFIED"), b"2")
        told = answer.messages | self.client.ok("NOOP").messages
        self.assertIn(b"\\Answered", told[2]["FLAGS"])
        self.assertGreater(told[2]["MODSEQ"], self.highest)

    def test_plain_store_tells_the_new_modseq_to_an_aware_client(self) -> None:
        """rfc7162:959"""
        for operation in ("+FLAGS (\\Seen)", "+FLAGS.SILENT (\\Flagged)"):
            self.assertGreater(self.store(f"1 {operation}").messages[1]["MODSEQ"], self.highest)

    def test_malformed_modifiers_are_bad(self) -> None:
        """rfc7162:2471"""
        for modifier in ("(UNCHANGEDSINCE)", "(UNCHANGEDSINCE -1)", "(SILLY 1)", "()"):
            self.assertEqual(self.store(f"1 {modifier} FLAGS (\\Seen)").status.kind, "BAD")


class ChangedSinceTests(CondstoreTestCase):
    def test_only_what_changed_and_always_with_modseq(self) -> None:
        """rfc7162:871"""
        self.store("3 +FLAGS.SILENT (\\Seen)")
        answer = self.client.ok(f"UID FETCH 1:* (FLAGS) (CHANGEDSINCE {self.highest})")
        self.assertEqual(list(answer.messages), [3])
        self.assertGreater(answer.messages[3]["MODSEQ"], self.highest)
        self.assertEqual(answer.messages[3]["UID"], self.uids[2])

    def test_nothing_changed_is_ok(self) -> None:
        """rfc7162:871"""
        answer = self.client.ok(f"FETCH 1:* (FLAGS) (CHANGEDSINCE {self.highest})")
        self.assertEqual(answer.messages, {})

    def test_search_modseq(self) -> None:
        """rfc7162:1047; rfc7162:1079"""
        self.store("3 +FLAGS.SILENT (\\Seen)")
        highest = self.modseqs()[2]
        for key in (f"MODSEQ {highest}", f'MODSEQ "/flags/\\\\seen" all {highest}'):
            answer = self.client.ok(f"SEARCH {key}")
            self.assertEqual(answer.one("SEARCH").value, ([3], highest))

    def test_search_modseq_without_a_find_has_no_modseq(self) -> None:
        """rfc7162:1095"""
        answer = self.client.ok("SEARCH MODSEQ 720162338")
        self.assertEqual(answer.one("SEARCH").value, ([], None))

    def test_search_modseq_among_other_keys(self) -> None:
        """rfc7162:1095"""
        answer = self.client.ok("SEARCH OR NOT MODSEQ 720162338 LARGER 50000")
        numbers, modseq = answer.one("SEARCH").value
        self.assertEqual((numbers, modseq), ([1, 2, 3, 4], max(self.modseqs())))

    def test_flag_changes_of_others_come_with_modseq(self) -> None:
        """rfc7162:389"""
        self.login("INBOX").ok("STORE 2 +FLAGS (\\Answered)")
        told = self.client.ok("NOOP").messages[2]
        self.assertIn(b"\\Answered", told["FLAGS"])
        self.assertGreater(told["MODSEQ"], self.highest)
