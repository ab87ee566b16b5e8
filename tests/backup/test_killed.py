"""Killed at any step of capture and shipping: what comes back was there, and at its time."""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mailsrv.backup import layout
from tests.backup.shipped import Shipped, fixed_key
from tests.children import die_with_parent, environment
from tests.faults.common import SOAK

SEED = int(os.environ.get("MAILSRV_SEED", time.time_ns() % 10**9))
KILLS = 200 if SOAK else 4


class TestKilled(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.dice = random.Random(SEED)

    def run_child(self, step: int) -> int:
        command = [sys.executable, "-m", "tests.backup.killed", str(self.folder)]
        done = subprocess.run(
            [*command, str(self.dice.randrange(10**6)), str(step)],
            env=environment(),
            preexec_fn=die_with_parent(),
            capture_output=True,
            timeout=120,
        )
        self.assertIn(done.returncode, (0, -9), done.stderr.decode())
        return done.returncode

    def allowed(self, diary: list, instant: int) -> list:
        """What it was at that time: one state, or two when a write was under way."""
        before = [state for at, state in diary if at <= instant and state is not None]
        later = next((i for i, (at, _) in enumerate(diary) if at > instant), len(diary))
        states = before[-1:]
        if diary[:later] and diary[later - 1][1] is None:
            states += [state for _, state in diary[later:] if state is not None][:1]
        return states

    def may_have_ended(self, bases: list[layout.BaseManifest], instant: int) -> bool:
        """Whether another chain came later: then what was last before the gap comes back."""
        last = max((one for one in bases if one.milliseconds <= instant), key=lambda one: one.chain)
        return any(one.chain > last.chain for one in bases)

    def check(self) -> None:
        lines = (self.folder / "diary").read_bytes().splitlines(keepends=True)
        diary = [json.loads(line) for line in lines if line.endswith(b"\n")]
        world = Shipped(self.folder, 0, key=fixed_key())
        self.addCleanup(world.end)
        names = world.store.names(".base.json")
        bases = [layout.decode_base(world.store.read(name)) for name in names]
        if not bases:
            return
        first = min(one.milliseconds for one in bases)
        last = max(at for at, _ in diary)
        for instant in [self.dice.randint(first, last) for _ in range(4)] + [last]:
            _, found = world.restore(instant)
            state = json.loads(json.dumps(found))
            allowed = self.allowed(diary, instant)
            if self.may_have_ended(bases, instant):
                allowed += [state for at, state in diary if at <= instant]
            self.assertTrue(state in allowed, f"{SEED} at {instant}")

    def test_what_was_there_comes_back(self) -> None:
        for kill in range(KILLS):
            self.run_child(self.dice.randrange(1, 400))
            if kill % 10 == 3:
                self.run_child(0)
                self.check()
