"""STORE, COPY and MOVE: rfc3501 6.4.6 and 6.4.7, UIDPLUS (rfc4315), MOVE (rfc6851)."""

from tests.clients.imap_case import ImapTestCase, mail
from tests.clients.imap_client import Answer
from tests.clients.imap_responses import number_set

KEPT = "(INTERNALDATE RFC822.SIZE BODY.PEEK[])"


class StoreTests(ImapTestCase):
    messages = 3

    def setUp(self) -> None:
        super().setUp()
        self.client = self.login("INBOX")

    def stored(self, words: str) -> dict[int, set[bytes]]:
        found = self.client.ok(f"STORE {words}").messages
        return {number: set(items["FLAGS"]) - {b"\\Recent"} for number, items in found.items()}

    def test_flags_replace_all_but_recent(self) -> None:
        """rfc3501:3257"""
        self.stored("1 FLAGS (\\Seen \\Draft)")
        self.assertEqual(self.stored("1 FLAGS (\\Flagged)"), {1: {b"\\Flagged"}})
        self.assertIn(b"\\Recent", self.client.fetch("1", "FLAGS")[1]["FLAGS"])

    def test_plus_adds_and_minus_removes(self) -> None:
        """rfc3501:3265; rfc3501:3272"""
        self.assertEqual(self.stored("1 +FLAGS (\\Seen)"), {1: {b"\\Seen"}})
        self.assertEqual(self.stored("1 +FLAGS (\\Draft)"), {1: {b"\\Seen", b"\\Draft"}})
        self.assertEqual(self.stored("1 -FLAGS (\\Seen \\Answered)"), {1: {b"\\Draft"}})

    def test_silent_says_nothing(self) -> None:
        """rfc3501:3229"""
        for operation in ("FLAGS.SILENT (\\Seen)", "+FLAGS.SILENT (\\Draft)", "-FLAGS.SILENT ()"):
            self.assertEqual(self.stored(f"1:* {operation}"), {})
        self.assertEqual(self.client.flags(3), {b"\\Seen", b"\\Draft"})

    def test_the_new_value_is_told_for_each_message_also_unchanged(self) -> None:
        """rfc3501:3258"""
        self.stored("2 FLAGS (\\Seen)")
        expected = {number: {b"\\Seen"} for number in (1, 2, 3)}
        self.assertEqual(self.stored("1:3 +FLAGS (\\Seen)"), expected)

    def test_the_new_value_is_that_of_a_fetch_recent_included(self) -> None:
        """rfc3501:3258"""
        for operation in ("FLAGS ()", "+FLAGS (\\Seen)"):
            told = self.client.ok(f"STORE 1 {operation}").messages[1]["FLAGS"]
            self.assertIn(b"\\Recent", told)
            self.assertEqual(set(told), set(self.client.fetch("1", "FLAGS")[1]["FLAGS"]))

    def test_empty_list_clears(self) -> None:
        """rfc3501:4783"""
        self.stored("1 FLAGS (\\Seen $Junk)")
        self.assertEqual(self.stored("1 FLAGS ()"), {1: set()})

    def test_flags_without_parentheses(self) -> None:
        """rfc3501:4473"""
        self.assertEqual(self.stored("1 +flags \\deleted"), {1: {b"\\Deleted"}})
        self.assertEqual(
            self.stored("1 +FLAGS \\Seen $Junk"), {1: {b"\\Deleted", b"\\Seen", b"$Junk"}}
        )

    def test_flags_persist(self) -> None:
        """rfc3501:623"""
        self.stored("1 FLAGS (\\Seen $Forwarded custom)")
        self.assertEqual(self.login("INBOX").flags(1), {b"\\Seen", b"$Forwarded", b"custom"})

    def test_keywords_in_another_case_are_the_same(self) -> None:
        """rfc3501:4502"""
        self.stored("1 FLAGS (Project)")
        self.assertEqual(len(self.stored("1 +FLAGS (PROJECT)")[1]), 1)
        self.assertEqual(self.stored("1 -FLAGS (project)"), {1: set()})

    def test_a_new_keyword_is_announced_in_flags(self) -> None:
        """rfc3501:3944"""
        answer = self.client.ok("STORE 1 +FLAGS (Brandnew)")
        self.assertIn(b"Brandnew", answer.of("FLAGS")[-1].value)
        self.assertIn(b"Brandnew", self.client.ok("SELECT INBOX").one("FLAGS").value)

    def test_other_items_and_flags_are_bad(self) -> None:
        """rfc3501:3255"""
        for words in (
            "1 SILLY (\\Seen)",
            "1 FLAGS (\\Silly)",
            "1 FLAGS (\\*)",
            "1 *FLAGS (\\Seen)",
            "1 FLAGS",
            "1 FLAGS (\\Seen",
            "1 FLAGS (a(b)",
        ):
            self.assertIn(self.client.command(f"STORE {words}").status.kind, ("BAD", "NO"), words)
        self.assertEqual(self.client.flags(1), set())

    def test_pipelined_store_then_fetch_sees_the_new_value(self) -> None:
        """rfc3501:1207"""
        self.client.send(b"s1 STORE 1 +FLAGS.SILENT (\\Answered)\r\ns2 FETCH 1 (FLAGS)\r\n")
        self.assertEqual(self.client.read()[0], "s1")
        self.assertIn(b"\\Answered", self.client.read().value["FLAGS"])


class CopyTests(ImapTestCase):
    messages = 4

    def setUp(self) -> None:
        super().setUp()
        self.client = self.login("INBOX")
        self.client.append(mail("There before"), "Archive")

    def pairs(self, answer: Answer, folder: str = "Archive") -> dict[int, int]:
        """Source and target UIDs of COPYUID, whose order is significant."""
        validity, source, target = answer.code("COPYUID").split()
        expected = self.client.status(folder, "UIDVALIDITY")["UIDVALIDITY"]
        self.assertEqual(int(validity), expected)
        return dict(zip(number_set(source), number_set(target), strict=True))

    def contents(self, folder: str) -> dict[int, dict[str, object]]:
        client = self.login(folder)
        return {
            items.pop("UID"): items for items in client.fetch("1:*", f"(UID {KEPT[1:]}").values()
        }

    def test_copyuid_pairs_are_the_same_messages(self) -> None:
        """rfc4315:190"""
        before = self.contents("INBOX")
        for command in (
            "COPY 2:3 Archive",
            f"UID COPY {self.uids[3]},{self.uids[0]} Archive",
            "COPY 4,1,2 Archive",
        ):
            pairs = self.pairs(self.client.ok(command))
            after = self.contents("Archive")
            for source, target in pairs.items():
                self.assertEqual(after[target], before[source])
            self.assertTrue(pairs)

    def test_copies_go_to_the_end(self) -> None:
        """rfc3501:3311"""
        self.client.ok("COPY 1:2 Archive")
        self.client.ok("SELECT Archive")
        found = self.client.fetch("1:*", "ENVELOPE")
        subjects = [found[n]["ENVELOPE"].subject for n in sorted(found)]
        self.assertEqual(subjects, [b"There before", b"Mail 1", b"Mail 2"])

    def test_copy_into_the_same_folder(self) -> None:
        """rfc3501:3311"""
        answer = self.client.ok("COPY 1 INBOX")
        self.assertEqual(answer.one("EXISTS").number, 5)
        self.pairs(answer, "INBOX")

    def test_absent_target_is_trycreate(self) -> None:
        """rfc3501:3316"""
        for command in ("COPY 1", "MOVE 1", f"UID COPY {self.uids[0]}", f"UID MOVE {self.uids[0]}"):
            self.assertEqual(self.client.no(f"{command} Absent").status.code, "TRYCREATE")
        self.assertNotIn("Absent", self.client.listed())
        self.assertEqual(self.client.search("ALL"), [1, 2, 3, 4])

    def test_move_tells_copyuid_before_the_expunges(self) -> None:
        """rfc6851:193"""
        before = self.contents("INBOX")
        for command in (f"UID MOVE {self.uids[1]}:{self.uids[2]} Archive", "MOVE 1 Archive"):
            answer = self.client.ok(command)
            kinds = [getattr(each, "code", None) or each.kind for each in answer.untagged]
            self.assertLess(kinds.index("COPYUID"), kinds.index("EXPUNGE"))
            after = self.contents("Archive")
            for source, target in self.pairs(answer).items():
                self.assertEqual(after[target], before[source])
        self.assertEqual(self.client.fetch("1:*", "UID"), {1: {"UID": self.uids[3]}})

    def test_move_sends_no_store_and_never_sets_deleted(self) -> None:
        """rfc6851:162"""
        answer = self.client.ok("MOVE 1:2 Archive")
        self.assertEqual(answer.of("FETCH"), [])
        self.client.ok("SELECT Archive")
        self.assertEqual(self.client.search("DELETED"), [])

    def test_move_keeps_flags_and_dates(self) -> None:
        """rfc6851:158"""
        self.client.ok("STORE 1 FLAGS.SILENT (\\Seen \\Deleted $Forwarded)")
        date = self.client.fetch("1", "INTERNALDATE")
        self.client.ok("MOVE 1 Sent")
        self.client.ok("SELECT Sent")
        self.assertEqual(self.client.fetch("1", "INTERNALDATE"), date)
        self.assertEqual(self.client.flags(1), {b"\\Seen", b"\\Deleted", b"$Forwarded"})

    def test_move_into_the_same_folder_keeps_the_messages(self) -> None:
        """rfc6851:178"""
        answer = self.client.ok("MOVE 1 INBOX")
        found = self.client.fetch("1:*", "(UID ENVELOPE)")
        self.assertEqual(
            sorted(items["ENVELOPE"].subject for items in found.values()),
            [b"Mail 1", b"Mail 2", b"Mail 3", b"Mail 4"],
        )
        self.assertEqual(len(found), self.client.exists)
        self.assertTrue(answer.has_code("COPYUID") or answer.of("EXPUNGE") == [])

    def test_expunges_of_a_move_count_down(self) -> None:
        """rfc6851:194"""
        answer = self.client.ok("MOVE 2:4 Archive")
        self.assertEqual(len(answer.of("EXPUNGE")), 3)
        self.assertEqual((self.client.exists, self.client.search("ALL")), (1, [1]))

    def test_star_and_duplicates_are_copied_once(self) -> None:
        """rfc3501:5024"""
        pairs = self.pairs(self.client.ok("COPY *,4,3:4 Archive"))
        self.assertEqual(sorted(pairs), self.uids[2:])
