"""A mailbox of 100,000 messages, taken away and brought back in bounded memory (``make soak``)."""

import shutil

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from bench.exchange import FORMATS, SOURCE, TARGET, command, fill
from tests.backup.exchange.boxes import tree
from tests.faults.common import SOAK
from tests.running import RunningServer

MESSAGES = 100_000
MEMORY = 250
"""MiB. A command without work has 70; more messages must not take much more."""


class LargeTests(SynchronousTestCase):
    timeout = 7200

    def test_memory_and_equality(self) -> None:
        if not SOAK:
            raise SkipTest("takes many minutes: set MAILSRV_SOAK")
        server = RunningServer()
        self.addCleanup(server.stop)
        password = server.add(SOURCE)
        fill(server, password, MESSAGES)
        for form in FORMATS:
            one, two = server.root / f"{form}-1", server.root / f"{form}-2"
            done = command(server, password, "export", SOURCE, "--format", form, str(one))
            address = f"{form}-{TARGET}"
            other = server.add(address)
            came = command(server, other, "import", address, str(one))
            again = command(server, other, "export", address, "--format", form, str(two))
            for run in (done, came, again):
                self.assertLess(run.memory, MEMORY, form)
            self.assertTrue(tree(one) == tree(two), form)
            for path in (one, two):
                shutil.rmtree(path)
