"""Whatever an export or import is killed at, given again it ends as if nothing had been."""

import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.faults.common import SOAK

ROOT = Path(__file__).parents[3]


class CrashTests(SynchronousTestCase):
    def killed(self, scenario: str, stride: int) -> None:
        base = os.path.abspath(self.mktemp())
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "tests.backup.exchange.crashes",
                scenario,
                base,
                "1" if SOAK else str(stride),
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stderr[-3000:])
        self.assertGreater(int(done.stdout), 2)

    def test_export_killed_at_each_step(self) -> None:
        self.killed("export", 601)

    def test_import_killed_at_each_step(self) -> None:
        self.killed("import", 901)
