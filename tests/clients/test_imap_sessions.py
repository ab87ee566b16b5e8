"""Two sessions at one mailbox, and IDLE: rfc3501 5.2 and 7.4.1, rfc2177, rfc2180.

The client itself refuses an EXPUNGE where none may come, and an EXISTS that shrinks.
"""

import smtplib

from tests.clients.imap_case import ImapTestCase, mail
from tests.clients.imap_client import Client


class TwoSessionTestCase(ImapTestCase):
    messages = 4

    def setUp(self) -> None:
        super().setUp()
        self.one, self.two = self.login("INBOX"), self.login("INBOX")

    def expunge(self, client: Client, numbers: str) -> None:
        client.ok(f"STORE {numbers} +FLAGS.SILENT (\\Deleted)")
        client.ok("EXPUNGE")


class ExpungeTests(TwoSessionTestCase):
    def test_noop_tells_of_another_sessions_expunge(self) -> None:
        """rfc3501:3502"""
        self.expunge(self.one, "2:3")
        answer = self.two.ok("NOOP")
        self.assertEqual(len(answer.of("EXPUNGE")), 2)
        self.assertEqual(self.two.exists, 2)
        found = self.two.fetch("1:*", "UID")
        self.assertEqual([found[1]["UID"], found[2]["UID"]], [self.uids[0], self.uids[3]])

    def test_numbers_hold_until_the_expunge_is_told(self) -> None:
        """rfc3501:4053"""
        self.expunge(self.one, "1")
        found = self.two.command("FETCH 2:4 (UID)").messages
        for number, items in found.items():
            self.assertEqual(items["UID"], self.uids[number - 1])
        self.assertEqual(self.two.command("STORE 2 +FLAGS (\\Flagged)").status.kind, "OK")
        self.assertEqual(self.two.command("SEARCH FLAGGED").found, [2])
        self.two.ok("NOOP")
        self.assertEqual(self.two.search("FLAGGED"), [1])

    def test_fetch_of_a_message_that_is_gone(self) -> None:
        """rfc2180:344"""
        self.expunge(self.one, "2")
        answer = self.two.command("FETCH 1:4 (UID FLAGS)")
        self.assertIn(answer.status.kind, ("OK", "NO"))
        self.assertLessEqual({1, 3, 4}, set(answer.messages))
        self.assertEqual(self.two.ok("NOOP").numbers("EXPUNGE"), [2])

    def test_store_on_a_message_that_is_gone(self) -> None:
        """rfc2180:486"""
        self.expunge(self.one, "2")
        self.two.command("STORE 1:4 +FLAGS.SILENT (\\Answered)")
        self.two.ok("NOOP")
        self.assertEqual(self.two.search("ANSWERED"), [1, 2, 3])

    def test_copy_of_a_message_that_is_gone_is_all_or_nothing(self) -> None:
        """rfc2180:630; rfc3501:3324"""
        self.expunge(self.one, "2")
        answer = self.two.command("COPY 1:4 Archive")
        copied = self.one.status("Archive", "MESSAGES")["MESSAGES"]
        self.assertEqual(copied, 3 if answer.status.kind == "OK" else 0)

    def test_uid_commands_skip_what_is_gone(self) -> None:
        """rfc3501:3350"""
        self.expunge(self.one, "2")
        found = self.two.ok("UID FETCH 1:* (FLAGS)").messages
        uids = {items["UID"] for items in found.values()}
        self.assertEqual(uids, {self.uids[0], self.uids[2], self.uids[3]})

    def test_move_takes_messages_from_other_sessions(self) -> None:
        """rfc6851:194"""
        self.one.ok("MOVE 1:2 Archive")
        self.assertEqual(len(self.two.ok("NOOP").of("EXPUNGE")), 2)
        self.assertEqual(self.two.search("ALL"), [1, 2])

    def test_close_of_another_session_is_told_too(self) -> None:
        """rfc3501:3502"""
        self.one.ok("STORE 4 +FLAGS.SILENT (\\Deleted)")
        self.one.ok("CLOSE")
        self.assertEqual(self.two.ok("NOOP").numbers("EXPUNGE"), [4])

    def test_expunge_and_arrival_together_end_in_the_right_count(self) -> None:
        """rfc3501:1154"""
        self.expunge(self.one, "1:3")
        uid = self.one.append(mail("New"))
        self.two.ok("NOOP")
        self.assertEqual(self.two.exists, 2)
        self.assertEqual(self.two.fetch("2", "UID"), {2: {"UID": uid}})

    def test_expunge_of_ones_own_names_messages_known_to_it(self) -> None:
        """rfc3501:2706"""
        self.one.append(mail("New"))
        self.two.ok("STORE 1 +FLAGS.SILENT (\\Deleted)")
        answer = self.two.ok("EXPUNGE")
        self.assertEqual(answer.numbers("EXPUNGE"), [1])
        self.assertEqual(self.two.exists, 4)

    def test_messages_marked_by_others_are_expunged_too(self) -> None:
        """rfc3501:2706"""
        self.one.ok("STORE 2 +FLAGS.SILENT (\\Deleted)")
        self.assertEqual(self.two.ok("EXPUNGE").numbers("EXPUNGE"), [2])
        self.assertEqual(self.one.ok("NOOP").numbers("EXPUNGE"), [2])


class UpdateTests(TwoSessionTestCase):
    def test_arrivals_are_told_during_any_command(self) -> None:
        """rfc3501:1145"""
        for count, command in enumerate(
            ("NOOP", "CHECK", "FETCH 1 FLAGS", "SEARCH ALL", "STATUS Sent (MESSAGES)"), 5
        ):
            self.one.append(mail())
            self.assertEqual(self.two.ok(command).of("EXISTS")[-1].number, count, command)

    def test_new_messages_are_in_no_answer_before_they_are_told(self) -> None:
        """rfc3501:552"""
        self.one.append(mail())
        answer = self.two.ok("SEARCH ALL")
        self.assertLessEqual(max(answer.found), 5)
        self.assertEqual(self.two.search("ALL"), [1, 2, 3, 4, 5])

    def test_flag_changes_are_told(self) -> None:
        """rfc3501:1147"""
        self.one.ok("STORE 2 +FLAGS.SILENT (\\Flagged $Junk)")
        told = set(self.two.ok("NOOP").messages[2]["FLAGS"])
        self.assertLessEqual({b"\\Flagged", b"$Junk"}, told)

    def test_ones_own_changes_are_not_told_again(self) -> None:
        """rfc3501:3229"""
        self.one.ok("STORE 2 +FLAGS.SILENT (\\Flagged)")
        self.assertEqual(self.one.ok("NOOP").untagged, [])

    def test_a_new_keyword_of_another_session_is_announced_before_it_is_used(self) -> None:
        """rfc3501:3944"""
        self.one.ok("STORE 1 +FLAGS.SILENT (Novel)")
        answer = self.two.ok("NOOP")
        kinds = [each.kind for each in answer.untagged]
        self.assertLess(kinds.index("FLAGS"), kinds.index("FETCH"))

    def test_seen_by_reading_is_told_to_others(self) -> None:
        """rfc3501:1147"""
        self.one.ok("FETCH 3 BODY[]")
        self.assertIn(b"\\Seen", self.two.ok("NOOP").messages[3]["FLAGS"])

    def test_a_quiet_folder_says_nothing(self) -> None:
        """rfc3501:1372"""
        self.two.ok("NOOP")
        self.assertEqual(self.two.ok("NOOP").untagged, [])

    def test_deliveries_by_smtp_are_told(self) -> None:
        """rfc3501:3498"""
        with smtplib.SMTP("127.0.0.1", self.server.smtp_port) as smtp:
            smtp.sendmail("you@example.org", self.address, mail("Delivered"))
        for client in (self.one, self.two):
            client.ok("NOOP")
            self.assertEqual(client.fetch("5", "ENVELOPE")[5]["ENVELOPE"].subject, b"Delivered")

    def test_sessions_of_a_deleted_folder_are_told_goodbye(self) -> None:
        """rfc2180:188; rfc3501:748"""
        self.one.ok("CREATE Old")
        self.one.append(mail(), "Old")
        idler, worker = self.login("Old"), self.login("Old")
        idler.idle()
        self.one.ok("DELETE Old")
        idler.hear("BYE")
        self.assertRaises(EOFError, idler.read)
        answer = worker.command("NOOP")
        self.assertEqual(answer.of("EXPUNGE"), [])
        worker.hear("BYE")

    def test_a_folder_that_one_deletes_oneself_is_let_go(self) -> None:
        """rfc3501:1968"""
        self.one.ok("CREATE Old")
        self.one.ok("SELECT Old")
        self.one.ok("DELETE Old")
        self.one.bad("FETCH 1 FLAGS")
        self.one.ok("SELECT INBOX")

    def test_a_renamed_folder_stays_usable_or_is_let_go(self) -> None:
        """rfc2180:208"""
        self.one.ok("CREATE Plans")
        uid = self.one.append(mail(), "Plans")
        self.two.ok("SELECT Plans")
        self.one.ok("RENAME Plans Ideas")
        self.assertEqual(self.two.ok(f"UID FETCH {uid} UID").messages, {1: {"UID": uid}})


class IdleTests(TwoSessionTestCase):
    def test_continuation_then_ok_after_done(self) -> None:
        """rfc2177:85"""
        idle = self.two.idle()
        self.assertEqual(self.two.done(idle).status.kind, "OK")
        self.two.ok("NOOP")

    def test_arrivals_are_pushed(self) -> None:
        """rfc2177:78"""
        idle = self.two.idle()
        self.one.append(mail())
        self.assertEqual(self.two.hear("EXISTS").number, 5)
        self.two.done(idle)

    def test_expunges_and_flags_are_pushed(self) -> None:
        """rfc2177:140"""
        idle = self.two.idle()
        self.one.ok("STORE 2 +FLAGS.SILENT (\\Flagged)")
        changed = self.two.hear("FETCH")
        self.assertEqual((changed.number, b"\\Flagged" in changed.value["FLAGS"]), (2, True))
        self.expunge(self.one, "1")
        self.assertEqual(self.two.hear("EXPUNGE").number, 1)
        self.two.done(idle)
        self.assertEqual(self.two.search("FLAGGED"), [1])

    def test_what_happened_before_is_told_at_once(self) -> None:
        """rfc2177:136"""
        self.expunge(self.one, "2")
        idle = self.two.idle()
        if not idle[1].of("EXPUNGE"):
            self.assertEqual(self.two.hear("EXPUNGE").number, 2)
        self.two.done(idle)

    def test_deliveries_are_pushed(self) -> None:
        """rfc2177:78"""
        idle = self.two.idle()
        with smtplib.SMTP("127.0.0.1", self.server.smtp_port) as smtp:
            smtp.sendmail("you@example.org", self.address, mail())
        self.assertEqual(self.two.hear("EXISTS").number, 5)
        self.two.done(idle)

    def test_idle_without_a_selected_folder(self) -> None:
        """rfc2177:160"""
        client = self.login()
        self.assertEqual(client.done(client.idle()).status.kind, "OK")

    def test_anything_but_done_is_refused(self) -> None:
        """rfc2177:87"""
        idle = self.two.idle()
        self.two.send(b"x NOOP\r\n")
        self.two.hear("BAD")
        self.assertEqual(self.two.done(idle).status.kind, "OK")

    def test_done_in_any_case(self) -> None:
        """rfc2177:161"""
        idle = self.two.idle()
        self.two.send(b"done\r\n")
        self.assertEqual(self.two.until_tagged(*idle).status.kind, "OK")

    def test_done_together_with_the_next_command(self) -> None:
        """rfc2177:88"""
        tag, answer = self.two.idle()
        self.two.send(b"DONE\r\nn1 NOOP\r\n")
        self.assertEqual(self.two.until_tagged(tag, answer).status.kind, "OK")
        self.assertEqual(self.two.read()[0], "n1")

    def test_many_changes_end_in_the_right_picture(self) -> None:
        """rfc3501:4023"""
        idle = self.two.idle()
        for round_ in range(10):
            self.one.append(mail(f"Round {round_}"))
            self.one.ok("NOOP")
            self.expunge(self.one, "1")
        self.two.done(idle)
        self.two.ok("NOOP")
        self.one.ok("NOOP")
        self.assertEqual(self.two.fetch("1:*", "UID"), self.one.fetch("1:*", "UID"))
