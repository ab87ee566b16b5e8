"""Names, hierarchy, UIDVALIDITY and subscriptions of folders."""

import unicodedata
from unittest import mock

from mailsrv.errors import AlreadyExists, InvalidInput, NoSuchFolder, TooManyResults
from mailsrv.mailbox import folders
from mailsrv.mailbox.values import ALL_UIDS, FetchRequest, Flags, StoreFlags
from tests.mailbox.support import MailboxTestCase, message


class FolderTests(MailboxTestCase):
    def names(self) -> list[str]:
        return [one.name for one in self.mailbox.folders()]

    def test_a_new_mailbox_has_the_special_folders(self) -> None:
        found = [(one.name, one.special_use, one.subscribed) for one in self.mailbox.folders()]
        self.assertEqual(
            found,
            [
                ("INBOX", None, True),
                ("Archive", "\\Archive", True),
                ("Drafts", "\\Drafts", True),
                ("Junk", "\\Junk", True),
                ("Sent", "\\Sent", True),
                ("Trash", "\\Trash", True),
            ],
        )

    def test_parents_are_made(self) -> None:
        made = self.mailbox.create_folder("a/b/c", "\\Sent")
        self.assertEqual(made.special_use, "\\Sent")
        self.assertFalse(made.subscribed)
        self.assertEqual([one for one in self.names() if one[0] == "a"], ["a", "a/b", "a/b/c"])

    def test_names_are_normalised(self) -> None:
        decomposed = unicodedata.normalize("NFD", "Entwürfe")
        self.mailbox.create_folder(decomposed)
        self.assertIn("Entwürfe", self.names())
        with self.assertRaises(AlreadyExists):
            self.mailbox.create_folder("Entwürfe")
        self.assertEqual(self.mailbox.select(decomposed, False).folder.name, "Entwürfe")
        self.assertEqual(self.mailbox.select("inBox", False).folder.name, "INBOX")
        self.assertEqual(self.mailbox.create_folder("inbox/lists").name, "INBOX/lists")
        self.assertEqual(self.mailbox.create_folder("work/").name, "work")

    def test_names_that_are_refused(self) -> None:
        deep = "/".join(["x"] * 101)
        for name in ("", "/", "a//b", "/a", "a//", "a\nb", "\x7f", "a\u2028", "x" * 1001, deep):
            with self.assertRaises(InvalidInput, msg=repr(name)):
                self.mailbox.create_folder(name)
        with self.assertRaises(InvalidInput):
            self.mailbox.create_folder("\ud800")
        with self.assertRaises(InvalidInput):
            self.mailbox.create_folder("a", "\\Inbox")
        self.mailbox.create_folder("/".join(["x"] * 100))
        self.mailbox.create_folder("y" * 1000)

    def test_a_name_is_counted_in_octets(self) -> None:
        with self.assertRaises(InvalidInput):
            self.mailbox.create_folder("한" * 334)
        self.mailbox.create_folder("한" * 333)

    def test_folders_are_capped(self) -> None:
        with mock.patch.object(folders, "MAX_FOLDERS", 8):
            self.mailbox.create_folder("a/b")
            with self.assertRaises(TooManyResults):
                self.mailbox.create_folder("c")
        self.assertNotIn("c", self.names())

    def test_delete(self) -> None:
        self.mailbox.create_folder("a/b")
        self.put(message(1), message(2), folder="a/b")
        for name in ("INBOX", "inbox", "a"):
            with self.assertRaises(InvalidInput):
                self.mailbox.delete_folder(name)
        gone = self.folder("a/b").id
        self.mailbox.delete_folder("a/b")
        self.mailbox.delete_folder("a")
        with self.assertRaises(NoSuchFolder):
            self.mailbox.delete_folder("a")
        with self.assertRaises(NoSuchFolder):
            self.mailbox.select("a/b", True)
        for ask in (
            lambda: self.mailbox.changes(gone, 0, True),
            lambda: self.mailbox.fetch(gone, FetchRequest(ALL_UIDS)),
            lambda: self.mailbox.store_flags(gone, StoreFlags(ALL_UIDS, "add", Flags())),
            lambda: self.mailbox.expunge(gone, ALL_UIDS),
            lambda: self.mailbox.copy(gone, ALL_UIDS, "INBOX"),
        ):
            with self.assertRaises(NoSuchFolder):
                ask()
        self.assertEqual(self.mailbox.usage().messages, 0)
        self.mailbox.check()

    def test_ids_of_deleted_folders_do_not_come_back(self) -> None:
        gone = self.mailbox.create_folder("a").id
        self.mailbox.delete_folder("a")
        self.assertGreater(self.mailbox.create_folder("a").id, gone)

    def test_uidvalidity_never_repeats(self) -> None:
        seen = {one.uidvalidity for one in self.mailbox.folders()}
        self.assertEqual(len(seen), 6)
        for _ in range(5):
            made = self.mailbox.create_folder("a")
            self.assertGreater(made.uidvalidity, max(seen))
            seen.add(made.uidvalidity)
            self.mailbox.delete_folder("a")
        self.now.advance(days=-3)
        self.assertGreater(self.mailbox.create_folder("a").uidvalidity, max(seen))
        self.now.advance(days=30)
        later = self.mailbox.create_folder("b").uidvalidity
        self.assertEqual(later, int(self.now().timestamp()))

    def test_rename_takes_children_and_subscriptions_along(self) -> None:
        self.mailbox.create_folder("a/b/c")
        self.mailbox.create_folder("ab")
        self.mailbox.create_folder("a0")
        self.mailbox.subscribe("a/b", True)
        self.put(message(1), folder="a/b")
        before = self.folder("a/b")
        self.mailbox.rename_folder("a", "x/y")
        self.assertEqual(self.names()[5:], ["Trash", "a0", "ab", "x", "x/y", "x/y/b", "x/y/b/c"])
        after = self.folder("x/y/b")
        self.assertEqual((after.id, after.object_id), (before.id, before.object_id))
        self.assertEqual(after.uidvalidity, before.uidvalidity)
        self.assertTrue(after.subscribed)
        self.assertNotIn("a/b", self.mailbox.subscriptions())

    def test_rename_that_is_refused(self) -> None:
        self.mailbox.create_folder("a/b")
        for old, new, error in (
            ("a", "Trash", AlreadyExists),
            ("a", "a", AlreadyExists),
            ("a", "a/b/c", InvalidInput),
            ("a", "INBOX", AlreadyExists),
            ("none", "x", NoSuchFolder),
            ("a", "x" * 999, InvalidInput),
        ):
            with self.assertRaises(error):
                self.mailbox.rename_folder(old, new)
        self.assertIn("a/b", self.names())

    def test_rename_of_inbox_moves_its_messages(self) -> None:
        self.mailbox.create_folder("INBOX/lists")
        self.put(message(1), message(2))
        self.mailbox.rename_folder("inbox", "old/mail")
        inbox, moved = self.folder("INBOX"), self.folder("old/mail")
        self.assertEqual((inbox.messages, inbox.uidnext, moved.messages), (0, 3, 2))
        self.assertIn("INBOX/lists", self.names())
        self.assertEqual(self.mailbox.changes(self.inbox, 0, False).vanished, ((1, 2),))
        self.assertEqual(self.content(2, moved.id), message(2))
        self.mailbox.check()

    def test_subscriptions_are_names(self) -> None:
        self.mailbox.subscribe("not/there", True)
        self.mailbox.subscribe("Trash", False)
        self.assertEqual(
            self.mailbox.subscriptions(),
            ["Archive", "Drafts", "INBOX", "Junk", "Sent", "not/there"],
        )
        self.assertFalse(self.folder("Trash").subscribed)
        self.mailbox.subscribe("Trash", False)
        self.mailbox.delete_folder("Sent")
        self.assertIn("Sent", self.mailbox.subscriptions())

    def test_subscriptions_are_capped(self) -> None:
        with mock.patch.object(folders, "MAX_SUBSCRIPTIONS", 7):
            self.mailbox.subscribe("a", True)
            with self.assertRaises(TooManyResults):
                self.mailbox.subscribe("b", True)

    def test_a_repeated_write_has_one_effect(self) -> None:
        made = self.mailbox.create_folder("a", None, "1")
        self.assertEqual(self.mailbox.create_folder("a", None, "1"), made)
        self.mailbox.rename_folder("a", "b", "2")
        self.mailbox.rename_folder("a", "b", "2")
        self.mailbox.subscribe("b", True, "3")
        self.mailbox.subscribe("b", False)
        self.mailbox.subscribe("b", True, "3")
        self.assertFalse(self.folder("b").subscribed)
        self.mailbox.delete_folder("b", "4")
        self.mailbox.create_folder("b")
        self.mailbox.delete_folder("b", "4")
        self.assertIn("b", self.names())
        with self.assertRaises(InvalidInput):
            self.mailbox.create_folder("c", None, "4")
