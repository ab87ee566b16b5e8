"""Whatever is killed wherever: one password works, and acknowledged mail is there, once."""

import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parents[2]


class TestCrashes(SynchronousTestCase):
    def crash(self, scenario: str, stride: int) -> int:
        """How many children died; the scenes check themselves (see ``crashes``)."""
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "tests.store.crashes",
                scenario,
                os.path.abspath(self.mktemp()),
                str(stride),
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stderr[-3000:])
        return int(done.stdout)

    def test_password_change(self) -> None:
        self.assertGreater(self.crash("change", 11), 20)

    def test_merge(self) -> None:
        self.assertGreater(self.crash("merge", 13), 15)

    def test_delivery(self) -> None:
        self.assertGreater(self.crash("deliver", 13), 12)

    def test_undelete(self) -> None:
        self.assertGreater(self.crash("undelete", 17), 10)
