"""Append, copy, move, flags and expunge, and writes that are sent twice."""

from concurrent.futures import ThreadPoolExecutor
from unittest import mock

from mailsrv.errors import InvalidInput, MailboxMoved, NoSuchFolder, TooManyResults
from mailsrv.mailbox import keywords, messages, transaction
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.mailbox.values import (
    ALL_UIDS,
    DELETED,
    FLAGGED,
    SEEN,
    FetchRequest,
    Flags,
    NewMessage,
    StoreFlags,
    Usage,
)
from tests.mailbox.support import MailboxTestCase, fetch_all, message


class AppendTests(MailboxTestCase):
    def test_uids_count_up_in_order(self) -> None:
        first = self.mailbox.append("INBOX", [NewMessage(message(1)), NewMessage(message(2))])
        second = self.mailbox.append("INBOX", [NewMessage(message(1))])
        self.assertEqual((first.uids, second.uids), ((1, 2), (3,)))
        self.assertEqual((first.modseq, second.modseq), (2, 3))
        self.assertEqual(self.mailbox.usage(), Usage(2 * len(message(1)) + len(message(2)), 3))

    def test_dates(self) -> None:
        given = "1985-04-12T23:20:50Z"
        self.mailbox.append(
            "INBOX", [NewMessage(message(1)), NewMessage(message(2), internal_date=given)]
        )
        rows = fetch_all(self.mailbox, self.inbox, ("internal_date", "saved"))
        now = "2026-11-23T10:15:00Z"
        self.assertEqual(rows, [(1, now, now), (2, given, now)])

    def test_dates_of_another_form_are_refused(self) -> None:
        for date in ("1985-04-12", "1985-04-12T23:20:50+01:00", "1985-13-12T23:20:50Z", ""):
            with self.assertRaises(InvalidInput):
                self.mailbox.append("INBOX", [NewMessage(message(), internal_date=date)])
        self.assertEqual(self.folder("INBOX").messages, 0)

    def test_all_or_none(self) -> None:
        bad = NewMessage(message(2), Flags(0, "not(an)atom"))
        with self.assertRaises(InvalidInput):
            self.mailbox.append("INBOX", [NewMessage(message(1)), bad])
        self.assertEqual(self.folder("INBOX").uidnext, 1)
        self.mailbox.check()

    def test_no_folder(self) -> None:
        with self.assertRaises(NoSuchFolder):
            self.mailbox.append("none", [NewMessage(message())])
        self.mailbox.check()

    def test_a_delivery_is_stored_once(self) -> None:
        one = NewMessage(message(1), delivery_id="a")
        two = NewMessage(message(2), delivery_id="b")
        self.assertEqual(self.mailbox.append("INBOX", [one]).uids, (1,))
        self.assertEqual(self.mailbox.append("INBOX", [two, one, two]).uids, (2, 1, 2))
        again = self.mailbox.append("INBOX", [one])
        self.assertEqual((again.uids, again.modseq), ((1,), self.folder("INBOX").highestmodseq))
        self.assertEqual(self.folder("INBOX").messages, 2)

    def test_a_delivery_stays_known_after_expunge(self) -> None:
        one = NewMessage(message(1), Flags(DELETED), delivery_id="a")
        self.mailbox.append("INBOX", [one])
        self.mailbox.expunge(self.inbox, ALL_UIDS)
        self.assertEqual(self.mailbox.append("INBOX", [one]).uids, (1,))
        self.assertEqual(self.folder("INBOX").messages, 0)

    def test_a_repeated_write_has_one_effect(self) -> None:
        first = self.mailbox.append("INBOX", [NewMessage(message(1))], "w")
        self.assertEqual(self.mailbox.append("INBOX", [NewMessage(message(1))], "w"), first)
        self.assertEqual(self.folder("INBOX").messages, 1)

    def test_ids_of_writes_are_forgotten_after_weeks(self) -> None:
        self.mailbox.append("INBOX", [NewMessage(message(1), delivery_id="a")], "w")
        self.now.advance(days=transaction.APPLIED_DAYS + 1)
        self.mailbox.append("INBOX", [NewMessage(message(2))], "v")
        ids = self.mailbox.connection.execute("SELECT id FROM applied").fetchall()
        self.assertEqual(ids, [("write v",)])

    def test_ids_of_writes_are_capped(self) -> None:
        with self.assertRaises(InvalidInput):
            self.mailbox.append("INBOX", [NewMessage(message(1))], "w" * 300)

    def test_uids_run_out_with_an_error(self) -> None:
        self.mailbox.connection.execute("UPDATE folder SET uidnext = 4294967294")
        self.put(message(1))
        with self.assertRaises(InvalidInput):
            self.put(message(2))
        self.assertEqual(self.folder("INBOX").messages, 1)

    def test_empty_message(self) -> None:
        self.assertEqual(self.put(b""), [1])
        self.assertEqual(self.content(1), b"")


class ConcurrencyTests(MailboxTestCase):
    def test_writers_at_once_take_different_uids(self) -> None:
        def write(number: int) -> tuple[int, ...]:
            with Mailbox.open(self.path, self.key, self.now) as mailbox:
                uids = [
                    mailbox.append("INBOX", [NewMessage(message(n % 3))], f"{number}.{n}").uids[0]
                    for n in range(15)
                ]
                change = StoreFlags(((uids[0], uids[0]),), "add", Flags(DELETED))
                mailbox.store_flags(self.inbox, change)
                mailbox.expunge(self.inbox, ((uids[0], uids[0]),))
            return tuple(uids)

        with ThreadPoolExecutor(4) as pool:
            taken = [uid for uids in pool.map(write, range(8)) for uid in uids]
        self.assertEqual(sorted(taken), list(range(1, 121)))
        self.assertEqual(self.folder("INBOX").messages, 112)
        self.mailbox.check()


class FenceTests(MailboxTestCase):
    def test_every_write_passes_the_fence_under_the_lock(self) -> None:
        self.put(message(1), flags=Flags(DELETED))
        passed = []

        def fence() -> None:
            passed.append(self.mailbox.connection.txn_state())
            raise MailboxMoved("the password was changed")

        self.mailbox.fence = fence
        change = StoreFlags(ALL_UIDS, "add", Flags(FLAGGED))
        marking = FetchRequest(ALL_UIDS, mark_seen=True)
        writes = (
            lambda: self.put(message(2)),
            lambda: self.mailbox.store_flags(self.inbox, change),
            lambda: self.mailbox.expunge(self.inbox, ALL_UIDS),
            lambda: self.mailbox.copy(self.inbox, ALL_UIDS, "Trash"),
            lambda: self.mailbox.move(self.inbox, ALL_UIDS, "Trash"),
            lambda: self.mailbox.create_folder("a"),
            lambda: self.mailbox.delete_folder("Trash"),
            lambda: self.mailbox.rename_folder("Trash", "b"),
            lambda: self.mailbox.subscribe("b", True),
            lambda: self.mailbox.fetch(self.inbox, marking),
            lambda: self.mailbox.select("INBOX", True),
            lambda: self.mailbox.changes(self.inbox, 0, True),
            lambda: self.mailbox.index_pending(1),
        )
        before = self.mailbox.folders()
        for write in writes:
            with self.assertRaises(MailboxMoved):
                write()
        self.assertEqual(passed, [2] * len(writes))
        self.assertEqual(self.mailbox.folders(), before)
        self.assertEqual(self.mailbox.select("INBOX", False).recent, ((1, 1),))

    def test_a_failed_write_leaves_no_lock(self) -> None:
        def fence() -> None:
            raise MailboxMoved("the password was changed")

        self.mailbox.fence = fence
        with self.assertRaises(MailboxMoved):
            self.put(message(1))
        self.open().append("INBOX", [NewMessage(message(1))])


class FlagTests(MailboxTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.put(message(1), message(2), message(3))

    def store(
        self, operation: str, flags: Flags, uids: object = ALL_UIDS, **more: object
    ) -> object:
        change = StoreFlags(uids, operation, flags, **more)
        result = self.mailbox.store_flags(self.inbox, change)
        return [(row.uid, row.flags, row.keywords, row.modseq) for row in result.rows]

    def test_add_remove_replace(self) -> None:
        self.assertEqual(
            self.store("add", Flags(SEEN, "work $Junk"), ((1, 2),)),
            [(1, SEEN, "$Junk work", 3), (2, SEEN, "$Junk work", 3)],
        )
        self.assertEqual(
            self.store("remove", Flags(SEEN, "$junk"), ((2, 3),)),
            [(2, 0, "work", 4), (3, 0, "", 2)],
        )
        self.assertEqual(
            self.store("replace", Flags(FLAGGED, "WORK"), ((1, 2),)),
            [(1, FLAGGED, "work", 5), (2, FLAGGED, "work", 5)],
        )

    def test_no_change_gives_no_modseq(self) -> None:
        change = StoreFlags(ALL_UIDS, "remove", Flags(SEEN, "none"))
        result = self.mailbox.store_flags(self.inbox, change)
        self.assertEqual((result.base, result.modseq), (2, 2))
        self.assertEqual(len(result.rows), 3)

    def test_unchanged_since(self) -> None:
        self.store("add", Flags(SEEN), ((2, 2),))
        change = StoreFlags(ALL_UIDS, "add", Flags(FLAGGED), 2)
        result = self.mailbox.store_flags(self.inbox, change)
        self.assertEqual(result.refused, ((2, 2),))
        self.assertEqual([row.uid for row in result.rows], [1, 3])

    def test_unknown_bits_are_not_kept(self) -> None:
        self.assertEqual(self.store("add", Flags(32 + 1), ((1, 1),)), [(1, 1, "", 3)])

    def test_keywords_are_atoms_and_capped(self) -> None:
        for words in ("\\Seen", "a  b", "x" * 65, "한글", "a]", '"', "a\n"):
            with self.assertRaises(InvalidInput, msg=repr(words)):
                self.store("add", Flags(0, words))
        many = " ".join(f"k{n}" for n in range(keywords.MAX_ON_MESSAGE + 1))
        with self.assertRaises(InvalidInput):
            self.store("add", Flags(0, many))
        self.assertEqual(self.mailbox.select("INBOX", False).keywords, ())

    def test_keywords_no_longer_used_make_room(self) -> None:
        with mock.patch.object(keywords, "MAX_IN_MAILBOX", 3):
            self.store("add", Flags(0, "a b c"), ((1, 1),))
            with self.assertRaises(TooManyResults):
                self.store("add", Flags(0, "d"), ((1, 1),))
            self.store("remove", Flags(0, "a"), ((1, 1),))
            self.store("add", Flags(0, "d"), ((1, 1),))
        self.assertEqual(self.mailbox.select("INBOX", False).keywords, ("b", "c", "d"))

    def test_a_repeated_store_answers_what_it_did(self) -> None:
        change = StoreFlags(ALL_UIDS, "add", Flags(SEEN))
        first = self.mailbox.store_flags(self.inbox, change, "w")
        self.store("remove", Flags(SEEN))
        self.assertEqual(self.mailbox.store_flags(self.inbox, change, "w"), first)
        self.assertEqual(self.folder("INBOX").unseen, 3)

    def test_a_write_id_serves_one_kind_of_write(self) -> None:
        self.mailbox.store_flags(self.inbox, StoreFlags(ALL_UIDS, "add", Flags(SEEN)), "w")
        with self.assertRaises(InvalidInput):
            self.mailbox.expunge(self.inbox, ALL_UIDS, "w")

    def test_thousands_of_ranges(self) -> None:
        self.put(*(message(n) for n in range(200)))
        odd = tuple((uid, uid) for uid in range(1, 100_000, 2))
        self.store("add", Flags(FLAGGED), odd)
        rows = fetch_all(self.mailbox, self.inbox, ("flags",))
        self.assertEqual([uid for uid, flags in rows if flags], list(range(1, 204, 2)))


class ExpungeTests(MailboxTestCase):
    def test_only_deleted_ones_go(self) -> None:
        self.put(*(message(n) for n in range(5)))
        change = StoreFlags(((1, 3),), "add", Flags(DELETED))
        self.mailbox.store_flags(self.inbox, change)
        gone = self.mailbox.expunge(self.inbox, ((2, 10),))
        self.assertEqual((gone.base, gone.modseq, gone.uids), (3, 4, ((2, 3),)))
        self.assertEqual([row[0] for row in fetch_all(self.mailbox, self.inbox)], [1, 4, 5])
        nothing = self.mailbox.expunge(self.inbox, ((2, 10),))
        self.assertEqual((nothing.base, nothing.modseq, nothing.uids), (4, 4, ()))
        self.mailbox.check()

    def test_uids_do_not_come_back(self) -> None:
        self.put(message(1), flags=Flags(DELETED))
        self.mailbox.expunge(self.inbox, ALL_UIDS)
        self.mailbox.close()
        self.mailbox = self.open()
        self.assertEqual(self.put(message(1)), [2])

    def test_the_log_is_pruned_and_changes_stay_right(self) -> None:
        with mock.patch.object(messages, "MAX_EXPUNGED_RANGES", 5):
            for number in range(20):
                self.put(message(number), message(100 + number))
                change = StoreFlags(((2 * number + 1,) * 2,), "add", Flags(DELETED))
                self.mailbox.store_flags(self.inbox, change)
                self.mailbox.expunge(self.inbox, ALL_UIDS)
        count = self.mailbox.connection.execute("SELECT count(*) FROM expunged").fetchall()
        self.assertEqual(count, [(5,)])
        odd = tuple((uid, uid) for uid in range(1, 40, 2))
        self.assertEqual(self.mailbox.changes(self.inbox, 0, False).vanished, odd)
        recent = self.mailbox.changes(self.inbox, self.folder("INBOX").highestmodseq - 4, False)
        self.assertEqual(recent.vanished, ((37, 37), (39, 39)))


class TransferTests(MailboxTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.put(message(1), message(2), flags=Flags(SEEN, "work"))
        self.put(message(3))

    def test_copy_keeps_flags_and_dates(self) -> None:
        self.now.advance(hours=1)
        done = self.mailbox.copy(self.inbox, ((2, 3),), "Archive")
        self.assertEqual((done.source, done.destination), ((2, 3), (1, 2)))
        self.assertEqual((done.base, done.modseq, done.destination_modseq), (3, 3, 2))
        rows = fetch_all(
            self.mailbox, done.folder_id, ("flags", "keywords", "internal_date", "saved")
        )
        first, later = "2026-11-23T10:15:00Z", "2026-11-23T11:15:00Z"
        self.assertEqual(rows, [(1, SEEN, "work", first, later), (2, 0, "", first, later)])
        self.assertEqual(self.folder("Archive").recent, 2)

    def test_move(self) -> None:
        done = self.mailbox.move(self.inbox, ((1, 1), (3, 9)), "Archive")
        self.assertEqual((done.source, done.destination), ((1, 3), (1, 2)))
        self.assertEqual((done.base, done.modseq), (3, 4))
        self.assertEqual(self.mailbox.changes(self.inbox, 3, False).vanished, ((1, 1), (3, 3)))
        self.assertEqual(self.content(2, done.folder_id), message(3))
        self.mailbox.check()

    def test_into_the_same_folder(self) -> None:
        copied = self.mailbox.copy(self.inbox, ((1, 1),), "INBOX")
        self.assertEqual(copied.destination, (4,))
        moved = self.mailbox.move(self.inbox, ((2, 2),), "INBOX")
        self.assertEqual((moved.destination, moved.base), ((5,), 4))
        self.assertEqual(moved.modseq, self.folder("INBOX").highestmodseq)
        self.assertEqual(moved.destination_modseq, moved.modseq)
        self.assertEqual([row[0] for row in fetch_all(self.mailbox, self.inbox)], [1, 3, 4, 5])
        self.mailbox.check()

    def test_nothing_to_move(self) -> None:
        done = self.mailbox.move(self.inbox, ((10, 20),), "Archive")
        self.assertEqual((done.source, done.base, done.modseq), ((), 3, 3))
        self.assertEqual(self.folder("Archive").highestmodseq, 1)

    def test_a_move_that_fails_leaves_everything(self) -> None:
        with self.assertRaises(NoSuchFolder):
            self.mailbox.move(self.inbox, ALL_UIDS, "none")
        failing = mock.patch.object(messages, "_take_out", side_effect=RuntimeError)
        with failing, self.assertRaises(RuntimeError):
            self.mailbox.move(self.inbox, ALL_UIDS, "Archive")
        self.assertEqual((self.folder("INBOX").messages, self.folder("Archive").messages), (3, 0))
        self.mailbox.check()

    def test_a_repeated_move_answers_what_it_did(self) -> None:
        first = self.mailbox.move(self.inbox, ALL_UIDS, "Archive", "w")
        self.assertEqual(self.mailbox.move(self.inbox, ALL_UIDS, "Archive", "w"), first)
        self.assertEqual(self.folder("Archive").messages, 3)
