"""What a primary holds of its secondaries' sessions ends in time, whatever becomes of them.

The test reads the primary's memory: while a mailbox is open its key is there to be found, and
after the lease it is not.
"""

import signal
import time
from functools import cache

from twisted.trial.unittest import SkipTest

from mailsrv.directory.directory import Directory
from mailsrv.keys.filekey import FileKey, derive_file_key
from tests.faults import memory
from tests.faults.cluster import Cluster
from tests.faults.common import SOAK, now
from tests.faults.link_case import SECONDS, LinkTestCase
from tests.faults.link_model import Append, Deliver

GRACE = 8.0
"""Seconds beside the lease, for a busy machine: fewer than until a dead link is given up."""

UNANSWERED = 3.0
"""Seconds that mail takes when a secondary is asked for a key and does not answer."""

NEEDS_KEY = "STATUS INBOX (MESSAGES)"

IDLE = 600.0
"""Seconds until an idle mailbox is closed: none is closed for that while a test looks."""


@cache
def short() -> Cluster:
    return Cluster(idle=IDLE, eager=True).start()


class LeaseTestCase(LinkTestCase):
    """A mailbox with a message, and its key to look for."""

    def setUp(self) -> None:
        super().setUp()
        self.fill("INBOX", "first")
        self.key = self.file_key()
        self.pid = self.primary.pid

    def make_cluster(self) -> Cluster:
        return short()

    def file_key(self) -> FileKey:
        directory = Directory(self.cluster.directory, now)
        try:
            record = directory.mailbox(directory.alias(self.address).id)
        finally:
            directory.close()
        path = self.primary.folder / "mailboxes" / f"{record.id}.sqlite"
        with path.open("rb") as file:
            return derive_file_key(self.password, file.read(16))

    def held(self, pid: int | None = None) -> int:
        """How often the key is in the memory of the primary, or of another: as octets or text."""
        pid = pid or self.pid
        if not memory.readable(pid):
            raise SkipTest("reading the memory of another process is not allowed here")
        return memory.count(pid, self.key.raw, self.key.raw.hex().encode())

    def lent(self) -> None:
        """Have the key brought, and find it before its time is over."""
        self.eventually(lambda: bool(self.a.client().ok(NEEDS_KEY)) and self.held() > 0)

    def gone(self, seconds: float) -> None:
        self.eventually(lambda: self.held() == 0, seconds)


class LeaseTests(LeaseTestCase):
    def test_the_key_is_there_while_it_is_needed_and_then_gone(self) -> None:
        for _ in range(10 if SOAK else 1):
            self.a.client().ok("NOOP")
            self.do(Append("INBOX", "more"))
            self.lent()
            self.gone(self.cluster.lease + GRACE)
        self.assertEqual(self.held(self.cluster.a.pid), 0)
        self.agree()

    def test_the_secondary_is_killed(self) -> None:
        self.b.client("INBOX")
        self.lent()
        self.cluster.a.kill()
        self.cluster.b.kill()
        self.gone(self.cluster.lease + GRACE)
        self.heal_and_check()

    def test_the_secondary_hangs(self) -> None:
        """SIGSTOP: its key is gone from the primary, and mail waits for it sealed."""
        self.lent()
        self.cluster.a.send(signal.SIGSTOP)
        self.gone(self.cluster.lease + GRACE)
        begun = time.monotonic()
        self.do(Deliver("second"), self.b)
        self.assertLess(time.monotonic() - begun, UNANSWERED)
        self.assertEqual(len(self.cluster.waiting_files()), 1)
        self.assertEqual(self.held(), 0)
        self.heal_and_check()

    def test_the_link_is_cut_off(self) -> None:
        """Nobody tells the primary; and no other session has the key."""
        self.lent()
        self.cluster.a.proxy.stall()
        self.gone(self.cluster.lease + GRACE)
        self.heal_and_check()

    def heal_and_check(self) -> None:
        self.a.forget()
        self.b.forget()
        self.cluster.heal()
        self.agree()


class LongLeaseTests(LeaseTestCase):
    """Nothing here is over because its time is."""

    def make_cluster(self) -> Cluster:
        cluster = Cluster(lease=600.0, idle=IDLE).start()
        self.addCleanup(cluster.stop)
        return cluster

    def test_logout_ends_it_at_once(self) -> None:
        self.assertGreater(self.held(), 0)
        self.a.client().ok("LOGOUT")
        self.gone(SECONDS)
