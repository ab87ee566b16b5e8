"""Mailboxes with all that an export has to keep, and what tests do with them."""

import os
from collections import Counter
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mailsrv.backup.exchange.exporting import Export, Exported
from mailsrv.backup.exchange.formats.index import Format
from mailsrv.backup.exchange.formats.values import Source
from mailsrv.backup.exchange.importing import Import, Imported, Target
from mailsrv.backup.exchange.opening import open_source
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.mailbox.outgoing import snapshot
from mailsrv.mailbox.values import Flags, NewMessage
from mailsrv.store.beside import Beside, OpenedBeside
from tests.store.world import World, now

LARGEST = 1024 * 1024
KEPT = timedelta(days=7)
FORMATS: tuple[Format, ...] = ("mbox", "maildir", "eml")

Held = dict[str, Counter[tuple[bytes, int, str, str]]]


def nothing(*_: Any) -> None:
    """Progress that nobody looks at."""


class Cut(Exception):
    """Somebody pulls the plug."""


class CutAfter:
    """Progress that pulls the plug after so many messages."""

    def __init__(self, messages: int) -> None:
        self.left = messages

    def __call__(self, *_: Any) -> None:
        if self.left == 0:
            raise Cut
        self.left -= 1


class BoxCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(os, "fsync", nothing)  # what a power cut would leave is not looked at
        self.base = Path(self.mktemp())
        self.base.mkdir()
        self.world = World(self.base / "world")
        self.addCleanup(self.world.directory.close)
        self.open = ExitStack()
        self.addCleanup(self.open.close)

    def box(self, name: str = "owner", quota: int | None = None) -> OpenedBeside:
        """A new empty mailbox, opened as the commands do."""
        address = f"{name}@example.com"
        _, password = self.world.mailbox(address, quota)
        world = self.world
        beside = Beside(world.directory, world.volume, now, "primary", KEPT)
        return self.open.enter_context(beside.open(address, password, None))

    def filled(self, name: str = "owner") -> OpenedBeside:
        """A mailbox with folders, flags and octets of many kinds."""
        mine = self.box(name)
        fill(mine.mailbox)
        return mine

    def export(
        self, mine: OpenedBeside, form: Format, target: str, progress: Any = nothing
    ) -> Exported:
        with snapshot(mine.mailbox) as view:
            return Export(self.base / target, form, progress).run(view)

    def bring(
        self, mine: OpenedBeside, source: Source | Path | str, progress: Any = nothing
    ) -> Imported:
        if isinstance(source, str):
            source = self.base / source
        if isinstance(source, Path):
            source = open_source(source, LARGEST)
        target = Target(mine.mailbox, mine.alias.id, mine.usages, mine.changed)
        return Import(target, source, LARGEST, progress).run()

    def assert_equal_trees(self, one: str, other: str) -> None:
        """Names, modes, times of messages and octets."""
        self.assertEqual(tree(self.base / one), tree(self.base / other))


def fill(mailbox: Mailbox) -> None:
    mailbox.delete_folder("Junk")
    for name in (
        "Work/.hidden/a.b",
        "work",
        "Wörk/日本語 메일",
        "INBOX/..",
        "con",
        "mailsrv-export.json/Mailsrv-Export.partial",
        "x" * 250,
        "a%2Fb",
    ):
        mailbox.create_folder(name)
    mailbox.create_folder("Gesendet", "\\Sent")
    mailbox.subscribe("Wörk/日本語 메일", True)
    mailbox.subscribe("long gone", True)
    mailbox.subscribe("Trash", False)
    new: dict[str, list[NewMessage]] = {}
    for number, content in enumerate(MESSAGES):
        flags = Flags(number % 32, ("$Forwarded todo", "", "NonJunk")[number % 3])
        date = f"20{number % 30:02d}-0{1 + number % 9}-15T10:15:{number % 61:02d}Z"
        for folder in ("INBOX", "Work/.hidden/a.b", "work")[: 1 + number % 3]:
            new.setdefault(folder, []).append(NewMessage(content, flags, date))
    new["INBOX"] += [NewMessage(MESSAGES[0], Flags(1), "2020-02-29T00:00:00Z")] * 3
    for folder, messages in new.items():
        mailbox.append(folder, messages)
    many = [
        NewMessage(b"many %d" % number, Flags(0, f"keyword-{number}"), "2024-01-01T00:00:00Z")
        for number in range(40)
    ]
    mailbox.append("Wörk/日本語 메일", many)


MESSAGES = (
    b"From: a@example.org\r\nSubject: plain\r\n\r\nhello\r\n",
    b"From: a@example.org\r\n\r\nFrom here\r\n>From there\r\n>>From \r\nFrom\r\n",
    b"Return-Path: <b@example.org>\r\nSubject: no end of line\r\n\r\nbody",
    b"Subject: LF\n\nFrom the line that\nends so\n",
    b"Subject: mixed\r\n\nFrom\r\nFrom x\n",
    b"Subject: CR\r\n\r\na\rFrom b\r\r\n\r\n",
    b"Status: RO\r\nX-Status: D\r\nX-Keywords: theirs\r\n\r\nfields of another mbox\r\n",
    b"From x@example.org Mon Nov 23 10:15:00 2026\r\nSubject: begins so\r\n\r\n\r\n",
    b"",
    b"\r\n",
    b"\n\n\n",
    b"Subject: end\r\n\r\nbody\r\n\r\n\r\n\r\n",
    b"Subject: octets\r\nContent-Transfer-Encoding: binary\r\n\r\n" + bytes(range(256)) * 3,
    b"Subject: large\r\n\r\n" + b"From line after line\r\n" * 20_000,
)


def held(mailbox: Mailbox) -> Held:
    """Everything that is in the folders."""
    with snapshot(mailbox) as view:
        return {
            folder.name: Counter(
                (one.content, one.flags.system, one.flags.keywords, one.internal_date)
                for one in view.messages(folder.id)
            )
            for folder in view.folders()
        }


def tree(root: Path) -> dict[str, tuple[int, int, bytes]]:
    """Every file and directory below ``root``."""
    return {
        str(path.relative_to(root)): (
            path.stat().st_mode & 0o7777,
            int(path.stat().st_mtime) if "mailsrv," in path.name or path.suffix == ".eml" else 0,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in (root, *root.rglob("*"))
    }
