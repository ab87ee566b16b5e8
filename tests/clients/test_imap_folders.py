"""Making, deleting, renaming and subscribing folders: rfc3501 6.3.3 to 6.3.7 and 5.1."""

import contextlib

from tests.clients.imap_case import ImapTestCase, mail
from tests.clients.imap_client import Literal


class FolderTestCase(ImapTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.client = self.login()

    def attributes(self, name: str) -> list[bytes]:
        return self.client.ok(f'LIST "" {name}').one("LIST").value[0]


class CreateTests(FolderTestCase):
    def test_created_folder_is_listed_and_selectable(self) -> None:
        """rfc3501:1898"""
        self.client.ok("CREATE Projects")
        self.assertIn("Projects", self.client.listed())
        self.client.ok("SELECT Projects")

    def test_inbox_and_extant_names_are_refused(self) -> None:
        """rfc3501:1900"""
        for name in ("INBOX", "inbox", "Sent"):
            self.assertEqual(self.client.no(f"CREATE {name}").status.code, "ALREADYEXISTS")

    def test_trailing_delimiter_is_not_part_of_the_name(self) -> None:
        """rfc3501:1911"""
        self.client.ok("CREATE owatagusiam/")
        self.client.ok("CREATE owatagusiam/blurdybloop")
        listed = self.client.listed()
        self.assertIn("owatagusiam/blurdybloop", listed)
        self.assertIn("owatagusiam", listed)
        self.assertNotIn("owatagusiam/", listed)

    def test_superior_names_are_made(self) -> None:
        """rfc3501:1919"""
        self.client.ok("CREATE foo/bar/zap")
        self.assertLessEqual({"foo", "foo/bar", "foo/bar/zap"}, set(self.client.listed()))

    def test_eight_bit_names_are_never_listed(self) -> None:
        """rfc3501:969"""
        self.client.command("CREATE ", Literal("Gr\u00fcn".encode(), plus=True))
        self.client.command("CREATE ", Literal(b"Gr\xfcn", plus=True))
        self.assertTrue(all(name.isascii() for name in self.client.listed()))

    def test_modified_utf_7_names_come_back_as_given(self) -> None:
        """rfc3501:1098"""
        for name in ("~peter/mail/&U,BTFw-/&ZeVnLIqe-", "Entw&APw-rfe", "R&-D", "&2D3eCg-"):
            self.client.ok(f"CREATE {name}")
            self.assertIn(name, self.client.listed())
            self.client.ok(f"SELECT {name}")
            self.assertEqual(self.client.status(name, "MESSAGES"), {"MESSAGES": 0})

    def test_wrong_modified_utf_7_is_refused(self) -> None:
        """rfc3501:1105"""
        for name in ("&Jjo!", "&U,BTFw-&ZeVnLIqe-", "A&B", "&AGEAYg-", "&Jjo", "&-&AGE-"):
            answer = self.client.command(f"CREATE {name}")
            self.assertIn(answer.status.kind, ("NO", "BAD"), name)

    def test_names_with_specials_need_quoting_and_come_back_readable(self) -> None:
        """rfc3501:995"""
        for name in ("Sent Items", 'a"b', "back\\slash", "br{ace", "(x)", "x]", "#news"):
            quoted = name.replace("\\", "\\\\").replace('"', '\\"')
            self.client.ok(f'CREATE "{quoted}"')
            self.assertIn(name, self.client.listed())
            answer = self.client.ok(f'STATUS "{quoted}" (MESSAGES)')
            self.assertEqual(answer.one("STATUS").value[0], name.encode())

    def test_nil_is_a_name_like_any_other(self) -> None:
        """rfc3501:934"""
        self.client.ok("CREATE NIL")
        self.assertIn("NIL", self.client.listed())
        self.client.ok("SELECT NIL")

    def test_impossible_names_are_no(self) -> None:
        """rfc3501:1895"""
        for name in ('""', '"a//b"', '"/"'):
            self.assertEqual(self.client.command(f"CREATE {name}").status.kind, "NO", name)

    def test_special_use_is_given_at_creation(self) -> None:
        """rfc6154:411"""
        self.client.ok("DELETE Sent")
        self.client.ok("CREATE Gesendet (USE (\\Sent))")
        self.assertIn(b"\\sent", self.attributes("Gesendet"))

    def test_unknown_special_use_makes_nothing(self) -> None:
        """rfc6154:288"""
        answer = self.client.no("CREATE Everything (USE (\\Silly))")
        self.assertEqual(answer.status.code, "USEATTR")
        self.assertNotIn("Everything", self.client.listed())


class DeleteTests(FolderTestCase):
    def test_deleted_folder_is_gone(self) -> None:
        """rfc3501:1967"""
        self.client.ok("CREATE Old")
        self.client.ok("DELETE Old")
        self.assertNotIn("Old", self.client.listed())
        self.client.no("SELECT Old")

    def test_a_parent_stays_whole_while_it_has_inferior_names(self) -> None:
        """rfc3501:1972; rfc9051:1997"""
        self.client.ok("CREATE foo/bar")
        self.client.append(mail(), "foo/bar")
        self.assertEqual(self.client.no("DELETE foo").status.code, "HASCHILDREN")
        self.assertEqual(self.client.status("foo/bar", "MESSAGES"), {"MESSAGES": 1})
        self.client.ok("DELETE foo/bar")
        self.client.ok("DELETE foo")

    def test_deleting_a_folder_that_another_session_has_selected(self) -> None:
        """rfc2180:188"""
        self.client.ok("CREATE Old")
        self.client.append(mail(), "Old")
        other = self.login("Old")
        self.client.ok("DELETE Old")
        with contextlib.suppress(EOFError):
            self.assertNotEqual(other.command("FETCH 1 BODY[]").status.kind, "OK")
        self.client.ok("NOOP")

    def test_inbox_and_absent_names_are_refused(self) -> None:
        """rfc3501:1969"""
        self.client.no("DELETE INBOX")
        self.assertEqual(self.client.no("DELETE Absent").status.code, "NONEXISTENT")


class RenameTests(FolderTestCase):
    def test_messages_and_uids_keep_under_the_new_name(self) -> None:
        """rfc3501:2052"""
        self.client.ok("CREATE blurdybloop")
        uid = self.client.append(mail("Kept"), "blurdybloop")
        self.client.ok("RENAME blurdybloop sarasoop")
        self.client.ok("SELECT sarasoop")
        self.assertEqual(self.client.fetch("1", "UID"), {1: {"UID": uid}})
        self.client.no("SELECT blurdybloop")

    def test_absent_and_extant_names_are_refused(self) -> None:
        """rfc3501:2053"""
        self.assertEqual(self.client.no("RENAME Absent Other").status.code, "NONEXISTENT")
        self.assertEqual(self.client.no("RENAME Sent Trash").status.code, "ALREADYEXISTS")
        self.client.no("RENAME Sent inbox")

    def test_inferior_names_are_renamed_too(self) -> None:
        """rfc3501:2058"""
        self.client.ok("CREATE foo/bar/deep")
        self.client.ok("RENAME foo zowie")
        listed = set(self.client.listed())
        self.assertLessEqual({"zowie", "zowie/bar", "zowie/bar/deep"}, listed)
        self.assertFalse({"foo", "foo/bar"} & listed)

    def test_names_that_only_begin_alike_are_left_alone(self) -> None:
        """rfc3501:2058"""
        for name in ("foo", "foobar", "foo%"):
            self.client.ok(f'CREATE "{name}/x"' if "%" in name else f"CREATE {name}/x")
        self.client.ok("RENAME foo zap")
        self.assertLessEqual({"foobar/x", "foo%/x", "zap/x"}, set(self.client.listed()))

    def test_superior_names_are_made(self) -> None:
        """rfc3501:2063"""
        self.client.ok("CREATE foo/bar/zap")
        self.client.ok("RENAME foo/bar/zap baz/rag/zowie")
        self.assertLessEqual({"baz", "baz/rag", "baz/rag/zowie"}, set(self.client.listed()))

    def test_into_itself_is_refused(self) -> None:
        """rfc3501:2055"""
        self.client.ok("CREATE foo/bar")
        self.client.no("RENAME foo foo/bar/foo")
        self.assertIn("foo/bar", self.client.listed())

    def test_renaming_inbox_moves_its_messages_and_leaves_it_empty(self) -> None:
        """rfc3501:2086"""
        self.client.append(mail("One"))
        self.client.append(mail("Two"))
        self.client.ok("CREATE INBOX/bar")
        self.client.ok("RENAME INBOX old-mail")
        self.assertLessEqual({"INBOX", "INBOX/bar", "old-mail"}, set(self.client.listed()))
        self.assertEqual(self.client.status("old-mail", "MESSAGES"), {"MESSAGES": 2})
        self.assertEqual(self.client.status("INBOX", "MESSAGES"), {"MESSAGES": 0})

    def test_uids_of_inbox_do_not_come_back_after_its_rename(self) -> None:
        """rfc3501:2079"""
        uid = self.client.append(mail())
        before = self.client.status("INBOX", "UIDVALIDITY")
        self.client.ok("RENAME INBOX old-mail")
        after = self.client.status("INBOX", "UIDVALIDITY")
        self.assertTrue(after != before or self.client.append(mail()) > uid)


class SubscriptionTests(FolderTestCase):
    def subscribed(self) -> list[str]:
        return self.client.listed(kind="LSUB")

    def test_subscribe_and_unsubscribe(self) -> None:
        """rfc3501:2145"""
        self.client.ok("CREATE Projects")
        self.client.ok("SUBSCRIBE Projects")
        self.assertIn("Projects", self.subscribed())
        self.client.ok("UNSUBSCRIBE Projects")
        self.assertNotIn("Projects", self.subscribed())
        self.assertIn("Projects", self.client.listed())

    def test_subscription_outlives_the_folder(self) -> None:
        """rfc3501:2151"""
        self.client.ok("CREATE system-alerts")
        self.client.ok("SUBSCRIBE system-alerts")
        self.client.ok("DELETE system-alerts")
        self.assertIn("system-alerts", self.subscribed())
        self.client.ok("UNSUBSCRIBE system-alerts")
        self.assertNotIn("system-alerts", self.subscribed())

    def test_a_name_that_was_never_there_can_be_subscribed_or_is_refused(self) -> None:
        """rfc3501:2150"""
        accepted = self.client.command("SUBSCRIBE #news.comp.mail.mime").status.kind == "OK"
        self.assertEqual(accepted, "#news.comp.mail.mime" in self.subscribed())

    def test_unsubscribing_twice_changes_nothing(self) -> None:
        """rfc3501:2176"""
        self.client.ok("UNSUBSCRIBE Sent")
        self.client.command("UNSUBSCRIBE Sent")
        self.assertNotIn("Sent", self.subscribed())
        self.client.ok("SUBSCRIBE Sent")
        self.assertEqual(self.subscribed().count("Sent"), 1)
