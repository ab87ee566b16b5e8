"""What survives: power cuts (the log cut where it was synced), crashes at any statement.

A power cut is played by copying the main file and the beginning of its log, up to any octet at
or after the last sync, and opening that copy with another boot id.
"""

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import attrs

from mailsrv.mailbox import durability
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.mailbox.values import (
    ALL_UIDS,
    DELETED,
    FLAGGED,
    SEEN,
    FetchRequest,
    FlagRow,
    Flags,
    NewMessage,
    StoreFlags,
)
from tests.mailbox.support import MailboxTestCase, fetch_all, message

Step = Callable[[Mailbox], object]


@attrs.define
class Seen:
    """What a client was told of one folder."""

    modseq: int
    uidnext: int
    uidvalidity: int
    rows: dict[int, FlagRow]


class CutTestCase(MailboxTestCase):
    """Runs steps and notes after each how much of the log is on disk for certain."""

    def setUp(self) -> None:
        super().setUp()
        self.mailbox.close()
        self.log = Path(f"{self.path}-wal")
        self.mailbox = self.open(boot="one")
        self.mailbox.connection.execute("PRAGMA wal_autocheckpoint=0")
        self.synced = 0
        self.copies = 0

    def run_step(self, step: Step) -> None:
        database = self.mailbox._database
        real = database.writing
        durable: list[bool] = []

        def writing(**options: bool) -> object:
            durable.append(options["durable"])
            return real(**options)

        with mock.patch.object(database, "writing", writing):
            step(self.mailbox)
        if any(durable):
            self.synced = self.log.stat().st_size

    def after_cut(self, length: int, boot: str) -> Mailbox:
        self.copies += 1
        target = self.directory / f"cut{self.copies}.sqlite"
        shutil.copy(self.path, target)
        Path(f"{target}-wal").write_bytes(self.log.read_bytes()[:length])
        mailbox = Mailbox.open(target, self.key, self.now, boot=boot)
        self.addCleanup(mailbox.close)
        return mailbox

    def seen(self, name: str) -> Seen:
        folder = self.folder(name)
        rows = self.mailbox.changes(folder.id, 0, False).changed
        return Seen(
            folder.highestmodseq, folder.uidnext, folder.uidvalidity, {one.uid: one for one in rows}
        )


class PowerCutTests(CutTestCase):
    def flag(self, uid: int, *flags: int) -> None:
        for bit in flags:
            change = StoreFlags(((uid, uid),), "add", Flags(bit))
            self.run_step(lambda box, change=change: box.store_flags(self.inbox, change))

    def test_flags_that_were_lost_never_leave_their_modseq_to_others(self) -> None:
        self.run_step(lambda box: box.append("INBOX", [NewMessage(message(n)) for n in range(3)]))
        self.flag(1, SEEN)
        self.flag(2, FLAGGED, SEEN, DELETED)
        seen = self.seen("INBOX")
        self.assertGreater(self.log.stat().st_size, self.synced)
        after = self.after_cut(self.synced, "two")
        folder = next(one for one in after.folders() if one.name == "INBOX")
        self.assertGreater(folder.highestmodseq, seen.modseq)
        rows = after.changes(self.inbox, seen.modseq, False).changed
        self.assertEqual([(row.uid, row.flags) for row in rows], [(1, SEEN), (2, 0), (3, 0)])
        result = after.store_flags(self.inbox, StoreFlags(((3, 3),), "add", Flags(SEEN)))
        self.assertGreater(result.modseq, folder.highestmodseq)

    def test_a_killed_process_loses_nothing_and_skips_nothing(self) -> None:
        self.run_step(lambda box: box.append("INBOX", [NewMessage(message())]))
        self.flag(1, SEEN, FLAGGED, DELETED)
        seen = self.seen("INBOX")
        after = self.after_cut(self.log.stat().st_size, "one")
        found = after.changes(self.inbox, 0, False)
        self.assertEqual((found.modseq, found.changed), (seen.modseq, list(seen.rows.values())))

    def test_the_disk_is_waited_for_once_in_many_changes(self) -> None:
        self.run_step(lambda box: box.append("INBOX", [NewMessage(message())]))
        reserves = mock.Mock(wraps=durability.reserve)
        with mock.patch.object(durability, "reserve", reserves):
            for number in range(1200):
                operation = "remove" if number % 2 else "add"
                change = StoreFlags(ALL_UIDS, operation, Flags(SEEN))
                self.mailbox.store_flags(self.inbox, change)
        self.assertEqual(reserves.call_count, 3)

    def test_a_reserve_that_others_used_up_meanwhile(self) -> None:
        self.run_step(lambda box: box.append("INBOX", [NewMessage(message())]))
        change = StoreFlags(ALL_UIDS, "add", Flags(SEEN))
        with mock.patch.object(durability, "must_reserve", return_value=False):
            self.run_step(lambda box: box.store_flags(self.inbox, change, "id"))
        self.assertEqual(self.synced, self.log.stat().st_size)
        after = self.after_cut(self.synced, "two")
        self.assertEqual(fetch_all(after, self.inbox, ("flags",)), [(1, SEEN)])
        self.assertGreater(after.changes(self.inbox, 0, False).modseq, durability.RESERVE)

    def test_a_cut_anywhere_keeps_what_was_acknowledged(self) -> None:
        chance = random.Random(3)
        acknowledged: list[tuple[int, int, dict[str, Seen]]] = []
        for _ in range(40):
            self.run_step(self.random_step(chance))
            seen = {name: self.seen(name) for name in ("INBOX", "Archive")}
            acknowledged.append((self.synced, self.log.stat().st_size, seen))
        for at, (synced, length, seen) in enumerate(acknowledged):
            cut = chance.choice([synced, length, chance.randint(synced, length)])
            self.check_cut(self.after_cut(cut, "two"), seen, f"step {at}, {cut} of {length}")

    def random_step(self, chance: random.Random) -> Step:
        number = chance.randrange(1000)
        uid = chance.randint(1, 12)
        name = chance.choice(["INBOX", "Archive"])
        seen = FetchRequest(ALL_UIDS, mark_seen=True, max_rows=2)
        folder_id = self.folder(name).id
        flags = StoreFlags(((uid, uid + 2),), "add", Flags(chance.choice([SEEN, FLAGGED, DELETED])))
        return chance.choice(
            [
                lambda box: box.append(name, [NewMessage(message(number)), NewMessage(message(1))]),
                lambda box: box.store_flags(folder_id, flags),
                lambda box: box.store_flags(folder_id, flags),
                lambda box: box.fetch(folder_id, seen),
                lambda box: box.expunge(folder_id, ALL_UIDS),
                lambda box: box.move(folder_id, ((uid, uid),), "Archive"),
                lambda box: box.select(name, True),
            ]
        )

    def check_cut(self, after: Mailbox, seen: dict[str, Seen], where: str) -> None:
        after.check()
        for folder in after.folders():
            told = seen.get(folder.name)
            if told is None:
                continue
            self.assertEqual(folder.uidvalidity, told.uidvalidity, where)
            self.assertGreaterEqual(folder.highestmodseq, told.modseq, where)
            self.assertEqual(folder.uidnext, told.uidnext, where)
            # What the client holds, brought up to date as it would do it, is what is there.
            found = after.changes(folder.id, told.modseq, False)
            held = {**told.rows, **{row.uid: row for row in found.changed}}
            there = fetch_all(after, folder.id, ("flags",))
            self.assertEqual([(uid, row.flags) for uid, row in sorted(held.items())], there, where)
            self.assertEqual(found.vanished, (), where)


class TornLogTests(CutTestCase):
    def test_a_log_cut_anywhere_is_a_prefix_of_the_writes(self) -> None:
        for number in range(1, 11):
            self.mailbox.append("INBOX", [NewMessage(message(number, "text\r\n" * 900))])
        length = self.log.stat().st_size
        counts = []
        for cut in range(0, length, length // 30):
            after = self.after_cut(cut, "one")
            after.check()
            rows = fetch_all(after, self.inbox, ("size",))
            counts.append(len(rows))
            self.assertEqual([row[0] for row in rows], list(range(1, len(rows) + 1)))
        self.assertEqual(counts, sorted(counts))
        self.assertEqual((counts[0], counts[-1]), (0, 9))

    def test_a_damaged_log_is_a_prefix_of_the_writes(self) -> None:
        for number in range(1, 6):
            self.mailbox.append("INBOX", [NewMessage(message(number, "text\r\n" * 900))])
        data = bytearray(self.log.read_bytes())
        data[len(data) // 2] ^= 1
        target = self.directory / "damaged.sqlite"
        shutil.copy(self.path, target)
        Path(f"{target}-wal").write_bytes(data)
        with Mailbox.open(target, self.key, self.now) as after:
            after.check()
            self.assertIn(len(fetch_all(after, self.inbox)), (1, 2, 3))


class FailingStatementTests(MailboxTestCase):
    """A crash at each statement of a write leaves all of it or nothing."""

    def setUp(self) -> None:
        super().setUp()
        self.mailbox.create_folder("tree/one/two")
        self.mailbox.create_folder("tree/three")
        attachment = b"Content-Type: application/x\r\n\r\n" + bytes(range(256)) * 30
        self.put(attachment, message(1), message(2), flags=Flags(DELETED, "word"))
        self.put(attachment, message(2), folder="tree/three")
        self.mailbox.index_pending(10)

    def state(self) -> object:
        return [
            (folder, fetch_all(self.mailbox, folder.id, ("flags", "keywords", "size", "modseq")))
            for folder in self.mailbox.folders()
        ]

    def fails_at_each_statement(self, write: Callable[[], object]) -> None:
        before = self.state()
        connection = self.mailbox.connection
        at = 0
        while True:
            remaining = [at]

            def trace(*_: object, remaining: list[int] = remaining) -> bool:
                remaining[0] -= 1
                if remaining[0] == -1:
                    raise PowerError
                return True

            connection.exec_trace = trace
            try:
                write()
                break
            except PowerError:
                pass
            finally:
                connection.exec_trace = None
            self.assertEqual(self.state(), before)
            self.mailbox.check()
            at += 1
        self.assertGreater(at, 4)
        self.assertNotEqual(self.state(), before)
        self.mailbox.check()

    def test_append(self) -> None:
        new = NewMessage(b"Content-Type: image/x\r\n\r\n" + bytes(9000), Flags(1, "new"))
        self.fails_at_each_statement(lambda: self.mailbox.append("INBOX", [new], "id"))

    def test_expunge(self) -> None:
        self.fails_at_each_statement(lambda: self.mailbox.expunge(self.inbox, ALL_UIDS, "id"))

    def test_move(self) -> None:
        move = self.mailbox.move
        self.fails_at_each_statement(lambda: move(self.inbox, ALL_UIDS, "Archive", "id"))

    def test_store(self) -> None:
        change = StoreFlags(ALL_UIDS, "replace", Flags(SEEN, "other"))
        self.fails_at_each_statement(lambda: self.mailbox.store_flags(self.inbox, change))

    def test_rename_of_a_tree(self) -> None:
        self.fails_at_each_statement(lambda: self.mailbox.rename_folder("tree", "new/place"))

    def test_delete_of_a_folder(self) -> None:
        self.fails_at_each_statement(lambda: self.mailbox.delete_folder("tree/three"))


class PowerError(Exception):
    pass
