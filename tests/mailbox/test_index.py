"""Indexing in batches: what it takes, what it leaves, and what goes with an expunge."""

# ruff: noqa: RUF001

from pathlib import Path

import apsw

from mailsrv.errors import MailboxMoved
from mailsrv.mailbox import criteria as c
from mailsrv.mailbox import index
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.mailbox.values import ALL_UIDS, DELETED
from tests.mailbox.searching import KEY, MailboxCase, message, now


def rows(connection: apsw.Connection, table: str) -> set[int]:
    """Content ids of search_text, rowids of the FTS5 tables."""
    sql = {
        "search_text": "SELECT content_id FROM search_text",
        "search_grams": "SELECT id FROM search_grams_docsize",
        "search_pairs": "SELECT id FROM search_pairs_docsize",
    }[table]
    return {row[0] for row in connection.execute(sql)}


class BatchTests(MailboxCase):
    def test_oldest_first_as_many_as_asked(self) -> None:
        with self.new_mailbox() as mailbox:
            self.append(mailbox, *(message(f"text {number}") for number in range(5)))
            self.assertEqual(mailbox.index_pending(2), 3)
            self.assertEqual(rows(mailbox.connection, "search_text"), {1, 2})
            self.assertEqual(mailbox.index_pending(100), 0)
            self.assertEqual(mailbox.index_pending(100), 0)
            self.assertEqual(rows(mailbox.connection, "search_text"), {1, 2, 3, 4, 5})

    def test_large_messages_end_a_batch(self) -> None:
        self.patch(index, "BATCH_OCTETS", 1000)
        with self.new_mailbox() as mailbox:
            self.append(mailbox, *(message(f"{number}" * 600) for number in range(5)))
            self.assertEqual(mailbox.index_pending(100), 3)

    def test_a_copy_is_not_indexed_again(self) -> None:
        with self.new_mailbox() as mailbox:
            self.append(mailbox, message("alpha"), message("alpha"))
            self.assertEqual(mailbox.index_pending(1), 0)
            mailbox.copy(self.inbox(mailbox), ALL_UIDS, "Archive", None)
            self.assertEqual(mailbox.index_pending(1), 0)

    def test_grams_lie_beside_header_and_body(self) -> None:
        with self.new_mailbox() as mailbox:
            self.append(mailbox, message(""), message("회의"), message("alpha", subject="회의"))
            mailbox.index_pending(100)
            self.assertEqual(rows(mailbox.connection, "search_grams"), {2, 4, 6, 7})
            self.assertEqual(rows(mailbox.connection, "search_pairs"), {5, 6})

    def test_a_refused_write_leaves_nothing(self) -> None:
        def refuse() -> None:
            raise MailboxMoved("moved")

        with self.new_mailbox() as mailbox:
            self.append(mailbox, message("alpha"))
            mailbox.fence = refuse
            self.assertRaises(MailboxMoved, mailbox.index_pending, 100)
            self.assertEqual(rows(mailbox.connection, "search_text"), set())
            self.assertEqual(self.search(mailbox, c.Body("alpha")), [1])

    def test_the_index_survives_closing(self) -> None:
        with self.new_mailbox() as mailbox:
            self.append(mailbox, message("alpha"))
            mailbox.index_pending(100)
        with Mailbox.open(Path(mailbox.path), KEY, now) as mailbox:
            self.assertEqual(self.search(mailbox, c.Body("alpha")), [1])
            self.assertEqual(mailbox.index_pending(100), 0)
            mailbox.check()


class MeanwhileTests(MailboxCase):
    """Between ``prepare`` and ``store`` others write."""

    def prepare(self, mailbox: Mailbox) -> list[index.Prepared]:
        return index.prepare(mailbox.connection, 100, lambda _: message("alpha"))

    def store(self, mailbox: Mailbox, batch: list[index.Prepared]) -> int:
        with mailbox.writing(durable=False) as writer:
            return index.store(writer.connection, batch)

    def test_another_indexed_it(self) -> None:
        with self.new_mailbox() as mailbox:
            self.append(mailbox, message("alpha"))
            batch = self.prepare(mailbox)
            self.assertEqual(self.store(mailbox, batch), 0)
            self.assertEqual(self.store(mailbox, batch), 0)
            self.assertEqual(rows(mailbox.connection, "search_grams"), {2, 3})

    def test_the_content_has_gone(self) -> None:
        with self.new_mailbox() as mailbox:
            self.append(mailbox, message("alpha"), flags=DELETED)
            batch = self.prepare(mailbox)
            mailbox.expunge(self.inbox(mailbox), ALL_UIDS, None)
            self.assertEqual(self.store(mailbox, batch), 0)
            self.assertEqual(rows(mailbox.connection, "search_text"), set())

    def test_its_id_went_to_another_content(self) -> None:
        with self.new_mailbox() as mailbox:
            self.append(mailbox, message("alpha"), flags=DELETED)
            batch = self.prepare(mailbox)
            mailbox.expunge(self.inbox(mailbox), ALL_UIDS, None)
            self.append(mailbox, message("beta"))
            self.assertEqual(batch[0].content_id, 1)
            self.assertEqual(self.store(mailbox, batch), 1)
            self.assertEqual(self.search(mailbox, c.Body("alpha")), [])


class RemoveTests(MailboxCase):
    def test_the_last_copy_takes_its_rows_along(self) -> None:
        with self.new_mailbox() as mailbox:
            self.append(mailbox, message("alpha 회의", subject="会議"), flags=DELETED)
            mailbox.index_pending(100)
            mailbox.copy(self.inbox(mailbox), ALL_UIDS, "Archive", None)
            mailbox.expunge(self.inbox(mailbox), ALL_UIDS, None)
            for table in ("search_text", "search_grams", "search_pairs"):
                self.assertTrue(rows(mailbox.connection, table), table)
            mailbox.delete_folder("Archive")
            for table in ("search_text", "search_grams", "search_pairs"):
                self.assertEqual(rows(mailbox.connection, table), set(), table)

    def test_what_was_never_indexed_can_go(self) -> None:
        with self.new_mailbox() as mailbox:
            self.append(mailbox, message("alpha"), flags=DELETED)
            mailbox.expunge(self.inbox(mailbox), ALL_UIDS, None)
            self.assertEqual(mailbox.index_pending(100), 0)
            mailbox.check()


class TextsTests(MailboxCase):
    def test_any_octets(self) -> None:
        for content in (b"", b"\0", b"\xff" * 50, b"\r\n\r\n", b": x\r\n\r\n", b"A" * 9):
            texts = index.texts_of(content)
            (texts.head + texts.body).encode()

    def test_head_and_body_are_folded(self) -> None:
        texts = index.texts_of(message("ＢＯＤＹ  Text", subject="Straße"))
        self.assertEqual(texts.head, "subject: strasse\ncontent-type: text/plain; charset=utf-8\n")
        self.assertEqual(texts.body, "body text")
