"""Whatever is killed wherever: the old mailbox or the restored one, and nothing left behind."""

import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.faults.common import SOAK

ROOT = Path(__file__).parents[2]


class TestCrashes(SynchronousTestCase):
    def crash(self, scenario: str, stride: int) -> int:
        """How many children died; the scenes check themselves (see ``restore_crashes``)."""
        base = os.path.abspath(self.mktemp())
        command = [sys.executable, "-m", "tests.backup.restore_crashes", scenario, base]
        command.append("1" if SOAK else str(stride))
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr[-3000:])
        return int(done.stdout)

    def test_restore(self) -> None:
        self.assertGreater(self.crash("restore", 41), 8)

    def test_machine(self) -> None:
        self.assertGreater(self.crash("machine", 31), 6)
