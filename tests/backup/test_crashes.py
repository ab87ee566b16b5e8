"""Whatever a backup is killed at: older ones are good, the next succeeds, nothing is left over."""

import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.faults.common import SOAK

ROOT = Path(__file__).parents[2]


class CrashTests(SynchronousTestCase):
    def test_killed_at_each_step(self) -> None:
        base = os.path.abspath(self.mktemp())
        done = subprocess.run(
            [sys.executable, "-m", "tests.backup.crashes", base, "1" if SOAK else "97"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stderr[-3000:])
        self.assertGreater(int(done.stdout), 5)
