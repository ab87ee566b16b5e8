"""Whoever dies at whichever step of a move: one current file with all mail, and nothing left."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import attrs
from twisted.internet.defer import Deferred, fail
from twisted.trial.unittest import SynchronousTestCase

from mailsrv.directory import schema
from mailsrv.errors import LinkLost, StorageFailed
from mailsrv.link.moving.mover import Moved
from mailsrv.link.moving.serving import (
    MoveClose,
    MoveFreeze,
    MoveSwitch,
    TakeClose,
    TakeOpen,
    TakeRows,
    TakeSeal,
)
from mailsrv.link.wire.frames import Operation
from tests.link.moves import Link, MoveCase, template
from tests.store.two_volumes import ADDRESS


class Killed(BaseException):
    """The mover is no more."""


MODES = ("mover", "source", "target", "source link", "target link", "error")


@attrs.define(eq=False)
class Fault:
    """What goes wrong at one step, ``after`` it was done or before."""

    case: MoveCase
    mode: str
    step: int
    after: bool
    asked: list[type[Operation]] = attrs.Factory(list)
    happened: bool = False
    mover_dead: bool = False

    def over(self, link: Link, side: str) -> Callable[[Operation], Deferred[Any]]:
        def ask(operation: Operation) -> Deferred[Any]:
            if self.mover_dead:
                return fail(Killed())
            self.asked.append(type(operation))
            world = self.case.world
            if not world.a.frozen and world.record.primary == "a" and len(self.asked) % 4 == 0:
                world.wait()
            if len(self.asked) != self.step or self.mode.partition(" ")[0] not in (
                side,
                "mover",
                "error",
            ):
                return link.ask(operation)
            return self.strike(link, operation)

        return ask

    def strike(self, link: Link, operation: Operation) -> Deferred[Any]:
        self.happened = True
        if self.mode == "error":
            return fail(StorageFailed("the disk of the test failed"))
        if self.after:
            link.ask(operation).addErrback(lambda _: None)
        if self.mode == "mover":
            self.mover_dead = True
            return fail(Killed())
        if "link" in self.mode:
            link.lose()
        else:
            link.die()
        return fail(LinkLost("the link went away"))


_CHANGING = (TakeOpen, TakeRows, MoveFreeze, TakeSeal, MoveSwitch, MoveClose, TakeClose)
"""Steps of which it matters whether they were done when the link or a process went away."""


class EveryInstantTests(MoveCase):
    """Whoever dies at whichever step: one current file with all mail, and nothing left over."""

    def setUp(self) -> None:
        # hundreds of moves: in memory where that is possible, since each waits for the disk
        memory = Path("/dev/shm")
        self.base = Path(mkdtemp(dir=memory if os.access(memory, os.W_OK) else None))
        self.addCleanup(shutil.rmtree, self.base)

    def begin(self, name: str) -> None:
        self.world = template().copy(self.base / name)
        self.a, self.b = Link(self.world.a), Link(self.world.b)
        self.progress = []

    def steps(self) -> list[type[Operation]]:
        """What is asked for in a move in which nothing fails."""
        self.begin("whole")
        fault = Fault(self, "nothing", 0, after=False)
        moving = self.moving(fault.over(self.a, "source"), fault.over(self.b, "target"))
        self.successResultOf(moving)
        self.world.check_mail()
        self.world.directory.close()
        return fault.asked

    def test_every_instant(self) -> None:
        steps = self.steps()
        frozen = steps.index(MoveFreeze)
        # of steps that come again before or after the hold begins the first one
        first = {(step > frozen, one): step for step, one in reversed(list(enumerate(steps, 1)))}
        for mode in MODES:
            for step in first.values():
                self.run_with(mode, step, after=False)
            for step, one in enumerate(steps, 1):
                if one in _CHANGING and mode != "error":
                    self.run_with(mode, step, after=True)
        self.assertGreater(self.ends, 120)

    ends = 0

    def run_with(self, mode: str, step: int, *, after: bool) -> None:
        self.begin(f"{mode} {step} {after}")
        fault = Fault(self, mode, step, after)
        moving = self.moving(fault.over(self.a, "source"), fault.over(self.b, "target"))
        results: list[Any] = []
        moving.addBoth(results.append)
        self.ends += fault.happened
        try:
            self.assertEqual(len(results), 1)
            self.check(results[0])
        except BaseException as error:
            error.add_note(f"after {fault.asked[-1]}: {mode}, step {step}, done {after}")
            raise
        finally:
            self.world.directory.close()

    def check(self, result: Any) -> None:
        world = self.world
        for link in (self.a, self.b):
            if link.up:
                link.lose()
            elif not link.connection.closed.called:
                link.primary.restart()
        self.assertFalse(world.a.frozen)
        for primary in (world.a, world.b):
            primary.place.tidy()
        record = world.record
        self.assertEqual(world.directory.alias(ADDRESS).primary, record.primary)
        if isinstance(result, Moved):
            self.assertEqual((record.id, record.primary), (result.mailbox, "b"))
        elif not result.check(Killed) and "whether" not in str(result.value):
            self.assertEqual(record.primary, "a")
        found = self.states()
        old = [(one, where) for one, (state, where) in found.items() if state != schema.CURRENT]
        self.assertEqual(
            [found[one] for one, _ in old],
            [(schema.MOVED, "a")] if record.primary == "b" else [],
        )
        expected = {"a": [f"{one}.sqlite" for one, _ in old], "b": []}
        kinds = (world.home.volume.waiting, world.home.volume.set_aside)
        mine = [f"{record.id}.sqlite", *(kind(record.public_key).name for kind in kinds)]
        expected[record.primary] = sorted([*expected[record.primary], *mine])
        self.assertEqual(world.a.listing(), expected["a"])
        self.assertEqual(world.b.listing(), expected["b"])
        world.append()
        world.check_mail()
        world.directory.settle_move(world.alias, record.id)
        for primary in (world.a, world.b):
            primary.place.tidy()
        self.assertEqual(len(self.states()), 1)
        self.assertEqual(world.a.listing() + world.b.listing(), [f"{record.id}.sqlite"])


class EveryLineTests(SynchronousTestCase):
    """All three killed at once, at one line after another (see ``move_crashes``)."""

    def test_every_line(self) -> None:
        memory = Path("/dev/shm")
        base = mkdtemp(dir=memory if os.access(memory, os.W_OK) else None)
        self.addCleanup(shutil.rmtree, base)
        done = subprocess.run(
            [sys.executable, "-m", "tests.link.move_crashes", base, "53"],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stderr[-3000:])
        self.assertGreater(int(done.stdout), 20)
