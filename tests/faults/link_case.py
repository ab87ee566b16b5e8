"""What the tests of the link share: a cluster that is whole, and an alias of their own in it."""

import os
import random
import secrets
import time
from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from tests.faults.cluster import Cluster, Secondary, shared
from tests.faults.link_model import Append, Box, Change, Session, agree, perform
from tests.waiting import eventually

SECONDS = 10.0
"""How long to wait for what should come at once, on a machine that is busy."""


class LinkTestCase(SynchronousTestCase):
    """``a`` and ``b`` are the owner's sessions at the two secondaries."""

    def make_cluster(self) -> Cluster:
        return shared()

    def setUp(self) -> None:
        self.dice = random.Random(int(os.environ.get("MAILSRV_SEED", time.time_ns())))
        self.cluster = self.make_cluster()
        self.cluster.heal()
        self.primary = self.cluster.primary
        self.address = f"owner-{secrets.token_hex(6)}@example.com"
        self.password = self.primary.add(self.address)
        self.a, self.b = (self.session(node) for node in (self.cluster.a, self.cluster.b))
        self.box = Box()

    def session(self, node: Secondary) -> Session:
        session = Session(self.cluster, node, self.address, self.password)
        self.addCleanup(session.forget)
        return session

    def do(self, change: Change, session: Session | None = None) -> None:
        """Make a change that must succeed."""
        (self.box,) = perform(change, session or self.a, self.box)

    def fill(self, folder: str, *marks: str, flags: frozenset[str] = frozenset()) -> None:
        for mark in marks:
            self.do(Append(folder, mark, flags))

    def agree(self, *sessions: Session) -> None:
        """What these sessions see (both, if none is named) is what must be there."""
        for session in sessions or (self.a, self.b):
            self.box = agree([self.box], session.see())

    def eventually(self, condition: Callable[[], bool], seconds: float = SECONDS) -> None:
        self.assertTrue(eventually(condition, seconds), "it did not come to pass")
