"""A process that works on a mailbox, ships its log, and is killed at a step of either.

``python -m tests.backup.killed FOLDER SEED STEP``: the step is counted over all calls that change
something on the volume or in the store, before and after each. What was done is written down, one
line for each write, before (``begun``) and after it (the content).
"""

import contextlib
import functools
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from mailsrv.backup import shipping
from mailsrv.errors import MailsrvError
from mailsrv.mailbox import blocks
from mailsrv.mailbox.wal import capture
from mailsrv.mailbox.wal.keeper import LogKeeper
from mailsrv.mailbox.wal.spool import Spool
from tests.backup import kept, shipped
from tests.backup.shipped import Shipped, content_of

STEPS: list[tuple[Any, str]] = [
    *((Spool, name) for name in ("save", "note", "forget_marks", "put", "accept")),
    *((capture, name) for name in ("set_stamp",)),
    *((kept.os, name) for name in ("replace",)),
    *((shutil, name) for name in ("copyfile",)),
    *((kept.Kept, name) for name in ("put", "write", "remove")),
    *((shipping.chains, name) for name in ("prune",)),
    *((capture.Capture, name) for name in ("emptied", "undone", "capture", "end_base")),
    *((blocks.FileReader, name) for name in ("read",)),
    *((LogKeeper, name) for name in ("empty", "close")),
    *((Path, name) for name in ("unlink",)),
]


class Killer:
    def __init__(self, step: int) -> None:
        self.left = step
        self.armed = False

    def step(self) -> None:
        if self.armed:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def watch(self, owner: Any, name: str) -> None:
        function = getattr(owner, name)

        @functools.wraps(function)
        def watched(*args: Any, **kwargs: Any) -> Any:
            self.step()
            result = function(*args, **kwargs)
            self.step()
            return result

        setattr(owner, name, watched)


def note_ends(folder: Path) -> None:
    """Write down why a chain ends, before it does."""
    break_off = capture.Capture.break_off

    def noted(self: capture.Capture, why: str) -> None:
        if self.active:
            with (folder / "ends").open("a") as file:
                file.write(f"{why}\n")
        break_off(self, why)

    capture.Capture.break_off = noted  # type: ignore[method-assign]


class Child(Shipped):
    """Time is the machine's, as it goes on from one process to the next."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.diary = (folder / "diary").open("ab", buffering=0)
        super().__init__(folder, seed, key=shipped.fixed_key())

    def record(self, box: Any = None) -> None:
        self.ticks.milliseconds = time.time_ns() // 1_000_000
        self.note(self.ticks.milliseconds, content_of(box or self.box))
        time.sleep(0.003)
        self.ticks.milliseconds = time.time_ns() // 1_000_000
        self.note(self.ticks.milliseconds, None)  # more may be written at this time

    def note(self, *line: Any) -> None:
        self.diary.write(msgspec.json.encode(line) + b"\n")

    def write(self, box: Any = None) -> None:
        self.ticks.milliseconds = time.time_ns() // 1_000_000
        self.note(self.ticks.milliseconds, None)
        super().write(box)


def main() -> None:
    folder, seed, step = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    blocks.BLOCK = 16 * 1024
    killer = Killer(step)
    for owner, name in STEPS:
        killer.watch(owner, name)
    note_ends(folder)
    world = Child(folder, seed)
    world.note(time.time_ns() // 1_000_000, None)
    world.open()
    world.record()
    killer.armed = True
    for _ in range(80):
        world.note(time.time_ns() // 1_000_000, None)
        actions = [
            *[world.write] * 8,
            *(world.ship, world.ship, world.close, world.copy_log, world.give_up_a_write),
            lambda: world.box.shorten_log(10),
            world.make_base,
        ]
        with contextlib.suppress(MailsrvError):
            world.dice.choice(actions)()
    world.close()
    world.ship()


if __name__ == "__main__":
    main()
