"""The two halves of a move on real encrypted files, and what is left to do after it."""

import os
from pathlib import Path
from unittest import mock

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from mailsrv.errors import (
    DiskFull,
    Elsewhere,
    InvalidInput,
    MailboxDamaged,
    MailboxMissing,
    MailboxMoved,
    Unavailable,
)
from mailsrv.keys.filekey import FileKey
from mailsrv.mailbox import blocks
from mailsrv.mailbox.blocks import BLOCK, FileReader, LogReader, blocks_in, digest, whole
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.mailbox.values import NewMessage
from mailsrv.store.arriving import Target
from mailsrv.store.moving import PARTS, Sizes, Source
from tests.store.two_volumes import TwoVolumes
from tests.store.world import now

KEY = FileKey(raw=bytes(range(32)), salt=bytes(range(16)))


class BlocksTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp()).absolute()
        with Mailbox.create(self.path, KEY, now) as mailbox:
            mailbox.append("INBOX", [NewMessage(os.urandom(BLOCK))], None)

    def test_reads_what_lies_there(self) -> None:
        octets = self.path.read_bytes()
        reader = FileReader(self.path)
        self.assertEqual(reader.size(), len(octets))
        count = blocks_in(len(octets))
        self.assertGreater(count, 1)
        self.assertEqual(b"".join(map(reader.read, range(count))), octets)
        self.assertEqual(reader.read(count + 5), b"")
        reader.close()
        reader.close()

    def test_zeros_at_the_end_are_part_of_the_file(self) -> None:
        octets = os.urandom(BLOCK + 100) + bytes(28)
        self.path.write_bytes(octets)
        reader = FileReader(self.path)
        self.addCleanup(reader.close)
        self.assertEqual(reader.read(0) + reader.read(1), octets)

    def test_missing(self) -> None:
        with self.assertRaises(MailboxMissing):
            FileReader(self.path.with_name("none"))
        log = LogReader(self.path)
        self.assertEqual((log.size(), log.read(0)), (0, b""))

    def test_closing_leaves_sqlite_its_locks(self) -> None:
        def locks() -> list[list[str]]:
            inode = str(self.path.stat().st_ino)
            # without their numbers, which count the locks of all processes
            found = [line.split()[1:] for line in Path("/proc/locks").read_text().splitlines()]
            return [
                lock
                for lock in found
                if lock[-3].endswith(f":{inode}") and lock[-4] == str(os.getpid())
            ]

        with Mailbox.open(self.path, KEY, now) as mailbox, mailbox.reading():
            before = locks()
            self.assertTrue(before)
            reader = FileReader(self.path)
            reader.read(0)
            reader.close()
            self.assertEqual(locks(), before)
            # what happens to who is less careful
            self.path.read_bytes()
            self.assertEqual(locks(), [])

    def test_one_digest_for_all(self) -> None:
        parts = [digest(b"a"), digest(b"b")]
        self.assertNotEqual(whole((1, 1), parts), whole((2, 0), parts))
        self.assertNotEqual(whole((1, 1), parts), whole((1, 1), parts[::-1]))
        self.assertEqual([blocks_in(n) for n in (0, 1, BLOCK, BLOCK + 1)], [0, 1, 1, 2])


class HalvesCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = TwoVolumes(Path(self.mktemp())).fill()
        self.addCleanup(self.world.directory.close)
        self.alias = self.world.alias

    def source(self) -> Source:
        source = Source(self.world.a.place, self.alias)
        self.addCleanup(source.close)
        return source

    def target(self, size: int = 0) -> Target:
        target = Target(self.world.b.place, self.alias, self.world.record.id, size)
        self.addCleanup(target.close)
        return target

    def copy(self, source: Source, target: Target) -> Sizes:
        """All blocks, with nothing going on."""
        sizes = source.hold_still()
        target.fit(sizes)
        for part in PARTS:
            numbers = blocks_in(sizes.of(part))
            for number in target.differing(part, 0, source.digests(part, 0, numbers)):
                target.write(part, number, source.read(part, number))
        return sizes


class HalvesTests(HalvesCase):
    def test_a_copy_opens_with_the_key(self) -> None:
        source, target = self.source(), self.target()
        target.seal(self.copy(source, target), source.seal())
        with self.world.open(target.record.id, self.world.b) as mailbox:
            mailbox.check()
            self.assertEqual(mailbox.usage().messages, 3)

    def test_a_copy_with_a_log_opens_with_the_key(self) -> None:
        # as a process leaves it that was killed, or while a reader of another has it open
        child = os.fork()
        if child == 0:
            try:
                mailbox = self.world.open()
                mailbox.append("INBOX", [NewMessage(b"in the log")], None)
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        self.world.acknowledged.append(b"in the log")
        source, target = self.source(), self.target()
        sizes = self.copy(source, target)
        self.assertGreater(sizes.log, 0)
        target.seal(sizes, source.seal())
        source.switch(target.record.id)
        self.assertTrue(target.arrived())
        self.assertEqual(self.world.record.primary, "b")
        with self.world.open() as mailbox:
            mailbox.check()
            self.assertEqual(mailbox.usage().messages, 4)

    def test_sizes_that_no_volume_has(self) -> None:
        source, target = self.source(), self.target()
        with self.assertRaises(DiskFull):
            target.fit(Sizes(file=2**44, log=0))
        with self.assertRaises(DiskFull):
            target.seal(Sizes(file=2**43, log=2**43), bytes(32))
        for wrong in (-1, 2**44 + 1):
            with self.assertRaises(msgspec.ValidationError):
                msgspec.convert({"file": wrong, "log": 0}, Sizes)
        target.differing("file", 2**40, [bytes(32)])
        source.hold_still()
        source.digests("file", 2**40, 3)
        self.assertEqual((source._digests, target._digests), ({}, {}))

    def test_a_log_that_has_gone_leaves_none(self) -> None:
        target = self.target()
        target.write("log", 0, b"x" * 100)
        log = blocks.log_of(self.world.b.volume.mailbox(target.record.id))
        self.assertTrue(log.exists())
        target.fit(Sizes(file=4096, log=0))
        self.assertFalse(log.exists())

    def test_shorter_and_longer(self) -> None:
        target = self.target()
        target.write("file", 0, b"a" * BLOCK)
        target.write("file", 1, b"b" * 100)
        self.assertEqual(target.differing("file", 0, [digest(b"a" * BLOCK)]), [])
        self.assertEqual(target.differing("file", 1, [digest(b"b" * 100)]), [])
        target.fit(Sizes(file=BLOCK + 50, log=0))
        self.assertEqual(target.differing("file", 1, [digest(b"b" * 50)]), [])
        target.fit(Sizes(file=BLOCK - 1, log=0))
        self.assertEqual(target.differing("file", 0, [digest(b"a" * (BLOCK - 1))]), [])
        target.fit(Sizes(file=BLOCK + 1, log=0))
        self.assertEqual(target.differing("file", 1, [digest(b"\0")]), [])
        for number, data in ((0, b""), (0, bytes(BLOCK + 1)), (-1, b"x"), (2**50, b"x")):
            self.assertRaises(InvalidInput, target.write, "file", number, data)

    def test_a_copy_that_is_not_the_same(self) -> None:
        source, target = self.source(), self.target()
        sizes = self.copy(source, target)
        target.write("file", 0, b"x" * 10)
        self.assertRaises(MailboxDamaged, target.seal, sizes, source.seal())

    def test_what_did_not_hold_still_is_not_sealed(self) -> None:
        source, target = self.source(), self.target()
        self.assertRaises(Unavailable, source.seal)
        self.assertRaises(Unavailable, source.switch, target.record.id)
        self.copy(source, target)
        with self.world.open() as mailbox:
            mailbox.append("INBOX", [NewMessage(os.urandom(20_000))], None)
        self.assertRaises(Unavailable, source.seal)
        self.assertRaises(Unavailable, source.switch, target.record.id)

    def test_the_switch_may_be_asked_again(self) -> None:
        source, target = self.source(), self.target()
        target.seal(self.copy(source, target), source.seal())
        source.switch(target.record.id)
        source.switch(target.record.id)
        self.assertRaises(MailboxMoved, source.switch, "0" * 24)
        with self.assertRaises(Elsewhere):
            self.source()

    def test_who_does_not_hear_of_the_switch_asks(self) -> None:
        source, target = self.source(), self.target()
        target.seal(self.copy(source, target), source.seal())
        finish = self.world.directory.finish_move

        def lost(*arguments: str) -> None:
            finish(*arguments)
            raise Unavailable("the server that directory.url names cannot be reached")

        with mock.patch.object(self.world.directory, "finish_move", lost):
            source.switch(target.record.id)
        self.assertTrue(target.arrived())

    def test_after_the_end_nothing_is_taken(self) -> None:
        target = self.target()
        target.close()
        for call in (
            lambda: target.write("file", 0, b"x"),
            lambda: target.add([], False),
            lambda: target.fit(Sizes(1, 1)),
            target.sync,
        ):
            self.assertRaises(MailboxMoved, call)
        self.assertEqual(self.world.b.listing(), [])
        self.assertEqual(len(self.world.directory.mailbox_files(self.alias)), 1)

    def test_a_second_move_ends_the_first(self) -> None:
        first = self.target()
        first.write("file", 0, b"x")
        second = self.target()
        self.assertRaises(MailboxMoved, first.write, "file", 0, b"x")
        self.world.b.place.tidy()
        first.close()
        second.write("file", 0, b"x")
        self.assertEqual(self.world.b.listing(), [f"{second.record.id}.sqlite"])

    def test_tidying_leaves_what_is_at_work(self) -> None:
        target = self.target()
        target.write("file", 0, b"x")
        self.world.b.place.tidy()
        self.assertEqual(self.world.b.listing(), [f"{target.record.id}.sqlite"])
        self.world.b.restart()
        self.world.b.place.tidy()
        self.assertEqual(self.world.b.listing(), [])
