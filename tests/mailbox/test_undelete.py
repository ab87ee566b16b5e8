"""Expunged messages: kept for a time, listed, put back, purged."""

from datetime import timedelta
from unittest import mock

from mailsrv.errors import AlreadyExists, InvalidInput
from mailsrv.mailbox import recovery
from mailsrv.mailbox.criteria import Body
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.mailbox.values import (
    ALL_UIDS,
    DELETED,
    FLAGGED,
    SEEN,
    ExpungedQuery,
    Flags,
    NewMessage,
    Purged,
    StoreFlags,
    Usage,
)
from tests.mailbox.support import MailboxTestCase, fetch_all, message

WEEK = timedelta(days=7)
EVERYTHING = ExpungedQuery()
SIZE = len(message(1))


class UndeleteTestCase(MailboxTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.mailbox.close()
        self.mailbox = self.open(keep_expunged=WEEK)

    def put_deleted(self, *contents: bytes, folder: str = "INBOX", flags: int = 0) -> list[int]:
        return self.put(*contents, folder=folder, flags=Flags(flags | DELETED))

    def expunge(self, *contents: bytes, folder: str = "INBOX", flags: int = 0) -> list[int]:
        """Messages that came and went."""
        uids = self.put_deleted(*contents, folder=folder, flags=flags)
        self.mailbox.expunge(self.folder(folder).id, ALL_UIDS)
        return uids

    def subjects(self, which: ExpungedQuery = EVERYTHING, **options: int) -> list[str]:
        found = self.mailbox.expunged(which, **options).messages
        return [one.subject.removeprefix("Number ") for one in found]

    def reopen(self, keep: timedelta | None) -> None:
        self.mailbox.close()
        self.mailbox = self.open(keep_expunged=keep)


class KeepTests(UndeleteTestCase):
    def test_what_is_purged_is_a_change(self) -> None:
        """A backup that was made before is not one of what is there now."""
        self.expunge(message(1))
        before = self.mailbox.digest()
        self.mailbox.purge()
        self.assertNotEqual(self.mailbox.digest(), before)

    def test_expunged_messages_are_kept_and_count(self) -> None:
        self.put(message(1))
        self.expunge(message(2), message(3))
        self.assertEqual(self.mailbox.usage(), Usage(3 * SIZE, 1, 2 * SIZE))
        self.assertEqual((self.folder("INBOX").messages, self.folder("INBOX").size), (1, SIZE))
        self.assertEqual(self.subjects(), ["3", "2"])
        self.mailbox.check()

    def test_a_deleted_folder_leaves_its_messages(self) -> None:
        self.mailbox.create_folder("old/one")
        self.put(message(1), message(2), folder="old/one")
        self.mailbox.rename_folder("old/one", "new")
        self.mailbox.delete_folder("new")
        found = self.mailbox.expunged().messages
        self.assertEqual([(one.folder, one.uid) for one in found], [("new", 2), ("new", 1)])
        self.mailbox.check()

    def test_what_is_moved_or_copied_is_not_kept(self) -> None:
        self.put(message(1), message(2))
        self.mailbox.copy(self.inbox, ALL_UIDS, "Archive")
        self.mailbox.move(self.inbox, ALL_UIDS, "Trash")
        self.mailbox.rename_folder("INBOX", "before")
        self.assertEqual(self.subjects(), [])

    def test_one_of_two_copies_is_kept(self) -> None:
        self.put(message(1), folder="Archive")
        self.expunge(message(1))
        self.assertEqual(self.subjects(), ["1"])
        self.assertEqual(self.mailbox.usage(), Usage(2 * SIZE, 1, SIZE))
        self.mailbox.purge()
        self.assertEqual(self.content(1, self.folder("Archive").id), message(1))
        self.mailbox.check()

    def test_a_message_that_comes_again_has_its_content(self) -> None:
        attachment = b"Content-Type: application/x\r\n\r\n" + bytes(range(256)) * 1000
        self.put_deleted(attachment)
        ((_, email_id),) = fetch_all(self.mailbox, self.inbox, ("email_id",))
        self.mailbox.expunge(self.inbox, ALL_UIDS)
        (again,) = self.put(attachment)
        self.assertEqual(fetch_all(self.mailbox, self.inbox, ("email_id",)), [(again, email_id)])
        self.mailbox.purge()
        self.assertEqual(self.content(again), attachment)
        self.mailbox.check()

    def test_who_does_not_say_how_long_keeps_and_purges_nothing(self) -> None:
        self.expunge(message(1))
        self.now.advance(days=30)
        self.reopen(None)
        self.expunge(message(2))
        self.assertFalse(self.mailbox.purge_expired())
        self.assertEqual(self.subjects(), ["1"])

    def test_keywords_in_use_by_kept_messages_are_not_forgotten(self) -> None:
        self.mailbox.append("INBOX", [NewMessage(message(1), Flags(DELETED, "Mine"))])
        self.mailbox.expunge(self.inbox, ALL_UIDS)
        with mock.patch("mailsrv.mailbox.keywords.MAX_IN_MAILBOX", 2):
            self.put(message(2), flags=Flags(0, "one"))
            self.mailbox.store_flags(self.inbox, StoreFlags(ALL_UIDS, "replace", Flags(0, "")))
            self.put(message(3), flags=Flags(0, "two"))
        self.mailbox.undelete(EVERYTHING)
        self.assertEqual(fetch_all(self.mailbox, self.inbox, ("keywords",))[-1][1], "Mine")
        self.assertIn("Mine", self.mailbox.select("INBOX", False).keywords)


class ListTests(UndeleteTestCase):
    def test_what_is_told_of_each(self) -> None:
        encoded = (
            b"From: =?utf-8?q?Zo=C3=AB?= <zoe@example.com>\r\nSubject: =?utf-8?b?0J/RgNC40LLQtdGC?="
            b"\r\n\tthere\r\nDate: Mon, 23 Nov 2026 11:15:00 +0100\r\n\r\nx"
        )
        self.mailbox.append(
            "Archive", [NewMessage(encoded, Flags(DELETED), "2001-01-01T00:00:00Z")]
        )
        came = self.now.text
        self.now.advance(hours=1)
        self.mailbox.expunge(self.folder("Archive").id, ALL_UIDS)
        (one,) = self.mailbox.expunged().messages
        self.assertEqual((one.subject, one.sender), ("Привет there", "Zoë <zoe@example.com>"))
        self.assertEqual((one.folder, one.uid, one.size), ("Archive", 1, len(encoded)))
        self.assertEqual(one.sent, "2026-11-23T10:15:00Z")
        self.assertEqual((one.internal_date, one.saved), ("2001-01-01T00:00:00Z", came))
        self.assertEqual(one.expunged, self.now.text)

    def test_odd_messages_are_told_too(self) -> None:
        self.expunge(b"", b"no header", b"Subject: " + b"long " * 1000 + b"\r\n\r\n")
        self.assertEqual([len(one) for one in self.subjects()], [200, 0, 0])

    def test_pages(self) -> None:
        self.expunge(*map(message, range(7)))
        seen: list[str] = []
        before: int | None = None
        while True:
            page = self.mailbox.expunged(EVERYTHING, before, 3)
            seen += [one.subject for one in page.messages]
            before = page.before
            if before is None:
                break
        self.assertEqual(seen, [f"Number {n}" for n in range(6, -1, -1)])

    def test_queries(self) -> None:
        self.expunge(message(1))
        self.now.advance(hours=1)
        since = self.now.text
        self.expunge(message(2), message(21), folder="Archive")
        self.mailbox.rename_folder("Archive", "Attic")
        first = self.mailbox.expunged().messages[-1].id
        for which, expected in (
            (ExpungedQuery(ids=(first, 999)), ["1"]),
            (ExpungedQuery(ids=()), []),
            (ExpungedQuery(folder="Attic"), ["21", "2"]),
            (ExpungedQuery(folder="inbox"), ["1"]),
            (ExpungedQuery(folder="Archive"), []),
            (ExpungedQuery(since=since), ["21", "2"]),
            (ExpungedQuery(subject="NUMBER  2"), ["21", "2"]),
            (ExpungedQuery(subject="er 1", folder="Attic"), []),
        ):
            self.assertEqual(self.subjects(which), expected, which)
        with self.assertRaises(InvalidInput):
            self.subjects(ExpungedQuery(folder="a//b"))


class PutBackTests(UndeleteTestCase):
    def test_a_message_comes_back_as_it_was(self) -> None:
        date = "1999-12-31T23:59:59Z"
        flags = Flags(SEEN | FLAGGED | DELETED, "$Work")
        self.mailbox.append("INBOX", [NewMessage(message(1), flags, date)])
        columns = ("email_id", "thread_id")
        before = fetch_all(self.mailbox, self.inbox, columns)
        modseq = self.mailbox.expunge(self.inbox, ALL_UIDS).modseq
        self.now.advance(days=6)
        done = self.mailbox.undelete(EVERYTHING)
        inbox = self.folder("INBOX")
        (place,) = done.folders
        self.assertEqual((done.messages, done.octets, done.made), (1, SIZE, False))
        self.assertEqual((place.id, place.name, place.uids), (inbox.id, "INBOX", ((2, 2),)))
        self.assertEqual((place.uidvalidity, place.modseq), (inbox.uidvalidity, modseq + 1))
        self.assertEqual(inbox.highestmodseq, modseq + 1)
        self.assertEqual(
            fetch_all(self.mailbox, self.inbox, ("flags", "keywords", "internal_date", "saved")),
            [(2, SEEN | FLAGGED, "$Work", date, self.now.text)],
        )
        self.assertEqual(fetch_all(self.mailbox, self.inbox, columns), [(2, *before[0][1:])])
        self.assertEqual(self.content(2), message(1))
        self.assertEqual(inbox.recent, 1)
        changes = self.mailbox.changes(self.inbox, modseq, False)
        self.assertEqual([row.uid for row in changes.changed], [2])
        self.assertEqual(self.mailbox.usage(), Usage(SIZE, 1, 0))
        self.assertEqual(self.subjects(), [])
        self.mailbox.check()

    def test_into_the_folder_wherever_it_is_now(self) -> None:
        self.mailbox.create_folder("a/b")
        self.expunge(message(1), folder="a/b")
        self.mailbox.rename_folder("a", "c")
        self.mailbox.create_folder("a/b")
        self.assertEqual(self.mailbox.undelete(EVERYTHING).folders[0].name, "c/b")

    def test_into_a_folder_made_again(self) -> None:
        self.mailbox.create_folder("a/b")
        self.expunge(message(1), folder="a/b")
        self.put(message(2), folder="a/b")
        self.mailbox.rename_folder("a/b", "a/c")
        self.mailbox.delete_folder("a/c")
        self.mailbox.delete_folder("a")
        done = self.mailbox.undelete(EVERYTHING)
        self.assertEqual((done.messages, done.made), (2, True))
        self.assertEqual([one.name for one in done.folders], ["a/c"])
        self.assertEqual(self.folder("a/c").messages, 2)
        self.mailbox.check()

    def test_into_another_folder_of_the_name(self) -> None:
        self.mailbox.create_folder("a")
        self.put(message(1), folder="a")
        self.mailbox.delete_folder("a")
        again = self.mailbox.create_folder("a")
        done = self.mailbox.undelete(EVERYTHING)
        self.assertEqual((done.folders[0].id, done.made), (again.id, False))

    def test_into_a_folder_of_choice(self) -> None:
        self.expunge(message(1))
        self.expunge(message(2), folder="Archive")
        done = self.mailbox.undelete(EVERYTHING, "found/again")
        self.assertEqual((done.messages, done.made), (2, True))
        self.assertEqual([one.name for one in done.folders], ["found/again"])
        with self.assertRaises(InvalidInput):
            self.mailbox.undelete(EVERYTHING, "a//b")

    def test_only_what_was_asked_for(self) -> None:
        self.expunge(message(1), message(2), message(3))
        self.mailbox.undelete(ExpungedQuery(subject="number 2"))
        self.assertEqual(self.subjects(), ["3", "1"])
        self.assertEqual(self.mailbox.undelete(ExpungedQuery(ids=(10**9,))).folders, ())

    def test_repeated_it_has_one_effect(self) -> None:
        self.expunge(message(1))
        first = self.mailbox.undelete(EVERYTHING, None, "w1")
        self.expunge(message(2))
        self.assertEqual(self.mailbox.undelete(EVERYTHING, None, "w1"), first)
        self.assertEqual(self.folder("INBOX").messages, 1)

    def test_all_or_none(self) -> None:
        """One transaction, so a crash too leaves all of it or nothing."""
        self.expunge(message(1), folder="Archive")
        self.expunge(message(2))
        before = (self.subjects(), self.mailbox.usage(), self.mailbox.folders())
        with (
            mock.patch("mailsrv.mailbox.recoverable.forget", side_effect=AlreadyExists("now")),
            self.assertRaises(AlreadyExists),
        ):
            self.mailbox.undelete(EVERYTHING)
        after = (self.subjects(), self.mailbox.usage(), self.mailbox.folders())
        self.assertEqual(after, before)
        self.mailbox.check()

    def test_it_is_seen_through_other_connections(self) -> None:
        self.expunge(message(1))
        other = self.open()
        modseq = self.folder("INBOX").highestmodseq
        other.undelete(EVERYTHING)
        self.assertEqual(len(self.mailbox.changes(self.inbox, modseq, False).changed), 1)

    def test_a_search_finds_it_again(self) -> None:
        self.put(message(1), flags=Flags(DELETED))
        self.mailbox.index_pending(10)
        self.mailbox.expunge(self.inbox, ALL_UIDS)
        self.assertEqual(self.mailbox.search(self.inbox, Body("hello")).uids, b"")
        self.mailbox.undelete(EVERYTHING)
        self.assertEqual(self.mailbox.search(self.inbox, Body("hello")).uids, b"\x02\0\0\0")


class PurgeTests(UndeleteTestCase):
    def contents(self) -> int:
        rows = self.mailbox.connection.execute("SELECT count(*) FROM content").fetchall()
        return int(rows[0][0])

    def test_purged_for_good(self) -> None:
        self.expunge(*map(message, range(5)))
        with mock.patch.object(recovery, "PURGED_AT_ONCE", 2):
            self.assertEqual(
                self.mailbox.purge(ExpungedQuery(subject="number 1"), "w1"), Purged(1, SIZE)
            )
            self.assertEqual(self.mailbox.purge(EVERYTHING, "w1"), Purged(1, SIZE))
            self.assertEqual(self.mailbox.purge(), Purged(4, 4 * SIZE))
        self.assertEqual(self.mailbox.usage(), Usage(0, 0, 0))
        self.assertEqual(self.contents(), 0)
        self.mailbox.check()

    def test_what_is_too_old_is_gone_and_then_purged(self) -> None:
        self.expunge(message(1))
        self.now.advance(days=7, seconds=-10)
        self.expunge(message(2))
        self.assertEqual(self.subjects(), ["2", "1"])
        self.now.advance(seconds=11)
        self.assertEqual(self.subjects(), ["2"])
        self.assertEqual(self.mailbox.undelete(ExpungedQuery(subject="1")).messages, 0)
        self.assertEqual(self.contents(), 2)
        self.assertTrue(self.mailbox.purge_expired())
        self.assertFalse(self.mailbox.purge_expired())
        self.assertEqual((self.contents(), self.subjects()), (1, ["2"]))
        self.mailbox.check()

    def test_expunging_purges_what_is_too_old(self) -> None:
        self.expunge(message(1))
        self.now.advance(days=8)
        self.expunge(message(2))
        self.assertEqual(self.contents(), 1)

    def test_in_bounded_batches(self) -> None:
        self.expunge(*map(message, range(5)))
        self.now.advance(days=8)
        with mock.patch.object(recovery, "PURGED_AT_ONCE", 2):
            self.assertEqual([self.mailbox.purge_expired() for _ in range(4)], [True] * 3 + [False])

    def test_turned_off(self) -> None:
        self.expunge(message(1))
        self.reopen(timedelta())
        self.assertEqual(self.subjects(), [])
        self.put_deleted(message(2))
        self.assertTrue(self.mailbox.purge_expired())
        self.mailbox.expunge(self.inbox, ALL_UIDS)
        self.assertEqual((self.contents(), self.mailbox.usage().octets), (0, 0))

    def test_room_is_made_by_the_oldest(self) -> None:
        for number in range(5):
            self.expunge(message(number))
        self.assertTrue(self.mailbox.make_room(SIZE + 1))
        self.assertEqual(self.subjects(), ["4", "3", "2"])

    def test_nothing_is_purged_where_it_would_not_be_enough(self) -> None:
        self.expunge(message(1), message(2))
        self.assertFalse(self.mailbox.make_room(2 * SIZE + 1))
        self.assertEqual(len(self.subjects()), 2)
        with mock.patch.object(recovery, "PURGED_AT_ONCE", 1):
            self.assertTrue(self.mailbox.make_room(2 * SIZE))
        self.assertEqual(self.subjects(), [])
        self.mailbox.check()

    def test_a_copy_under_a_new_key_has_them(self) -> None:
        self.expunge(message(1))
        target = self.directory / "copy.sqlite"
        self.mailbox.copy_to(target, self.key)
        with Mailbox.open(target, self.key, self.now) as copy:
            self.assertEqual(copy.undelete(EVERYTHING).messages, 1)
            copy.check()
