"""What goes in comes out, octet for octet; what is the same is stored once."""

import base64
import os
import random
from unittest import mock

from mailsrv.errors import MailboxDamaged
from mailsrv.mailbox import contents, parts
from mailsrv.mailbox.values import ALL_UIDS, DELETED, Flags, NewMessage, Section, StoreFlags
from tests.mailbox.support import MailboxTestCase, corpus, message


def with_attachment(data: bytes, *, line: int = 76, eol: str = "\r\n", subject: str = "x") -> bytes:
    text = base64.b64encode(data).decode()
    lines = eol.join(text[at : at + line] for at in range(0, len(text), line))
    return (
        f"Subject: {subject}\r\nMIME-Version: 1.0\r\n"
        "Content-Type: multipart/mixed; boundary=frontier\r\n\r\n"
        "--frontier\r\nContent-Type: text/plain\r\n\r\nSee below.\r\n"
        "--frontier\r\nContent-Type: application/pdf; name=a.pdf\r\n"
        f"Content-Transfer-Encoding: base64\r\n\r\n{lines}{eol}\r\n--frontier--\r\n"
    ).encode()


class ContentTests(MailboxTestCase):
    def count(self, table: str) -> int:
        found = self.mailbox.connection.execute(f"SELECT count(*) FROM {table}").fetchall()
        return int(str(found[0][0]))

    def test_the_corpus_comes_back_byte_for_byte(self) -> None:
        messages = list(corpus())
        for at in range(0, len(messages), 100):
            self.put(*(content for _, content in messages[at : at + 100]))
        for uid, (name, content) in enumerate(messages, 1):
            self.assertTrue(self.content(uid) == content, name)
        different = {content for _, content in messages}
        self.assertEqual(self.count("content"), len(different))
        self.assertEqual(self.folder("INBOX").size, sum(len(one) for _, one in messages))
        pages = self.mailbox.connection.pragma("page_count")
        self.put(*(content for _, content in messages), folder="Archive")
        self.assertEqual(self.count("content"), len(different))
        more = int(str(self.mailbox.connection.pragma("page_count"))) - int(str(pages))
        self.assertLess(more * 4096, 800_000)

    def test_the_corpus_leaves_nothing_behind(self) -> None:
        self.put(*(content for _, content in list(corpus())[::5]))
        self.mailbox.index_pending(50)
        self.mailbox.connection.execute("UPDATE message SET flags = 8")
        self.mailbox.connection.execute("UPDATE folder SET deleted = messages")
        self.mailbox.expunge(self.inbox, ALL_UIDS)
        for table in ("content", "field", "body", "part", "part_chunk", "search_text"):
            self.assertEqual(self.count(table), 0, table)
        self.mailbox.check()

    def test_ranges_of_the_corpus_are_those_of_the_messages(self) -> None:
        chance = random.Random(1)
        messages = [content for _, content in corpus()][::7]
        uids = self.put(*messages)
        for uid, content in zip(uids, messages, strict=True):
            for _ in range(5):
                start = chance.randrange(len(content) + 10)
                length = chance.randrange(len(content) + 10)
                found = self.mailbox.read(self.inbox, uid, Section(start=start, length=length))
                self.assertEqual(found, content[start : start + length])

    def test_an_attachment_is_stored_once_however_it_is_laid_out(self) -> None:
        data = os.urandom(300_000)
        variants = [
            with_attachment(data),
            with_attachment(data, subject="forwarded"),
            with_attachment(data, line=60),
            with_attachment(data, eol="\n"),
            with_attachment(data, line=1000),
        ]
        uids = self.put(*variants)
        self.put(*variants, folder="Sent")
        self.assertEqual(self.count("content"), 5)
        rows = self.mailbox.connection.execute("SELECT size, refs FROM part").fetchall()
        self.assertIn((len(data), 4), rows)
        for uid, content in zip(uids, variants, strict=True):
            self.assertEqual(self.content(uid), content)
        self.mailbox.check()

    def test_ranges_across_an_attachment(self) -> None:
        chance = random.Random(2)
        for line, eol in ((76, "\r\n"), (60, "\n"), (4, "\r\n")):
            content = with_attachment(chance.randbytes(700_000), line=line, eol=eol)
            (uid,) = self.put(content)
            for _ in range(50):
                start = chance.randrange(len(content))
                length = chance.choice([0, 1, 100, 70_000, 10**7])
                section = Section(start=start, length=length)
                found = self.mailbox.read(self.inbox, uid, section)
                self.assertEqual(found, content[start : start + length])

    def test_a_range_reads_no_more_chunks_than_it_touches(self) -> None:
        (uid,) = self.put(with_attachment(os.urandom(20 * parts.CHUNK)))
        read: list[int] = []
        real = parts.unpack

        def unpack(codec: int, data: bytes) -> bytes:
            read.append(len(data))
            return real(codec, data)

        with mock.patch.object(parts, "unpack", unpack):
            section = Section(start=5_000_000, length=100_000)
            self.assertEqual(len(self.mailbox.read(self.inbox, uid, section) or b""), 100_000)
        self.assertLessEqual(len(read), 2)

    def test_parts_go_with_their_last_message(self) -> None:
        data = os.urandom(100_000)
        self.put(with_attachment(data), with_attachment(data, subject="again"))
        self.mailbox.copy(self.inbox, ((1, 1),), "Archive")
        self.mailbox.store_flags(self.inbox, _deleted(1, 2))
        self.mailbox.expunge(self.inbox, ((1, 1),))
        self.assertEqual(self.count("part"), 1)
        self.mailbox.check()
        self.mailbox.expunge(self.inbox, ALL_UIDS)
        self.assertEqual(self.count("part"), 1)
        self.mailbox.check()
        self.mailbox.delete_folder("Archive")
        self.assertEqual(self.count("part") + self.count("part_chunk") + self.count("content"), 0)
        self.mailbox.check()

    def test_a_part_used_twice_in_one_message(self) -> None:
        data = base64.encodebytes(os.urandom(9000)).decode().replace("\n", "\r\n")
        part = f"Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\n{data}"
        content = (
            "Content-Type: multipart/mixed; boundary=f\r\n\r\n"
            f"--f\r\n{part}\r\n--f\r\n{part}\r\n--f--\r\n"
        ).encode()
        (uid,) = self.put(content)
        self.assertEqual(self.count("part"), 1)
        self.assertEqual(self.content(uid), content)
        self.mailbox.check()
        self.mailbox.store_flags(self.inbox, _deleted(uid))
        self.mailbox.expunge(self.inbox, ALL_UIDS)
        self.assertEqual(self.count("part"), 0)

    def test_text_is_compressed(self) -> None:
        text = b"Subject: x\r\n\r\n" + b"the same words again and again\r\n" * 20_000
        (uid,) = self.put(text)
        self.mailbox.connection.wal_checkpoint(mode=3)
        self.assertLess(self.path.stat().st_size, len(text) / 2)
        self.assertEqual(self.content(uid), text)

    def test_large_octets_outside_of_any_part_are_read_by_ranges_too(self) -> None:
        preamble = os.urandom(2_000_000).replace(b"-", b"+")
        content = (
            b"Content-Type: multipart/mixed; boundary=f\r\n\r\n"
            + preamble
            + b"\r\n--f\r\n\r\nhello\r\n--f--\r\n"
        )
        (uid,) = self.put(content)
        self.assertEqual(self.content(uid), content)
        stored = contents.load(self.mailbox.connection, 1)
        self.assertLess(len(stored.skeleton), 1000)

    def test_a_copy_expunged_between_the_two_halves_of_an_append(self) -> None:
        content = with_attachment(os.urandom(50_000))
        (uid,) = self.put(content)
        prepared = contents.prepare(self.mailbox.connection, content)
        self.assertIsNone(prepared.fresh)
        self.mailbox.store_flags(self.inbox, _deleted(uid))

        def lose() -> None:
            other = self.open()
            other.expunge(self.inbox, ALL_UIDS)

        real = self.mailbox._database.writing

        def writing(*, durable: bool) -> object:
            lose()
            return real(durable=durable)

        with mock.patch.object(self.mailbox._database, "writing", writing):
            (second,) = self.mailbox.append("INBOX", [NewMessage(content)]).uids
        self.assertEqual(self.content(second), content)
        self.mailbox.check()

    def test_missing_octets_are_damage(self) -> None:
        (uid,) = self.put(with_attachment(os.urandom(600_000)))
        self.mailbox.connection.execute("DELETE FROM part_chunk WHERE number = 1")
        with self.assertRaises(MailboxDamaged):
            self.content(uid)
        with self.assertRaises(MailboxDamaged):
            self.mailbox.check()


class ThreadTests(MailboxTestCase):
    def threads(self) -> list[object]:
        rows = self.mailbox.connection.execute("SELECT thread_id FROM content ORDER BY id")
        return [thread for (thread,) in rows]

    def test_a_reply_joins_the_thread(self) -> None:
        self.put(
            message(1),
            b"Message-ID: <2@x>\r\nReferences: <0@x> <1@example.com>\r\n\r\n",
            b"Message-ID: <3@x>\r\nIn-Reply-To: <2@x>\r\n\r\n",
            b"Message-ID: <4@x>\r\n\r\n",
            b"Message-ID: <1@example.com>\r\nSubject: the list's copy\r\n\r\n",
            b"no id\r\n\r\n",
            b"no id either\r\n\r\n",
        )
        threads = self.threads()
        self.assertEqual(len(set(threads)), 4)
        self.assertEqual(len({*threads[:3], threads[4]}), 1)


def _deleted(*uids: int) -> StoreFlags:
    return StoreFlags(tuple((uid, uid) for uid in uids), "add", Flags(DELETED))
