"""Frames of a log put to their places, and pieces of a log as files."""

import os
import struct
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mailsrv.errors import BackupDamaged
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.mailbox.wal import frames, segments
from mailsrv.mailbox.wal.frames import FRAME, PAGE, Replay
from mailsrv.mailbox.wal.segments import Mark, Segment
from tests.mailbox.support import MailboxTestCase, message

SALTS = b"saltsalt"


def frame(page: int, pages: int, fill: bytes = b"x") -> bytes:
    return struct.pack(">II", page, pages) + SALTS + bytes(8) + fill * PAGE


class TestReplay(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.path.write_bytes(b"a" * 3 * PAGE)

    def apply(self, *some: bytes) -> bytes:
        with self.path.open("r+b") as file:
            replay = Replay(file)
            replay.apply(some)
            replay.finish()
        return self.path.read_bytes()

    def test_pages_get_to_their_places_and_the_file_its_size(self) -> None:
        found = self.apply(frame(2, 0, b"b"), frame(4, 4, b"c"))
        self.assertEqual(found, b"a" * PAGE + b"b" * PAGE + b"a" * PAGE + b"c" * PAGE)
        self.assertEqual(self.apply(frame(1, 1, b"d")), b"d" * PAGE)

    def test_without_frames_the_file_stays(self) -> None:
        self.assertEqual(self.apply(), b"a" * 3 * PAGE)

    def test_what_does_not_end_with_a_commit_is_refused(self) -> None:
        self.assertRaises(BackupDamaged, self.apply, frame(2, 3), frame(2, 0))

    def test_what_is_no_frame_is_refused(self) -> None:
        for bad in (frame(0, 1), frame(1, 1)[:-1], b"", frame(2**32 - 1, 1)):
            self.assertRaises(BackupDamaged, self.apply, bad)


class TestRealLog(MailboxTestCase):
    def test_the_log_of_an_encrypted_mailbox_can_be_replayed_without_its_key(self) -> None:
        self.mailbox.connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        base = self.path.read_bytes()
        ends: list[int] = []
        self.mailbox.connection.set_wal_hook(lambda _c, _n, count: ends.append(count) or 0)
        for number in range(40):
            self.put(message(number, "text\r\n" * 500))
        log = Path(f"{self.path}-wal").read_bytes()
        for messages in (1, 17, 40):
            copy = self.directory / f"copy-{messages}.sqlite"
            copy.write_bytes(base)
            starts = [frames.offset(number + 1) for number in range(ends[messages - 1])]
            with copy.open("r+b") as file:
                replay = Replay(file)
                replay.apply(log[start : start + FRAME] for start in starts)
                replay.finish()
            with Mailbox.open(copy, self.key, self.now) as restored:
                restored.check()
                self.assertEqual(restored.usage().messages, messages)


class TestSegments(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.segment = Segment(
            chain="20261123T101500Z-1a2b3c4d", number=7, first=11, marks=(Mark(12, 5), Mark(13, 9))
        )
        self.frames = [frame(1, 0), frame(2, 2), frame(1, 2)]
        segments.write(self.path, self.segment, [self.frames[0], b"".join(self.frames[1:])])

    def test_it_comes_back(self) -> None:
        self.assertEqual(segments.read(self.path), self.segment)
        self.assertEqual(list(segments.frames(self.path, 3)), self.frames)
        self.assertEqual(list(segments.frames(self.path, 2)), self.frames[:2])

    def test_it_is_readable_by_its_owner_alone(self) -> None:
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)

    def test_any_damage_is_noticed(self) -> None:
        whole = self.path.read_bytes()
        step = 997
        for at in [*range(60), *range(60, len(whole), step), len(whole) - 1]:
            self.path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
            self.assertRaises(BackupDamaged, segments.read, self.path)
        for length in [0, 1, 40, FRAME, len(whole) - 1]:
            self.path.write_bytes(whole[:length])
            self.assertRaises(BackupDamaged, segments.read, self.path)
        self.path.write_bytes(whole + b"x")
        self.assertRaises(BackupDamaged, segments.read, self.path)

    def test_a_failed_write_leaves_nothing(self) -> None:
        def fails() -> object:
            yield self.frames[0]
            raise OSError(28, os.strerror(28))

        other = self.path.with_name("other")
        self.assertRaises(OSError, segments.write, other, self.segment, fails())
        self.assertFalse(other.exists())
