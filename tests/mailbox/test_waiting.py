"""The file of sealed messages that wait."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mailsrv.errors import MailboxDamaged, WrongKey
from mailsrv.mailbox.waiting import WaitingMail, WaitingRow
from tests.mailbox.support import new_key

WHEN = "2026-11-23T10:15:00Z"


class WaitingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.key = new_key()
        self.waiting = self.open()

    def open(self) -> WaitingMail:
        waiting = WaitingMail.open_or_create(self.path, self.key)
        self.addCleanup(waiting.close)
        return waiting

    def add(self, *ids: str) -> None:
        self.waiting.add([(one, f"sealed {one}".encode(), WHEN, 100) for one in ids])

    def test_messages_come_in_the_order_in_which_they_were_added(self) -> None:
        self.add("c", "a")
        self.add("b")
        rows = self.waiting.batch(2)
        self.assertEqual(rows[0], WaitingRow("c", b"sealed c", WHEN, 100))
        self.assertEqual([row.delivery_id for row in rows], ["c", "a"])
        self.assertEqual((self.waiting.count(), self.waiting.octets()), (3, 300))

    def test_an_id_is_stored_once(self) -> None:
        self.add("a")
        self.waiting.add([("a", b"another", WHEN, 5), ("b", b"sealed b", WHEN, 100)])
        self.assertEqual([row.sealed for row in self.waiting.batch(9)], [b"sealed a", b"sealed b"])

    def test_all_or_none(self) -> None:
        with self.assertRaises(Exception):  # noqa: B017
            self.waiting.add([("a", b"sealed", WHEN, 1), ("b", None, WHEN, 1)])
        self.assertEqual(self.waiting.count(), 0)
        self.add("a")

    def test_what_was_added_is_there_for_others_and_after_reopening(self) -> None:
        self.add("a")
        self.assertEqual(self.open().count(), 1)
        self.waiting.close()
        self.assertEqual(self.open().count(), 1)

    def test_adding_and_removing_wait_for_the_disk(self) -> None:
        connection = self.waiting._connection
        self.assertEqual(connection.pragma("synchronous"), 2)

    def test_the_file_goes_when_nothing_waits(self) -> None:
        self.add("a", "b")
        self.waiting.remove(["a", "unknown"])
        self.assertFalse(self.waiting.delete_if_empty())
        self.waiting.remove(["b"])
        self.assertTrue(self.waiting.delete_if_empty())
        self.assertEqual(list(self.path.parent.glob(f"{self.path.name}*")), [])
        self.assertEqual(self.open().count(), 0)

    def test_a_message_that_came_meanwhile_keeps_the_file(self) -> None:
        other = self.open()
        self.assertEqual(self.waiting.batch(10), [])
        other.add([("late", b"sealed", WHEN, 1)])
        self.assertFalse(self.waiting.delete_if_empty())
        self.assertEqual(self.waiting.count(), 1)

    def test_another_key_does_not_open_or_harm_it(self) -> None:
        self.add("a")
        with self.assertRaises(WrongKey):
            WaitingMail.open_or_create(self.path, new_key())
        self.assertEqual(self.open().count(), 1)

    def test_a_damaged_file_is_not_made_anew(self) -> None:
        self.waiting.close()
        self.path.write_bytes(self.path.read_bytes()[:100])
        with self.assertRaises(MailboxDamaged):
            self.open()
        self.assertEqual(self.path.stat().st_size, 100)

    def test_an_empty_file_left_by_a_crash_is_used(self) -> None:
        self.waiting.delete_if_empty()
        self.path.touch()
        self.waiting = self.open()
        self.add("a")
        self.assertEqual(self.open().count(), 1)

    def test_many_that_make_the_file_at_once(self) -> None:
        self.waiting.delete_if_empty()

        def deliver(number: int) -> None:
            with WaitingMail.open_or_create(self.path, self.key) as waiting:
                waiting.add([(str(number), b"sealed", WHEN, 1)])

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(deliver, range(40)))
        self.assertEqual(self.open().count(), 40)

    def test_the_file_is_encrypted(self) -> None:
        self.add("a")
        self.waiting.close()
        data = self.path.read_bytes()
        self.assertEqual(data[:16], self.key.salt)
        self.assertNotIn(b"sealed", data)
