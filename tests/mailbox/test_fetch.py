"""Pages, columns, sections, partials; what large sections cost; \\Seen."""

import os
from typing import Any
from unittest import mock

from mailsrv.mailbox import contents
from mailsrv.mailbox.values import (
    ALL_UIDS,
    DELETED,
    LARGE,
    SEEN,
    FetchPage,
    FetchRequest,
    Flags,
    NewMessage,
    Section,
    StoreFlags,
    UidSet,
)
from mailsrv.message.scan import body, scan
from tests.mailbox.support import MailboxTestCase, fetch_all, message

NESTED = (
    b"Subject: outer\r\nContent-Type: multipart/mixed; boundary=f\r\n\r\n"
    b"--f\r\nContent-Type: text/plain\r\n\r\nfirst\r\n"
    b"--f\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\nFrom: x@y\r\n\r\nenclosed\r\n"
    b"\r\n--f--\r\n"
)


class ColumnTests(MailboxTestCase):
    def test_each_column(self) -> None:
        self.put(NESTED, flags=Flags(SEEN, "work"))
        scanned = scan(NESTED)
        now = "2026-11-23T10:15:00Z"
        expected = {
            "flags": SEEN,
            "keywords": "work",
            "modseq": 2,
            "internal_date": now,
            "saved": now,
            "size": len(NESTED),
            "envelope": scanned.envelope,
            "bodystructure": scanned.bodystructure,
            "body": body(scanned.root),
            "preview": scanned.preview,
        }
        for name, value in expected.items():
            self.assertEqual(fetch_all(self.mailbox, self.inbox, (name,)), [(1, value)])
        names = tuple(expected)
        rows = fetch_all(self.mailbox, self.inbox, names[::-1], (Section(),))
        self.assertEqual(rows, [(1, *list(expected.values())[::-1], NESTED)])

    def test_ids_are_those_of_content_and_thread(self) -> None:
        self.put(message(1), message(2), message(1))
        rows = fetch_all(self.mailbox, self.inbox, ("email_id", "thread_id"))
        self.assertEqual(rows[0][1:], rows[2][1:])
        self.assertEqual(len({row[1] for row in rows}), 2)
        for _, email_id, thread_id in rows:
            self.assertRegex(email_id, "^[0-9a-f]{24}$")
            self.assertRegex(thread_id, "^[0-9a-f]{24}$")


class PageTests(MailboxTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.put(*(message(n, "x" * 1000) for n in range(20)))
        self.size = len(message(0, "x" * 1000))

    def page(self, uids: UidSet = ALL_UIDS, *args: Any, **more: int) -> tuple[list[int], Any]:
        request = FetchRequest(uids, *args, **more)
        found = self.mailbox.fetch(self.inbox, request)
        return [row[0] for row in found.rows], found.next_uid

    def test_rows_bound_a_page(self) -> None:
        self.assertEqual(self.page(max_rows=3), ([1, 2, 3], 4))
        self.assertEqual(self.page(((18, 100),), max_rows=3), ([18, 19, 20], None))
        self.assertEqual(self.page(((18, 20),), max_rows=3), ([18, 19, 20], None))
        self.assertEqual(self.page(((1, 2), (5, 6), (9, 99)), max_rows=3), ([1, 2, 5], 6))
        self.assertEqual(self.page(((1, 3), (5, 99)), max_rows=7), ([1, 2, 3, 5, 6, 7, 8], 9))
        singles = tuple((uid, uid) for uid in range(2, 40, 3))
        self.assertEqual(self.page(singles, max_rows=3), ([2, 5, 8], 9))
        self.assertEqual(self.page((*singles[:3], (10, 12)), max_rows=4), ([2, 5, 8, 10], 11))
        self.assertEqual(self.page(((30, 40),)), ([], None))
        self.assertEqual(self.page(()), ([], None))

    def test_a_page_ends_after_the_row_that_passes_its_octets(self) -> None:
        body = (Section(),)
        self.assertEqual(self.page(ALL_UIDS, (), body, max_bytes=2 * self.size), ([1, 2, 3], 4))
        self.assertEqual(self.page(ALL_UIDS, (), body, max_bytes=0), ([1], 2))
        envelope = len(scan(message(0)).envelope)
        rows, following = self.page(ALL_UIDS, ("envelope",), max_bytes=envelope * 4 + 10)
        self.assertEqual((rows, following), ([1, 2, 3, 4, 5], 6))

    def test_every_message_comes_once_whatever_the_page(self) -> None:
        for max_rows in (1, 7, 20, 1000):
            for max_bytes in (0, 3000, 10**6):
                for sections in ((), (Section(kind="HEADER"),)):
                    rows = fetch_all(
                        self.mailbox,
                        self.inbox,
                        ("flags", "envelope"),
                        sections,
                        max_rows=max_rows,
                        max_bytes=max_bytes,
                    )
                    self.assertEqual([row[0] for row in rows], list(range(1, 21)))

    def test_a_page_leaves_no_statement_open(self) -> None:
        uids = ((1, 2), (5, 6), (9, 99))
        self.page(uids, max_rows=1)
        self.page(uids, (), (Section(),), max_rows=1)
        self.assertEqual(self.mailbox.connection.txn_state(), 0)

    def test_changed_since(self) -> None:
        change = StoreFlags(((3, 4), (9, 9)), "add", Flags(SEEN))
        self.mailbox.store_flags(self.inbox, change)
        self.assertEqual(self.page(changed_since=2), ([3, 4, 9], None))
        self.assertEqual(self.page(((4, 20),), changed_since=2), ([4, 9], None))
        self.assertEqual(self.page(changed_since=2, max_rows=2), ([3, 4], 5))
        self.assertEqual(self.page(changed_since=3), ([], None))
        with mock.patch("mailsrv.mailbox.selection._FEW_CHANGES", 2):
            self.assertEqual(self.page(changed_since=2), ([3, 4, 9], None))


class SectionTests(MailboxTestCase):
    def cell(self, section: Section) -> object:
        ((_, cell),) = fetch_all(self.mailbox, self.inbox, (), (section,))
        self.assertEqual(self.mailbox.read(self.inbox, 1, section), cell)
        return cell

    def test_sections(self) -> None:
        self.put(NESTED)
        header, _, text = NESTED.partition(b"\r\n\r\n")
        header += b"\r\n\r\n"
        inner = b"Subject: inner\r\nFrom: x@y\r\n\r\n"
        for section, expected in (
            (Section(), NESTED),
            (Section(kind="HEADER"), header),
            (Section(kind="TEXT"), text),
            (Section(kind="MIME"), None),
            (Section("1"), b"first"),
            (Section("1", "MIME"), b"Content-Type: text/plain\r\n\r\n"),
            (Section("1", "HEADER"), None),
            (Section("2"), inner + b"enclosed\r\n"),
            (Section("2", "HEADER"), inner),
            (Section("2", "TEXT"), b"enclosed\r\n"),
            (Section("2.1"), b"enclosed\r\n"),
            (Section("3"), None),
            (Section("", "HEADER.FIELDS", ("SUBJECT", "TO")), b"Subject: outer\r\n\r\n"),
            (Section("2", "HEADER.FIELDS.NOT", ("SUBJECT",)), b"From: x@y\r\n\r\n"),
        ):
            self.assertEqual(self.cell(section), expected, section)

    def test_partials(self) -> None:
        self.put(NESTED)
        for start, length in ((0, 10), (5, 0), (len(NESTED) - 3, 10), (10**9, 5), (7, None)):
            stop = None if length is None else start + length
            found = self.cell(Section(start=start, length=length))
            self.assertEqual(found, NESTED[start:stop])
        self.assertEqual(self.cell(Section("2", "HEADER", (), 3, 5)), b"ject:")
        self.assertEqual(self.cell(Section("", "HEADER.FIELDS", ("SUBJECT",), 9, 5)), b"outer")

    def test_several_sections_and_columns(self) -> None:
        self.put(NESTED)
        sections = (Section("1"), Section("9"), Section(kind="TEXT", length=3))
        rows = fetch_all(self.mailbox, self.inbox, ("size",), sections)
        self.assertEqual(rows, [(1, len(NESTED), b"first", None, b"--f")])

    def test_no_message(self) -> None:
        self.assertIsNone(self.mailbox.read(self.inbox, 1, Section()))

    def test_large_sections_are_their_size(self) -> None:
        content = b"Subject: x\r\n\r\n" + os.urandom(LARGE)
        self.put(content)
        for section, expected in (
            (Section(), len(content)),
            (Section(kind="TEXT"), content[14:]),
            (Section(start=14), content[14:]),
            (Section(length=LARGE), content[:LARGE]),
            (Section(start=1), len(content) - 1),
            (Section("1"), content[14:]),
        ):
            ((_, cell),) = fetch_all(self.mailbox, self.inbox, (), (section,))
            self.assertTrue(cell == expected, section)
        self.assertTrue(self.mailbox.read(self.inbox, 1, Section()) == content)

    def test_header_sections_read_only_the_header(self) -> None:
        self.put(message(1, "x" * 1000))
        self.mailbox.connection.execute("UPDATE body SET skeleton = x'', layout = x'', root = x''")
        fields = Section("", "HEADER.FIELDS", ("SUBJECT",))
        self.assertEqual(self.cell(fields), b"Subject: Number 1\r\n\r\n")
        self.assertEqual(self.cell(Section(kind="HEADER")), message(1, ""))

    def test_a_part_is_read_without_its_neighbours(self) -> None:
        content = (
            b"Content-Type: multipart/mixed; boundary=f\r\n\r\n--f\r\n\r\nshort\r\n"
            b"--f\r\nContent-Type: application/x\r\n\r\n" + os.urandom(500_000) + b"\r\n--f--\r\n"
        )
        self.put(content)
        with mock.patch.object(contents.parts, "read", side_effect=AssertionError):
            self.assertEqual(self.cell(Section("1")), b"short")


class SeenTests(MailboxTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.put(message(1), message(2), message(3))

    def fetch(self, **more: int) -> FetchPage:
        columns = ("modseq", "flags", "keywords")
        request = FetchRequest(ALL_UIDS, columns, (Section(),), mark_seen=True, **more)
        return self.mailbox.fetch(self.inbox, request)

    def test_only_the_page_is_marked(self) -> None:
        page = self.fetch(max_rows=2)
        rows = [(1, 3, SEEN, "", message(1)), (2, 3, SEEN, "", message(2))]
        self.assertEqual((page.rows, page.newly_seen, page.next_uid), (rows, (1, 2), 3))
        self.assertEqual(self.folder("INBOX").unseen, 1)

    def test_what_is_seen_stays_as_it_is(self) -> None:
        self.fetch()
        before = self.folder("INBOX").highestmodseq
        self.assertEqual(self.fetch().newly_seen, ())
        self.assertEqual(self.folder("INBOX").highestmodseq, before)

    def test_without_mark_seen_nothing_changes(self) -> None:
        self.mailbox.fetch(self.inbox, FetchRequest(ALL_UIDS, (), (Section(),)))
        self.assertEqual(self.folder("INBOX").unseen, 3)

    def test_a_held_write_lock_does_not_hide_the_message(self) -> None:
        other = self.open()
        self.mailbox.connection.set_busy_timeout(1)
        with other.writing():
            page = self.fetch()
        self.assertEqual(len(page.rows), 3)
        self.assertEqual(page.newly_seen, ())
        self.assertEqual(self.folder("INBOX").unseen, 3)


class ChangesTests(MailboxTestCase):
    def test_changes_of_another_connection(self) -> None:
        other = self.open()
        base = self.folder("INBOX").highestmodseq
        self.put(message(1), message(2), message(3), flags=Flags(DELETED))
        found = other.changes(self.inbox, base, False)
        self.assertEqual([row.uid for row in found.changed], [1, 2, 3])
        self.assertEqual((found.modseq, found.uidnext, found.vanished), (2, 4, ()))
        self.mailbox.expunge(self.inbox, ((1, 2),))
        found = other.changes(self.inbox, found.modseq, False)
        self.assertEqual((found.changed, found.vanished, found.modseq), ([], ((1, 2),), 3))
        found = other.changes(self.inbox, found.modseq, False)
        self.assertEqual((found.changed, found.vanished, found.modseq), ([], (), 3))

    def test_recent_belongs_to_one_session(self) -> None:
        self.put(message(1), message(2))
        self.assertEqual(self.mailbox.select("INBOX", False).recent, ((1, 2),))
        self.assertEqual(self.open().select("INBOX", True).recent, ((1, 2),))
        self.assertEqual(self.mailbox.select("INBOX", True).recent, ())
        self.put(message(3))
        self.assertEqual(self.mailbox.changes(self.inbox, 0, False).recent, ())
        self.assertEqual(self.mailbox.changes(self.inbox, 0, True).recent, ((3, 3),))
        self.assertEqual(self.mailbox.changes(self.inbox, 0, True).recent, ())
        self.assertEqual(self.folder("INBOX").recent, 0)

    def test_a_held_write_lock_does_not_stop_select(self) -> None:
        self.put(message(1))
        other = self.open()
        other.connection.set_busy_timeout(1)
        with self.mailbox.writing():
            self.assertEqual(other.select("INBOX", True).recent, ((1, 1),))
            self.assertEqual(len(other.changes(self.inbox, 0, True).changed), 1)
        self.assertEqual(other.select("INBOX", True).recent, ((1, 1),))

    def test_select(self) -> None:
        self.put(message(1), message(2), flags=Flags(SEEN, "later"))
        self.mailbox.append("INBOX", [NewMessage(message(3))])
        selected = self.mailbox.select("inbox", False)
        self.assertEqual(selected.uids, b"\1\0\0\0\2\0\0\0\3\0\0\0")
        self.assertEqual(selected.first_unseen, 3)
        self.assertEqual(selected.keywords, ("later",))
        self.assertEqual(selected.folder, self.folder("INBOX"))
