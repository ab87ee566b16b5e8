"""Octets in an mbox file come back exactly, whatever they are."""

import mailbox as library
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailsrv.backup.exchange.formats.mboxrd import (
    from_line_date,
    from_mbox,
    is_separator,
    letters_to_flags,
    to_mbox,
)
from mailsrv.mailbox.values import Flags

PIECES = st.sampled_from(
    [
        b"From ",
        b">From ",
        b">>From ",
        b">",
        b"\n",
        b"\r\n",
        b"\r",
        b"x",
        b"\n\n",
        b"Subject: a",
        b"",
    ]
)
CONTENTS = st.one_of(st.lists(PIECES, max_size=12).map(b"".join), st.binary(max_size=40))


class OctetsTests(SynchronousTestCase):
    @given(CONTENTS)
    def test_they_come_back(self, content: bytes) -> None:
        stored = to_mbox(content, Flags(), "2026-11-23T10:15:00Z")
        self.assertEqual(from_mbox(stored.text, is_lf=stored.is_lf), content)

    @given(st.lists(CONTENTS, max_size=4))
    def test_no_line_of_a_message_begins_the_next(self, contents: list[bytes]) -> None:
        stored = [to_mbox(one, Flags(1), "2026-11-23T10:15:00Z") for one in contents]
        octets = b"".join(one.before + one.text + one.after for one in stored)
        starts = [line for line in octets.split(b"\n") if line.startswith(b"From ")]
        self.assertEqual(len(starts), len(contents))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "mbox"
            path.write_bytes(octets)
            theirs = library.mbox(str(path), create=False)
            self.assertEqual(len(theirs), len(contents))
            theirs.close()

    def test_lines_end_as_others_expect(self) -> None:
        stored = to_mbox(
            b"Subject: a\r\n\r\nFrom b\r\n", Flags(1 | 2, "todo"), "2026-11-23T10:15:00Z"
        )
        self.assertEqual(
            stored.before + stored.text + stored.after,
            b"From MAILER-DAEMON Mon Nov 23 10:15:00 2026\n"
            b"Status: RO\nX-Status: A\nX-Keywords: todo\nSubject: a\n\n>From b\n\n",
        )
        self.assertTrue(stored.is_lf)
        self.assertFalse(to_mbox(b"a\r\nb\n", Flags(), "2026-11-23T10:15:00Z").is_lf)


class FromLineTests(SynchronousTestCase):
    def test_sender(self) -> None:
        for content, sender in (
            (b"Return-Path: <a@b.example>\r\nFrom: c@d.example\r\n\r\n", b"a@b.example"),
            (b"From: C <c@d.example>\r\n\r\n", b"c@d.example"),
            (b"Return-Path: <>\r\nFrom: nobody\r\n\r\n", b"MAILER-DAEMON"),
            (b"\r\n\r\nFrom: x@y.example\r\n", b"MAILER-DAEMON"),
        ):
            line = to_mbox(content, Flags(), "2026-11-23T10:15:00Z").before
            self.assertEqual(line.split(b" ")[1], sender)

    @given(st.datetimes(datetime(1583, 1, 1), datetime(9999, 1, 1)))
    def test_dates_come_back(self, moment: datetime) -> None:
        date = moment.replace(tzinfo=UTC, microsecond=0).strftime("%Y-%m-%dT%H:%M:%SZ")
        date = date.rjust(20, "0")
        line = to_mbox(b"", Flags(), date).before.partition(b"\n")[0]
        self.assertEqual(line.split(b" ", 2)[2].decode(), moment.ctime())
        self.assertEqual(from_line_date(line), date)

    def test_dates_of_other_programs(self) -> None:
        for line, date in (
            (b"From - Mon Nov 23 10:15:00 2026", "2026-11-23T10:15:00Z"),
            (b"From a@b Mon Nov 23 10:15:00 +0200 2026", "2026-11-23T08:15:00Z"),
            (b"From a@b Mon Nov 23 10:15:00 2026 +0200", "2026-11-23T08:15:00Z"),
            (b"From a@b Mon, 23 Nov 2026", None),
            (b"From ", None),
        ):
            self.assertEqual(from_line_date(line), date, line)

    def test_separators(self) -> None:
        for line in (b"From a Mon Nov 23 10:15:00 2026\n", b"From - \n", b"From \n"):
            self.assertTrue(is_separator(line), line)
        for line in (b"From here to there\n", b">From a 10:15\n", b"From\n", b"Fromage 10:15\n"):
            self.assertFalse(is_separator(line), line)

    def test_flags(self) -> None:
        self.assertEqual(letters_to_flags("RO", ""), 1)
        self.assertEqual(letters_to_flags("O", "AFDT"), 2 | 4 | 8 | 16)
        self.assertEqual(letters_to_flags("", ""), 0)
